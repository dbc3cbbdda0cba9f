"""One run at a time in a run folder."""

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from cips_lab.errors import RunInUse
from cips_lab.files.whole import is_full, replace_text
from cips_lab.processes.ranks import is_first_of_all
from cips_lab.runs.folder import HOLDER, LOCK

log = logging.getLogger(__name__)

# A killed run's data workers, forked from it, keep its lock until they see that it is gone, which takes them 5 s.
PATIENCE_SECONDS = 30.0

NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})


def will_start_others() -> bool:
    """Whether Lightning is to start the other processes of this machine: nobody has numbered this one."""
    return "LOCAL_RANK" not in os.environ and "SLURM_PROCID" not in os.environ


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Hold a run folder: the first process of the run takes the lock for all; the others pass.

    The kernel gives the lock back when its holder dies, however it dies. On a file system without locks (some NFS), a
    warning says that nothing is watched over.

    Raises:
        RunInUse: another run holds it.
    """
    if not is_first_of_all():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    held = True
    try:
        acquire(lock, folder)
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        held = False
        log.warning(
            "%s: this file system has no locks (%s): make sure that no other process trains in it", folder, error
        )
    try:
        yield
    finally:
        if held:
            (folder / HOLDER).unlink(missing_ok=True)
            lock.release()


def acquire(lock: FileLock, folder: Path) -> None:
    """Take the lock and leave a note of who holds it; wait only for what a dead holder left behind."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            holder = read_holder(folder)
            if is_alive(holder) or time.monotonic() > deadline:
                raise RunInUse(in_use(folder, holder)) from None
            time.sleep(0.2)
    if isinstance(lock, SoftFileLock):  # what newer versions of filelock make of it where the kernel cannot lock:
        lock.release()  # a killed holder would leave it locked
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    note = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    try:
        replace_text(folder / HOLDER, json.dumps(note) + "\n")
    except OSError as error:  # it is for messages alone; whoever needs the room will say so
        if not is_full(error):
            raise


def read_holder(folder: Path) -> dict[str, object] | None:
    """What the holder noted of itself; None where it did not come to that."""
    try:
        note = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return note if isinstance(note, dict) else None


def is_alive(holder: dict[str, object] | None) -> bool:
    """Whether the holder is known to run: it is on another machine, where we cannot look, or its process is there."""
    if holder is None:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(str(holder.get("pid"))), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def in_use(folder: Path, holder: dict[str, object] | None) -> str:
    """The message."""
    who = "another process"
    if holder is not None:
        who = f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}"
    return (
        f"{folder}: a run is being trained in this folder already (by {who}); wait for it, stop it, "
        f"or choose another name"
    )
