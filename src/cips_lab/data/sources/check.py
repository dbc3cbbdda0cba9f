"""A look at every picture of a source before training begins."""

import logging

import numpy as np
from tqdm import tqdm

from cips_lab.data.sources.base import ImageSource
from cips_lab.errors import UserError
from cips_lab.files.names import printable

log = logging.getLogger(__name__)

AFAR = 4  # pictures of a source that is read over a network: each may take a row group's download


def check_readable(source: ImageSource, limit: int = 20_000, option: str = "data.path", tolerate: bool = False) -> None:
    """Check every picture before training begins, or `limit` of them, evenly spaced, in a larger source.

    All that reading does but for decoding the pixels, see `ImageSource.verify`: damage behind a good header, such as a
    truncated JPEG, shows only when the picture is decoded. Pillow's warnings are summed up in one line of the log.

    Raises one `UserError` with the number of bad files and the first five. `tolerate`: only warn, unless not one is
    good.
    """
    count, limit = len(source), AFAR if source.remote else limit
    indices = range(count) if count <= limit else np.linspace(0, count - 1, limit).round().astype(int).tolist()
    bad: list[str] = []
    odd: list[str] = []
    # disable=None: no bar in a log file; delay: none for a check that takes a moment.
    for index in tqdm(indices, desc="Checking pictures", unit=" pictures", delay=2, disable=None):
        try:
            warnings = source.verify(index)
        except UserError as error:
            bad.append(str(error))
            continue
        if warnings:
            odd.append(printable(f"{source.name(index)} ({warnings[0]})"))
    if odd:
        log.info("%s: %d picture(s) have odd metadata, which are ignored, such as %s", option, len(odd), odd[0])
    if bad:
        shown = "".join(f"\n  {message}" for message in bad[:5])
        rest = f"\n  and {len(bad) - 5} more" if len(bad) > 5 else ""
        counts = f"{option}: {len(bad)} of the {len(indices)} pictures checked cannot be read; "
        if not tolerate or len(bad) == len(indices):
            raise UserError(f"{counts}delete or replace them (or see data.unreadable):{shown}{rest}")
        log.warning("%sothers take their places:%s%s", counts, shown, rest)
