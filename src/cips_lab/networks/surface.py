"""What coordinates lie on: the plane, or a cylinder that x goes around (paper, section 4.4 and Figure 11).

A frame, which is what one training picture shows, spans [-1, 1] in both directions on either. On a cylinder, x and
x + period are one place: period = 2 turns, for a turn is `turns` frames side by side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cips_lab.networks.coordinates import image_grid

SURFACES = ("plane", "cylinder")
SurfaceName = Literal["plane", "cylinder"]


@dataclass(frozen=True)
class Surface:
    """The plane, or a cylinder.

    Attributes:
        turns: frames of a whole turn; None on the plane.
    """

    turns: int | None = None

    @property
    def name(self) -> SurfaceName:
        """As `generator.surface` is written."""
        return "plane" if self.turns is None else "cylinder"

    @property
    def period(self) -> float | None:
        """What x may be moved by without changing anything; None on the plane."""
        return None if self.turns is None else 2.0 * self.turns

    @property
    def dimensions(self) -> int:
        """Of `points`."""
        return 2 if self.turns is None else 3

    def wrapped(self, x: Tensor) -> Tensor:
        """x within the first turn, from -1 on; as it is on the plane."""
        if self.period is None:
            return x
        return x - self.period * torch.floor((x + 1) / self.period)

    def points(self, coords: Tensor) -> Tensor:
        """Coordinates [..., 2] -> points of the surface in space, [..., 2] or [..., 3], float32.

        A cylinder has the radius at which a step along x is as long in space as on the plane, so that frequencies mean
        the same on both: (radius cos, radius sin, y) of the angle 2 pi x / period.
        """
        coords = coords.float()
        if self.period is None:
            return coords
        x, y = coords.unbind(-1)
        angle = self.wrapped(x) * (2 * math.pi / self.period)
        radius = self.period / (2 * math.pi)
        return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), y], dim=-1)


def surface_of(name: str, turns: int) -> Surface:
    """What `generator.surface` and `generator.turns` mean.

    Raises:
        ValueError: they mean nothing.
    """
    if name not in SURFACES:
        raise ValueError(f"generator.surface must be one of {', '.join(SURFACES)}, not {name!r}")
    if turns < 1:
        raise ValueError(f"generator.turns must be at least 1 frame, not {turns}")
    return Surface(turns if name == "cylinder" else None)


def turn_region(
    width: int, period: float, turn: Sequence[float] = (0.0, 1.0), heights: Sequence[float] = (-1.0, 1.0)
) -> tuple[float, float, float, float]:
    """The region of a panorama `width` pixels wide: the column after the last of a whole turn is the first again.

    Args:
        width: of the picture in pixels.
        period: the cylinder's.
        turn: from where to where, in turns; (0, 1) is the whole turn whose middle is the middle of a frame.
        heights: from which y at the top to which at the bottom; -1 and 1 are a frame's edges.

    Returns:
        (left, top, right, bottom) for `image_grid`; columns are width-th parts of the angle apart.

    Raises:
        ValueError: the part is empty, or reaches beyond the cylinder's height.
    """
    (start, stop), (top, bottom) = turn, heights
    if not start < stop:
        raise ValueError(f"turn must be [from,to] in turns with from < to, not {list(turn)}")
    if not -1 <= top < bottom <= 1:
        raise ValueError(f"heights must be [top,bottom] within the cylinder's -1 to 1, not {list(heights)}")
    left, right = (period * (edge - 0.5) for edge in (start, stop))
    return left, float(top), right - (right - left) / width, float(bottom)


def turn_grid(
    height: int,
    width: int,
    period: float,
    turn: Sequence[float] = (0.0, 1.0),
    heights: Sequence[float] = (-1.0, 1.0),
    device: torch.device | str | None = None,
) -> Tensor:
    """A panorama's grid [height, width, 2], see `turn_region`."""
    return image_grid(height, width, turn_region(width, period, turn, heights), device)
