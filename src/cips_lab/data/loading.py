"""Loaders of pictures, whose workers end and fail as a person would want them to."""

import signal
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from cips_lab.errors import UserError


def leave_signals_to_the_run(worker: int) -> None:
    """In a reading process: go on when a whole job is asked to stop, for the iteration is finished first.

    The run ends its readers itself, and a reader whose run is gone ends.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


class PictureLoader(DataLoader[Tensor]):
    """A loader whose workers' user errors arrive as the one sentence that was raised."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        try:
            yield from super().__iter__()
        except UserError as error:
            # torch wraps the message into the worker's traceback, whose last paragraph is the message.
            message = str(error).rpartition(f"{UserError.__module__}.{UserError.__qualname__}: ")[2]
            # Its traceback is a reference cycle that holds the loader; collected as a cycle, the loader loses the
            # threads that tell the workers to stop before it uses them, and waits 5 s for each worker.
            raise UserError(message.strip()) from error.with_traceback(None)
