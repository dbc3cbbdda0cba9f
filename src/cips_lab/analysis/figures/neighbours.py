"""The real pictures that samples are nearest to, in the judge's features and in pixels: is it copying?

A sample that is much nearer to a training picture than that picture is to any other is suspicious; the ones shown are
the most suspicious by that ratio.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SHOWN = 6  # samples, the most suspicious first
NEAREST = 3  # real pictures beside each
FEATURES, PIXELS = "features", "pixels"


@dataclass(frozen=True)
class Neighbours:
    """Of one model in one space.

    Attributes:
        subject, space: whose, and `FEATURES` or `PIXELS`.
        samples: numbers (seeds) of the most suspicious samples, [SHOWN].
        ratios: of every sample: its distance to the nearest real picture, over that one's distance to its own nearest.
        images: the samples shown, uint8 [SHOWN, 3, R, R].
        nearest: their nearest real pictures, uint8 [SHOWN, NEAREST, 3, R, R].
    """

    subject: str
    space: str
    samples: Tensor
    ratios: Tensor
    images: Tensor
    nearest: Tensor


def nearest_of(points: Tensor, others: Tensor, count: int, same: bool = False) -> tuple[Tensor, Tensor]:
    """Distances and places of the `count` nearest of others [M, D] to points [N, D], nearest first: [N, count].

    Args:
        points, others: float.
        count: at most M.
        same: both are one set, and a point is not its own neighbour.
    """
    distances, places = [], []
    for start in range(0, len(points), 512):
        block = torch.cdist(points[start : start + 512], others)
        if same:
            here = torch.arange(len(block), device=block.device)
            block[here, here + start] = float("inf")
        found = block.topk(count, largest=False)
        distances.append(found.values)
        places.append(found.indices)
    return torch.cat(distances), torch.cat(places)


def neighbours_of(
    subject: str, space: str, generated: Tensor, real: Tensor, pictures: Tensor, real_pictures: Tensor
) -> Neighbours:
    """From points of both sets, [N, D] and [M, D], and their pictures, uint8 [N, 3, R, R] and [M, 3, R, R]."""
    distance, place = nearest_of(generated, real, min(NEAREST, len(real)))
    own, _ = nearest_of(real, real, 1, same=True)
    ratios = distance[:, 0] / own[place[:, 0], 0].clamp(min=1e-12)
    shown = ratios.argsort()[:SHOWN].cpu()
    return Neighbours(subject, space, shown, ratios.cpu(), pictures[shown], real_pictures[place.cpu()[shown]])


def compute(study: Study) -> list[Neighbours]:
    """Every model, in both spaces.

    Raises:
        Unsuitable: there are no real pictures.
    """
    seen = study.collected(study.real_pictures())
    real = study.everything(study.real_pictures())
    found = []
    for subject in study.subjects:
        made = study.collected(study.samples(subject))
        pictures = study.everything(study.samples(subject))
        found.append(neighbours_of(subject.label, FEATURES, made.features, seen.features, pictures, real))
        flat, real_flat = pictures.flatten(1).float(), real.flatten(1).float()
        found.append(neighbours_of(subject.label, PIXELS, flat, real_flat, pictures, real))
    return found


def rows(data: list[Neighbours]) -> list[Row]:
    """model, space, sample (its seed), ratio."""
    return [
        {"model": one.subject, "space": one.space, "sample": number, "ratio": float(ratio)}
        for one in data
        for number, ratio in enumerate(one.ratios)
    ]


def numbers(data: list[Neighbours]) -> Row:
    """The smallest ratio, the median, and the share of samples that are nearer than real pictures are to each other."""
    return {
        f"{one.subject}, {one.space}": {
            "smallest": float(one.ratios.min()),
            "median": float(one.ratios.median()),
            "nearer_than_real": float((one.ratios < 1).float().mean()),
        }
        for one in data
    }


def reading(data: list[Neighbours]) -> str:
    """Whether anything looks like a copy."""
    told = "; ".join(
        f"{name}: median {found['median']:.2f}, smallest {found['smallest']:.2f}"
        for name, found in numbers(data).items()
    )
    return f"Distance to the nearest real picture, over that one's to its own nearest (a copy has 0): {told}."


def draw(data: list[Neighbours]) -> "Drawing":
    """For each model and space, the most suspicious samples and beside each its nearest real pictures."""
    import matplotlib.pyplot as plt

    columns = SHOWN * (NEAREST + 1)
    size = (0.72 * columns + 1.4, 0.95 * len(data))
    figure, grid = plt.subplots(len(data), columns, figsize=size, squeeze=False, constrained_layout=True)
    for line, one in zip(grid, data, strict=True):
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
        for number, (image, nearest) in enumerate(zip(one.images, one.nearest, strict=True)):
            first = number * (NEAREST + 1)
            line[first].imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            for side in line[first].spines.values():
                side.set(visible=True, linewidth=2, edgecolor="#c44e00")
            for place, real in enumerate(nearest):
                line[first + 1 + place].imshow(real.permute(1, 2, 0).numpy(), interpolation="nearest")
        line[0].set_ylabel(f"{one.subject}\n{one.space}", fontsize=8, rotation=0, ha="right", va="center")
    return figure


FIGURE = Figure(
    name="neighbours",
    title="The most suspicious samples (framed) and their nearest real pictures",
    place="A reader's question: does it copy?",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
