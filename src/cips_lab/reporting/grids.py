"""Sample grids as data URIs: WebP, as fine as the page's size allows."""

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

BUDGET = 6_000_000  # bytes of all pictures of a page; base64 makes them a third larger, so that it stays below 10 MB
MOST_FRAMES = 60  # of one slider
LONGEST_SIDE = 1024
LOSSLESS_SIDE = 512  # up to here lossy compression would be seen, and pictures are shown enlarged
QUALITIES = (92, 85, 75, 60, 40, 20)


@dataclass(frozen=True)
class Frame:
    """One picture of a page.

    Attributes:
        kimg: when it was made; None for real pictures.
        uri: ``data:image/webp;base64,...``.
        width, height: of the original, in pixels.
        pixelated: whether it is so small that it should be enlarged without smoothing.
    """

    kimg: float | None
    uri: str
    width: int
    height: int
    pixelated: bool


def thinned(kimgs: list[float], most: int = MOST_FRAMES) -> list[float]:
    """At most about `most` of them, the newest always.

    Every 2nd, 4th, 8th, ... stays, so that a run that goes on keeps most of the frames that it has encoded already.
    """
    stride = 1
    while len(kimgs) / stride > most:
        stride *= 2
    kept = kimgs[stride - 1 :: stride]
    return kept if not kimgs or kept[-1:] == kimgs[-1:] else [*kept, kimgs[-1]]


def frame(path: Path, kimg: float | None, pictures: int, side: int) -> Frame:
    """Encode a grid.

    Args:
        path: of the picture.
        kimg: see `Frame`.
        pictures: how many share the page's budget.
        side: of a single image in the grid, in pixels.
    """
    limit = 1 << max(14, (BUDGET // max(1, pictures)).bit_length() - 1)  # a power of two: frames are rarely redone
    uri, width, height = _encoded(path, path.stat().st_mtime_ns, limit)
    return Frame(kimg, uri, width, height, pixelated=side <= 64)


@lru_cache(maxsize=256)
def _encoded(path: Path, modified: int, limit: int) -> tuple[str, int, int]:
    """A picture as a data URI of at most `limit` bytes where any quality gives that, and its own width and height."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    width, height = picture.size
    content = _compressed(picture, limit)
    while len(content) > limit and max(picture.size) > 128:
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.LANCZOS)
        content = _compressed(picture, limit)
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}", width, height


def _compressed(picture: Image.Image, limit: int) -> bytes:
    """WebP: lossless where small enough, else the highest quality below the limit, else the lowest."""
    if max(picture.size) > LONGEST_SIDE:
        picture = picture.copy()
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    content = b""
    if max(picture.size) <= LOSSLESS_SIDE:
        content = _webp(picture, lossless=True, quality=60)
        if len(content) <= limit:
            return content
    for quality in QUALITIES:
        content = _webp(picture, lossless=False, quality=quality)
        if len(content) <= limit:
            break
    return content


def _webp(picture: Image.Image, lossless: bool, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=lossless, quality=quality, method=4)
    return file.getvalue()
