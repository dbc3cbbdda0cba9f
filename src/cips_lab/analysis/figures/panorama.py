"""Figures 11 and 17: one long picture, styles blended along it pixel by pixel.

From a model of the plane: anchors with styles of their own stand in a row, and between them every pixel has a style of
its own, mixed from its two neighbours' (the paper's figure, and ALIS, blend so). Whole turns come from models that were
trained on a cylinder.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import lacks_grid
from cips_lab.networks.coordinates import image_grid
from cips_lab.render.pictures import quantize

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FRAMES = 6  # widths of the training picture


@dataclass(frozen=True)
class Panorama:
    """Of one model.

    Attributes:
        subject: its label.
        way: how coordinates run along it.
        image: uint8 [3, R, FRAMES R].
        jump: mean absolute difference of the columns where frames meet, over that of all neighbouring columns.
    """

    subject: str
    way: str
    image: Tensor
    jump: float


SWUNG, WIDE = "there and back in every frame, styles blended", "one wide region, one style"


def swinging_grid(height: int, width: int, frames: int, device: torch.device | str | None = None) -> Tensor:
    """[H, W, 2] whose x runs from -1 to 1 and back, a frame each way: no column meets a jump of coordinates."""
    grid = image_grid(height, width, (0.0, -1.0, float(frames), 1.0), device)
    phase = torch.remainder(grid[..., 0], 2)
    x = torch.where(phase <= 1, 2 * phase - 1, 3 - 2 * phase)
    return torch.stack([x, grid[..., 1]], dim=-1)


def blended_styles(anchors: Tensor, width: int) -> Tensor:
    """Styles [A, w_dim] at equal distances -> [1, 1, W, w_dim]: each column's, linear between its two anchors."""
    place = torch.linspace(0, len(anchors) - 1, width, device=anchors.device)
    left = place.floor().long().clamp(max=len(anchors) - 2)
    share = (place - left)[:, None]
    return ((1 - share) * anchors[left] + share * anchors[left + 1])[None, None]


@torch.no_grad()
def compute(study: Study) -> list[Panorama]:
    """Every model, in both ways.

    Raises:
        Unsuitable: a model is convolutional.
    """
    found = []
    for subject in study.suited(lacks_grid):
        generator = subject.generator
        side = generator.resolution
        seeds = tuple(study.seeds[0] + i for i in range(FRAMES + 1))
        w = blended_styles(study.styles(subject, seeds), FRAMES * side).expand(1, side, -1, -1)
        swung = generator.render(w, swinging_grid(side, FRAMES * side, FRAMES, study.device))
        wide = image_grid(side, FRAMES * side, (-FRAMES, -1, FRAMES, 1), study.device)
        alone = generator.render(study.styles(subject, study.seeds[:1]), wide)
        for way, image in ((SWUNG, swung), (WIDE, alone)):
            picture = quantize(image).cpu()[0]
            found.append(Panorama(subject.label, way, picture, jump_of(picture, side)))
    return found


def jump_of(image: Tensor, frame: int) -> float:
    """Difference of the columns on either side of every frame's edge, over the mean of all neighbouring columns."""
    steps = image.float().diff(dim=-1).abs().mean((0, 1))
    edges = torch.arange(frame - 1, len(steps), frame)
    return float(steps[edges].mean() / steps.mean().clamp(min=1e-9))


def rows(data: list[Panorama]) -> list[Row]:
    """model, way, jump."""
    return [{"model": one.subject, "way": one.way, "jump": one.jump} for one in data]


def numbers(data: list[Panorama]) -> Row:
    """As the rows."""
    return {"panoramas": rows(data)}


def reading(data: list[Panorama]) -> str:
    """Whether frames can be seen to meet."""
    told = "; ".join(f"{one.subject}, {one.way}: {one.jump:.2f}" for one in data)
    return f"Change between columns where frames meet, over that between all neighbours (1 is no seam): {told}."


def draw(data: list[Panorama]) -> "Drawing":
    """One below the other."""
    import matplotlib.pyplot as plt

    size = (11, 2.1 * len(data))
    figure, grid = plt.subplots(len(data), 1, figsize=size, squeeze=False, constrained_layout=True)
    for axes, one in zip(grid[:, 0], data, strict=True):
        axes.imshow(one.image.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(f"{one.subject}: {one.way}", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


FIGURE = Figure(
    name="panorama",
    title="A panorama from a model of the plane",
    place="Figure 11 and 17",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
