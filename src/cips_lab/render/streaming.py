"""Pictures larger than memory, rendered band by band, and from where they stopped if they were stopped.

While a picture of the name NAME grows there are, beside the place where it will be,

- `.NAME.partial`: an uncompressed TIFF with all its rows in place one after the other, so that a band is one write;
- `.NAME.journal`: JSON, replaced atomically: what the picture is to be, and how many of its rows are on the disk.

A band enters the journal after it is on the disk: whenever the process dies, what the journal tells is true. A finished
TIFF gets its name by renaming; the other formats are encoded from it row by row, by libvips.
"""

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from cips_lab import __version__
from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line
from cips_lab.files.whole import replace_text, replacing
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.networks.tiling import Tile
from cips_lab.render.finite import PictureNotFinite
from cips_lab.render.pictures import to_uint8

log = logging.getLogger(__name__)

LARGE_PIXELS = 2**26  # beyond, synthesize streams: a picture made in memory takes some 50 bytes a pixel
TIFF = (".tif", ".tiff")
ENCODERS = {".png": "pngsave", ".jpg": "jpegsave", ".jpeg": "jpegsave"}  # of libvips; each holds a few rows
JPEG_LONGEST_SIDE = 65535
# Small enough that a stop loses little, large enough that a GPU is busy; some 15 MB while it is rendered.
BAND_PIXELS = 2**18
STRIP_BYTES = 2**20  # of the TIFF: a reader of a part reads whole strips


