"""Arrays of pictures that are made once and kept in the cache between runs."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cips_lab.errors import UserError
from cips_lab.files.whole import replacing

log = logging.getLogger(__name__)


def prepared(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What lies at `path`, mapped into memory; made and kept there if it is not there.

    Processes that start together each write the same bytes, and none reads a part.

    Raises:
        UserError: the cache cannot be written, or the file is damaged.
    """
    if not path.exists():
        log.info("Making %s, once: it is kept for later runs", path)  # a log file shows no progress bar
        array = make()
        try:
            with replacing(path) as partial:
                np.save(partial, array)
        except OSError as error:
            raise UserError(
                f"paths.cache={path.parent} cannot be written ({error}); set paths.cache to another folder"
            ) from error
    try:
        mapped: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it and it is built again") from error
    return mapped
