"""A job of a sweep and the process that started it: the job ends with it, and tells it why it failed.

Nothing heavy is imported: a sweep starts its jobs with this.
"""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

SUPERVISOR = "CIPS_LAB_SUPERVISOR"  # environment variable: the process that started this one as a job of a sweep
ERROR_FILE = "CIPS_LAB_ERROR_FILE"  # environment variable: where the job is to write why it failed
POLL_SECONDS = 0.5


def end_with_supervisor() -> None:
    """In a job of a sweep: die at once when the process that started it is gone, killed perhaps.

    Otherwise it would go on unseen, beside the one that the same sweep starts when it is started again.
    """
    supervisor = int(os.environ.get(SUPERVISOR, 0))
    if supervisor and os.getppid() == supervisor:  # not one that Lightning started within the job
        threading.Thread(target=_watch, args=(supervisor,), daemon=True, name="supervisor-watch").start()


def _watch(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def tell_supervisor(error: str) -> None:
    """In a job of a sweep: leave the sweep the reason why it failed."""
    if ERROR_FILE in os.environ:
        path = Path(os.environ[ERROR_FILE])
        with suppress(FileExistsError), path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(error)  # of several processes, the first to fail
