"""Figure 4: which frequencies the two encodings of a pixel hold, before training and after.

Fourier features are smooth: their energy lies where their few frequencies are. A coordinate embedding begins as white
noise, which holds all frequencies alike, and is the part that can tell neighbouring pixels apart.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.encodings import EncodingMap, as_it_began, maps_of
from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import lacks_encoding
from cips_lab.metrics.spectra import decibels, power_profiles, windowed_power
from cips_lab.reporting.figures import COLOURS, FAINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

BEGAN, TRAINED = "initialised", "trained"
LEVELS = (-60.0, 30.0)  # dB of the heat maps, the same for all: the paper's colour scale is shared too
PART = 32  # features transformed at once


@dataclass(frozen=True)
class EncodingSpectrum:
    """Of one part of one model at one time.

    Attributes:
        subject, part, moment: whose, which, `BEGAN` or `TRAINED`.
        levels: dB, [4 R, 4 R], the frequency 0 in the middle; 0 dB is white noise of variance 1.
        curve: dB at 0, 1, ..., R / 2 cycles a picture, [R / 2 + 1].
        high: share of the energy above a quarter of the sampling rate, R / 4 cycles a picture.
    """

    subject: str
    part: str
    moment: str
    levels: Tensor
    curve: Tensor
    high: float


def spectrum_of(values: EncodingMap, moment: str) -> EncodingSpectrum:
    """The mean power over features, each less its mean: a constant says nothing about where a pixel is."""
    maps = values.values.double()
    maps = maps - maps.mean((1, 2), keepdim=True)
    power = torch.stack([windowed_power(part).sum(0) for part in maps.split(PART)]).sum(0) / len(maps)
    side = len(power)
    cycles = torch.fft.fftfreq(side, 1 / maps.shape[-1], dtype=torch.float64)  # of the picture's own sampling
    radius = torch.hypot(cycles[:, None], cycles[None, :])
    high = float(power[radius > maps.shape[-1] / 4].sum() / power.sum())
    curve = decibels(power_profiles(power[None])[0])
    return EncodingSpectrum(values.subject, values.part, moment, torch.fft.fftshift(decibels(power)), curve, high)


def compute(study: Study) -> list[EncodingSpectrum]:
    """Every part of every model, as it began (where its file says how) and as it is.

    Raises:
        Unsuitable: no model has an encoding.
    """
    found = []
    for subject in study.suited(lacks_encoding):
        began = as_it_began(subject)
        if began is not None:
            found += [spectrum_of(values, BEGAN) for values in maps_of(subject, began)]
        found += [spectrum_of(values, TRAINED) for values in maps_of(subject, subject.pixelwise.encoding)]
    return found


def rows(data: list[EncodingSpectrum]) -> list[Row]:
    """model, part, moment, radius (cycles a picture), db."""
    return [
        {"model": one.subject, "part": one.part, "moment": one.moment, "radius": radius, "db": float(level)}
        for one in data
        for radius, level in enumerate(one.curve)
    ]


def numbers(data: list[EncodingSpectrum]) -> Row:
    """The share of each encoding's energy above R / 4 cycles a picture."""
    return {"share_above_quarter": {f"{one.subject}, {one.part}, {one.moment}": one.high for one in data}}


def reading(data: list[EncodingSpectrum]) -> str:
    """The shares in words."""
    listed = "; ".join(f"{one.subject}, {one.part}, {one.moment}: {one.high:.1%}" for one in data)
    return f"Share of the energy in the upper half of the frequencies: {listed}. White noise has about 80 %."


def draw(data: list[EncodingSpectrum]) -> "Drawing":
    """A heat map each, the same colours for all, and their curves."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(max(7.2, 2.2 * len(data)), 5.4), constrained_layout=True)
    halves = figure.add_gridspec(2, 1, height_ratios=(2, 2))
    above = halves[0].subgridspec(1, len(data))
    maps = [figure.add_subplot(above[0, i]) for i in range(len(data))]
    for axes, one in zip(maps, data, strict=True):
        half = one.levels.shape[-1] / 8
        image = axes.imshow(one.levels.numpy(), vmin=LEVELS[0], vmax=LEVELS[1], extent=(-half, half, -half, half))
        axes.set_title(f"{one.subject}\n{one.part}\n{one.moment}", fontsize=8.5)
        axes.set_xticks([-half, 0, half])
        axes.set_yticks([-half, 0, half])
    figure.colorbar(image, ax=maps, label="dB")
    lines = figure.add_subplot(halves[1])
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(_name(one) for one in data))}
    for one in data:
        style = ":" if one.moment == BEGAN else "-"
        lines.plot(one.curve.numpy(), style, color=colours[_name(one)], label=f"{_name(one)}, {one.moment}")
    lines.set_xlabel("cycles a picture")
    lines.set_ylabel("dB")
    lines.grid(color=FAINT, linewidth=0.6)
    lines.legend(frameon=False, fontsize=8.5)
    return figure


def _name(one: EncodingSpectrum) -> str:
    return f"{one.subject}, {one.part}"


FIGURE = Figure(
    name="encoding_spectrum",
    title="Spectra of the Fourier features and of the coordinate embeddings",
    place="Figure 4",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
