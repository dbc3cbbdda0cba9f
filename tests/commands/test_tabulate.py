"""`python -m cips_lab.tabulate`: what it prints and writes, and what it refuses."""

import csv
import importlib.util
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from sweeps import FD, make_run, make_sweep

ROOT = Path(__file__).parents[2]


def folder_of(command: str) -> Path:
    """Where a table that stands in the notebook was written."""
    (output,) = (option.removeprefix("output=") for option in shlex.split(command) if option.startswith("output="))
    return ROOT / output


COMMITTED = [
    (notebook, command)
    for notebook in sorted(ROOT.glob("experiments/*/README.md"))
    for command in re.findall(
        r"python -m cips_lab.tabulate ([^`\n]*output=[^`\n]*)", notebook.read_text(encoding="utf-8")
    )
]
Run = Callable[..., subprocess.CompletedProcess[str]]
needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="no matplotlib: pip install 'cips-lab[report]'"
)


@needs_matplotlib
def test_all_that_it_writes(run: Run, tmp_path: Path) -> None:
    """From config.yaml and metrics.jsonl alone."""
    sweep = make_sweep(tmp_path / "sweep")
    make_run(sweep / "4", "generator=siren", reached=1)
    assert {path.name for path in sweep.rglob("*") if path.is_file()} == {"config.yaml", "metrics.jsonl"}
    result = run("tabulate", "sweep=sweep", "output=out", "metrics.names=[fd,precision]", "wandb=true")
    assert result.returncode == 0, result.stderr
    assert "105.0 ± 7.1*" in result.stdout
    assert "Left out: job 4 (unfinished, at 1 of 4 kimg)." in result.stdout
    assert "FLOPs/image" in result.stdout
    out = tmp_path / "out"
    names = ["table.csv", "table.json", "table.md", "table.tex"]
    figures = [f"{stem}.{suffix}" for stem in ("fd_compute", "fd_kimg", "fd_time") for suffix in ("png", "svg")]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, *figures, "wandb"])
    rows = list(csv.DictReader((out / "table.csv").open()))
    assert [float(row[FD]) for row in rows] == [105, 210, 10]
    assert int(rows[0]["parameters"]) > int(rows[1]["parameters"]) > 0  # the embedding's
    assert float(rows[0]["training_flops_per_image"]) > float(rows[0]["flops_per_image"]) > 0
    table = json.loads((out / "table.json").read_text())
    assert table["rows"][0]["training_flops_total"] == 4000 * table["rows"][0]["costs"]["training_flops"]
    svg = (out / "fd_kimg.svg").read_text()
    assert ">cips_ne<" in svg  # text that can be searched, at the lines themselves
    assert min(Image.open(out / "fd_kimg.png").size) > 500
    (offline,) = (out / "wandb").glob("offline-run-*")
    (logged,) = offline.rglob("*.table.json")
    found = json.loads(logged.read_text())
    assert found["data"][0][found["columns"].index(f"{FD} mean")] == 105
    assert list(offline.rglob("fd_kimg*.png"))


def test_two_sweeps_and_their_mistakes(run: Run, tmp_path: Path) -> None:
    make_sweep(tmp_path / "one")
    make_run(tmp_path / "two" / "0", seed=2, fd=120)
    fast = ("plots=false", "costs=false")
    both = run("tabulate", "sweep=[one,two]", "output=both", "at=2", *fast)
    assert both.returncode == 0, both.stderr
    assert not (tmp_path / "both" / "wandb").exists()  # only when asked
    rows = list(csv.DictReader((tmp_path / "both" / "table.csv").open()))
    assert rows[0]["seeds"] == "0 1 2"
    assert float(rows[0][FD]) == pytest.approx(220)
    some = run("tabulate", "sweep=[one,two]", "output=both", "jobs=['two/*',one/0]", "samples=100", *fast)
    assert some.returncode == 0, some.stderr
    rows = list(csv.DictReader((tmp_path / "both" / "table.csv").open()))
    assert [row["jobs"] for row in rows] == ["one/0 two/0", ""]  # the floor is of no job

    make_run(tmp_path / "mixed" / "0", changes={"num_samples": 50})
    (tmp_path / "file").touch()
    for options, message in (
        (["sweep=[one,mixed]"], "num_samples: 100 in jobs one/0, one/1, one/2, one/3; 50 in job mixed/0"),
        ([], "give sweep=FOLDER"),
        (["sweep=one", "output=file"], "output=file: expected a folder"),
        (["sweep=one", "num_samples=7"], "it has no evaluation of 7 samples"),
        (["sweep=one", "num_samples=7", "samples=7"], "samples is the former name of num_samples"),
        (["sweep=one", "at=first"], "at=first: must be last, best"),
    ):
        refused = run("tabulate", *options, *fast)
        assert refused.returncode == 2, refused.stdout
        assert refused.stderr.startswith("error: ")
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "one" / "table.md").exists()


def test_help_teaches(run: Run) -> None:
    result = run("tabulate", "--help")
    assert result.returncode == 0
    assert "python -m cips_lab.tabulate sweep=runs/ablation" in result.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_generator_from_a_folder_of_ones_own_bears_its_name(run: Run, tmp_path: Path) -> None:
    """It has the structure of cips_base: its name is what was typed."""
    (tmp_path / "mine" / "generator").mkdir(parents=True)
    own = "defaults: [cips_base, _self_]\nnoise: true\n"
    (tmp_path / "mine" / "generator" / "grainy.yaml").write_text(own)
    short = ["experiment=debug", "trainer=cpu", "schedule.total_kimg=0.008", "schedule.evaluate_kimg=0.008"]
    small = ["metrics.num_samples=16", "metrics.num_real=64", "metrics.kid_subset_size=8", "metrics.kid_subsets=2"]
    jobs = ["--multirun", "--config-dir", "mine", "generator=cips_base,grainy", "name=x"]
    result = run("train", *jobs, *short, *small)
    assert result.returncode == 0, result.stdout + result.stderr
    result = run("tabulate", "sweep=runs/x", "plots=false", "costs=false")
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader((tmp_path / "runs" / "x" / "table.csv").open()))
    assert [row["variant"] for row in rows[:2]] == ["cips_base", "grainy"]
    assert " \u00b7 grainy<" in (tmp_path / "runs" / "x" / "grainy" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("notebook", "command"), COMMITTED, ids=[folder_of(command).name for _, command in COMMITTED])
def test_the_notebooks_tables_are_those_of_their_runs(run: Run, tmp_path: Path, notebook: Path, command: str) -> None:
    """They hold what the commands beside them make of the committed config.yaml and metrics.jsonl."""
    options = [option for option in shlex.split(command) if not option.startswith(("output=", "plots="))]
    options = [option.replace("experiments/", f"{ROOT}/experiments/") for option in options]
    result = run("tabulate", *options, "output=out", "plots=false")
    assert result.returncode == 0, result.stderr
    for name in ("table.md", "table.tex", "table.csv"):
        assert (tmp_path / "out" / name).read_text() == (folder_of(command) / name).read_text(), name
    rows, *_ = (tmp_path / "out" / "table.md").read_text().split("\n\n")
    link = (folder_of(command) / "table.md").relative_to(notebook.parent).as_posix()
    text = notebook.read_text(encoding="utf-8")
    assert rows in text or f"({link})" in text
