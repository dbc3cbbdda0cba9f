"""Figures 11 and 17: one long picture, styles blended along it pixel by pixel.

From a model of the plane, which the paper has not: what comes out on a region wider than the training square, with one
style, and with a style for every pixel: anchors stand at equal distances, and between two of them a pixel's style is
mixed of theirs (the paper's figure and ALIS blend so). As a model of the plane knows nothing beyond its square, the
coordinate may also run there and back within it.

From a model that was trained on a cylinder: a whole turn, with one style and with styles blended around it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import lacks_grid
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.render.blending import blended_styles, render_blended, styles_around
from cips_lab.render.pictures import quantize
from cips_lab.render.scene import whole_turn

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FRAMES = 5  # widths of the training picture; odd, so that the middle one is the training square
WIDE, WIDE_BLENDED = "a wide region, one style", "a wide region, styles blended"
SWUNG, SIDE_BY_SIDE = "there and back in the square, styles blended", "pictures side by side"
WAYS = (WIDE, WIDE_BLENDED, SWUNG, SIDE_BY_SIDE)
TURN, TURN_BLENDED = "a whole turn, one style", "a whole turn, styles blended"
WAYS_AROUND = (TURN, TURN_BLENDED)


@dataclass(frozen=True)
class Panorama:
    """Of one model.

    Attributes:
        subject: its label.
        way: one of `WAYS`, or of `WAYS_AROUND` on a cylinder.
        image: uint8 [3, R, FRAMES R], or of a turn [3, R, turns (R - 1)].
        seam: how much columns differ where frames meet, or where a turn closes, over how much they differ elsewhere
            (see `seam_of` and `seam_around`).
    """

    subject: str
    way: str
    image: Tensor
    seam: float


def wide_grid(resolution: int, frames: int, device: torch.device | str | None = None) -> Tensor:
    """[R, frames R, 2]: native pixels, and as many more to the left as to the right, at their distance."""
    edge = 1 + (frames - 1) * resolution / (resolution - 1)
    return image_grid(resolution, frames * resolution, (-edge, -1.0, edge, 1.0), device)


def swinging_grid(resolution: int, frames: int, device: torch.device | str | None = None) -> Tensor:
    """[R, frames R, 2]: the native grid and its mirror image in turn, so that no column meets a jump of coordinates."""
    native = image_grid(resolution, resolution, device=device)
    return torch.cat([native if frame % 2 == 0 else native.flip(1) for frame in range(frames)], dim=1)


def seam_of(image: Tensor, frame: int) -> float:
    """Mean absolute difference of the columns on both sides of frames' edges, over that of all other neighbours.

    Args:
        image: [3, H, W].
        frame: columns of a frame; W is a multiple.

    Returns:
        About 1 where no edge can be told from what is around it, more where there are seams.
    """
    steps = image.float().diff(dim=-1).abs().mean((0, 1))
    edge = torch.zeros(len(steps), dtype=torch.bool, device=steps.device)
    edge[frame - 1 :: frame] = True
    return float(steps[edge].mean() / steps[~edge].mean().clamp(min=1e-9))


def seam_around(image: Tensor) -> float:
    """Mean absolute difference of the last column and the first, over that of all neighbours: 1 where nobody sees it.

    Args:
        image: [3, H, W], a whole turn.
    """
    values = image.float()
    closing = (values[..., 0] - values[..., -1]).abs().mean()
    return float(closing / values.diff(dim=-1).abs().mean().clamp(min=1e-9))


@torch.no_grad()
def compute(study: Study) -> list[Panorama]:
    """Every model, in every way that its surface has.

    Raises:
        Unsuitable: every model is convolutional.
    """
    found = []
    for subject in study.suited(lacks_grid):
        # The study's seeds as far as they go, for the anchors at the frames' edges and, all but one, for the frames.
        seeds = list(dict.fromkeys([*study.seeds, *range(max(study.seeds) + 1, max(study.seeds) + FRAMES + 2)]))
        anchors = study.styles(subject, seeds[: FRAMES + 1])
        plane = subject.generator.surface == "plane"
        images = (on_the_plane if plane else around)(subject.generator, anchors)
        for way, image in images.items():
            picture = quantize(image[None]).cpu()[0]
            seam = seam_of(picture, subject.generator.side) if plane else seam_around(picture)
            found.append(Panorama(subject.label, way, picture, seam))
    return found


def on_the_plane(generator: Generator, anchors: Tensor) -> dict[str, Tensor]:
    """`WAYS` of a model of the plane with the styles [FRAMES + 1, w_dim]."""
    side, device = generator.side, anchors.device
    blended, wide = blended_styles(anchors, FRAMES * side), wide_grid(side, FRAMES, device)
    return {
        WIDE: generator.render(anchors[:1], wide)[0],
        WIDE_BLENDED: render_blended(generator, blended, wide),
        SWUNG: render_blended(generator, blended, swinging_grid(side, FRAMES, device)),
        SIDE_BY_SIDE: torch.cat(list(generator.synthesize_native(anchors[:FRAMES])), dim=-1),
    }


def around(generator: Generator, anchors: Tensor) -> dict[str, Tensor]:
    """`WAYS_AROUND` of a model of the cylinder, at the native pixels' distance."""
    turn = whole_turn(generator, anchors.device)
    assert turn is not None
    return {
        TURN: generator.render(anchors[:1], turn)[0],
        TURN_BLENDED: render_blended(generator, styles_around(anchors, turn.shape[1]), turn),
    }


