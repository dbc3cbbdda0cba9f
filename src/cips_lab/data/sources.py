"""Where pictures come from: a nested folder, or the zip that StyleGAN's `dataset_tool.py` writes.

A source knows names and bytes; cropping and resizing are the data set's (`cips_lab.data.dataset`).
"""

import hashlib
import io
import logging
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from cips_lab.data import archive as archives
from cips_lab.errors import UserError

log = logging.getLogger(__name__)

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
BACKGROUND = (255, 255, 255)
# By content, whatever the suffix says: what Pillow reads with code of its own or a library kept for hostile input. Its
# other readers, PostScript's among them, are never started.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 2**27  # of one picture, by its header: some 400 MB decoded

# What Pillow and zipfile raise for a damaged, encrypted, vanished or absurdly large file.
READ_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


class ImageSource(Protocol):
    """A numbered collection of pictures of any size. A subclass gives `__len__`, `name`, `open` and `location`."""

    def __len__(self) -> int:
        """The number of pictures, at least 1."""
        ...

    def name(self, index: int) -> str:
        """The picture's full name, for messages."""
        ...

    def open(self, index: int) -> IO[bytes]:
        """The encoded picture as a seekable binary stream."""
        ...

    @property
    def location(self) -> str:
        """Where the collection is, as a full path or a name."""
        ...

    def fingerprint(self) -> str:
        """Hexadecimal digits that change when any picture or their order changes; here from every byte."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            with self.open(index) as stream:
                digest.update(hashlib.sha256(stream.read()).digest())
        return digest.hexdigest()

    def read(self, index: int) -> Image.Image:
        """Decode picture `index` in [0, len) to RGB at its own size.

        Raises `UserError` naming the file when it cannot be decoded.
        """
        with _naming(self.name(index)), self.open(index) as stream, open_picture(stream) as image:
            return to_rgb(image)

    def verify(self, index: int) -> None:
        """Raise `UserError` if the header (for PNG: any chunk's checksum) is damaged; pixels are not decoded."""
        with _naming(self.name(index)), self.open(index) as stream, open_picture(stream) as image:
            image.verify()


class FolderSource(ImageSource):
    """Every .png .jpg .jpeg .webp .bmp below `path`, in the order of the relative paths.

    Hidden files and folders are skipped (`.ipynb_checkpoints` holds copies of pictures); links are followed.
    `option` is the option that the path came from, for messages.
    Raises `UserError` if `path` is missing, is no folder, cannot be listed, or holds no picture.
    """

    def __init__(self, path: str | Path, option: str = "data.path") -> None:
        self.path = Path(path).expanduser().resolve()
        if not self.path.exists():
            raise UserError(f"{option}={path}: {self.path} does not exist; give a folder of pictures")
        if not self.path.is_dir():
            raise UserError(f"{option}={path}: {self.path} is not a folder; give a folder of pictures or a .zip")
        self.files = sorted(_pictures_below(self.path, option))
        if not self.files:
            raise UserError(
                f"{option}={path}: no picture in {self.path} or its subfolders; "
                f"give a folder that holds {' '.join(sorted(EXTENSIONS))} files"
            )

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return str(self.path / self.files[index])

    def open(self, index: int) -> IO[bytes]:
        return (self.path / self.files[index]).open("rb")

    @property
    def location(self) -> str:
        return str(self.path)

    def fingerprint(self) -> str:
        """From names, sizes and modification times: no picture is read, and a million take seconds."""
        digest = hashlib.sha256()
        for file in self.files:
            try:
                status = (self.path / file).stat()
            except OSError as error:
                raise UserError(f"{self.path / file}: gone since the folder was listed ({error.strerror})") from error
            digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        return digest.hexdigest()


class ZipSource(ImageSource):
    """The pictures of a zip, such as StyleGAN's (`00000/img00000000.png`, ...; labels in `dataset.json` are ignored).

    The archive is opened once per process: a file offset shared with a forked or unpickled copy would mix up reads.
    Source: https://github.com/NVlabs/stylegan3/blob/main/dataset_tool.py. Stored or deflated entries.
    Raises `UserError` if `path` is missing, is no zip, holds no picture, or is one that was made to do harm: see
    `cips_lab.data.archive`.
    """

    def __init__(self, path: str | Path, option: str = "data.path") -> None:
        self.path = Path(path).expanduser().resolve()
        if not self.path.is_file():
            raise UserError(f"{option}={path}: {self.path} does not exist; give a data set's .zip")
        try:
            names = archives.check(self.path)
        except READ_ERRORS as error:
            raise UserError(
                f"{option}={path}: {self.path} cannot be read as a zip ({error}); download or write it again"
            ) from error
        self.entries = sorted(name for name in names if _is_picture(Path(name)))
        if not self.entries:
            raise UserError(
                f"{option}={path}: no picture in {self.path}; give a zip of {' '.join(sorted(EXTENSIONS))} files"
            )
        self._archive: zipfile.ZipFile | None = None
        self._process = 0

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        return f"{self.path}/{self.entries[index]}"

    def open(self, index: int) -> IO[bytes]:
        if self._archive is None or self._process != os.getpid():
            self._archive, self._process = zipfile.ZipFile(self.path), os.getpid()
        # Read whole: Pillow seeks, and seeking backwards in a deflated entry starts over.
        return io.BytesIO(archives.read_entry(self._archive, self.entries[index]))

    @property
    def location(self) -> str:
        return str(self.path)

    def fingerprint(self) -> str:
        """From names, sizes and checksums in the zip's table of contents: no picture is read."""
        digest = hashlib.sha256()
        with zipfile.ZipFile(self.path) as archive:
            for entry in map(archive.getinfo, self.entries):
                digest.update(f"{entry.filename}\0{entry.file_size}\0{entry.CRC}\0".encode())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_archive": None}


def open_source(path: str | None, hint: str | None = None, option: str = "data.path") -> ImageSource:
    """The source at `path`: a folder or a .zip.

    `hint` says how to get and prepare the experiment's data set; the message for an unset or missing path ends with it.
    Raises `UserError` if `path` is None, missing, neither a folder nor a .zip, or without a picture.
    """
    advice = f"\n{hint.strip()}" if hint else ""
    if path is None:
        raise UserError(
            f"{option} is not set; give a folder of pictures or a .zip, such as {option}=/my/pictures{advice}"
        )
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(
            f"{option}={path}: {place.resolve()} does not exist; give a folder of pictures or a .zip{advice}"
        )
    if place.is_file() and place.suffix.lower() == ".zip":
        return ZipSource(path, option)
    return FolderSource(path, option)


def check_readable(source: ImageSource, limit: int = 20_000, option: str = "data.path", tolerate: bool = False) -> None:
    """Verify every picture's header before training begins, or `limit` of them, evenly spaced, in a larger source.

    Raises one `UserError` with the number of bad files and the first five. Damage behind a good header, such as a
    truncated JPEG, shows only when the picture is decoded. `tolerate`: only warn, unless not one is good.
    """
    count = len(source)
    indices = range(count) if count <= limit else np.linspace(0, count - 1, limit).round().astype(int).tolist()
    bad = []
    # disable=None: no bar in a log file; delay: none for a check that takes a moment.
    for index in tqdm(indices, desc="Checking pictures", unit=" pictures", delay=2, disable=None):
        try:
            source.verify(index)
        except UserError as error:
            bad.append(str(error))
    if bad:
        shown = "".join(f"\n  {message}" for message in bad[:5])
        rest = f"\n  and {len(bad) - 5} more" if len(bad) > 5 else ""
        counts = f"{option}: {len(bad)} of the {len(indices)} pictures checked cannot be read; "
        if not tolerate or len(bad) == len(indices):
            raise UserError(f"{counts}delete or replace them (or see data.unreadable):{shown}{rest}")
        log.warning("%sothers take their places:%s%s", counts, shown, rest)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB, upright according to its EXIF orientation; transparency is laid over white.

    Dropping alpha instead would show whatever colour the editor left under the transparent parts.
    16-bit grey keeps its upper 8 bits; an animation gives its first frame; colour profiles are ignored.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16 bits at 255, which is a white picture.
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("RGB")
    return image.convert("RGB")


def open_picture(stream: IO[bytes]) -> Image.Image:
    """Open an encoded picture without decoding it; raises `ValueError` if it is too large to be decoded."""
    with warnings.catch_warnings():
        # Pillow warns at two thirds of the limit and refuses at four thirds; the limit is ours.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(stream, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}; make it smaller")
    return image


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn a decoder's error into a `UserError` that names the file."""
    try:
        yield
    except READ_ERRORS as error:
        # Pillow's message for this one ends in the repr of a stream.
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{name} cannot be decoded ({reason}); delete or replace this file") from error


def _is_picture(relative: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)
    return relative.suffix.lower() in EXTENSIONS and not hidden


def _pictures_below(root: Path, option: str) -> Iterator[str]:
    """Relative POSIX paths. A folder reached twice, as through a link to its parent, is entered once."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{option}: {error.filename} cannot be listed ({error.strerror})") from error

    entered = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=refuse):
        here = Path(folder)
        if here.resolve() in entered:
            subfolders.clear()
            continue
        entered.add(here.resolve())
        subfolders.sort()
        for file in files:
            relative = (here / file).relative_to(root)
            if _is_picture(relative):
                yield relative.as_posix()
