"""Trainings in processes of their own, cheap enough for many: forked from one that has imported everything.

A process gets the environment that torchrun would give it, so that Lightning takes it for one of `world`.
"""

import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from tiny import MemoryDataModule, make_trainer

from cips_lab.training.gan import GAN

LIMIT = 240  # seconds: a machine may be slow, but a hang is a failure


def context() -> ForkServerContext:
    """The server that forks: what `conftest` names is imported in it once."""
    return multiprocessing.get_context("forkserver")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def enter(function: Callable[..., None], rank: int, world: int, port: int, folder: Path, arguments: Any) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "GROUP_RANK": "0"}
    os.environ |= {"LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    # As in a process that was not forked by a server; else each loader would start a server of its own, and one whose
    # process is killed stays.
    multiprocessing.set_start_method("fork", force=True)
    try:
        function(*arguments)
    except BaseException:
        (folder / f"error-{rank}.txt").write_text(traceback.format_exc())
        raise


def together(
    world: int, function: Callable[..., None], folder: Path, *arguments: Any, expected: int | None = 0
) -> list[int]:
    """Call a function of a module in `world` processes at once; their exit codes, which must be as expected."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    processes = [
        context().Process(target=enter, args=(function, rank, world, port, folder, arguments)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    until = time.monotonic() + LIMIT
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
    hung = [process for process in processes if process.exitcode is None]
    for process in hung:
        process.kill()
    assert not hung, f"{len(hung)} of {world} processes hung"
    codes = [int(process.exitcode or 0) for process in processes]
    if expected is not None:
        errors = "\n".join(path.read_text() for path in sorted(folder.glob("error-*.txt")))
        assert codes == [expected] * world, f"{codes}\n{errors}"
    return codes


def make_distributed_trainer(
    folder: Path, iterations: int, *callbacks: pl.Callback, precision: str = "32-true", batch: int = 8
) -> pl.Trainer:
    """`tiny.make_trainer`, for this process as one of its world."""
    return make_trainer(
        folder, iterations, *callbacks, precision=precision, processes=int(os.environ["WORLD_SIZE"]), batch=batch
    )


def fit_together(
    gan: GAN,
    folder: Path,
    iterations: int,
    *callbacks: pl.Callback,
    checkpoint: Path | None = None,
    precision: str = "32-true",
    workers: int = 0,
    batch: int = 8,
) -> pl.Trainer:
    """`tiny.fit`, in one of several processes."""
    trainer = make_distributed_trainer(folder, iterations, *callbacks, precision=precision, batch=batch)
    data = MemoryDataModule()
    data.num_workers = workers
    trainer.fit(gan, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return trainer


def process_group() -> None:
    """Join the others without Lightning."""
    dist.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
