"""A reader's question: what does a generator draw outside the square that it was trained on?

The paper's coordinates run over [0, 1], and readers asked what comes out on [-0.5, 1.5]. In the coordinates of this
software the square is [-1, 1], and that region is [-2, 2]. How soon the imagination fails is told by patches of half
the picture's side, drawn from the inside out: their Frechet distance to patches of real pictures, ring by ring.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject, lacks_grid
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.statistics import Gaussian
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.processes.collectives import mine
from cips_lab.render.pictures import quantize
from cips_lab.reporting.figures import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

REGION = (-2.0, -2.0, 2.0, 2.0)
REACHES = (0.0, 0.25, 0.5, 0.75, 1.0)  # how far a ring's patches reach beyond the edge, in sides of the picture
PLACES = 16  # on a ring, evenly
MOST_SAMPLES = 256  # patches of each set, a multiple of PLACES


@dataclass(frozen=True)
class Extrapolation:
    """Of one model.

    Attributes:
        subject: its label.
        images: of the study's seeds on `REGION`, uint8 [N, 3, 2 R, 2 R].
        inside: Frechet distance of patches from all over the square to such of real pictures; None without these.
        rings: how far patches reach beyond the edge, in sides of the picture -> their distance to the same real ones.
            At 0 they touch the edge from within, from 0.5 on they lie outside altogether. Empty without real pictures.
        count: patches of each set.
    """

    subject: str
    images: Tensor
    inside: float | None
    rings: dict[float, float]
    count: int


def ring(resolution: int, reach: float) -> list[tuple[int, int]]:
    """Upper left corners of `PLACES` patches on a ring, in native pixels: evenly along a square about the middle.

    Patches have R / 2 pixels a side; those of a ring reach `reach` R pixels beyond the picture's edge.
    """
    radius = round((0.25 + reach) * resolution)  # from the middle patch's corner
    corners = []
    for number in range(PLACES):
        side, along = divmod(8 * radius * number // PLACES, 2 * radius)
        x, y = along - radius, -radius  # along the upper side; the others are that one, turned
        for _ in range(side):
            x, y = -y, x
        corners.append((resolution // 4 + x, resolution // 4 + y))
    return corners


def lattice(resolution: int) -> list[tuple[int, int]]:
    """Upper left corners of `PLACES` patches all over the picture, in native pixels: 4 x 4 of them."""
    steps = [round(number * resolution / 2 / 3) for number in range(4)]
    return [(x, y) for y in steps for x in steps]


def patch_grid(resolution: int, corner: tuple[int, int], device: torch.device | str | None = None) -> Tensor:
    """Coordinates [R / 2, R / 2, 2] of a patch, spaced as the native pixels are."""
    last = resolution // 2 - 1
    left, top, right, bottom = (
        -1 + 2 * place / (resolution - 1) for place in (*corner, *(place + last for place in corner))
    )
    return image_grid(last + 1, last + 1, (left, top, right, bottom), device)


@torch.no_grad()
def patches(generator: Generator, w: Tensor, numbers: Tensor, corners: list[tuple[int, int]]) -> Tensor:
    """A patch of each sample, number i at the place i modulo `PLACES`: uint8 [b, 3, R / 2, R / 2]."""
    side = generator.side // 2
    images = torch.empty(len(w), 3, side, side, dtype=torch.uint8, device=w.device)
    for place, corner in enumerate(corners):
        these = (numbers % PLACES == place).nonzero()[:, 0].to(w.device)
        if len(these):
            images[these] = quantize(generator.render(w[these], patch_grid(generator.side, corner, w.device)))
    return images


def cut(images: Tensor, numbers: Tensor, corners: list[tuple[int, int]]) -> Tensor:
    """The same of pictures that are there: [b, 3, R, R] -> [b, 3, R / 2, R / 2]."""
    side = images.shape[-1] // 2
    places = [corners[number % PLACES] for number in numbers.tolist()]
    return torch.stack([image[:, y : y + side, x : x + side] for image, (x, y) in zip(images, places, strict=True)])


def drawn(study: Study, subject: Subject, corners: list[tuple[int, int]], count: int) -> Iterator[Tensor]:
    """This process's share of `count` samples' patches."""
    for numbers in study.numbers(count):
        yield patches(subject.generator, study.styles(subject, numbers.tolist()), numbers, corners)


def real_patches(study: Study, resolution: int, count: int) -> Iterator[Tensor]:
    """This process's share of patches of real pictures, from all over them."""
    numbers = torch.arange(count)[mine()]
    for images in study.real_pictures(count):
        yield cut(images, numbers[: len(images)], lattice(resolution))
        numbers = numbers[len(images) :]


