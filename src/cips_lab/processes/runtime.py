"""What a command sets for its process, so that a CPU computes instead of waiting. `make bench` shows what it brings."""

import ctypes
import os

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # malloc.h's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD


def tune() -> None:
    """Set both; to be called before torch is imported."""
    sleep_at_barriers()
    keep_freed_memory()


def sleep_at_barriers() -> None:
    """Let GNU OpenMP's threads sleep instead of spinning for milliseconds at every barrier.

    Spinning brings training to a crawl as soon as another program wants a core. Read when torch is first imported.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next tensor instead of giving it back to the system.

    By default each tensor of some megabytes is mapped anew, and the system clears its pages one by one as they are
    touched: up to a quarter of an iteration on a CPU, and half of an evaluation. Elsewhere than on glibc: nothing.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(MMAP_THRESHOLD, 256 * 2**20)
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):
        return
