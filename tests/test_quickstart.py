"""`make quickstart` with commands that only write their files: what is called in which order, and what it ends with."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from cips_lab.configuration import conf_folder

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")

# Stands for .venv/bin/python: notes how it was called; leaves output=, or what training leaves.
PYTHON = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$2" in
  cips_lab.train) mkdir -p "$RUN" && echo evaluated > "$RUN/evaluations.md" ;;
  cips_lab.explore) [ -z "$CONVOLUTIONAL" ] || { echo "error: convolutional" >&2; exit 2; } ;;
esac
for argument; do case "$argument" in output=*) echo made > "${argument#output=}" ;; esac; done
"""


def quickstart(tmp_path: Path, **environment: str) -> tuple[list[list[str]], list[str], Path]:
    """The arguments of each call, the lines that are printed, and the run's folder."""
    venv, runs = tmp_path / "venv", tmp_path / "runs"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text(PYTHON)
    (venv / "bin" / "python").chmod(0o755)
    (venv / ".installed").touch()  # newer than pyproject.toml: nothing is installed
    # Without what a `make test` around it says.
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), "quickstart", f"RUNS={runs}", f"VENV={venv}"],
        env=inherited | {"CALLS": str(tmp_path / "calls"), "RUN": str(runs / "quickstart")} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    return calls, done.stdout.splitlines(), runs / "quickstart"


def test_it_ends_with_a_page_to_open(tmp_path: Path) -> None:
    calls, said, run = quickstart(tmp_path)
    assert [call[1] for call in calls] == ["cips_lab.train", "cips_lab.synthesize", "cips_lab.explore"]
    assert f"output={run}/samples.png" in calls[1]
    assert calls[2][2:] == [f"ckpt={run}", f"output={run}/explorer.html"]
    assert (run / "explorer.html").is_file()
    assert "evaluated" in said
    assert f"Look at {run}/samples.png" in said[-2]
    assert said[-1].startswith(f"Open {run}/explorer.html in a browser: ")
    for _, command, *overrides in calls:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            compose(command.removeprefix("cips_lab."), overrides)


def test_a_generator_without_a_page_ends_well(tmp_path: Path) -> None:
    _, said, run = quickstart(tmp_path, CONVOLUTIONAL="yes")
    assert said[-1].startswith(f"Look at {run}/samples.png")
    assert not (run / "explorer.html").exists()