@torch.no_grad()
def compute(study: Study) -> list[Extrapolation]:
    """Every model.

    Raises:
        Unsuitable: every model is convolutional.
    """
    found = []
    subjects = study.suited(lacks_grid)
    resolution = subjects[0].generator.side
    count = min(MOST_SAMPLES, study.count)
    real: Gaussian | None = None
    if study.real is not None:
        real = study.gaussian(real_patches(study, resolution, count), count)
    for subject in subjects:
        grid = image_grid(2 * resolution, 2 * resolution, REGION, study.device)
        images = quantize(subject.generator.render(study.styles(subject), grid)).cpu()
        inside, rings = None, {}
        if real is not None:
            inside = _distance(study, subject, lattice(resolution), count, real)
            rings = {reach: _distance(study, subject, ring(resolution, reach), count, real) for reach in REACHES}
        found.append(Extrapolation(subject.label, images, inside, rings, count))
    return found


def _distance(study: Study, subject: Subject, corners: list[tuple[int, int]], count: int, real: Gaussian) -> float:
    return frechet_distance(study.gaussian(drawn(study, subject, corners, count), count), real)


def rows(data: list[Extrapolation]) -> list[Row]:
    """model, where (inside, or ring), reach (beyond the edge, in sides of the picture), distance."""
    return [
        {"model": one.subject, "where": where, "reach": reach, "distance": distance}
        for one in data
        for where, reach, distance in [
            ("inside", None, one.inside),
            *(("ring", reach, distance) for reach, distance in one.rings.items()),
        ]
    ]


def numbers(data: list[Extrapolation]) -> Row:
    """The distances."""
    return {
        "count": data[0].count,
        "distance": {
            one.subject: {"inside": one.inside, **{f"{reach:g}": value for reach, value in one.rings.items()}}
            for one in data
        },
    }


def reading(data: list[Extrapolation]) -> str:
    """How the distance grows."""
    if data[0].inside is None:
        return "The region that readers asked about; without real pictures there is nothing to measure it by."
    told = "; ".join(
        f"{one.subject} {one.inside:.0f} inside, {one.rings[0.0]:.0f} along the edge, "
        f"{one.rings[0.5]:.0f} just outside, {one.rings[1.0]:.0f} half a side farther"
        for one in data
    )
    return f"Distance of patches of half the picture's side to {data[0].count} real ones, from the inside out: {told}."


def draw(data: list[Extrapolation]) -> "Drawing":
    """A row of pictures for each model, the training square framed, and all models' distances beside them."""
    import matplotlib.pyplot as plt

    columns = len(data[0].images)
    measured = any(one.rings for one in data)
    height = 1.9 * len(data) + 0.5
    figure = plt.figure(figsize=(1.9 * columns + (5.2 if measured else 0.6), max(height, 3.2 if measured else 0)))
    figure.set_layout_engine("constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=[1.9 * columns, 5.2]) if measured else [figure]
    grid = parts[0].subplots(len(data), columns, squeeze=False)
    for line, one in zip(grid, data, strict=True):
        for axes, image in zip(line, one.images, strict=True):
            _show(axes, image)
        line[0].set_ylabel(one.subject)
    parts[0].suptitle("[-0.5, 1.5] of the paper's [0, 1], which is framed", fontsize=10)
    if measured:
        _draw_distances(parts[1].subplots(), data)
    return figure


def _show(axes: "Axes", image: Tensor) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(image.permute(1, 2, 0).numpy(), extent=(-2, 2, 2, -2), interpolation="nearest")
    for width, colour in ((2.4, "white"), (1, INK)):
        axes.add_patch(Rectangle((-1, -1), 2, 2, fill=False, edgecolor=colour, linewidth=width))
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_distances(axes: "Axes", data: list[Extrapolation]) -> None:
    for number, one in enumerate(data):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(list(one.rings), list(one.rings.values()), marker="o", color=colour, label=one.subject)
        axes.axhline(one.inside or 0, color=colour, linestyle=":", linewidth=1.2)
    axes.axvspan(0.5, max(REACHES), color=FAINT, alpha=0.35, linewidth=0)
    axes.text(0.98, 0.03, "wholly outside", transform=axes.transAxes, ha="right", fontsize=9)
    axes.set_ylim(0, 1.12 * max(max(*one.rings.values(), one.inside or 0) for one in data))
    axes.set_xlabel("how far patches reach beyond the edge, in sides of the picture")
    axes.set_ylabel("Frechet distance to real patches")
    axes.set_title("dotted: patches from all over the inside")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.legend(frameon=False, fontsize=9, loc="lower left")


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
