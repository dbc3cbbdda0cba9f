"""Precision against recall as truncation pulls styles to their mean, with what the pictures look like.

Precision and recall are Kynkaanniemi et al.'s, of equally many samples and real pictures at every strength. At psi = 0
all samples are one picture: its recall is 0, and its precision 1 or 0.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.manifold import Estimate, manifold
from cips_lab.render.pictures import quantize
from cips_lab.reporting.figures import COLOURS, FAINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PSI = (0.25, 0.5, 0.75, 1.0)
SHOWN = 3  # pictures at each strength


@dataclass(frozen=True)
class Truncation:
    """Of one model at one strength.

    Attributes:
        subject: its label.
        psi: 1 leaves styles as they are, 0 makes them the mean.
        precision, recall: shares in [0, 1] with their standard errors.
        distance: Frechet, of the judge's features.
        images: of the study's first seeds, uint8 [SHOWN or fewer, 3, R, R].
    """

    subject: str
    psi: float
    precision: Estimate
    recall: Estimate
    distance: float
    images: Tensor


@torch.no_grad()
def compute(study: Study) -> list[Truncation]:
    """Every model at every strength, against the real pictures.

    Raises:
        Unsuitable: there are no real pictures.
    """
    study.with_real_pictures()
    return [_of(study, subject, psi) for subject in study.subjects for psi in PSI]


def _of(study: Study, subject: Subject, psi: float) -> Truncation:
    plain = psi == 1
    made = study.collected_of(subject) if plain else study.collected(study.samples(subject, truncation=psi))
    shares = manifold(made.features, study.real_collected.features)
    styles = study.styles(subject, study.seeds[:SHOWN])
    images = subject.generator.synthesize_native(subject.generator.truncate(styles, psi))
    distance = frechet_distance(made.gaussian, study.real_gaussian)
    return Truncation(subject.label, psi, shares.precision, shares.recall, distance, quantize(images).cpu())


def rows(data: list[Truncation]) -> list[Row]:
    """model, psi, precision and recall with their errors, distance."""
    return [
        {
            "model": one.subject,
            "psi": one.psi,
            "precision": one.precision.value,
            "precision_se": one.precision.se,
            "recall": one.recall.value,
            "recall_se": one.recall.se,
            "distance": one.distance,
        }
        for one in data
    ]


def by_subject(data: list[Truncation]) -> dict[str, list[Truncation]]:
    """Each model's strengths, rising."""
    found: dict[str, list[Truncation]] = {}
    for one in data:
        found.setdefault(one.subject, []).append(one)
    return found


def numbers(data: list[Truncation]) -> Row:
    """The rows, and each model's best strength by distance."""
    best = {name: min(own, key=lambda one: one.distance).psi for name, own in by_subject(data).items()}
    return {"by_psi": rows(data), "best_psi": best}


def reading(data: list[Truncation]) -> str:
    """What the strongest truncation trades, and where the distance is smallest."""
    told = []
    for name, own in by_subject(data).items():
        strong, plain = own[0], own[-1]
        best = min(own, key=lambda one: one.distance)
        told.append(
            f"{name}: precision {plain.precision.value:.2f} to {strong.precision.value:.2f}, recall "
            f"{plain.recall.value:.2f} to {strong.recall.value:.2f}, distance least at psi = {best.psi:g}"
        )
    return f"From psi = {data[-1].psi:g} to {data[0].psi:g}: {'; '.join(told)}."


def draw(data: list[Truncation]) -> "Drawing":
    """The trade-off and the distance of all; below, a line for each model of its pictures at every strength."""
    import matplotlib.pyplot as plt

    models = by_subject(data)
    shown = len(data[0].images)
    height = 1.25 * len(models)
    figure = plt.figure(figsize=(max(9.0, 0.85 * shown * len(PSI) + 1), 3.6 + height), constrained_layout=True)
    places = figure.add_gridspec(2, 1, height_ratios=[3.6, height])
    above, below = figure.add_subfigure(places[0]), figure.add_subfigure(places[1])
    _draw_curves(above, models)
    widths = [*([1.0] * shown + [0.3]) * len(PSI)][:-1]
    grid = below.subplots(len(models), len(widths), squeeze=False, gridspec_kw={"width_ratios": widths})
    for line, (name, own) in zip(grid, models.items(), strict=True):
        for axes in line:
            axes.axis("off")
        for number, one in enumerate(own):
            for place, image in enumerate(one.images):
                line[number * (shown + 1) + place].imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            if name == next(iter(models)):
                line[number * (shown + 1)].set_title(f"psi = {one.psi:g}", fontsize=8, loc="left")
        line[0].text(-0.12, 0.5, name, fontsize=8, ha="right", va="center", transform=line[0].transAxes)
    return figure


def _draw_curves(part: Any, models: dict[str, list[Truncation]]) -> None:
    trade, distances = part.subplots(1, 2)
    for number, (name, own) in enumerate(models.items()):
        colour = COLOURS[number % len(COLOURS)]
        x, y = [one.recall.value for one in own], [one.precision.value for one in own]
        errors = {"xerr": [one.recall.se for one in own], "yerr": [one.precision.se for one in own]}
        trade.errorbar(
            x, y, **errors, color=colour, marker="o", markersize=4, linewidth=1.2, elinewidth=0.7, label=name
        )
        if len(models) == 1:
            for one in own:
                place = (one.recall.value, one.precision.value)
                trade.annotate(f"{one.psi:g}", place, (4, 4), textcoords="offset points", fontsize=8)
        distances.plot([one.psi for one in own], [one.distance for one in own], "o-", color=colour, label=name)
    trade.set(xlabel="recall", ylabel="precision")
    trade.set_title(f"From psi = {PSI[-1]:g}, the highest recall, to {PSI[0]:g}", fontsize=9)
    distances.set(xlabel="psi", ylabel="Frechet distance")
    distances.set_title("Distance to real pictures", fontsize=9)
    for axes in (trade, distances):
        axes.grid(color=FAINT, linewidth=0.6)
    trade.legend(frameon=False, fontsize=8)


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
