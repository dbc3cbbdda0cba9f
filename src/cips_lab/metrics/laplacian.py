"""Laplacian pyramids and their patches: what the sliced Wasserstein distance looks at (Karras et al., ICLR 2018).

A level holds what its size can show and the next smaller one cannot; the last holds the rest. Their patches of 7 x 7
pixels, a descriptor each, say which local structures pictures have at that scale, wherever they lie.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from cips_lab.metrics.constants import RNG_SEED
from cips_lab.metrics.statistics import FeatureBank, spread_out
from cips_lab.networks.size import Size, sides, size_name, size_of

PICTURES = 2000  # at most so many of a set, spread over it
PATCH = 7  # pixels a side, or the whole of smaller pictures
PLACES = 4  # patches a side of a level: 16 in all
LEAST = 16  # pixels of the smallest level's shorter side
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def levels_of(size: Size) -> list[tuple[int, int]]:
    """Heights and widths of the levels, the largest first."""
    height, width = sides(size)
    found = [(height, width)]
    while min(found[-1]) >= 2 * LEAST and not any(side % 2 for side in found[-1]):
        found.append((found[-1][0] // 2, found[-1][1] // 2))
    return found


def pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """[B, C, H, W] -> that many levels, float32, the largest first; enlarged and added they are the pictures again."""
    found, smooth = [], images.float()
    for _ in range(levels - 1):
        smaller = blurred(smooth)[..., ::2, ::2]
        found.append(smooth - enlarged(smaller))
        smooth = smaller
    return [*found, smooth]


def enlarged(images: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 2 H, 2 W]: zeros between the pixels, smoothed."""
    spread = images.new_zeros(*images.shape[:2], 2 * images.shape[2], 2 * images.shape[3])
    spread[..., ::2, ::2] = images
    return blurred(spread, gain=4.0)


def blurred(images: Tensor, gain: float = 1.0) -> Tensor:
    """By the binomial filter of 5 x 5, whose sum is `gain`; mirrored at the border, whose pixels are not repeated."""
    taps = torch.tensor(BINOMIAL, device=images.device)
    flat = F.pad(images.flatten(0, 1)[:, None], (2, 2, 2, 2), mode="reflect")
    return F.conv2d(F.conv2d(flat, gain * taps[None, None, :, None]), taps[None, None, None, :]).view_as(images)


def places_in(height: int, width: int) -> np.ndarray:
    """Rows and columns where patches begin, int [P, 2]: one in each cell of a grid, at random but always the same.

    The same for all pictures: places that differ from picture to picture would tell a set from itself in another order.
    """
    rng = np.random.RandomState(RNG_SEED)
    free = np.array([height, width]) - patch_side(height, width) + 1
    cells = np.minimum(PLACES, free)
    corners = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), axis=-1).reshape(-1, 2)
    return ((corners + rng.uniform(size=corners.shape)) * free / cells).astype(int)


def patch_side(height: int, width: int) -> int:
    """Pixels a side of a level's patches."""
    return min(PATCH, height, width)


def descriptors(level: Tensor) -> Tensor:
    """[B, 3, H, W] -> patches [B, P, 3, 49], float16: a rounding of 0.05 %."""
    side = patch_side(*level.shape[-2:])
    cut = [level[..., y : y + side, x : x + side].flatten(2) for y, x in places_in(*level.shape[-2:])]
    return torch.stack(cut, dim=1).half()


class Descriptors(Metric):
    """``compute()``: level (``32``, ``64x128``) -> float16 [N, P, 3, 49] of at most `PICTURES` pictures, in order.

    Args:
        size, count: of the pictures.
        options: `torchmetrics.Metric`'s.
    """

    full_state_update = False

    def __init__(self, size: Size, count: int, **options: Any) -> None:
        super().__init__(**options)
        self.count = count
        self.levels = levels_of(size)
        banks = [FeatureBank(len(places_in(*level)) * 3 * patch_side(*level) ** 2) for level in self.levels]
        self.banks = torch.nn.ModuleList(banks)  # each is gathered over processes by itself

    def update(self, images: Tensor, numbers: Tensor) -> None:
        """Add uint8 [b, 3, H, W] with the pictures' numbers, int64 [b], counted over all processes."""
        wanted = spread_out(numbers, self.count, PICTURES)
        if not wanted.any():
            return
        for bank, level in zip(self.banks, pyramid(images[wanted], len(self.levels)), strict=True):
            assert isinstance(bank, FeatureBank)
            bank.update(descriptors(level).flatten(1), numbers[wanted])

    def compute(self) -> dict[str, Tensor]:
        """The same on every process."""
        found = {}
        for level, bank in zip(self.levels, self.banks, strict=True):
            assert isinstance(bank, FeatureBank)
            found[size_name(size_of(*level))] = bank.compute().half().unflatten(1, (-1, 3, patch_side(*level) ** 2))
        return found
