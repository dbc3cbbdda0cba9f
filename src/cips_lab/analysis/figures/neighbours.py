"""The real pictures that samples are nearest to, in the judge's features and in pixels: is it copying?

A sample that is much nearer to a training picture than that picture is to any other is suspicious; the ones shown are
the most suspicious by that ratio. Training pictures count as they are and mirrored. Held-out real pictures, which
cannot be copies, show how small the ratio gets by chance.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.nearest import Nearest, neighbours_of
from cips_lab.analysis.picture_spectra import HELD_OUT
from cips_lab.analysis.study import Study
from cips_lab.metrics.choice import spread
from cips_lab.metrics.collect import PictureSet
from cips_lab.reporting.figures import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SHOWN = 5  # samples, the most suspicious first
NEAREST = 2  # real pictures beside each
CONTROL = 500  # held-out pictures at most
SEARCHED = 20_000  # training pictures at most that are compared in pixels
SIDE = 32  # pixels a side that they are compared at, at most
PERCENTILE = 1.0  # of the held-out pictures' ratios: nearer samples are few by chance
FEATURES, PIXELS = "features", "pixels"


@dataclass(frozen=True)
class Neighbours:
    """Of one set of pictures in one space.

    Attributes:
        subject, space: a model's label or `HELD_OUT`, and `FEATURES` or `PIXELS`.
        samples: numbers (seeds) of the most suspicious samples, [SHOWN].
        ratios: of every sample: see `Nearest`.
        images: the samples shown, uint8 [SHOWN, 3, R, R]; none of `HELD_OUT`.
        nearest: their nearest real pictures, as they were found, uint8 [SHOWN, NEAREST, 3, R, R]; none of `HELD_OUT`.
        mirrored: whether that was in a mirror, bool [SHOWN, NEAREST].
        searched: how many training pictures were compared, of `known` in all.
    """

    subject: str
    space: str
    samples: Tensor
    ratios: Tensor
    images: Tensor
    nearest: Tensor
    mirrored: Tensor
    searched: int
    known: int


@dataclass(frozen=True)
class Space:
    """Where distances are taken: the real pictures as points [M, D], mirrored [M, D], and their places in the set."""

    name: str
    real: Tensor
    mirrored: Tensor
    places: list[int]


def small(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Pictures uint8 [b, 3, R, R] at `SIDE` pixels a side or their own, as float32 points [b, D] in [0, 255]."""
    for batch in batches:
        side = min(SIDE, batch.shape[-1])
        yield F.interpolate(batch.float(), size=(side, side), mode="area").flatten(1)


