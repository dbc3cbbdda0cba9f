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
from cips_lab.metrics.collect import home_of
from cips_lab.metrics.spectra import AT_ONCE, PADDING, closed, decibels, power_profiles, windowed_power
from cips_lab.reporting.figures import COLOURS, FAINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

BEGAN, TRAINED = "initialised", "trained"
LEVELS = (-60.0, 30.0)  # dB of the heat maps, the same for all: the paper's colour scale is shared too


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
    maps = values.values
    side = maps.shape[-1]
    power = torch.zeros(PADDING * side, PADDING * side, dtype=torch.float64, device=home_of(maps.device))
    for part in maps.split(max(1, AT_ONCE // side**2)):
        features = part.to(power)
        power += windowed_power(features - features.mean((1, 2), keepdim=True)).sum(0)
    power = power.cpu() / len(maps)
    cycles = torch.fft.fftfreq(PADDING * side, 1 / side, dtype=torch.float64)
    radius = torch.hypot(cycles[:, None], cycles[None, :])
    high = float(power[radius > side / 4].sum() / power.sum())
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
            found += [spectrum_of(values, BEGAN) for values in maps_of(subject, began.to(study.device))]
        found += [spectrum_of(values, TRAINED) for values in maps_of(subject, subject.pixelwise.encoding)]
    return found


def rows(data: list[EncodingSpectrum]) -> list[Row]:
    """model, part, moment, cycles (a picture), db."""
    return [
        {"model": one.subject, "part": one.part, "moment": one.moment, "cycles": cycles, "db": float(level)}
        for one in data
        for cycles, level in enumerate(one.curve)
    ]


def numbers(data: list[EncodingSpectrum]) -> Row:
    """model -> part -> moment -> the share of the energy above R / 4 cycles a picture."""
    found: Row = {}
    for one in data:
        found.setdefault(one.subject, {}).setdefault(one.part, {})[one.moment] = one.high
    return {"share_above_quarter_of_sampling_rate": found}


def reading(data: list[EncodingSpectrum]) -> str:
    """How much of each part's energy lies in high frequencies, and lay there before training."""
    told = []
    for subject, parts in numbers(data)["share_above_quarter_of_sampling_rate"].items():
        listed = ", ".join(
            f"{part} {shares[TRAINED]:.1%}" + (f" ({BEGAN}: {shares[BEGAN]:.1%})" if BEGAN in shares else "")
            for part, shares in parts.items()
        )
        told.append(f"{subject}: {listed}")
    return f"Energy above a quarter of the sampling rate, of which white noise has 80%; {'; '.join(told)}."


def draw(data: list[EncodingSpectrum]) -> "Drawing":
    """A row for each model: heat maps of its parts at both times, all in the same colours, and their curves."""
    import matplotlib.pyplot as plt

    models = list(dict.fromkeys(one.subject for one in data))
    parts = list(dict.fromkeys(one.part for one in data))
    known = {(one.part, one.moment) for one in data}
    columns = [(part, moment) for part in parts for moment in (BEGAN, TRAINED) if (part, moment) in known]
    figure = plt.figure(figsize=(1.95 * len(columns) + 5.4, 2.5 * len(models) + 0.4), constrained_layout=True)
    grid = figure.add_gridspec(len(models), len(columns) + 1, width_ratios=[*[1.95] * len(columns), 4])
    maps: list[Axes] = []
    labelled: set[str] = set()
    for one in sorted(data, key=lambda one: columns.index((one.part, one.moment))):
        maps.append(figure.add_subplot(grid[models.index(one.subject), columns.index((one.part, one.moment))]))
        _heat_map(maps[-1], one)
        if one.subject not in labelled:
            maps[-1].set_ylabel(one.subject)
            labelled.add(one.subject)
    figure.colorbar(maps[0].images[0], ax=maps, label="power in dB", aspect=12 * len(models), location="left")
    for line, model in enumerate(models):
        _curves(figure.add_subplot(grid[line, len(columns)]), [one for one in data if one.subject == model], parts)
    return figure


def _heat_map(axes: "Axes", one: EncodingSpectrum) -> None:
    levels = closed(one.levels).numpy()
    half = one.levels.shape[-1] / PADDING / 2
    edge = half * len(levels) / (len(levels) - 1)
    axes.imshow(levels, vmin=LEVELS[0], vmax=LEVELS[1], extent=(-edge, edge, edge, -edge))
    axes.set_title(f"{one.part}\n{one.moment}", fontsize=9)
    axes.set_xticks([-half, 0, half])
    axes.set_yticks([-half, 0, half])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("cycles a picture", fontsize=8.5)


def _curves(axes: "Axes", data: list[EncodingSpectrum], parts: list[str]) -> None:
    for one in data:
        colour, line = COLOURS[parts.index(one.part)], ":" if one.moment == BEGAN else "-"
        label = one.part if one.moment == TRAINED else None
        axes.plot(one.curve.numpy(), color=colour, linestyle=line, label=label)
    began = f" (dotted: {BEGAN})" if any(one.moment == BEGAN for one in data) else ""
    axes.set_title(f"{data[0].subject}: azimuthal mean{began}", loc="left", fontsize=9)
    axes.set_ylim(LEVELS[0] - 30, LEVELS[1] + 20)  # with room for the legend
    axes.set_xlabel("cycles a picture")
    axes.set_ylabel("dB")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)


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
