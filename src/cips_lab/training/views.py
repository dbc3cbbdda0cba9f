"""What is shown in an iteration: where each sample is synthesised, and what stands there in its real picture.

Pixels are independent, so a generator is trained on any of them. A *frame* is a whole picture; its pixel (i, j) of
`rows` x `columns` lies at linspace(-1, 1) of both, as on the native grid, so a frame may be as fine as one likes. A
*window* is a piece of a frame, five whole numbers (left, top, step, columns, rows): it shows the frame's pixels left,
left + step, ... and top, top + step, .... Sample k of a batch and real picture k are seen through the same window.

Every choice is a function of (seed, images seen): the same on any number of processes, and after an interruption.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from cips_lab.data.windows import Window
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.networks.size import Size, sides, size_of
from cips_lab.training.draws import draw_flips, stream

DRAWS = 4  # numbers a sample: x, y, and what a view has besides


class Shown(NamedTuple):
    """What some samples show.

    Attributes:
        coords: [B, h, w, 2] where they are synthesised; None: on the native grid.
        windows: int64 [B, 5] what is cut from their real pictures; None: these are shown as they are read.
        place: [1 or B, h, w, 2] within the frame, for a discriminator that is told.
        scale: [1 or B] how many times finer than the native grid, as a power of two.
        label: [B, classes] the classes, as one-hot rows; None: there are none.
    """

    coords: Tensor | None
    windows: Tensor | None
    place: Tensor
    scale: Tensor
    label: Tensor | None = None

    def part(self, index: int, count: int) -> "Shown":
        """Samples index, index + count, ... of them."""

        def cut(tensor: Tensor) -> Tensor:
            return tensor if len(tensor) == 1 else tensor[index::count]

        return Shown(
            None if self.coords is None else self.coords[index::count],
            None if self.windows is None else self.windows[index::count],
            cut(self.place),
            cut(self.scale),
            None if self.label is None else self.label[index::count],
        )

    def telling(self, told: str) -> tuple[Tensor, ...]:
        """What a discriminator with this option is told: one [1 or B, 2 or 3, h, w], or nothing."""
        if told == "none":
            return ()
        channels = self.place.movedim(-1, 1)
        if told == "where":
            return (channels,)
        return (torch.cat([channels, self.scale[:, None, None, None].expand(-1, 1, *channels.shape[2:])], dim=1),)


class View(ABC):
    """One way to choose.

    Args:
        resolution: of a frame on the native grid.
        size: of what is shown and the discriminator sees.
        fade_kimg: in which a discriminator that has grown from a smaller one (`init=`) takes to its new block.

    Raises:
        ValueError: an option is out of its range.
    """

    reads_originals = False  # whether real pictures are read at their own size, and their windows come with them

    def __init__(
        self, resolution: int | Sequence[int], size: int | Sequence[int] | None = None, fade_kimg: float = 50.0
    ) -> None:
        self.frame = sides(resolution)
        self.sides = self.frame if size is None else sides(size)
        if any(shown > whole for shown, whole in zip(self.sides, self.frame, strict=True)):
            raise ValueError(
                f"view.size={self.size} is larger than the picture (resolution={size_of(*self.frame)}); "
                "a part of it is shown: choose a smaller view.size"
            )
        if fade_kimg < 0:
            raise ValueError(f"view.fade_kimg must be at least 0, not {fade_kimg}")
        self.fade_kimg = fade_kimg
        self._native: Tensor | None = None

    def native(self, device: torch.device) -> Tensor:
        """The native grid [1, H, W, 2], made once."""
        if self._native is None or self._native.device != device:
            self._native = image_grid(*self.frame, device=device)[None]
        return self._native

    @property
    def size(self) -> Size:
        """Of what is shown."""
        return size_of(*self.sides)

    def check(self, generator: Generator) -> None:
        """Raise `ValueError` for a generator that cannot be seen so."""
        if generator.surface == "cylinder":
            raise ValueError(
                "generator.surface=cylinder needs view=cylinder, which shows all of the turn; "
                "or choose generator.surface=plane"
            )
        if generator.native_only and not isinstance(self, Full):
            name = type(self).__name__.lower()
            raise ValueError(f"view={name} needs pixels at any coordinates, and this generator is convolutional")

    @abstractmethod
    def shown(self, draws: Tensor, windows: Tensor | None = None) -> Shown:
        """What samples show.

        Args:
            draws: [B, DRAWS] of `draw`.
            windows: [B, 5], those that came with the pictures where the view `reads_originals`.
        """

    def fade(self, images_seen: int) -> float:
        """The new block's share in a discriminator that has grown."""
        return 1.0 if self.fade_kimg == 0 else min(1.0, images_seen / (1000 * self.fade_kimg))


