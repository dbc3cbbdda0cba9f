"""What is done with a picture that cannot be decoded in the middle of a run."""

import logging
from pathlib import Path
from typing import Literal

from filelock import FileLock
from PIL import Image

from cips_lab.data.sources.base import ImageSource
from cips_lab.errors import UserError
from cips_lab.files.names import escape, unescape

log = logging.getLogger(__name__)

Policy = Literal["fail", "skip"]
POLICIES = ("fail", "skip")
LISTED_AS = "unreadable.txt"


class Reader:
    """Pictures of a source under a policy.

    With ``skip`` an unreadable picture is replaced by the next readable one in the order of the source, after the last
    the first: a function of the files alone, so that all processes and a continued run see the same.

    Args:
        source: the pictures.
        policy: ``fail`` or ``skip``.

    Attributes:
        listing: a file in which each picture that was replaced is named once, whichever process met it; None: none.

    Raises:
        UserError: another policy.
    """

    def __init__(self, source: ImageSource, policy: str = "fail") -> None:
        if policy not in POLICIES:
            raise UserError(f"data.unreadable={policy}: must be fail (stop, and name the file) or skip (use the next)")
        self.source = source
        self.policy = policy
        self.listing: Path | None = None
        self._bad: set[int] = set()  # known to this process; not tried again

    def read(self, index: int) -> Image.Image:
        """Picture `index`, or what stands in for it.

        Raises:
            UserError: it cannot be decoded and the policy is ``fail``; or no picture can.
        """
        if self.policy == "fail":
            return self.source.read(index)
        count = len(self.source)
        for place in range(index, index + count):
            candidate = place % count
            if candidate in self._bad:
                continue
            try:
                return self.source.read(candidate)
            except UserError as error:
                self._bad.add(candidate)
                if self.listing is not None:
                    note(self.listing, self.source.name(candidate), str(error))
        raise UserError(f"{self.source.location}: none of its {count} pictures can be decoded")


def note(listing: Path, name: str, message: str) -> None:
    """Add a picture, by its full name, to a listing that several processes write, unless it is there."""
    listing.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(listing.with_name(f".{listing.name}.lock")):
        if name in names(listing):
            return
        with listing.open("a", encoding="utf-8") as file:
            file.write(f"{escape(name)}\t{' '.join(message.split())}\n")


def names(listing: Path) -> list[str]:
    """The full names of the pictures in a listing."""
    if not listing.exists():
        return []
    lines = listing.read_text(encoding="utf-8").split("\n")  # splitlines splits at more, and names may hold it
    return [unescape(line.split("\t")[0]) for line in lines if line]


def tell(listing: Path) -> None:
    """Say at a run's end how many pictures were replaced, if any."""
    count = len(names(listing))
    if count:
        log.warning("%d unreadable picture(s) were replaced by others; they are listed in %s", count, listing)
