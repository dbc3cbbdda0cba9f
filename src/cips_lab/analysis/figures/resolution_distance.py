"""A reader's question: the distance at 2 and 4 times the training's resolution, as of FFHQ's 256 model at 1024."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cips_lab.analysis.enlarging import DENSE, LANCZOS, gaussian_at, judged_count, real_at, real_gaussian_at
from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Unsuitable, lacks_grid
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.reporting.figures import COLOURS, FAINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FACTORS = (1, 2, 4)


@dataclass(frozen=True)
class ResolutionDistance:
    """Of one model at one size.

    Attributes:
        subject: its label.
        factor: of the training's side.
        side: in pixels.
        drawn: Frechet distance of pictures drawn at that size to real ones of that size.
        enlarged: the same of native pictures brought there by Lanczos.
        count: pictures of each set.
    """

    subject: str
    factor: int
    side: int
    drawn: float
    enlarged: float
    count: int


def compute(study: Study) -> list[ResolutionDistance]:
    """Every model at 1, 2 and 4 times its resolution, as far as there are real pictures of that size.

    Raises:
        Unsuitable: there are none beyond the native size, or every model is convolutional.
    """
    subjects = study.suited(lacks_grid)
    study.with_real_pictures()
    native = subjects[0].generator.side
    sizes = {factor: real for factor in FACTORS if (real := real_at(study, native * factor)) is not None}
    if max(sizes, default=1) == 1:
        raise Unsuitable(f"it needs real pictures of more than {native} pixels a side, and the data set has none")
    count = min(judged_count(study, real) for real in sizes.values())
    found = []
    for subject in subjects:
        for factor, real in sizes.items():
            theirs = real_gaussian_at(study, real, count)
            drawn = frechet_distance(gaussian_at(study, subject, factor, DENSE, count), theirs)
            # At the native size there is nothing to enlarge.
            enlarged = (
                drawn if factor == 1 else frechet_distance(gaussian_at(study, subject, factor, LANCZOS, count), theirs)
            )
            found.append(ResolutionDistance(subject.label, factor, native * factor, drawn, enlarged, count))
    return found


def rows(data: list[ResolutionDistance]) -> list[Row]:
    """model, factor, side (pixels), drawn and enlarged (distances), count (of pictures)."""
    names = ("factor", "side", "drawn", "enlarged", "count")
    return [{"model": one.subject, **{name: getattr(one, name) for name in names}} for one in data]


def numbers(data: list[ResolutionDistance]) -> Row:
    """As the rows."""
    return {"sizes": rows(data)}


def reading(data: list[ResolutionDistance]) -> str:
    """Whether drawing beats enlarging, at the largest size."""
    largest = max(one.factor for one in data)
    told = "; ".join(
        f"{one.subject} at {one.side}: "
        + (f"{one.drawn:.1f}" if one.factor == 1 else f"{one.drawn:.1f} drawn there, {one.enlarged:.1f} enlarged")
        for one in data
        if one.factor in (1, largest)
    )
    few = f"{data[0].count} of each (so few make every distance larger)"
    return f"Distance to real pictures of the same size, {few}: {told}."


def draw(data: list[ResolutionDistance]) -> "Drawing":
    """Distance over the size: drawn there as lines, enlarged dotted in the same colour."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.0), constrained_layout=True)
    for number, subject in enumerate(dict.fromkeys(one.subject for one in data)):
        own = [one for one in data if one.subject == subject]
        colour, x = COLOURS[number % len(COLOURS)], [one.side for one in own]
        axes.plot(x, [one.drawn for one in own], marker="o", color=colour, label=f"{subject}, drawn at that size")
        dotted = axes.plot(
            x, [one.enlarged for one in own], ":", marker="x", color=colour, label=f"{subject}, enlarged"
        )
        dotted[0].set_zorder(1)
    axes.set_xscale("log", base=2)
    sides = sorted({one.side for one in data})
    native = data[0].side // data[0].factor
    axes.set_xticks(sides, [f"{side}\n{side // native} x" for side in sides])
    axes.minorticks_off()
    axes.set_xlabel("side of the pictures in pixels, and in the training's")
    axes.set_ylabel("Frechet distance to real pictures")
    axes.set_ylim(0, 1.1 * max(max(one.drawn, one.enlarged) for one in data))
    axes.grid(color=FAINT, linewidth=0.6)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
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
