"""The CPU that a process may use. Without torch: commands that only read pictures need not wait for it."""

import os


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
