"""Whether a folder holds the same pictures as another one did at another time: without reading all of a large set.

The cache of the metrics asks whether a folder changed, of which modification times tell more than enough. A run asks
whether the pictures are those that it was trained on, perhaps copied to another disk: times say nothing then. So names
and sizes of all, and the content of all in a set of up to LARGEST bytes and MOST pictures, of evenly spaced ones in a
larger set. A picture that was added, removed, renamed or changed in size is always noticed; one that was replaced by
another of the very same size, in a large set, with the probability that it is looked at.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from cips_lab.errors import UserError
from cips_lab.files.names import printable
from cips_lab.files.whole import sha256_of

LARGEST = 2**28  # bytes that are read, about: seconds from a slow disk
MOST = 4096  # files that are opened: seconds over a network


def identity(root: Path, files: Sequence[str]) -> str:
    """Hexadecimal digits that depend on relative names, sizes and contents alone.

    Args:
        root: the folder.
        files: names in it, in their order.

    Raises:
        UserError: a file is gone.
    """
    digest = hashlib.sha256()
    total = 0
    for file in files:
        try:
            size = (root / file).stat().st_size
        except OSError as error:
            name = printable(root / file)
            raise UserError(
                f"{name}: gone since the folder was listed ({error.strerror}); put it back, or start again"
            ) from error
        digest.update(os.fsencode(file) + f"\0{size}\0".encode())
        total += size
    stride = max(1, -(-total // LARGEST), -(-len(files) // MOST))
    for file in files[::stride]:
        digest.update(content_of(root / file))
    return digest.hexdigest()


def content_of(path: Path) -> bytes:
    """A hash of a file's bytes; of none where it cannot be read, which is told where pictures are looked at."""
    try:
        return sha256_of(path).encode()
    except OSError:
        return b"unreadable"
