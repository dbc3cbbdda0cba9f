"""A reader's question: the distance at 2 and 4 times the training's resolution, as of FFHQ's 256 model at 1024."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.figures.dense_grid import DENSE, LANCZOS, draw_larger
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject, Unsuitable, lacks_grid
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.reporting.figures import COLOURS, FAINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FACTORS = (1, 2, 4)
MOST_SAMPLES = 500


@dataclass(frozen=True)
class ResolutionDistance:
    """Of one model at one size.

    Attributes:
        subject: its label.
        factor: of the training's side.
        drawn: Frechet distance of pictures drawn at that size.
        enlarged: the same of native pictures brought there by Lanczos.
        count: pictures of each set.
    """

    subject: str
    factor: int
    drawn: float
    enlarged: float
    count: int


def compute(study: Study) -> list[ResolutionDistance]:
    """Every model at 1, 2 and 4 times its resolution, as far as there are real pictures of that size.

    Raises:
        Unsuitable: there are none beyond the native size, or a model is convolutional.
    """
    found = []
    for subject in study.suited(lacks_grid):
        for factor in FACTORS:
            real = study.real if factor == 1 else study.finer(subject.generator.resolution * factor)
            if real is None:
                continue
            count = min(MOST_SAMPLES, study.count, len(real))
            theirs = study.gaussian(study.pictures(real, count), count)
            drawn, enlarged = (
                frechet_distance(study.gaussian(_made(study, subject, factor, way, count), count), theirs)
                for way in (DENSE, LANCZOS)
            )
            found.append(ResolutionDistance(subject.label, factor, drawn, enlarged, count))
    if not any(one.factor > 1 for one in found):
        raise Unsuitable("resolution_distance needs real pictures of more pixels than the model's, and there are none")
    return found


def _made(study: Study, subject: Subject, factor: int, way: str, count: int) -> Iterator[Tensor]:
    for chosen in study.numbers(count):
        yield draw_larger(subject.generator, study.styles(subject, chosen.tolist()), factor, way)


def rows(data: list[ResolutionDistance]) -> list[Row]:
    """model, factor, drawn and enlarged (distances), count (of pictures)."""
    names = ("factor", "drawn", "enlarged", "count")
    return [{"model": one.subject, **{name: getattr(one, name) for name in names}} for one in data]


def numbers(data: list[ResolutionDistance]) -> Row:
    """As the rows."""
    return {"by_factor": rows(data)}


def reading(data: list[ResolutionDistance]) -> str:
    """Whether drawing beats enlarging."""
    told = "; ".join(
        f"{one.subject} at {one.factor} x: {one.drawn:.1f} drawn, {one.enlarged:.1f} enlarged" for one in data
    )
    return f"Distance to real pictures of the same size, of {data[0].count} samples: {told}."


def draw(data: list[ResolutionDistance]) -> "Drawing":
    """Distance over the factor: drawn as lines, enlarged as dots of the same colour."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.8), constrained_layout=True)
    for number, subject in enumerate(dict.fromkeys(one.subject for one in data)):
        mine_ = [one for one in data if one.subject == subject]
        colour, x = COLOURS[number % len(COLOURS)], [one.factor for one in mine_]
        axes.plot(x, [one.drawn for one in mine_], marker="o", color=colour, label=f"{subject}, drawn")
        axes.plot(x, [one.enlarged for one in mine_], "x:", color=colour, label=f"{subject}, enlarged by Lanczos")
    axes.set_xscale("log", base=2)
    axes.set_xticks(FACTORS, [f"{factor} x" for factor in FACTORS])
    axes.set_xlabel("side, in the training's")
    axes.set_ylabel("Frechet distance")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.legend(frameon=False, fontsize=8.5)
    return figure


FIGURE = Figure(
    name="resolution_distance",
    title="Distance at larger sizes",
    place="A reader's question: what is the FID at 1024?",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
