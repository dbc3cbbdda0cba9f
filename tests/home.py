"""A home of the suite's own, for this process and all that it starts; the home of whoever starts it is left alone.

Workers of pytest-xdist find it in their environment, so that they share one cache, in which the tiles are cut once.
"""

import atexit
import os
import shutil
import site
import tempfile

SHARED = "CIPS_LAB_TEST_HOME"


def move_in() -> None:
    """Set the variables by which programs find a home; to be called before anything is imported that reads them."""
    if SHARED not in os.environ:
        os.environ[SHARED] = tempfile.mkdtemp(prefix="cips-lab-home-")
        atexit.register(remove, os.environ[SHARED], os.getpid())
    os.environ.setdefault("PYTHONUSERBASE", site.getuserbase())  # where packages may lie
    os.environ["HOME"] = os.environ[SHARED]
    os.environ["CIPS_LAB_CACHE"] = f"{os.environ[SHARED]}/cips_lab"
    for name in [*os.environ]:
        if name.startswith(("XDG_", "WANDB_")) or name in ("MPLCONFIGDIR", "NETRC"):
            del os.environ[name]


def remove(home: str, owner: int) -> None:
    """In the process that made it, and not in one that was forked from it."""
    if os.getpid() == owner:
        shutil.rmtree(home, ignore_errors=True)
