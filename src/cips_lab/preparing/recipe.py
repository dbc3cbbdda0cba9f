"""What is made of one picture: which parts of it, and at what size."""

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from cips_lab.data.fitting import fit, proportioned
from cips_lab.errors import UserError
from cips_lab.networks.size import sides, size_of

Crop = Literal["center", "random", "tiles", "none"]
PURPOSE = 0x9E3779B9  # of the draws of random places, apart from any other use of a seed
LARGEST_CROPS = 10_000  # of one picture


class LeftOut(Exception):
    """A picture that the recipe leaves out, with the reason: no fault of the picture's."""


@dataclass(frozen=True)
class Recipe:
    """From pictures of any size to parts of one size; the same parts each time, whoever makes them and in any order.

    Attributes:
        resolution: (height, width) of what is made; None: each picture's own size (with ``crop=none``).
        crop: ``center``: the largest centred part of the right proportions; ``random``: parts at places drawn by
            (seed, number of the picture); ``tiles``: all whole parts of a grid that is centred on the picture;
            ``none``: the whole picture, which must have the right size already.
        span: pixels of the original that a part is high; None: as many as there are (``center``, ``random``), or
            `resolution` (``tiles``). A part is then resized.
        crops: parts of each picture, of ``random``.
        minimum: the least pixels of the shorter side of an original; smaller ones are left out.
        seed: of the random places.
        animations: of files of several pictures: the ``first`` one, or ``leave_out``.
    """

    resolution: tuple[int, int] | None
    crop: Crop = "center"
    span: int | None = None
    crops: int = 1
    minimum: int | None = None
    seed: int = 0
    animations: Literal["first", "leave_out"] = "first"

    def __post_init__(self) -> None:
        if self.resolution is None and self.crop != "none":
            raise UserError(f"crop={self.crop} needs a resolution; give resolution=256, or crop=none to keep sizes")
        if self.span is not None and self.crop in ("center", "none"):
            raise UserError(f"span={self.span} is for crop=random or crop=tiles, not crop={self.crop}; leave it out")
        if self.crops != 1 and self.crop != "random":
            raise UserError(f"crops={self.crops} is for crop=random, not crop={self.crop}; leave it out")
        if self.crops > LARGEST_CROPS:
            raise UserError(f"crops={self.crops}: at most {LARGEST_CROPS}")

    @property
    def parts(self) -> bool:
        """Whether a picture may become several."""
        return self.crop == "tiles" or self.crops > 1

    def as_dict(self) -> dict[str, Any]:
        """For a manifest: all that decides what is made."""
        return asdict(self) | {"resize": "Lanczos, antialiased, in 8 bits (Pillow)"}

    def apply(self, image: Image.Image, index: int) -> Iterator[Image.Image]:
        """The parts of picture `index`, RGB.

        Raises:
            LeftOut: there are none.
        """
        shorter = min(image.size)
        if self.minimum is not None and shorter < self.minimum:
            raise LeftOut(f"{image.width} x {image.height} pixels, smaller than minimum={self.minimum}")
        if self.crop == "none":
            yield self._whole(image)
        elif self.crop == "center":
            yield fit(image, self._size)
        else:
            boxes = self._tiles(image) if self.crop == "tiles" else self._places(image, index)
            for box in boxes:
                yield fit(image.crop(box), self._size)

    @property
    def _size(self) -> int | tuple[int, int]:
        assert self.resolution is not None
        return size_of(*self.resolution)

    def _whole(self, image: Image.Image) -> Image.Image:
        if self.resolution is not None and (image.height, image.width) != self.resolution:
            height, width = self.resolution
            raise LeftOut(f"{image.width} x {image.height} pixels, not {width} x {height}, and crop=none resizes none")
        return image

    def _part(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) of the originals' pixels that become one part. Raises `LeftOut` where there are too few."""
        height, width = sides(self._size)
        if self.span is None and self.crop == "random":
            return proportioned(image.size, self._size)
        span = height if self.span is None else self.span
        part = max(1, round(span * width / height)), span
        if part[0] > image.width or part[1] > image.height:
            raise LeftOut(f"{image.width} x {image.height} pixels, smaller than a part of {part[0]} x {part[1]}")
        return part

    def _tiles(self, image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
        width, height = self._part(image)
        columns, rows = image.width // width, image.height // height
        left, top = (image.width - columns * width) // 2, (image.height - rows * height) // 2
        for row in range(rows):
            for column in range(columns):
                x, y = left + column * width, top + row * height
                yield x, y, x + width, y + height

    def _places(self, image: Image.Image, index: int) -> Iterator[tuple[int, int, int, int]]:
        width, height = self._part(image)
        draws = np.random.default_rng([PURPOSE, self.seed, index])
        for _ in range(self.crops):
            x = int(draws.integers(image.width - width + 1))
            y = int(draws.integers(image.height - height + 1))
            yield x, y, x + width, y + height


def encode(image: Image.Image) -> bytes:
    """A PNG that is not compressed: read in a third of the time, and the same bytes whatever zlib is installed.

    StyleGAN's `dataset_tool.py` writes the same kind.
    """
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=0, optimize=False)
    return stream.getvalue()


def file_name(index: int, part: int | None) -> str:
    """Of a picture's place in the source, as StyleGAN's; with tiles and several crops the part's number behind it."""
    number = f"{index:08d}"
    return f"{number[:5]}/img{number}{'' if part is None else f'-{part:04d}'}.png"
