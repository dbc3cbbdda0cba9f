"""Figures whose statistics are summed over real processes, over gloo: those of one process alone, on every one."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from studies import study, subject

from cips_lab.analysis.figures import spectrum, spectrum_ablation, styles, zeroed_inputs
from cips_lab.analysis.making import plain

COUNT = 21  # no multiple of 2, nor of the batch


def found() -> dict[str, Any]:
    """The numbers and rows of the figures that sum over pictures."""
    ours = study(subject("cips"), subject("cips_base"), count=COUNT, quick=True)
    made = {}
    for module in (spectrum, zeroed_inputs, spectrum_ablation, styles):
        data = module.FIGURE.compute(ours)
        made[module.FIGURE.name] = {"numbers": module.FIGURE.numbers(data), "rows": module.FIGURE.rows(data)}
    return json.loads(json.dumps(plain(made)))


def worker(rank: int, world: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    (folder / f"{rank}.json").write_text(json.dumps(found()))
    dist.destroy_process_group()


def test_statistics_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(worker, (2, port, tmp_path), nprocs=2, start_method="forkserver")
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    compare(first, found())


def compare(value: Any, expected: Any, where: str = "") -> None:
    """Equal up to the order of sums."""
    if isinstance(expected, dict):
        assert list(value) == list(expected), where
        for key in expected:
            compare(value[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(value) == len(expected), where
        for number, (one, other) in enumerate(zip(value, expected, strict=True)):
            compare(one, other, f"{where}/{number}")
    elif isinstance(expected, float):
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-5), where
    else:
        assert value == expected, where
