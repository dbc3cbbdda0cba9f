"""The command line as a user types it: mistakes that leave nothing behind, names of any letters, other processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
STRANGE = """lr=0.1 (é) "q' #1, [x"""  # signs of Hydra's grammar, and a letter that it does not know


@pytest.mark.parametrize(
    ("command", "overrides", "told"),
    [
        (
            "train",
            ["experiment=debug", "trainer.max_steps=3", "seed=-1", "+foo=1"],
            [
                "3 mistakes",
                "trainer.max_steps: there is no such option: a run's length is schedule.total_kimg",
                "seed=-1: must be a whole number of at least 0",
                "foo: there is no such option",
            ],
        ),
        ("train", ["experiment=debug", "+trainer.gradient_clip_val=0.1"], ["gradients are not clipped here"]),
        ("train", ["--multirun", "experiment=debug", "seed=0,1", "+foo=1"], ["foo: there is no such option"]),
        ("train", ["trainer=ddp"], ["trainer=ddp is gone: type trainer=gpu"]),
        ("train", ["data=zip"], ["data=zip is gone: type data=folder"]),
        ("train", ["--multirun", "logger=csv,none", "experiment=debug"], ["logger=csv is gone: metrics.jsonl"]),
        ("train", ["data=/my/pictures"], ["type data.path=/my/pictures"]),
        ("train", ["name=a,b", "experiment=debug"], ["""if this is one value, type 'name="a,b"'"""]),
        ("evaluate", ["ckpt=a", "+batch=3"], ["batch: there is no such option"]),
        ("tabulate", ["quickstart"], ["quickstart: expected an option, key=value"]),
    ],
)
def test_mistakes_leave_nothing_behind(
    run: Run, tmp_path: Path, command: str, overrides: list[str], told: list[str]
) -> None:
    result = run(command, *overrides)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    for line in told:
        assert line in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.rglob("*")) == []


def test_names_of_any_letters(run: Run, tmp_path: Path) -> None:
    """Of a run on two processes, the second of which Lightning starts; then of its folder, in another command."""
    options = ("experiment=debug", "schedule.total_kimg=0.016", "schedule.log_kimg=0.008", "trainer=ddp_cpu")
    result = run("train", f"name={STRANGE}", *options)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]  # and no folder of the other process's
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [STRANGE]
    assert json.loads((tmp_path / "runs" / STRANGE / "status.json").read_text())["state"] == "finished"
    assert run("train", f"name={STRANGE}", *options).returncode == 0  # continued, with nothing left to do
    result = run("synthesize", f"ckpt=runs/{STRANGE}", "seeds=3", "output=사진 (1).png")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "사진 (1).png").is_file()


@pytest.mark.slow
def test_a_sweep_of_such_a_name(run: Run, tmp_path: Path) -> None:
    options = ("experiment=debug", "schedule.total_kimg=0.008", "callbacks.report=null")
    result = run("train", "--multirun", "name=p(q) é", "seed=0,1", *options)
    assert result.returncode == 0, result.stderr
    jobs = sorted(path.parent.name for path in (tmp_path / "runs" / "p(q) é").glob("*/config.yaml"))
    assert jobs == ["seed0", "seed1"]


@pytest.mark.slow
def test_a_job_that_is_refused_tells_its_sweep(run: Run, tmp_path: Path) -> None:
    result = run("train", "--multirun", "experiment=debug", "name=s", "schedule.total_kimg=0.008", "batch_size=0,8")
    assert result.returncode == 1
    assert "batch_size=0: must be a positive whole number of images" in result.stdout.rpartition("1 failed")[2]


def test_a_terminal_without_the_letters(tmp_path: Path, cache: Path) -> None:
    """cron and ssh: what cannot be shown is shown by its number, and nothing ends for it."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "iso-8859-1", "CIPS_LAB_CACHE": str(cache)}
    command = [sys.executable, "-m", "cips_lab.train", "experiment=debug", "schedule.total_kimg=0.008", "name=사진"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=280)
    assert result.returncode == 0, result.stderr
    assert rb"\uc0ac\uc9c4" in result.stdout
    assert (tmp_path / "runs" / "사진" / "config.yaml").is_file()


def test_help_needs_nothing_and_says_all(run: Run) -> None:
    result = run("train", "experiment=quickstart", "--help")
    assert result.returncode == 0
    assert "schedule.total_kimg" in result.stdout
    assert "trainer=auto|cpu|ddp_cpu|gpu|multinode" in result.stdout
