"""A number that is lost on one of two processes (gloo): both stop, or both go back."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from forked import Python

SCRIPT = Path(__file__).with_name("injection.py")


def train(
    python: Python, folder: Path, faults: list[dict[str, object]], *overrides: str
) -> tuple[subprocess.CompletedProcess, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "INJECT": json.dumps(faults)}
    began = time.monotonic()
    result = python(SCRIPT, "experiment=debug", *overrides, cwd=folder, env=environment)
    return result, time.monotonic() - began


def checkpoint(run: Path, kimg: str) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / f"kimg-{kimg}" / "training.ckpt", weights_only=True)["state_dict"]


def test_both_processes_stop_for_one(python: Python, tmp_path: Path) -> None:
    """Had the process without it gone on, it would wait for the other: the time limit is the proof that it does not."""
    fault = {"kind": "loss", "phase": "generator", "images": 48, "process": 1}
    result, seconds = train(python, tmp_path, [fault], "trainer=ddp_cpu", "name=x")
    assert result.returncode == 2, result.stderr
    assert seconds < 60
    assert "Traceback" not in result.stderr
    assert result.stderr.count("error: a loss or gradient is not finite (generator, step G) at kimg 0.048") == 1
    assert "process 1 of 2: loss/generator = inf; gradients of " in result.stderr
    assert "process 0 of 2" not in result.stderr
    assert "process 1 stops with the others" in result.stderr
    run = tmp_path / "runs" / "x"
    record = json.loads((run / "guard" / "kimg-00000.048-generator-0.json").read_text())
    assert [bool(p["parameters"]) for p in record["processes"]] == [False, True]
    real = load_file(run / "guard" / "kimg-00000.048-generator-0-process1.safetensors")["real"]
    assert (real.dtype, real.shape) == (torch.uint8, (4, 3, 16, 16))
    kept = checkpoint(run, "00000.040")
    assert all(value.isfinite().all() for value in kept.values())
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["kimg-00000.040"], "nothing was kept after it"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("phase", ["discriminator", "r1"])
def test_each_phase_and_both_processes(python: Python, tmp_path: Path, phase: str) -> None:
    faults = [{"kind": "gradient", "phase": phase, "images": 64, "process": p} for p in (0, 1)]
    result, seconds = train(python, tmp_path, faults, "trainer=ddp_cpu", "name=x", "micro_batch=2")
    assert result.returncode == 2, result.stderr
    assert seconds < 60
    assert "at kimg 0.064" in result.stderr
    assert "process 0 of 2: gradients of " in result.stderr
    assert "process 1 of 2: gradients of " in result.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_processes_go_back_and_are_one_run(python: Python, tmp_path: Path) -> None:
    """The rollback of two processes is that of one, and a run that was killed after it ends as if it had not been."""
    fault = {"kind": "gradient", "phase": "discriminator", "images": 48, "process": 1}
    two, _ = train(python, tmp_path, [fault], "trainer=ddp_cpu", "name=two", "guard=rollback")
    assert two.returncode == 0, two.stderr
    assert "rollback 1 of 3: to kimg-00000.040, and on with other draws" in two.stdout
    one, _ = train(python, tmp_path, [fault | {"process": 0}], "trainer=cpu", "name=one", "guard=rollback")
    assert one.returncode == 0, one.stderr
    a, b = (checkpoint(tmp_path / "runs" / name, "00000.080") for name in ("one", "two"))
    for name, value in a.items():
        assert float((value - b[name]).abs().max()) <= 1e-4 * max(1.0, float(value.abs().max())), name
    kimgs = [json.loads(line)["kimg"] for line in (tmp_path / "runs/two/metrics.jsonl").read_text().splitlines()]
    assert kimgs == [0.016, 0.032, 0.048, 0.064, 0.08]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_processes_give_up(python: Python, tmp_path: Path) -> None:
    fault = {"kind": "loss", "phase": "discriminator", "images": 48, "process": 1, "rollbacks": list(range(9))}
    result, seconds = train(
        python, tmp_path, [fault], "trainer=ddp_cpu", "name=x", "guard=rollback", "guard.max_rollbacks=2"
    )
    assert result.returncode == 2, result.stderr
    assert seconds < 120
    assert "gave up after guard.max_rollbacks=2" in result.stderr
    assert len(list((tmp_path / "runs" / "x" / "guard").glob("*.json"))) == 3
