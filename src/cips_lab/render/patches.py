"""Patches: pictures above the size of networks, and of every size at once, judged piece by piece.

After Chai et al., ECCV 2022 ("Any-resolution training for high-resolution image synthesis", section 4): real and
generated pictures are seen through the same windows, at random scales and places. A scale lies between the whole
picture at the patch's own number of pixels and the picture's own size, evenly by octaves; nothing is enlarged. Patch k
shows real picture k, and of a generator the picture of seed k.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from cips_lab.data.fitting import proportioned
from cips_lab.data.windows import Originals, PatchDataset, Window, picture_of
from cips_lab.errors import UserError
from cips_lab.networks.size import Size, sides, size_name, size_of
from cips_lab.training.views import DRAWS, AnyResolution, places_of

SEED = 0
LARGEST_PATCH = 256  # where neither a generator nor an option says how large


def patch_size(asked: Any, whole: Size, native: Size | None) -> Size:
    """Of ``patches.size=``; null: a generator's own size, or that of pictures, at most `LARGEST_PATCH`.

    Raises:
        UserError: it is larger than the pictures, or of other proportions.
    """
    height, width = sides(whole)
    if asked is None and native is not None:
        return native
    if asked is None:
        share = min(1.0, LARGEST_PATCH / max(height, width))
        return size_of(max(1, round(height * share)), max(1, round(width * share)))
    side = int(asked)
    longer = max(height, width)
    if native is None and side > longer:
        raise UserError(f"patches.size={side}: larger than the samples, {size_name(whole)}; choose at most {longer}")
    return size_of(max(1, round(height * side / longer)), max(1, round(width * side / longer)))


@dataclass(frozen=True)
class Patches:
    """Windows, of (height, width) pixels each.

    Attributes:
        size: of all.
        windows: [N] of frames of the pictures, see `data.windows`.
    """

    size: tuple[int, int]
    windows: Sequence[Window]

    @classmethod
    def chosen(cls, originals: Originals, count: int, size: Size, largest: int | None = None) -> "Patches":
        """`count` windows of pictures, always the same: window k of picture k, and around again.

        Args:
            originals: the pictures; their sizes are looked at.
            count: windows.
            size: of a window.
            largest: side of the finest frame, pixels; None: as large as each picture is.

        Raises:
            UserError: a picture is smaller than a window; its name.
            ValueError: `largest` is smaller than a window.
        """
        frame = sides(size)
        view = AnyResolution(size, size, whole=0.0, largest=largest)
        draws = torch.rand(count, DRAWS, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64).tolist()
        shown = range(min(count, len(originals)))
        looked_at = [picture_of(number, count, len(originals)) for number in shown]
        bar = tqdm(looked_at, desc="Looking at sizes", unit=" pictures", delay=2, leave=None, disable=None)
        parts = [part_of(originals, index, frame) for index in bar]
        return cls(frame, [view.window(drawn, *parts[number % len(parts)]) for number, drawn in enumerate(draws)])

    def of(self, originals: Originals) -> PatchDataset:
        """What they show of pictures."""
        return PatchDataset(originals, self.windows, self.size)

    def places(self, numbers: Tensor) -> Tensor:
        """Where a generator's pixels of windows [b] lie: [b, h, w, 2]."""
        chosen = [self.windows[number] for number in numbers.tolist()]
        return places_of(torch.tensor(chosen, device=numbers.device), self.size)


def part_of(originals: Originals, index: int, frame: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the part of a picture that patches show.

    Raises:
        UserError: it is smaller than a patch.
    """
    width, height = proportioned(originals.dimensions(index), frame)
    if height < frame[0] or width < frame[1]:
        raise UserError(
            f"{originals.called(index)}: {width} x {height} pixels of it have a patch's proportions, and no picture is "
            f"enlarged to {frame[1]} x {frame[0]}; choose a smaller patches.size, or take it out"
        )
    return height, width
