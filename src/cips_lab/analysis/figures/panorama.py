"""Figures 11 and 17: one long picture, styles blended along it pixel by pixel.

From a model of the plane, which the paper has not: what comes out on a region wider than the training square, with one
style, and with a style for every pixel: anchors stand at equal distances, and between two of them a pixel's style is
mixed of theirs (the paper's figure and ALIS blend so). As a model of the plane knows nothing beyond its square, the
coordinate may also run there and back within it. Whole turns come from models that were trained on a cylinder.
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
from cips_lab.render.pictures import quantize

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FRAMES = 5  # widths of the training picture; odd, so that the middle one is the training square
BAND_STYLES = 2**24  # numbers of styles of pixels at once: 64 MB
WIDE, WIDE_BLENDED = "a wide region, one style", "a wide region, styles blended"
SWUNG, SIDE_BY_SIDE = "there and back in the square, styles blended", "pictures side by side"
WAYS = (WIDE, WIDE_BLENDED, SWUNG, SIDE_BY_SIDE)


@dataclass(frozen=True)
class Panorama:
    """Of one model.

    Attributes:
        subject: its label.
        way: one of `WAYS`.
        image: uint8 [3, R, FRAMES R].
        seam: how much columns differ where frames meet, over how much they differ elsewhere (see `seam_of`).
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


def anchor_columns(anchors: int, width: int) -> Tensor:
    """The columns where anchors stand, the first and the last at the edges: int64 [A]."""
    return torch.linspace(0, width - 1, anchors, dtype=torch.float64).round().long()


def blended_styles(anchors: Tensor, width: int) -> Tensor:
    """Styles [A, w_dim] -> a style for each column [W, w_dim], linear between anchors, and theirs where they stand."""
    columns = anchor_columns(len(anchors), width).to(anchors.device)
    place = torch.arange(width, device=anchors.device)
    left = (torch.searchsorted(columns, place, right=True) - 1).clamp(max=len(anchors) - 2)
    share = ((place - columns[left]) / (columns[left + 1] - columns[left]))[:, None]
    between = anchors[left] + share * (anchors[left + 1] - anchors[left])
    return torch.where(share == 1, anchors[left + 1], between)  # at 0 it is the left one's already


@torch.no_grad()
def render_blended(generator: Generator, styles: Tensor, grid: Tensor) -> Tensor:
    """A picture with a style for each column, band by band.

    Args:
        generator: in evaluation mode.
        styles: [W, w_dim].
        grid: [H, W, 2].

    Returns:
        [3, H, W].
    """
    rows = max(1, BAND_STYLES // styles.numel())
    bands = [generator.render(styles.expand(1, len(band), -1, -1), band)[0] for band in grid.split(rows)]
    return torch.cat(bands, dim=1)


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


@torch.no_grad()
def compute(study: Study) -> list[Panorama]:
    """Every model, in every way.

    Raises:
        Unsuitable: every model is convolutional.
    """
    found = []
    for subject in study.suited(lacks_grid):
        generator, side = subject.generator, subject.generator.resolution
        # The study's seeds as far as they go, for the anchors at the frames' edges and, all but one, for the frames.
        seeds = list(dict.fromkeys([*study.seeds, *range(max(study.seeds) + 1, max(study.seeds) + FRAMES + 2)]))
        anchors = study.styles(subject, seeds[: FRAMES + 1])
        blended = blended_styles(anchors, FRAMES * side)
        wide = wide_grid(side, FRAMES, study.device)
        images = {
            WIDE: generator.render(anchors[:1], wide)[0],
            WIDE_BLENDED: render_blended(generator, blended, wide),
            SWUNG: render_blended(generator, blended, swinging_grid(side, FRAMES, study.device)),
            SIDE_BY_SIDE: torch.cat(list(generator.synthesize_native(anchors[:FRAMES])), dim=-1),
        }
        for way, image in images.items():
            picture = quantize(image[None]).cpu()[0]
            found.append(Panorama(subject.label, way, picture, seam_of(picture, side)))
    return found


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
    """Whether frames can be seen to meet."""
    told = "; ".join(
        f"{subject} {seams[WIDE_BLENDED]:.1f} on a wide region and {seams[SWUNG]:.1f} there and back, with styles "
        f"blended; {seams[SIDE_BY_SIDE]:.1f} for pictures side by side"
        for subject, seams in numbers(data)["seam"].items()
    )
    return f"How much columns differ where frames meet, over how much they do elsewhere (1: no seam): {told}."


def draw(data: list[Panorama]) -> "Drawing":
    """Each model's panoramas, two in a row."""
    import matplotlib.pyplot as plt

    subjects = list(dict.fromkeys(one.subject for one in data))
    size = (12.0, 3.3 * len(subjects))
    figure, grid = plt.subplots(2 * len(subjects), 2, figsize=size, squeeze=False, constrained_layout=True)
    for axes, one in zip(grid.flat, data, strict=True):
        height, width = one.image.shape[1:]
        axes.imshow(one.image.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(f"{one.subject}: {one.way} (seams {one.seam:.1f})", fontsize=9)
        # Where the training square, or a frame, ends.
        axes.set_xticks([place - 0.5 for place in range(height, width, height)], [""] * (FRAMES - 1))
        axes.set_yticks([])
    return figure


FIGURE = Figure(
    name="panorama",
    title="A panorama from a model of the plane",
    place="Figures 11 and 17",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