def draw(seed: int, images_seen: int, batch_size: int) -> Tensor:
    """[batch_size, DRAWS] uniform in [0, 1), float64, for a whole global batch."""
    return torch.rand(batch_size, DRAWS, generator=stream(seed, "view", images_seen), dtype=torch.float64)


class Full(View):
    """Whole pictures on the native grid."""

    def __init__(
        self, resolution: int | Sequence[int], size: int | Sequence[int] | None = None, fade_kimg: float = 50.0
    ) -> None:
        super().__init__(resolution, size, fade_kimg)
        if self.sides != self.frame:
            raise ValueError(f"view=full shows whole pictures: view=patch view.size={self.size} shows parts of them")

    def shown(self, draws: Tensor, windows: Tensor | None = None) -> Shown:
        return Shown(None, None, self.native(draws.device), torch.zeros(1, device=draws.device))


class Patch(View):
    """A part of the native grid: a generator of any size in the memory of a patch (paper, section 3.3 and Figure 8).

    Args:
        resolution, size, fade_kimg: as `View`.
        scale: every how many-th pixel is shown: 1 for a dense patch, 2 for one twice as wide with every second pixel.
    """

    def __init__(
        self, resolution: int | Sequence[int], size: int | Sequence[int], scale: int = 1, fade_kimg: float = 50.0
    ) -> None:
        super().__init__(resolution, size, fade_kimg)
        self.scale = scale
        spans = [(side - 1) * scale + 1 for side in self.sides]
        if scale < 1 or any(span > whole for span, whole in zip(spans, self.frame, strict=True)):
            raise ValueError(
                f"view.scale={scale}: {self.size} pixels at this distance are {size_of(*spans)}, larger than the "
                f"picture (resolution={size_of(*self.frame)}); choose a smaller view.scale or view.size"
            )

    def shown(self, draws: Tensor, windows: Tensor | None = None) -> Shown:
        (height, width), (rows, columns) = self.sides, self.frame
        left = torch.floor(draws[:, 0] * (columns - (width - 1) * self.scale))
        top = torch.floor(draws[:, 1] * (rows - (height - 1) * self.scale))
        rest = [torch.full_like(left, number) for number in (self.scale, columns, rows)]
        windows = torch.stack([left, top, *rest], dim=1).long()
        places = places_of(windows, self.sides)
        return Shown(places, windows, places, torch.zeros(1, device=draws.device))


class AnyResolution(View):
    """Windows of frames of every size from the native one to the picture's own, which is never enlarged.

    After Chai et al. 2022 ("Any-resolution training"): whole pictures at the native size teach what they show, windows
    of finer frames their detail; what is learned at one scale stands at the same coordinates in all.

    Args:
        resolution, size, fade_kimg: as `View`.
        whole: share of the samples that show the native frame.
        largest: side of the finest frame (its larger one), pixels; None: as large as each picture is.
    """

    reads_originals = True

    def __init__(
        self,
        resolution: int | Sequence[int],
        size: int | Sequence[int] | None = None,
        whole: float = 0.5,
        largest: int | None = None,
        fade_kimg: float = 50.0,
    ) -> None:
        super().__init__(resolution, size, fade_kimg)
        if not 0 <= whole <= 1:
            raise ValueError(f"view.whole is a share of the samples, from 0 to 1, not {whole}")
        if largest is not None and largest < max(self.frame):
            raise ValueError(f"view.largest={largest} is smaller than resolution={size_of(*self.frame)}")
        self.whole, self.largest = whole, largest

    def shown(self, draws: Tensor, windows: Tensor | None = None) -> Shown:
        assert windows is not None  # they come with the pictures
        places = places_of(windows, self.sides)
        scale = torch.log2(windows[:, 3].double() / self.frame[1]).float()
        return Shown(places, None, places, scale)

    def window(self, draws: Sequence[float], height: int, width: int) -> Window:
        """The window of a picture of this size, of the frame's proportions: the scale uniform by octaves."""
        (rows, columns), (x, y, fineness, whole) = self.frame, draws
        finest = min(height / rows, width / columns)
        if self.largest is not None:
            finest = min(finest, self.largest / max(rows, columns))
        times = 1.0 if whole < self.whole else max(1.0, finest) ** fineness
        rows, columns = int(rows * times + 1e-9), int(columns * times + 1e-9)
        left, top = int(x * (columns - self.sides[1] + 1)), int(y * (rows - self.sides[0] + 1))
        return Window(left, top, 1, columns, rows)


