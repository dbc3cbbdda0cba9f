"""What a process does when one that it trains with is gone: say which, and end.

A collective operation waits for all processes. With gloo the connection to one that is gone breaks, and the wait ends
in an error that names a socket; with NCCL it goes on until its time-out. So each process looks after the ones whose
process ids it knows: the one that started the others after those, and those after it. (torchrun ends the others
itself, and after torchrun itself the processes look likewise.)
"""

import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import torch.distributed as dist

from cips_lab.errors import NonFinite

log = logging.getLogger(__name__)

LAUNCHER = "CIPS_LAB_LAUNCHER"  # environment of a started process: the id of the one that started it
PERIOD = 0.5  # seconds between looks
PATIENCE = 5.0  # seconds in which a reason is looked for, or a process that failed as all did may fail itself
GRACE = 20.0  # seconds in which a process may still end in good order
REMEDY = "The same command continues the run from its last checkpoint."
# What gloo says of a process that is gone or does not answer; it has no class of error of its own.
GLOO = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting")


@dataclass(frozen=True)
class GoneProcess:
    """A process that is gone.

    Attributes:
        message: which, and how it ended.
        sudden: it was killed, or left no word; otherwise it has told its own reason.
        status: the exit status that processes which end for it should have.
    """

    message: str
    sudden: bool
    status: int = 1


class Watch(threading.Thread):
    """Ends this process if one that it depends on is gone; around the training, also when the training fails for it.

    Args:
        find: what is gone, if anything. None: there is nothing to look at, only failures are explained.
        children: processes that must not outlive this one.
        sees_peers: whether `find` looks at processes that train with this one, so that it will find out why a
            connection broke.
    """

    def __init__(
        self,
        find: Callable[[], GoneProcess | None] | None,
        children: Sequence[subprocess.Popen[bytes]] = (),
        sees_peers: bool = True,
    ) -> None:
        super().__init__(daemon=True, name="watch over other processes")
        self._find = find
        self._children = children
        self._sees_peers = sees_peers
        self._over = threading.Event()
        self._told = threading.Lock()  # taken by whoever tells first, and never given back

    def run(self) -> None:
        """Look every PERIOD seconds; the main thread, which may hang in an operation for ever, has GRACE to end."""
        assert self._find is not None
        while not self._over.wait(PERIOD):
            gone = self._find()
            if gone is None:
                continue
            if not gone.sudden and self._over.wait(PATIENCE):
                return
            self._tell(gone.message)
            kill(self._children)
            if not self._over.wait(GRACE):
                sys.stderr.flush()
                os._exit(gone.status)
            return

    def __enter__(self) -> "Watch":
        if self._find is not None and not self.is_alive() and not self._over.is_set():
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave together; or explain the error that another process's end is, and see to it that none is left."""
        if error is None:
            if dist.is_available() and dist.is_initialized():
                dist.barrier()  # who leaves is seen as lost by those who are still at work
            self._over.set()
            return
        if isinstance(error, NonFinite):
            return  # all processes have it, and the guard may train on with them: the watch goes on until `end`
        if is_lost_connection(error):
            gone = self._find_out()
            if gone is None:
                reason = str(error).strip().splitlines()[0][:300]
                message = f"the connection to another process broke, or it did not answer in time: {reason}"
                gone = GoneProcess(message, sudden=True)
            self._tell(gone.message)
            kill(self._children)
            # The watch goes on: what ends now must end in time.
            raise SystemExit(gone.status) from None
        self._over.set()
        if self._children and not isinstance(error, KeyboardInterrupt):  # Lightning kills them after Ctrl-C
            wait_for(self._children, PATIENCE)
            kill(self._children)

    def end(self) -> None:
        """There is nothing left to watch over."""
        self._over.set()

    def _find_out(self) -> GoneProcess | None:
        """Which process it was, as soon as it can be seen."""
        if self._find is None:
            return None
        until = time.monotonic() + (PATIENCE if self._sees_peers else 0.0)
        while True:
            gone = self._find()
            if gone is not None or time.monotonic() >= until:
                return gone
            time.sleep(0.1)

    def _tell(self, message: str) -> None:
        """Once, on standard error and in the log file, even where the main thread hangs."""
        if not self._told.acquire(blocking=False):
            return
        message = f"{message}\n{REMEDY}"
        print(f"\nerror: {message}", file=sys.stderr, flush=True)
        record = log.makeRecord(log.name, logging.ERROR, __file__, 0, message, (), None)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(record)


def watch_children(children: Sequence[subprocess.Popen[bytes]], first_rank: int = 1) -> Watch:
    """For the process that started `children`, which have the ranks from `first_rank` on."""

    def find() -> GoneProcess | None:
        ended = [(rank, child, child.poll()) for rank, child in enumerate(children, first_rank)]
        failed = [(rank, child, status) for rank, child, status in ended if status]
        if not failed:
            return None
        rank, child, status = min(failed, key=lambda one: one[2])  # killed ones first: the others follow from them
        what = f"the process of rank {rank} (pid {child.pid})"
        if status < 0:
            return GoneProcess(f"{what} was ended by {signal_name(-status)}, so this run ends.", sudden=True)
        return GoneProcess(f"{what} ended with status {status}; its own message says why.", sudden=False, status=status)

    return Watch(find, children)


def watch_launcher(pid: int, name: str, sees_peers: bool = True) -> Watch:
    """For a process whose parent is, or should still be, `pid`; `name`: what that is; `sees_peers`: see `Watch`."""

    def find() -> GoneProcess | None:
        if os.getppid() == pid:
            return None
        return GoneProcess(f"{name} (pid {pid}) is gone, so this run ends.", sudden=True)

    return Watch(find, sees_peers=sees_peers)


@functools.cache
def follow_launcher() -> Watch | None:
    """In a process that rank 0 started: end with it, from now on, before there is anything to train. Else None."""
    launcher = os.environ.get(LAUNCHER)
    if launcher is None:
        return None
    watch = watch_launcher(int(launcher), "the process of rank 0")
    watch.start()
    return watch


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error is how a collective operation tells that another process is gone or silent."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in GLOO)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; the number where it has no name."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def wait_for(children: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Until all have ended, at most so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(child.poll() is None for child in children):
        time.sleep(0.1)


def kill(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """End at once those that still run: they may hang in an operation that no other signal interrupts."""
    for child in children:
        if child.poll() is None:
            child.kill()