def mirrored(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Left and right exchanged."""
    for batch in batches:
        yield batch.flip(-1)


@torch.no_grad()
def compute(study: Study) -> list[Neighbours]:
    """Every model and the control, in both spaces.

    Raises:
        Unsuitable: there are no real pictures, or fewer than three.
    """
    pictures = study.with_real_pictures()
    searched = min(SEARCHED, len(pictures))

    def pixels(batches: Iterable[Tensor], count: int) -> Tensor:
        return study.everything(small(batches), count).to(study.device)

    features = Space(
        FEATURES,
        study.real_collected.features,
        study.collected(mirrored(study.real_pictures())).features,
        spread(len(pictures), study.count),
    )
    flat = Space(
        PIXELS,
        pixels(study.pictures(pictures, searched), searched),
        pixels(mirrored(study.pictures(pictures, searched)), searched),
        spread(len(pictures), searched),
    )
    found = []
    if study.held_out is not None:
        count = min(CONTROL, study.count, len(study.held_out))
        control = study.collected(study.pictures(study.held_out, count), count).features
        found.append(_control(features, control, len(pictures)))
        found.append(_control(flat, pixels(study.pictures(study.held_out, count), count), len(pictures)))
    for subject in study.subjects:
        images = study.everything(study.samples(subject))
        made = study.collected_of(subject).features
        points = torch.cat(list(small(images.split(study.batch)))).to(study.device)
        found.append(_of(subject.label, features, made, images, pictures))
        found.append(_of(subject.label, flat, points, images, pictures))
    return found


def _control(space: Space, points: Tensor, known: int) -> Neighbours:
    nearest = neighbours_of(points.to(space.real), space.real, space.mirrored, 1)
    none = torch.empty(0)
    return Neighbours(HELD_OUT, space.name, none, nearest.ratios, none, none, none, len(space.real), known)


def _of(subject: str, space: Space, points: Tensor, images: Tensor, pictures: PictureSet) -> Neighbours:
    nearest = neighbours_of(points, space.real, space.mirrored, min(NEAREST, len(space.real)))
    shown = nearest.ratios.argsort(stable=True)[:SHOWN]
    return Neighbours(
        subject,
        space.name,
        shown,
        nearest.ratios,
        images[shown],
        _pictures(nearest, shown, space, pictures),
        nearest.mirrored[shown],
        len(space.real),
        len(pictures),
    )


def _pictures(nearest: Nearest, shown: Tensor, space: Space, pictures: PictureSet) -> Tensor:
    found = []
    for places, turned in zip(nearest.places[shown].tolist(), nearest.mirrored[shown].tolist(), strict=True):
        row = [pictures[space.places[place]] for place in places]
        found.append(torch.stack([image.flip(-1) if flip else image for image, flip in zip(row, turned, strict=True)]))
    return torch.stack(found)


def rows(data: list[Neighbours]) -> list[Row]:
    """model, space, sample (its seed), ratio."""
    return [
        {"model": one.subject, "space": one.space, "sample": number, "ratio": float(ratio)}
        for one in data
        for number, ratio in enumerate(one.ratios)
    ]


def numbers(data: list[Neighbours]) -> Row:
    """The smallest ratio, the median, and the share that is nearer than 1 % of held-out pictures are."""
    found: Row = {}
    for one in data:
        control = _control_of(data, one.space)
        found.setdefault(one.subject, {})[one.space] = {
            "smallest": float(one.ratios.min()),
            "median": float(one.ratios.median()),
            "nearer_than_own_neighbour": float((one.ratios < 1).double().mean()),
            "below_held_out_1_percent": None
            if control is None
            else float((one.ratios < limit(control)).double().mean()),
            "training_pictures_searched": one.searched,
            "training_pictures": one.known,
        }
    return found


def _control_of(data: list[Neighbours], space: str) -> Neighbours | None:
    return next((one for one in data if (one.subject, one.space) == (HELD_OUT, space)), None)


def limit(control: Neighbours) -> float:
    """The ratio that one in a hundred held-out pictures is below."""
    return float(torch.quantile(control.ratios, PERCENTILE / 100))


def reading(data: list[Neighbours]) -> str:
    """Whether anything looks like a copy."""
    told = []
    for subject, spaces in numbers(data).items():
        parts = [f"{found['median']:.2f} and {found['smallest']:.2f} in {space}" for space, found in spaces.items()]
        told.append(f"{subject}: {', '.join(parts)}")
    return (
        "Distance to the nearest training picture, mirrored or not, over that one's to its own nearest (0 for a copy), "
        f"median and smallest: {'; '.join(told)}."
    )


def draw(data: list[Neighbours]) -> "Drawing":
    """The ratios of all; then for each model and space the most suspicious samples beside their nearest pictures."""
    import matplotlib.pyplot as plt

    models = [one for one in data if one.subject != HELD_OUT]
    figure = plt.figure(figsize=(13.5, 3.0 + 1.15 * len(models)), constrained_layout=True)
    places = figure.add_gridspec(2, 1, height_ratios=[3.0, 1.15 * len(models)])
    above, below = figure.add_subfigure(places[0]), figure.add_subfigure(places[1])
    _draw_ratios(above, data)
    widths = [*([1] * (NEAREST + 1) + [0.25]) * SHOWN][:-1]
    grid = below.subplots(len(models), len(widths), squeeze=False, gridspec_kw={"width_ratios": widths})
    for line, one in zip(grid, models, strict=True):
        for axes in line:
            axes.axis("off")
        for number in range(len(one.samples)):
            _draw_sample(line[number * (NEAREST + 2) :], one, number)
        line[0].text(
            -0.12, 0.5, f"{one.subject}\n{one.space}", fontsize=8, ha="right", va="center", transform=line[0].transAxes
        )
    return figure


def _draw_ratios(part: Any, data: list[Neighbours]) -> None:
    names = [name for name in dict.fromkeys(one.subject for one in data) if name != HELD_OUT]
    for axes, space in zip(part.subplots(1, 2), (FEATURES, PIXELS), strict=True):
        chosen = [one for one in data if one.space == space]
        for one in chosen:
            ordered = one.ratios.sort().values
            share = torch.arange(1, len(ordered) + 1) / len(ordered)
            control = one.subject == HELD_OUT
            colour = INK if control else COLOURS[names.index(one.subject) % len(COLOURS)]
            axes.plot(ordered.numpy(), share.numpy(), "--" if control else "-", color=colour, label=one.subject)
        axes.axvline(1, color=FAINT)
        axes.set(xlim=(0, None), ylim=(0, 1), xlabel="distance to the nearest, over that one's own nearest (copy: 0)")
        axes.set_ylabel("share of samples below")
        axes.set_title(f"In {space}: {chosen[0].searched:,} of {chosen[0].known:,} training pictures", fontsize=9)
        axes.legend(frameon=False, fontsize=8)


def _draw_sample(line: Any, one: Neighbours, number: int) -> None:
    line[0].imshow(one.images[number].permute(1, 2, 0).numpy(), interpolation="nearest")
    line[0].set_title(f"sample, {float(one.ratios[one.samples[number]]):.2f}", fontsize=7.5, color=COLOURS[1])
    for place, image in enumerate(one.nearest[number]):
        axes = line[1 + place]
        axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title("mirrored" if bool(one.mirrored[number, place]) else "real", fontsize=7.5)


FIGURE = Figure(
    name="neighbours",
    title="The most suspicious samples and their nearest training pictures",
    place="A reader's question: does it copy?",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
