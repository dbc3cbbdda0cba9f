"""Signals to the command, as schedulers and people send them: to one process, to all, to the one that was started."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cips_lab.runs.checkpoints import damage

ENDLESS = ["experiment=debug", "schedule.total_kimg=9000", "schedule.checkpoint_kimg=1000", "schedule.sample_kimg=1000"]
Start = Callable[..., subprocess.Popen[str]]
PATIENCE = 500.0


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Iterator[Start]:
    """start("name=x", ...) -> the command, started in a process group of its own, as a terminal or a scheduler does."""
    started = []

    def call(*overrides: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "cips_lab.train", *overrides],
            cwd=tmp_path,
            env=os.environ | {"CIPS_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Tests may run in the background of a shell, where SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until a file has something in it."""
    deadline = time.monotonic() + PATIENCE
    while not (path.exists() and path.stat().st_size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.1)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The training processes that it started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"hydra.job.name=train_ddp_process" in (stat.parent / "cmdline").read_bytes():
                found.append(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    return process.communicate(timeout=PATIENCE)


def assert_interrupted(process: subprocess.Popen[str], run: Path, processes: int = 1) -> str:
    """Status 75, one line, one whole checkpoint of that moment, and nobody left behind; returns what it said."""
    output, error = ended(process)
    assert process.returncode == 75, error
    assert "Traceback" not in error
    assert error.count("the same command continues the run") == 1
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert damage(checkpoint) is None
    assert f"interrupted at kimg {float(checkpoint.name.removeprefix('kimg-')):g}: a checkpoint is saved" in error
    deadline = time.monotonic() + 30
    while True:  # children of a process group that is gone
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.1)
    return output + error


@pytest.mark.timeout(600)
def test_sigterm_to_all_processes_of_a_run_and_a_second_run_in_its_folder(start: Start, tmp_path: Path) -> None:
    """With a reading process, which gets the signal too."""
    run = tmp_path / "runs" / "x"
    first = start(*ENDLESS, "trainer=cpu", "name=x", "data.num_workers=1")
    wait_for(run / "metrics.jsonl", first)
    second = start(*ENDLESS, "trainer=cpu", "name=x")
    _, error = ended(second)
    assert second.returncode == 2
    assert f"error: {run}: a run is being trained in this folder already (by process {first.pid} on" in error
    assert len(error.splitlines()) == 1
    assert first.poll() is None
    os.killpg(first.pid, signal.SIGTERM)
    assert "SIGTERM: stopping after this iteration, with a checkpoint" in assert_interrupted(first, run)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("number", "to"),
    [
        (signal.SIGTERM, "parent"),
        (signal.SIGTERM, "child"),
        (signal.SIGUSR1, "child"),
        (signal.SIGUSR1, "all"),
        (signal.SIGINT, "all"),
    ],
)
def test_two_processes_end_the_same_way_whoever_is_told(start: Start, tmp_path: Path, number: int, to: str) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    scontrol.chmod(0o755)
    run = tmp_path / "runs" / "x"
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "cips", "PATH": f"{scontrol.parent}:{os.environ['PATH']}"}
    process = start(*ENDLESS, "trainer=ddp_cpu", "name=x", "data.num_workers=1", **slurm)
    wait_for(run / "metrics.jsonl", process)
    if to == "all":
        os.killpg(process.pid, number)
    else:
        (child,) = children(process)
        os.kill(child if to == "child" else process.pid, number)
    assert_interrupted(process, run, processes=2)
    calls = tmp_path / "calls"
    assert (calls.read_text() if calls.exists() else "") == ("requeue 4711\n" if number == signal.SIGUSR1 else "")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_signal_while_processes_start_is_not_lost(start: Start, tmp_path: Path) -> None:
    """As soon as the second one is there; it is still importing."""
    process = start(*ENDLESS, "trainer=ddp_cpu", "name=x")
    deadline = time.monotonic() + PATIENCE
    while not children(process):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGTERM)
    assert_interrupted(process, tmp_path / "runs" / "x", processes=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_that_are_interrupted_and_continued_are_the_same_run(start: Start, tmp_path: Path) -> None:
    usual = ["experiment=debug", "trainer=ddp_cpu", "schedule.total_kimg=2", "schedule.log_kimg=0.008"]
    whole = start(*usual, "name=whole")
    _, error = ended(whole)
    assert whole.returncode == 0, error
    process = start(*usual, "name=x", "schedule.checkpoint_kimg=100")
    wait_for(tmp_path / "runs" / "x" / "metrics.jsonl", process)
    os.kill(process.pid, signal.SIGTERM)
    assert_interrupted(process, tmp_path / "runs" / "x", processes=2)
    again = start(*usual, "name=x")
    _, error = ended(again)
    assert again.returncode == 0, error
    x, y = (
        load_file(tmp_path / "runs" / n / "checkpoints/kimg-00002.000/generator.safetensors") for n in ("x", "whole")
    )
    assert x.keys() == y.keys()
    assert all(torch.equal(x[name], y[name]) for name in x)
    kimgs = [
        [json.loads(line)["kimg"] for line in (tmp_path / "runs" / n / "metrics.jsonl").read_text().splitlines()]
        for n in ("x", "whole")
    ]
    assert kimgs[0] == kimgs[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_second_ctrl_c_ends_at_once(start: Start, tmp_path: Path) -> None:
    process = start(*ENDLESS, "trainer=ddp_cpu", "name=x", "batch_size=4096", "schedule.log_kimg=4.096")
    wait_for(tmp_path / "runs" / "x" / "metrics.jsonl", process)
    for _ in range(2):
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
    _, error = ended(process)
    assert process.returncode == 130, error
    assert "stopped at once" in error
    assert not (tmp_path / "runs" / "x" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_sweep_stops_with_its_interrupted_job(start: Start, tmp_path: Path) -> None:
    process = start("--multirun", *ENDLESS, "trainer=cpu", "name=sweep", "seed=0,1")
    wait_for(tmp_path / "runs" / "sweep" / "0" / "metrics.jsonl", process)
    os.kill(process.pid, signal.SIGTERM)
    assert_interrupted(process, tmp_path / "runs" / "sweep" / "0")
    assert not (tmp_path / "runs" / "sweep" / "1").exists()
