"""A reader's question: what does a generator draw outside the square that it was trained on?

The paper's coordinates run over [0, 1], and readers asked what comes out on [-0.5, 1.5]. In the coordinates of this
software the square is [-1, 1], and that region is [-2, 2]. A distance to real pictures, ring by ring, says how soon the
imagination fails.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject, lacks_grid
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.networks.coordinates import image_grid
from cips_lab.render.pictures import quantize
from cips_lab.reporting.figures import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

REGION = (-2.0, -2.0, 2.0, 2.0)
RINGS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # how far the window's middle lies from the square's, in half sides
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


@dataclass(frozen=True)
class Extrapolation:
    """Of one model.

    Attributes:
        subject: its label.
        images: of the study's seeds on `REGION`, uint8 [N, 3, 2 R, 2 R].
        distances: shift of the window -> Frechet distance of windows of the training's size there to real pictures;
            0 is the square itself; empty without real pictures.
    """

    subject: str
    images: Tensor
    distances: dict[float, float]


@torch.no_grad()
def windows(study: Study, subject: Subject, shift: float) -> Iterator[Tensor]:
    """This process's share of `count` samples, each of a window of the training's size, moved by `shift`.

    Sample i looks in direction i mod 8, so that no side of the square is preferred.
    """
    generator, side = subject.generator, subject.generator.resolution
    for numbers in study.numbers():
        w = study.styles(subject, numbers.tolist())
        images = torch.empty(len(numbers), 3, side, side, dtype=torch.uint8, device=study.device)
        for direction, (x, y) in enumerate(DIRECTIONS):
            these = (numbers % len(DIRECTIONS) == direction).nonzero()[:, 0]
            if len(these):
                region = (-1 + shift * x, -1 + shift * y, 1 + shift * x, 1 + shift * y)
                grid = image_grid(side, side, region, study.device)
                images[these] = quantize(generator.render(w[these], grid))
        yield images


@torch.no_grad()
def compute(study: Study) -> list[Extrapolation]:
    """Every model.

    Raises:
        Unsuitable: a model is convolutional.
    """
    found = []
    for subject in study.suited(lacks_grid):
        generator = subject.generator
        side = 2 * generator.resolution
        images = quantize(generator.render(study.styles(subject), image_grid(side, side, REGION, study.device))).cpu()
        distances = {}
        if study.real is not None:
            for shift in RINGS:
                seen = study.gaussian(windows(study, subject, shift))
                distances[shift] = frechet_distance(seen, study.real_gaussian)
        found.append(Extrapolation(subject.label, images, distances))
    return found


def rows(data: list[Extrapolation]) -> list[Row]:
    """model, shift (half sides of the square), distance."""
    return [
        {"model": one.subject, "shift": shift, "distance": value}
        for one in data
        for shift, value in one.distances.items()
    ]


def numbers(data: list[Extrapolation]) -> Row:
    """The distances."""
    return {one.subject: {f"{shift:g}": value for shift, value in one.distances.items()} for one in data}


def reading(data: list[Extrapolation]) -> str:
    """How the distance grows."""
    told = "; ".join(
        f"{one.subject}: " + ", ".join(f"{shift:g}: {value:.1f}" for shift, value in one.distances.items())
        for one in data
        if one.distances
    )
    if not told:
        return "Outside the frame nothing was ever compared with a real picture."
    return f"Distance to real pictures of windows moved out of the training square, by half sides: {told}."


def draw(data: list[Extrapolation]) -> "Drawing":
    """A row for each model, the training square framed."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    columns = len(data[0].images)
    size = (2.0 * columns + 0.6, 2.1 * len(data))
    figure, grid = plt.subplots(len(data), columns, figsize=size, squeeze=False, constrained_layout=True)
    for line, one in zip(grid, data, strict=True):
        for axes, image in zip(line, one.images, strict=True):
            axes.imshow(image.permute(1, 2, 0).numpy(), extent=(-2, 2, 2, -2), interpolation="nearest")
            axes.add_patch(Rectangle((-1, -1), 2, 2, fill=False, edgecolor="white", linewidth=2))
            axes.add_patch(Rectangle((-1, -1), 2, 2, fill=False, edgecolor=INK, linewidth=0.8))
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(one.subject)
    return figure


FIGURE = Figure(
    name="extrapolation",
    title="Outside the training square",
    place="A reader's question: what comes out on [-0.5, 1.5]?",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
