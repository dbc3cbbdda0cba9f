"""The same numbers on 1, 2 and 3 processes, every sample once: real processes, over gloo."""

import json
import socket
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sets import noise_pictures, register_tiny, spoiled, tiles
from torch import Tensor

from cips_lab.data.dataset import ArrayDataset
from cips_lab.metrics import kernel, neighbours
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.registry import names
from cips_lab.metrics.statistics import FeatureBank, Moments

SAMPLES = 1001  # no multiple of 2 or 3


class Counting(ArrayDataset):
    """Notes which pictures are read."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.read: list[int] = []

    def __getitem__(self, index: int) -> Tensor:
        self.read.append(index)
        return super().__getitem__(index)


def evaluate(
    folder: Path, pictures: np.ndarray, real: np.ndarray, others: np.ndarray, options: dict[str, Any]
) -> dict[str, Any]:
    """One process's part: what it computed, which samples it made, which real pictures it read."""
    register_tiny()
    with pytest.MonkeyPatch.context() as patch:  # one process is the suite's own
        for module in (kernel, neighbours):
            patch.setattr(module, "TILE", 128)  # tiles for every process
        return evaluated(folder, pictures, real, others, options)


def evaluated(
    folder: Path, pictures: np.ndarray, real: np.ndarray, others: np.ndarray, options: dict[str, Any]
) -> dict[str, Any]:
    evaluator = Evaluator(**options, cache=folder)
    made: list[int] = []

    def batches() -> Iterator[Tensor]:
        for numbers in evaluator.batches():
            made.extend(numbers.tolist())
            yield torch.from_numpy(pictures)[numbers]

    counting = Counting(real)
    held_out = evaluator.held_out(ArrayDataset(others))
    results = evaluator.evaluate(batches(), evaluator.reference(counting), held_out=held_out)
    full = Evaluator(**options | {"kid_subsets": None, "names": ["kid"]}, cache=folder)
    results["kid_full"] = full.evaluate(
        (torch.from_numpy(pictures)[n] for n in full.batches()), full.reference(counting)
    )["kid"]
    return {"results": results, "made": made, "read": counting.read}


def tiny_task(folder: Path) -> dict[str, Any]:
    every = {"extractor": "tiny", "names": names(), "num_samples": SAMPLES}
    options = {**every, "kid_subset_size": 200, "kid_subsets": 10}
    return evaluate(folder, noise_pictures(SAMPLES, 1, 0.8), noise_pictures(700, 0), noise_pictures(301, 2), options)


def lite_task(folder: Path) -> dict[str, Any]:
    options = {
        "extractor": "efficientnet_lite0",
        "num_samples": 31,
        "kid_subset_size": 20,
        "kid_subsets": 5,
        "batch_size": 4,
    }
    return evaluate(folder, spoiled(tiles(31, offset=1)), np.array(tiles(31)), np.array(tiles(25, offset=2)), options)


def statistics_task(folder: Path) -> dict[str, Any]:
    """Two metrics by themselves, as in anyone's module; the last of three processes has seen nothing."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    features = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    moments, bank = Moments(4), FeatureBank(4)
    workers = min(world, 2)
    if rank < workers:
        numbers = torch.arange(10)[rank::workers]
        moments.update(features[numbers])
        bank.update(features[numbers], numbers)
    gaussian = moments.compute()
    assert torch.equal(bank.compute(), features)
    assert torch.equal(bank.compute(), features)
    return {"number": gaussian.number, "covariance": gaussian.covariance.flatten().tolist()}


TASKS = {"tiny": tiny_task, "lite": lite_task, "statistics": statistics_task}


def worker(rank: int, world: int, port: int, task: str, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    output = TASKS[task](folder / "cache")
    (folder / f"{rank}.json").write_text(json.dumps(output))
    dist.destroy_process_group()


def run(task: str, world: int, folder: Path) -> list[dict[str, Any]]:
    folder.mkdir()
    mp.start_processes(worker, (world, free_port(), task, folder), nprocs=world, start_method="forkserver")
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", ["tiny", "lite"])
def test_evaluations_agree(task: str, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    alone = TASKS[task](tmp_path / "alone")
    count = len(alone["made"])
    for world in (1, 2, 3) if task == "tiny" else (2,):
        outputs = run(task, world, tmp_path / str(world))
        for output in outputs:
            assert output["results"] == outputs[0]["results"]
        for name, value in alone["results"].items():
            found = outputs[0]["results"][name]
            assert found == (pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value), name
        assert sorted(chain(*(output["made"] for output in outputs))) == list(range(count))
        # Each real picture once, by one process; the second evaluation read none.
        assert sorted(chain(*(output["read"] for output in outputs))) == sorted(alone["read"])
        assert len(set(alone["read"])) == len(alone["read"])


@pytest.mark.parametrize("world", [1, 3])
def test_statistics_agree(world: int, tmp_path: Path) -> None:
    alone = statistics_task(tmp_path)
    for output in run("statistics", world, tmp_path / "run"):
        assert output["number"] == alone["number"] == 10
        assert output["covariance"] == pytest.approx(alone["covariance"], rel=1e-12)


def test_a_share_that_is_too_short_fails_everywhere() -> None:
    with pytest.raises(mp.ProcessRaisedException, match="was given 2 pictures; its share of 5 is"):
        mp.start_processes(short_worker, (2, free_port()), nprocs=2, start_method="forkserver")


def test_a_picture_that_cannot_be_read_fails_everywhere(tmp_path: Path) -> None:
    """And everywhere as a user's mistake: a process that waited for the others would see a broken connection."""
    mp.start_processes(unreadable_worker, (2, free_port(), tmp_path), nprocs=2, start_method="spawn")
    assert (tmp_path / "0").read_text().startswith("another process has a picture")
    assert (tmp_path / "1").read_text() == "b.png: broken"


def unreadable_worker(rank: int, world: int, port: int, folder: Path) -> None:
    from sets import tiny_extractor

    from cips_lab.errors import UserError
    from cips_lab.metrics.collect import collect

    def batches() -> Iterator[Tensor]:
        yield torch.zeros(2, 3, 8, 8).byte()
        if rank == 1:
            raise UserError("b.png: broken")
        yield torch.zeros(1, 3, 8, 8).byte()

    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    try:
        collect(batches(), [tiny_extractor()], 6)
    except UserError as error:
        (folder / str(rank)).write_text(str(error))


def short_worker(rank: int, world: int, port: int) -> None:
    from sets import tiny_extractor

    from cips_lab.metrics.collect import collect

    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    collect([torch.zeros(2, 3, 8, 8).byte()], [tiny_extractor()], 5)
