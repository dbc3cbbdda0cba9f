"""The pictures that are looked for: read as the training data are, cropped and resized as they are."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cips_lab.data.decode import decode, reason
from cips_lab.data.fitting import fit
from cips_lab.data.sources.base import full_path
from cips_lab.data.sources.choose import SOURCES, open_source
from cips_lab.errors import UserError
from cips_lab.files.names import printable


@dataclass(frozen=True)
class Target:
    """A picture to be found.

    Attributes:
        name: of its folder: the file's, without its ending, and no other's.
        source: the file, as it is told.
        pixels: uint8 [H, W, 3], see `cips_lab.data.fitting.fit`.
    """

    name: str
    source: str
    pixels: np.ndarray

    def image(self, device: torch.device | str) -> Tensor:
        """[1, 3, H, W], in [-1, 1]."""
        colours = torch.from_numpy(self.pixels.copy()).permute(2, 0, 1)[None].to(device)
        return colours.float() / 127.5 - 1


def open_targets(paths: list[str], size: tuple[int, int]) -> list[Target]:
    """All pictures that are named, in order.

    Args:
        paths: files, or folders, .zips and whatever else training reads.
        size: (height, width) that they are brought to.

    Raises:
        UserError: one is missing or cannot be decoded.
    """
    taken: Counter[str] = Counter()
    targets = []
    for path in paths:
        for source, image in _pictures(path):
            stem = printable(Path(source).stem).strip(". ") or "picture"
            taken[stem] += 1
            name = stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"
            targets.append(Target(name, printable(source), np.array(fit(image, size))))
    return targets


def _pictures(path: str) -> Iterator[tuple[str, Image.Image]]:
    place = full_path(path)
    if place.is_file() and not any(source.takes(path) for source in SOURCES):
        yield path, _decoded(path, place)
        return
    if "://" not in path and not place.exists():
        raise UserError(printable(f"image={path}: {place} does not exist; give a picture, or a folder of pictures"))
    several = open_source(path, option="image")
    for index in range(len(several)):
        yield several.name(index), several.read(index)


def _decoded(path: str, place: Path) -> Image.Image:
    try:
        with place.open("rb") as stream:
            try:
                return decode(stream)
            except Exception as error:  # decoders of foreign formats raise what their authors thought of, and what not
                raise UserError(printable(f"image={path} cannot be decoded {reason(error, stream)}")) from error
    except OSError as error:
        raise UserError(printable(f"image={path}: cannot be read ({error.strerror}); make it readable")) from error
