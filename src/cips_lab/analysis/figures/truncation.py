"""Precision against recall as truncation pulls styles to their mean, with grids of what it looks like."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.manifold import manifold
from cips_lab.render.pictures import quantize
from cips_lab.reporting.figures import COLOURS, FAINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PSI = (0.3, 0.5, 0.7, 0.85, 1.0)


@dataclass(frozen=True)
class Truncation:
    """Of one model at one strength.

    Attributes:
        subject: its label.
        psi: 1 leaves styles as they are, 0 makes them the mean.
        precision, recall: shares in [0, 1]; distance: Frechet.
        images: of the study's seeds, uint8 [N, 3, R, R].
    """

    subject: str
    psi: float
    precision: float
    recall: float
    distance: float
    images: Tensor


@torch.no_grad()
def compute(study: Study) -> list[Truncation]:
    """Every model at every strength, against the real pictures.

    Raises:
        Unsuitable: there are no real pictures.
    """
    real = study.collected(study.real_pictures())
    found = []
    for subject in study.subjects:
        for psi in PSI:
            made = study.collected(study.samples(subject, truncation=psi))
            shares = manifold(made.features, real.features)
            w = subject.generator.truncate(study.styles(subject), psi)
            found.append(
                Truncation(
                    subject.label,
                    psi,
                    shares.precision.value,
                    shares.recall.value,
                    frechet_distance(made.gaussian, real.gaussian),
                    quantize(subject.generator.synthesize_native(w)).cpu(),
                )
            )
    return found


def rows(data: list[Truncation]) -> list[Row]:
    """model, psi, precision, recall, distance."""
    names = ("psi", "precision", "recall", "distance")
    return [{"model": one.subject, **{name: getattr(one, name) for name in names}} for one in data]


def numbers(data: list[Truncation]) -> Row:
    """As the rows."""
    return {"by_psi": rows(data)}


def reading(data: list[Truncation]) -> str:
    """The strength with the smallest distance."""
    told = []
    for subject in dict.fromkeys(one.subject for one in data):
        best = min((one for one in data if one.subject == subject), key=lambda one: one.distance)
        told.append(f"{subject} at psi = {best.psi:g} ({best.distance:.1f})")
    return f"Distance is smallest for {', '.join(told)}."


def draw(data: list[Truncation]) -> "Drawing":
    """The trade-off, and the first model's pictures at each strength."""
    import matplotlib.pyplot as plt

    first = [one for one in data if one.subject == data[0].subject]
    columns = len(first[0].images)
    figure = plt.figure(figsize=(5 + 1.1 * columns, 1.1 * len(first) + 0.6), constrained_layout=True)
    grid = figure.add_gridspec(len(first), columns + 1, width_ratios=[4, *[1] * columns])
    axes = figure.add_subplot(grid[:, 0])
    for number, subject in enumerate(dict.fromkeys(one.subject for one in data)):
        mine = [one for one in data if one.subject == subject]
        x, y = [one.recall for one in mine], [one.precision for one in mine]
        axes.plot(x, y, marker="o", color=COLOURS[number % len(COLOURS)], label=subject)
        for one in mine:
            axes.annotate(f"{one.psi:g}", (one.recall, one.precision), fontsize=7.5)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.legend(frameon=False)
    for line, one in enumerate(first):
        for column, image in enumerate(one.images):
            place = figure.add_subplot(grid[line, column + 1])
            place.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            place.set_xticks([])
            place.set_yticks([])
            if column == 0:
                place.set_ylabel(f"{one.psi:g}", rotation=0, ha="right", va="center")
    return figure


FIGURE = Figure(
    name="truncation",
    title="Precision against recall by truncation",
    place="A reader's question: what does truncation cost?",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
