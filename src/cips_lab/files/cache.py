"""Where prepared data and statistics are kept between runs."""

import functools
import logging
import os
from pathlib import Path

from cips_lab.files.places import own_temporary_folder, problem_of

log = logging.getLogger(__name__)


def cache_folder(cache: str | Path | None = None) -> Path:
    """`cache` if given, else `$CIPS_LAB_CACHE`, else `~/.cache/cips_lab`. It need not exist.

    Who has no home that can be written gets a temporary folder, and is told once.
    """
    chosen = cache or os.environ.get("CIPS_LAB_CACHE")
    return Path(chosen).expanduser() if chosen else _of_home(os.environ.get("HOME"))


@functools.cache
def _of_home(home: str | None) -> Path:
    """`home`: for the cache of this function alone."""
    try:
        folder = Path("~/.cache/cips_lab").expanduser()
        problem = problem_of(folder)
        reason = problem and f"{folder} cannot be written ({problem.strerror})"
    except RuntimeError:
        reason = "there is no home folder"
    if reason is None:
        return folder
    log.warning(
        "%s: prepared data are kept in %s; set paths.cache (or CIPS_LAB_CACHE) to a folder that lasts",
        reason,
        own_temporary_folder(),
    )
    return own_temporary_folder()