class Cylinder(View):
    """Frames at random angles of a cylinder (paper, section 4.4): no picture of the whole turn is ever seen.

    Args:
        resolution, size, fade_kimg: as `View`.
        turns: frames of a whole turn, the generator's.
    """

    def __init__(
        self,
        resolution: int | Sequence[int],
        size: int | Sequence[int] | None = None,
        turns: int = 6,
        fade_kimg: float = 50.0,
    ) -> None:
        super().__init__(resolution, size, fade_kimg)
        if self.sides != self.frame:
            raise ValueError(f"view=cylinder shows whole frames, not {self.size} of them: leave view.size away")
        self.period = 2.0 * turns

    def check(self, generator: Generator) -> None:
        if generator.period != self.period:
            raise ValueError(
                f"view=cylinder needs a generator with surface=cylinder and {self.period / 2:g} frames a turn; "
                "set generator.surface=cylinder and generator.turns"
            )

    def shown(self, draws: Tensor, windows: Tensor | None = None) -> Shown:
        native = self.native(draws.device)
        moved = torch.stack([draws[:, 0] * self.period, torch.zeros_like(draws[:, 0])], dim=-1)
        coords = (native + moved[:, None, None]).float()
        return Shown(coords, None, native, torch.zeros(1, device=draws.device))


def pixels_of(windows: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The frame's columns [B, w] and rows [B, h] that windows [B, 5] show, int64."""
    left, top, step, _, _ = windows[:, :, None].unbind(1)
    height, width = (torch.arange(side, device=windows.device) for side in size)
    return left + step * width, top + step * height


def places_of(windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Coordinates [B, h, w, 2] of what windows [B, 5] show, of (h, w) pixels; rounded once, from float64."""
    columns, rows = windows[:, 3:].double().unbind(1)
    axes = zip(pixels_of(windows, size), (columns, rows), strict=True)
    x, y = ((2 * pixels.double() / (whole[:, None] - 1) - 1).float() for pixels, whole in axes)
    return torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)


def cut(pictures: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """What windows [B, 5] show of native pictures [B, 3, H, W], as [B, 3, h, w]."""
    x, y = pixels_of(windows, size)
    samples = torch.arange(len(pictures), device=windows.device)[:, None, None]
    return pictures.permute(0, 2, 3, 1)[samples, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class WindowReader:
    """Which window of its picture a reading process cuts: for element n of the stream, what iteration n / B shows.

    Attributes:
        view: whose windows.
        seed, batch_size: of the run's draws; the batch is the global one.
        flip: whether half of the pictures are mirrored, on the device: a mirrored one is cut where its mirror image is.
    """

    view: AnyResolution
    seed: int
    batch_size: int
    flip: bool

    def __call__(self, number: int, height: int, width: int) -> tuple[Window, Window]:
        """The window of element `number`, and where it lies in the picture as it is read."""
        images_seen, index = number - number % self.batch_size, number % self.batch_size
        draws, flips = _of_iteration(self.seed, images_seen, self.batch_size)
        window = self.view.window(draws[index].tolist(), height, width)
        if not (self.flip and flips[index]):
            return window, window
        return window, window._replace(left=window.columns - window.left - self.view.sides[1])


@lru_cache(maxsize=8)
def _of_iteration(seed: int, images_seen: int, batch_size: int) -> tuple[Tensor, Tensor]:
    return draw(seed, images_seen, batch_size), draw_flips(seed, images_seen, batch_size)
