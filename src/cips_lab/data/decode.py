"""From the bytes of a file to a picture: which formats are read, colours as RGB, upright.

Content decides, whatever a file's ending says, and pixels decide: a fault in the metadata of a picture, such as a
date that is none, means that it has none.
"""

import functools
import logging
import warnings
from collections.abc import Callable
from typing import IO, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from cips_lab.data.bare import check_png, is_png, without_metadata

logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what it logs of a file it raises too, or it is of no matter

T = TypeVar("T")

# What Pillow reads with code of its own or a library that is kept against hostile input. Its other readers are never
# started: PostScript's runs programs, and TGA has no signature, so that any damaged file could be one.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")
FLOATS = frozenset({".pfm"})  # a PPM's cousin, whose numbers have no stated range
MAX_PIXELS = 2**27  # of one picture, by its header: some 400 MB decoded
BACKGROUND = (255, 255, 255)

ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pictures that users have and that are not read, by what stands at the beginning of the file from some byte on.
UNREAD = {
    (4, b"ftyphe"): "a HEIC picture",
    (4, b"ftypmif1"): "a HEIF picture",
    (0, b"\x00\x00\x00\x0cJXL "): "a JPEG XL picture",
    (0, b"\xff\x0a"): "a JPEG XL picture",
    (0, b"\x00\x00\x00\x0cjP  "): "a JPEG 2000 picture",
    (0, b"8BPS"): "a Photoshop file",
}


@functools.cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow reads: AVIF's decoder is left out of some builds."""
    endings = Image.registered_extensions()
    return tuple(name for name in FORMATS if name in Image.OPEN and name in endings.values())


@functools.cache
def extensions() -> frozenset[str]:
    """The endings of pictures, small, with their dot: all that Pillow knows for the formats that are read."""
    read = {*formats(), "MPO"}  # MPO: JPEGs one behind the other, read by JPEG's reader
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in read) - FLOATS


def decode(stream: IO[bytes]) -> Image.Image:
    """The picture in a seekable stream: RGB at its own size, upright, see `to_rgb`.

    An animation or a file of several pictures gives its first.

    Raises:
        Exception: whatever a decoder raises for bytes that it cannot decode; `reason` says it in words.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `check` tells them, once
        return _pixels_decide(stream, to_rgb)


def check(stream: IO[bytes]) -> list[str]:
    """What `decode` does, without decoding the pixels: the header, the metadata and, of a PNG, the checksums.

    Damage behind a good header, such as a JPEG that is cut off, shows only in `decode`.

    Returns:
        What Pillow warns of in the picture's metadata.

    Raises:
        Exception: as `decode`.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _pixels_decide(stream, orientation)
    return [str(warning.message) for warning in told]


def _pixels_decide(stream: IO[bytes], use: Callable[[Image.Image], T]) -> T:
    """`use` of a picture; where its reader fails at it, of the same picture without its metadata."""
    if is_png(stream):
        check_png(stream)
    try:
        with open_picture(stream) as image:
            return use(image)
    except Exception:
        stream.seek(0)
        bare = without_metadata(stream)
        if bare is None:
            raise
    with bare, open_picture(bare) as image:
        return use(image)


def open_picture(stream: IO[bytes]) -> Image.Image:
    """Open an encoded picture without decoding it.

    Raises:
        ValueError: it is too large to be decoded.
        UnidentifiedImageError: it is no picture of `FORMATS`.
    """
    with warnings.catch_warnings():
        # Pillow warns at two thirds of its limit and refuses at four thirds; the limit is ours.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(stream, formats=formats())
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}; make it smaller")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB, upright according to its orientation; transparency is laid over white.

    Dropping alpha instead would show whatever colour the editor left under the transparent parts.
    16-bit grey keeps its upper 8 bits; colour profiles are ignored.

    Raises:
        ValueError: its numbers have no stated range: floating point, or more than 16 bits.
    """
    image.load()
    turn = UPRIGHT.get(orientation(image))
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise ValueError("32 bits a pixel, whose range the file does not tell; save it with 8 or 16")
    if turn is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16 bits at 255, which is a white picture.
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("RGB")
    return image.convert("RGB")


def upright_size(stream: IO[bytes]) -> tuple[int, int]:
    """(width, height) of what `decode` would give, by the picture's header. Raises as `decode`."""
    with open_picture(stream) as image:
        return image.size if orientation(image) < 5 else image.size[::-1]


def orientation(image: Image.Image) -> int:
    """EXIF's orientation of an opened picture, 1 to 8; 1 (upright) where it has none that can be read.

    Nothing else of EXIF is looked at, and nothing is written back: `ImageOps.exif_transpose` does, and fails there.
    """
    try:
        value = image.getexif().get(ORIENTATION, 1)
        return int(value) if value in UPRIGHT else 1
    except Exception:  # made of bytes that may say anything, by a reader that may raise anything
        return 1


def reason(error: Exception, stream: IO[bytes] | None = None) -> str:
    """Why a file cannot be decoded and what to do, as ``(why); remedy``."""
    if isinstance(error, FileNotFoundError):
        return f"({error.strerror}: gone since the pictures were listed); put it back, or start again"
    if isinstance(error, PermissionError):
        return f"({error.strerror}); make it readable for this user"
    if isinstance(error, UnidentifiedImageError):  # Pillow's own message ends in the repr of a stream
        found = _unread(stream)
        if found:
            return f"({found}, which is not read); convert it to PNG, or delete it"
        return "(not a picture); delete or replace this file"
    return f"({error or type(error).__name__}); delete or replace this file"


def _unread(stream: IO[bytes] | None) -> str | None:
    if stream is None or stream.closed:
        return None
    stream.seek(0)
    head = stream.read(32)
    return next((what for (at, sign), what in UNREAD.items() if head[at:].startswith(sign)), None)