class StreamedPicture:
    """Where a picture goes and what it is.

    Args:
        path: the file; .tif, .tiff, .png, .jpg or .jpeg.
        height, width: pixels.
        identity: whatever else determines its pixels (weights, style, region), as JSON values. A stopped picture is
            continued only under the same identity. How it is computed (device, tiles) is no part of it.
    """

    def __init__(self, path: Path, height: int, width: int, identity: dict[str, Any]) -> None:
        self.path = path
        self.height, self.width, self.row_bytes = height, width, 3 * width
        self.description = identity | {"cips_lab": __version__, "size": [height, width]}
        self.partial, self.journal, self.lock = (
            path.with_name(f".{path.name}.{kind}") for kind in ("partial", "journal", "lock")
        )

    def is_complete(self) -> bool:
        """Whether the file is there already; only a TIFF tells what it is."""
        if self.path.suffix.lower() not in TIFF or not self.path.is_file():
            return False
        try:
            with tifffile.TiffFile(self.path) as file:
                return bool(json.loads(file.pages.first.description) == self.description)
        except (tifffile.TiffFileError, ValueError):
            return False  # some other picture of that name, which will be replaced

    def rows_done(self) -> int:
        """Rows of this very picture that an earlier run left in the partial file."""
        record = self._read_journal()
        return int(record["rows"]) if record.get("picture") == self.description else 0

    def differences(self) -> list[str]:
        """In what an unfinished picture of this name is another one; empty where there is none."""
        other = self._read_journal().get("picture", self.description)
        return [name for name in self.description | other if self.description.get(name) != other.get(name)]

    def bytes_needed(self) -> int:
        """Disk space that is still to be taken; what libvips encodes comes on top, at most as large."""
        if self.is_complete():
            return 0
        encoded = 0 if self.path.suffix.lower() in TIFF else self.height * self.row_bytes
        return (self.height - self.rows_done()) * self.row_bytes + encoded

    def prepare(self) -> None:
        """Make the partial file, unless there is one to continue."""
        if self.rows_done():
            return
        self.journal.unlink(missing_ok=True)  # first: it must never speak of another file than the one beside it
        tifffile.imwrite(  # without data: a header, and a hole of the right size (BigTIFF where 4 GB do not suffice)
            self.partial,
            shape=(self.height, self.width, 3),
            dtype=np.uint8,
            photometric="rgb",
            rowsperstrip=max(1, STRIP_BYTES // self.row_bytes),
            description=json.dumps(self.description),
            software="cips_lab",
            metadata=None,
        )

    def data_offset(self) -> int:
        """Where in the partial file the first row begins."""
        with tifffile.TiffFile(self.partial) as file:
            return int(file.pages.first.dataoffsets[0])

    def record(self, rows: int) -> None:
        """Put in the journal that so many rows are on the disk."""
        text = json.dumps({"picture": self.description, "rows": rows})
        replace_text(self.journal, text, self.journal.with_name(f"{self.journal.name}.new"))

    def publish(self) -> None:
        """Give the finished picture its name, encoded as its suffix says."""
        suffix = self.path.suffix.lower()
        if suffix in TIFF:
            self.partial.replace(self.path)
        else:
            import pyvips

            log.info("%s: encoding", self.path)
            try:
                image = pyvips.Image.tiffload(str(self.partial), access="sequential")
                encoded = self.path.with_name(f".{self.path.stem}.partial{self.path.suffix}")
                with replacing(self.path, encoded):
                    getattr(image, ENCODERS[suffix])(str(encoded))
            except pyvips.Error as error:  # its pixels are safe: the same command tries again
                raise UserError(f"{self.path}: libvips could not write it ({first_line(error)})") from None
            self.partial.unlink()
        self.journal.unlink(missing_ok=True)

    def discard(self) -> None:
        """Leave nothing of an unfinished picture."""
        for path in (self.journal, self.partial, self.lock):
            path.unlink(missing_ok=True)

    def _read_journal(self) -> dict[str, Any]:
        if not (self.journal.is_file() and self.partial.is_file()):
            return {}
        return dict(json.loads(self.journal.read_text(encoding="utf-8")))


def check_format(path: Path, height: int, width: int) -> None:
    """Find out before hours of rendering that a picture of this size could not be written.

    Raises:
        UserError: an unknown suffix, a JPEG that is too large, or libvips is missing.
    """
    suffix = path.suffix.lower()
    if suffix in TIFF:
        return
    if suffix not in ENCODERS:
        raise UserError(f"output={path}: band by band goes into one of {', '.join((*TIFF, *ENCODERS))}")
    if "jp" in suffix and max(height, width) > JPEG_LONGEST_SIDE:
        raise UserError(f"output={path}: a side of a JPEG has at most {JPEG_LONGEST_SIDE} pixels; use .tif or .png")
    try:
        import pyvips  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: the binding without the library
        remedy = "pip install 'cips-lab[stream]', or write a .tif"
        raise UserError(f"output={path}: a streamed {suffix} needs libvips: {remedy} ({error})") from None


def check_space(pictures: Sequence[StreamedPicture]) -> None:
    """Find out before hours of rendering that the disk of their one folder is too small; `UserError` if it is."""
    needed = sum(picture.bytes_needed() for picture in pictures)
    free = shutil.disk_usage(pictures[0].path.parent).free
    if needed > free:
        sizes = f"{needed / 1e9:.1f} GB are needed in that folder and {free / 1e9:.1f} GB are free"
        raise UserError(f"output={pictures[0].path}: {sizes}")


def stream_pictures(
    generator: Generator,
    styles: Iterable[Tensor],
    pictures: Sequence[StreamedPicture],
    region: Sequence[float] = (-1.0, -1.0, 1.0, 1.0),
    tile: Tile = "auto",
) -> None:
    """Render pictures to files, one after the other, in memory that does not depend on their number or height.

    Args:
        generator: one that takes any coordinates, in evaluation mode, on any device.
        styles: [w_dim] or [1, w_dim] for each picture, on the generator's device.
        pictures: all of them in one folder, which is made.
        region: see `image_grid`.
        tile: see `Generator.synthesize_native`.

    Raises:
        UserError: a format that cannot be written, too little disk space, or another process writes the same picture.
        PictureNotFinite: a band is not; nothing is left of that picture.
    """
    for picture in pictures:
        check_format(picture.path, picture.height, picture.width)
    pictures[0].path.parent.mkdir(parents=True, exist_ok=True)
    check_space(pictures)
    for w, picture in zip(styles, pictures, strict=True):
        try:
            with FileLock(picture.lock, blocking=False):
                _stream(generator, w.reshape(1, -1), picture, region, tile)
        except PictureNotFinite:
            picture.discard()
            raise
        except Timeout:
            raise UserError(f"{picture.path}: another process is writing this picture") from None
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise UserError(f"{picture.path}: the disk is full; with more space the same command goes on") from None
        picture.lock.unlink(missing_ok=True)


def _stream(generator: Generator, w: Tensor, picture: StreamedPicture, region: Sequence[float], tile: Tile) -> None:
    if picture.is_complete():
        log.info("%s: already there, complete", picture.path)
        picture.journal.unlink(missing_ok=True)  # of a process that died right after the renaming
        return
    if differences := picture.differences():
        log.info("%s: the unfinished one differs in %s; starting anew", picture.path, ", ".join(differences))
    picture.prepare()
    height, width, done = picture.height, picture.width, picture.rows_done()
    if done:
        log.info("%s: going on after %d of %d rows (%.0f %%)", picture.path, done, height, 100 * done / height)
    seeds = [picture.description["seed"]] if "seed" in picture.description else None
    step = max(1, BAND_PIXELS // width)
    offset = picture.data_offset()
    with (
        picture.partial.open("r+b") as file,
        tqdm(total=height * width, initial=done * width, unit="pixel", unit_scale=True, desc=picture.path.name) as bar,
    ):
        for start in range(done, height, step):
            stop = min(start + step, height)
            grid = image_grid(height, width, region, w.device, rows=slice(start, stop))
            band = to_uint8(generator.render(w, grid, tile=tile), seeds)[0]
            file.seek(offset + start * picture.row_bytes)
            file.write(band.tobytes())
            file.flush()
            os.fsync(file.fileno())
            picture.record(stop)
            bar.update((stop - start) * width)
    picture.publish()
