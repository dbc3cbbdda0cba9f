"""Windows of pictures at their own size: the piece of a finer or coarser frame that an iteration shows.

A frame is the largest centred part of a picture that has the proportions of what is generated, as `dataset.fit` takes
it, at any number of pixels. Which window is shown, the training says (`training.views`).
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from cips_lab.data.decode import upright_size
from cips_lab.data.fitting import central_part, proportioned
from cips_lab.data.sources.base import ImageSource
from cips_lab.errors import UserError
from cips_lab.files.names import printable
from cips_lab.networks.size import size_of


class Window(NamedTuple):
    """Pixels left, left + step, ... and top, top + step, ... of a frame of columns x rows."""

    left: int
    top: int
    step: int
    columns: int
    rows: int


class Originals(Protocol):
    """Pictures at their own size, each maybe of another."""

    def __len__(self) -> int: ...

    @property
    def location(self) -> str:
        """Where they are."""
        ...

    def fingerprint(self) -> str:
        """Digits that change with any picture."""
        ...

    def picture(self, index: int) -> Image.Image:
        """RGB."""
        ...

    def dimensions(self, index: int) -> tuple[int, int]:
        """Width and height of a picture, which is not decoded for it."""
        ...

    def called(self, index: int) -> str:
        """What a message calls it."""
        ...


# (element of the stream, height, width of the picture's part) -> the window, and where it lies in the picture as read
Chooser = Callable[[int, int, int], tuple[Window, Window]]


class WindowsOf(NamedTuple):
    """How pictures are read where they are seen through windows; the arguments of `WindowDataset`."""

    frame: tuple[int, int]
    size: tuple[int, int]
    choose: Chooser


class WindowDataset(Dataset[tuple[Tensor, Tensor]]):
    """Item (i, n): of picture i the window that element n of the stream shows, uint8 [3, h, w], and the window [5].

    Args:
        originals: the pictures.
        windows: frame: (height, width) of the coarsest frame, whose proportions all have; size: (h, w) of a window;
            choose: says which.

    Raises:
        UserError: a picture has fewer pixels than the coarsest frame: nothing is enlarged.
    """

    def __init__(self, originals: Originals, windows: WindowsOf) -> None:
        self.originals = originals
        self.frame, self.size, self.choose = windows

    def __len__(self) -> int:
        return len(self.originals)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, number = item
        part = central_part(self.originals.picture(index), self.frame)
        check_large_enough(part.size, self.frame, self.originals.called(index))
        window, read = self.choose(number, part.height, part.width)
        image = seen_through(part, read, self.size)
        return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy()), torch.tensor(window)


class PatchDataset(Dataset[Tensor]):
    """Item k: what window k shows of a picture, uint8 [3, h, w]; see `picture_of`. For evaluations.

    Args:
        originals: the pictures, each at least as fine as its windows' frames.
        windows: [N].
        size: (h, w) of all.
    """

    def __init__(self, originals: Originals, windows: Sequence[Window], size: tuple[int, int]) -> None:
        self.originals, self.windows, self.patch = originals, windows, size
        self.resolution = size_of(*size)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> Tensor:
        part = central_part(self.originals.picture(picture_of(number, len(self), len(self.originals))), self.resolution)
        image = seen_through(part, self.windows[number], self.patch)
        return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())

    @property
    def location(self) -> str:
        """Where the pictures are, and that parts of them are meant."""
        return f"{self.originals.location} ({len(self)} patches)"

    def fingerprint(self) -> str:
        """Hexadecimal digits that change with any picture and any window."""
        recipe = f"{self.originals.fingerprint()} {self.patch} {[tuple(window) for window in self.windows]}"
        return hashlib.sha256(recipe.encode()).hexdigest()


def picture_of(window: int, windows: int, pictures: int) -> int:
    """Which picture a window shows: spread over all of them, and around again where they are fewer than windows."""
    return window * pictures // windows if windows < pictures else window % pictures


def check_large_enough(part: tuple[int, int], frame: tuple[int, int], name: str) -> None:
    """Raise `UserError` for a part (width, height) of a picture that would have to be enlarged to the frame."""
    width, height = part
    if height < frame[0] or width < frame[1]:
        raise UserError(
            f"{name}: {width} x {height} pixels of it have the frame's proportions, and view=anyres enlarges no "
            f"picture to the {frame[1]} x {frame[0]} of resolution=; take it out, or choose a smaller resolution"
        )


def check_headers(source: ImageSource, frame: tuple[int, int]) -> None:
    """`check_large_enough` of every picture of a source, by its header.

    Raises:
        UserError: one is too small. What cannot be read is left to `data.unreadable`.
    """
    for index in tqdm(range(len(source)), desc="Looking at sizes", unit=" pictures", delay=2, disable=None):
        try:
            with source.open(index) as stream:
                size = upright_size(stream)
        except Exception:  # told, or replaced, when it is read
            continue
        check_large_enough(proportioned(size, frame), frame, printable(source.name(index)))


def seen_through(part: Image.Image, window: Window, size: tuple[int, int]) -> Image.Image:
    """A window (step 1) of a frame that a picture is brought to with Lanczos; the rest of the frame is not made."""
    height, width = size
    x, y = part.width / window.columns, part.height / window.rows
    box = (window.left * x, window.top * y, (window.left + width) * x, (window.top + height) * y)
    return part.resize((width, height), Image.Resampling.LANCZOS, box=box)