def rows(data: list[Panorama]) -> list[Row]:
    """model, way, seam."""
    return [{"model": one.subject, "way": one.way, "seam": one.seam} for one in data]


def numbers(data: list[Panorama]) -> Row:
    """By model and way."""
    return {
        "seam": {
            subject: {one.way: one.seam for one in data if one.subject == subject}
            for subject in dict.fromkeys(one.subject for one in data)
        }
    }


def reading(data: list[Panorama]) -> str:
    """Whether frames, or the ends of a turn, can be seen to meet."""
    told = []
    for subject, seams in numbers(data)["seam"].items():
        if TURN in seams:
            told.append(
                f"{subject} {seams[TURN]:.1f} where its turn closes, {seams[TURN_BLENDED]:.1f} with styles blended"
            )
        else:
            told.append(
                f"{subject} {seams[WIDE_BLENDED]:.1f} on a wide region and {seams[SWUNG]:.1f} there and back, with "
                f"styles blended; {seams[SIDE_BY_SIDE]:.1f} for pictures side by side"
            )
    return (
        f"How much columns differ where frames meet, over how much they do elsewhere (1: no seam): {'; '.join(told)}."
    )


def draw(data: list[Panorama]) -> "Drawing":
    """Each model's panoramas, two in a row; whole turns one below the other."""
    import matplotlib.pyplot as plt

    columns = 1 if any(one.way in WAYS_AROUND for one in data) else 2
    lines = -(-len(data) // columns)
    size = (12.0, (2.6 if columns == 1 else 1.65) * lines)
    figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False, constrained_layout=True)
    for axes, one in zip(grid.flat, data, strict=False):
        height, width = one.image.shape[1:]
        axes.imshow(one.image.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(f"{one.subject}: {one.way} (seams {one.seam:.1f})", fontsize=9)
        if one.way in WAYS:  # where the training square, or a frame, ends
            axes.set_xticks([place - 0.5 for place in range(height, width, height)], [""] * (FRAMES - 1))
        else:
            axes.set_xticks([])
        axes.set_yticks([])
    for axes in grid.flat[len(data) :]:
        axes.set_axis_off()
    return figure


FIGURE = Figure(
    name="panorama",
    title="A panorama",
    place="Figures 11 and 17",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
