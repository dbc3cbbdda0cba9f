"""Figure 7: how much of each frequency real pictures and generated ones hold, by both recipes of the field.

The paper finds that CIPS-NE's curve lies nearest to real pictures although its FID is worst; Durall et al. had found
that convolutional generators fail in the highest frequencies.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.metrics.spectra import (
    DurallSpectrum,
    PowerSpectrum,
    Profile,
    mean_and_deviation,
    profile_distance,
    slices,
    sums_of,
)
from cips_lab.processes.collectives import total
from cips_lab.reporting.figures import COLOURS, FAINT, STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

REAL = "real"
LEVELS = (-40.0, 20.0)  # dB of the heat maps, as StyleGAN3's
SIGMA = 1.25  # places of the padded spectrum by which the heat maps are smoothed, as StyleGAN3's


@dataclass(frozen=True)
class Spectrum:
    """Of one set of pictures.

    Attributes:
        label: of the set.
        durall: share in [0, 1] over cycles a picture.
        power: dB over cycles a picture; 0 dB is white noise of the real set's deviation.
        levels: dB, float64 [4 R, 4 R], the frequency 0 in the middle.
    """

    label: str
    durall: Profile
    power: Profile
    levels: Tensor


@dataclass(frozen=True)
class Spectra:
    """The real set first."""

    sets: list[Spectrum]


def spectrum_of(label: str, batches: Iterable[Tensor], mean: float, std: float) -> Spectrum:
    """Both recipes in one pass; `mean` and `std` of the real set's values in [0, 255] whiten."""
    shape, level = DurallSpectrum(), PowerSpectrum(mean, std)
    for images in batches:
        shape.update(images)
        level.update(images)
    levels, power = level.compute()
    return Spectrum(label, shape.compute(), power, levels)


def compute(study: Study) -> Spectra:
    """The spectrum of the real pictures and of every subject, from equally many pictures of one size.

    Raises:
        Unsuitable: there are no real pictures to compare with.
    """
    study.with_real_pictures()
    mean, std = mean_and_deviation(total(reduce(torch.add, map(sums_of, study.real_pictures()))))
    real = spectrum_of(REAL, study.real_pictures(), mean, std)
    return Spectra([real, *(spectrum_of(one.label, study.samples(one), mean, std) for one in study.subjects)])


def rows(data: Spectra) -> list[Row]:
    """recipe, set, radius (cycles a picture), mean and std (durall: shares in [0, 1]; stylegan3: dB)."""
    return [
        {"recipe": recipe, "set": one.label, "radius": float(radius), "mean": float(mean), "std": float(std)}
        for recipe in ("durall", "stylegan3")
        for one in data.sets
        for profile in [one.durall if recipe == "durall" else one.power]
        for radius, mean, std in zip(profile.radius, profile.mean, profile.std, strict=True)
    ]


def numbers(data: Spectra) -> Row:
    """Distances of each set's curves from the real set's, and the stylegan3 slices."""
    real = data.sets[0]
    return {
        "pictures": real.power.pictures,
        "distance_db": {one.label: profile_distance(one.power, real.power) for one in data.sets[1:]},
        "distance_durall": {one.label: profile_distance(one.durall, real.durall) for one in data.sets[1:]},
        "slices_db": {
            one.label: {
                str(degrees): {"cycles": cycles.tolist(), "db": levels.tolist()}
                for degrees, (cycles, levels) in slices(one.levels).items()
            }
            for one in data.sets
        },
    }


def reading(data: Spectra) -> str:
    """Which set lies nearest to the real one by either recipe."""
    found = numbers(data)
    listed = ", ".join(f"{label} {value:.2f} dB" for label, value in sorted(found["distance_db"].items(), key=_value))
    shapes = ", ".join(f"{label} {value:.3f}" for label, value in sorted(found["distance_durall"].items(), key=_value))
    return (
        f"Distance of the log spectra from that of {found['pictures']} real pictures: {listed}. "
        f"Of the normalised curves of Durall et al.: {shapes}."
    )


def draw(data: Spectra) -> "Drawing":
    """A row of heat maps, and below it the curves of both recipes with their spread over pictures."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(max(7.2, 1.9 * len(data.sets)), 5.6), constrained_layout=True)
    halves = figure.add_gridspec(2, 1, height_ratios=(2, 3))
    above, below = halves[0].subgridspec(1, len(data.sets)), halves[1].subgridspec(1, 2)
    maps = [figure.add_subplot(above[0, i]) for i in range(len(data.sets))]
    for axes, one in zip(maps, data.sets, strict=True):
        half = one.levels.shape[-1] / 8  # cycles a picture at the edge
        image = axes.imshow(
            smoothed(one.levels), vmin=LEVELS[0], vmax=LEVELS[1], cmap="viridis", extent=(-half, half, -half, half)
        )
        axes.set_title(one.label)
        axes.set_xticks([-half, 0, half])
        axes.set_yticks([-half, 0, half])
    figure.colorbar(image, ax=maps, label="dB", shrink=0.8)
    left, right = figure.add_subplot(below[0, 0]), figure.add_subplot(below[0, 1])
    for number, one in enumerate(data.sets):
        _curve(left, one.durall, one.label, number)
        _curve(right, one.power, one.label, number)
    left.set_ylabel("share of the curve's own range")
    left.set_title("durall: 20 ln |F| of grey pictures, each to [0, 1]")
    right.set_ylabel("dB")
    right.set_title("stylegan3: power of whitened, windowed pictures")
    for axes in (left, right):
        axes.set_xlabel("cycles a picture")
        axes.grid(color=FAINT, linewidth=0.6)
    right.legend(frameon=False, fontsize=8.5)
    return figure


def smoothed(levels: Tensor) -> np.ndarray[Any, Any]:
    """A heat map smoothed over `SIGMA` places; the spectrum goes on at its edges."""
    reach = torch.fft.fftfreq(levels.shape[-1], dtype=torch.float64)
    response = torch.exp(-2 * (torch.pi * SIGMA * reach) ** 2)  # of a Gaussian
    blurred = torch.fft.ifft2(torch.fft.fft2(levels) * response[:, None] * response[None, :]).real
    return blurred.numpy()


def _curve(axes: "Axes", profile: Profile, label: str, number: int) -> None:
    x, y, spread = (part.numpy() for part in profile[:3])
    style = {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number // len(COLOURS) % len(STYLES)]}
    axes.plot(x, y, linewidth=2.4 if number == 0 else 1.6, label=label, **style)
    axes.fill_between(x, y - spread, y + spread, color=style["color"], alpha=0.08, linewidth=0)


def _value(entry: tuple[str, float]) -> float:
    return entry[1]


FIGURE = Figure(
    name="spectrum",
    title="Magnitude spectra of real and generated pictures",
    place="Figure 7",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
