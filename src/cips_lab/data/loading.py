"""Loaders of pictures, whose workers end and fail as a person would want them to."""

import logging
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cips_lab.errors import UserError

log = logging.getLogger(__name__)

SHARED = Path("/dev/shm")  # where Linux keeps memory that processes share
BATCHES_AHEAD = 3  # two that torch prefetches for each reader, and the one that is made
# What torch says where it is full: of a reader that was killed, and of one that could not open its file.
SHARED_IS_FULL = ("Bus error", "insufficient shared memory", "No space left on device", "unable to open shared memory")


def end_with_the_run(worker: int) -> None:
    """In a reading process: go on when a whole job is asked to stop, for the iteration is finished first.

    The run ends its readers itself, and a reader whose run is gone ends, without a word: what there is to tell, the
    run's own processes tell.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = say_nothing_of_a_lost_reader


def say_nothing_of_a_lost_reader(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """As `sys.excepthook`, where the only connection that can break is the one to the process that reads.

    A thread hands over each batch's memory through it, and prints what breaks it (`multiprocessing.resource_sharer`):
    where a run is killed in that moment, a traceback that has nothing to tell.
    """
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, traceback)


def processes_here(world_size: int) -> int:
    """How many of a run's processes share this machine: one a GPU, or all where there is none."""
    return min(world_size, torch.cuda.device_count() or world_size)


def readers_that_fit(readers: int, batch_bytes: int, processes_here: int = 1) -> int:
    """How many reading processes the machine's shared memory carries: `readers`, or none at all where it is small.

    Each hands over batches through /dev/shm, of which containers have 64 MB by default; full, it kills the readers.

    Args:
        readers: that would be used, for each process that trains here.
        batch_bytes: of one process's batch.
        processes_here: that train on this machine.
    """
    if readers == 0 or not SHARED.is_dir():
        return readers
    needed = processes_here * readers * BATCHES_AHEAD * batch_bytes
    free = shutil.disk_usage(SHARED).free
    if needed <= free:
        return readers
    log.warning(
        "%s has %.0f MB free, and %d reading process(es) would need %.0f MB: pictures are read by the training itself "
        "(data.num_workers=0). In a container, docker run --shm-size=2g gives more",
        *(SHARED, free / 1e6, processes_here * readers, needed / 1e6),
    )
    return 0


class PictureLoader(DataLoader[Tensor]):
    """A loader whose workers' user errors arrive as the one sentence that was raised, and full memory as a remedy."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        try:
            yield from super().__iter__()
        except UserError as error:
            # torch wraps the message into the worker's traceback, whose last paragraph is the message.
            message = str(error).rpartition(f"{UserError.__module__}.{UserError.__qualname__}: ")[2]
            # Its traceback is a reference cycle that holds the loader; collected as a cycle, the loader loses the
            # threads that tell the workers to stop before it uses them, and waits 5 s for each worker.
            raise UserError(message.strip()) from error.with_traceback(None)
        except RuntimeError as error:
            if not any(sign in str(error) for sign in SHARED_IS_FULL):
                raise
            raise UserError(
                f"data.num_workers={self.num_workers}: the reading processes ended, for the shared memory {SHARED} is "
                "full; say data.num_workers=0, or give the container more (docker run --shm-size=2g)"
            ) from error.with_traceback(None)
