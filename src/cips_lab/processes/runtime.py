"""What a command sets for its process, so that it starts soon and a CPU computes instead of waiting (`make bench`)."""

import ctypes
import os

from lightning_utilities.core import imports

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # malloc.h's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD


# What torchmetrics imports for metrics that nobody asks it for here.
LEFT_OUT = frozenset({"matplotlib", "scipy", "torch_fidelity", "torchvision"})


def tune() -> None:
    """Set all; to be called before torch and Lightning are imported."""
    sleep_at_barriers()
    keep_freed_memory()
    import_less()


def import_less() -> None:
    """Let torchmetrics, which Lightning imports whole, take some packages for missing that we have.

    They are a third of the time that a command needs to start, and matplotlib, imported for the first time, tells of
    its fonts and of homes that it cannot write into. Who needs one of them imports it as ever.
    """
    is_met, is_there = imports.RequirementCache.__bool__, imports.package_available

    def is_wanted(requirement: imports.RequirementCache) -> bool:
        return requirement.requirement not in LEFT_OUT and is_met(requirement)

    imports.RequirementCache.__bool__ = is_wanted  # type: ignore[assignment, method-assign]
    imports.package_available = lambda name: name not in LEFT_OUT and is_there(name)  # type: ignore[assignment]


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
