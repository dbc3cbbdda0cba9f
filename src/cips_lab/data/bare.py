"""A picture's file without its metadata: what remains when text, profiles, dates and thumbnails are left out.

Viewers show a picture whatever its metadata look like; Pillow refuses some of them. Formats: PNG (third edition, 5.3
and 5.6), JPEG (ITU-T T.81, annex B), TIFF (revision 6.0, section 2), AVIF (ISO/IEC 23008-12: items of the type
``Exif``).
"""

import io
import zlib
from collections.abc import Iterator
from typing import IO, Literal

PNG = b"\x89PNG\r\n\x1a\n"
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
JPEG = b"\xff\xd8"
START_OF_SCAN = 0xDA
ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
PIXEL_APPLICATIONS = (0xE0, 0xEE)  # JFIF's and Adobe's: which colours the components are
COMMENT = 0xFE
TIFF: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}  # the order of its bytes
PIXEL_FIELDS = {
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293),  # size, layout, orientation
    *(317, 320, 322, 323, 324, 325, 332, 338, 339, 347, 529, 530, 531, 532),  # predictor, colours, tiles, samples
}


def is_png(stream: IO[bytes]) -> bool:
    """Whether a PNG's signature is there; the stream is at its beginning before and after."""
    found = stream.read(len(PNG)) == PNG
    stream.seek(0)
    return found


def without_metadata(stream: IO[bytes]) -> IO[bytes] | None:
    """The pixels' part of a stream at its beginning, as a file of its own; None for formats of which none is known.

    Raises:
        ValueError: a PNG's pixels are damaged, see `check_png`.
    """
    head = stream.read(12)
    stream.seek(0)
    if head.startswith(PNG):
        return io.BytesIO(PNG + b"".join(length + kind + body + crc for length, kind, body, crc in _chunks(stream)))
    if head.startswith(JPEG):
        return io.BytesIO(_jpeg_pixels(stream.read()))
    if head[:4] in TIFF:
        return io.BytesIO(_tiff_pixels(bytearray(stream.read()), TIFF[head[:4]]))
    if head[4:8] == b"ftyp":
        return io.BytesIO(stream.read().replace(b"Exif", b"none"))  # an unknown type of item is passed over
    return None


def check_png(stream: IO[bytes]) -> None:
    """Compare the checksums of the chunks that hold pixels, which Pillow's decoder does not; return to the beginning.

    Raises:
        ValueError: one is wrong, or the file ends within it.
    """
    for _ in _chunks(stream):
        pass
    stream.seek(0)


def _chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    """Length, type, body and checksum of each of a PNG's chunks that holds pixels, compared."""
    stream.seek(len(PNG))
    while len(head := stream.read(8)) == 8:
        length, kind = head[:4], head[4:]
        count = int.from_bytes(length, "big")
        if kind not in PIXEL_CHUNKS:
            stream.seek(count + 4, io.SEEK_CUR)
            continue
        body, crc = stream.read(count), stream.read(4)
        if len(body) < count or len(crc) < 4:
            raise ValueError(f"truncated within its {kind.decode()} chunk")
        if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(crc, "big"):
            raise ValueError(f"wrong checksum in its {kind.decode()} chunk")
        yield length, kind, body, crc
        if kind == b"IEND":
            return


def _jpeg_pixels(content: bytes) -> bytes:
    """A JPEG without comments and the applications' segments; bytes between segments are passed over, as libjpeg does.

    What cannot be followed is kept as it is: the decoder says what is wrong with it.
    """
    kept = [JPEG]
    place = len(JPEG)
    while (start := content.find(b"\xff", place)) >= 0:
        place = start + 1
        while content[place : place + 1] == b"\xff":  # fill bytes
            place += 1
        if place + 3 > len(content):
            break
        marker = content[place]
        if marker == START_OF_SCAN:
            return b"".join(kept) + content[place - 1 :]
        if marker == 0 or marker in ALONE:
            place += 1
            continue
        end = place + 1 + int.from_bytes(content[place + 1 : place + 3], "big")
        if marker in PIXEL_APPLICATIONS or not (0xE0 <= marker <= 0xEF or marker == COMMENT):
            kept.append(content[place - 1 : end])
        place = end
    return content


def _tiff_pixels(content: bytearray, order: Literal["little", "big"]) -> bytes:
    """A TIFF whose first directory has the fields of `PIXEL_FIELDS` alone, and no second directory behind it."""
    place = int.from_bytes(content[4:8], order)
    count = int.from_bytes(content[place : place + 2], order)
    entries = [bytes(content[at : at + 12]) for at in range(place + 2, place + 2 + 12 * count, 12)]
    kept = [entry for entry in entries if int.from_bytes(entry[:2], order) in PIXEL_FIELDS]
    directory = len(kept).to_bytes(2, order) + b"".join(kept) + bytes(4)
    content[place : place + len(directory)] = directory
    return bytes(content)
