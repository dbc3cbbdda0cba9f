"""Figure 7: how much of each frequency real pictures and generated ones hold, by both recipes of the field.

The paper finds that CIPS-NE's curve lies nearest to real pictures although its FID is worst; Durall et al. had found
that convolutional generators fail in the highest frequencies.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.picture_spectra import Spectrum, held_out_spectrum, quoted, real_spectrum, subject_spectrum
from cips_lab.analysis.study import Study
from cips_lab.metrics.spectra import PADDING, RECIPES, Profile, closed, slices
from cips_lab.reporting.figures import COLOURS, FAINT, INK, STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.gridspec import SubplotSpec

LEVELS, STEP = (-40, 20), 10  # dB of the heat maps, as StyleGAN3's, and between their contours
SLICE_LEVELS = (-50, 30)  # dB of the slices, as StyleGAN3's
SIGMA = 1.25  # cycles a picture by which the heat maps are smoothed, as StyleGAN3's
IN_A_ROW = 6  # heat maps


@dataclass(frozen=True)
class Spectra:
    """Of sets of equally many pictures.

    Attributes:
        real: of the real pictures.
        models: of each model's samples.
        held_out: of other real pictures, which show how far apart two real sets are; None without any.
    """

    real: Spectrum
    models: list[Spectrum]
    held_out: Spectrum | None

    @property
    def others(self) -> list[Spectrum]:
        """All but the real set."""
        return self.models if self.held_out is None else [*self.models, self.held_out]


def compute(study: Study) -> Spectra:
    """The spectrum of the real pictures and of every subject, from equally many pictures of one size.

    Raises:
        Unsuitable: there are no real pictures to compare with.
    """
    real = real_spectrum(study)
    return Spectra(real, [subject_spectrum(study, subject) for subject in study.subjects], held_out_spectrum(study))


def rows(data: Spectra) -> list[Row]:
    """recipe, curve, set, cycles (a picture), value, deviation (over pictures).

    Curves: ``azimuthal mean`` of both recipes, and of stylegan3 ``0 degrees`` and ``45 degrees``, which have no
    deviation. Values: durall: shares in [0, 1]; stylegan3: dB.
    """
    found: list[Row] = []

    def add(recipe: str, curve: str, label: str, *columns: Tensor | list[None]) -> None:
        for cycles, value, deviation in zip(*columns, strict=True):
            found.append(
                {
                    "recipe": recipe,
                    "curve": curve,
                    "set": label,
                    "cycles": float(cycles),
                    "value": float(value),
                    "deviation": None if deviation is None else float(deviation),
                }
            )

    for recipe in RECIPES:
        for one in (data.real, *data.others):
            profile = one.profile(recipe)
            add(recipe, "azimuthal mean", one.label, profile.radius, profile.mean, profile.std)
    for one in (data.real, *data.others):
        for degrees, (cycles, levels) in slices(one.levels).items():
            add("stylegan3", f"{degrees} degrees", one.label, cycles, levels, [None] * len(levels))
    return found


def numbers(data: Spectra) -> Row:
    """Root mean square distances of each set's azimuthal curves from the real set's, by recipe and set."""
    return {
        "pictures": data.real.durall.pictures,
        "distance": {recipe: {one.label: one.distance(data.real, recipe) for one in data.others} for recipe in RECIPES},
    }


def reading(data: Spectra) -> str:
    """Which model lies nearest to real pictures by either recipe, and how far other real pictures are."""
    told = []
    for recipe in RECIPES:
        ordered = sorted((one.distance(data.real, recipe), one.label) for one in data.models)
        listed = ", ".join(f"{label} {quoted(distance, recipe)}" for distance, label in ordered)
        if data.held_out is not None:
            listed += f" (other real pictures: {quoted(data.held_out.distance(data.real, recipe), recipe)})"
        told.append(f"by {recipe} {listed}")
    order = ", nearest first" if len(data.models) > 1 else ""
    return f"Distance of the azimuthal curve from that of real pictures{order}: {'; '.join(told)}."


# ---------------------------------------------------------------------- drawing


def draw(data: Spectra) -> "Drawing":
    """Heat maps above; below them the curves of both recipes, and what separates each set from the real one."""
    import matplotlib.pyplot as plt

    mapped = [data.real, *data.models]
    lines = -(-len(mapped) // IN_A_ROW)
    figure = plt.figure(figsize=(12, 2.3 * lines + 6.8), constrained_layout=True)
    halves = figure.add_gridspec(2, 1, height_ratios=(2.3 * lines, 6.8))
    _heat_maps(figure, halves[0], mapped, lines)
    panels = halves[1].subgridspec(2, 3)
    durall, stylegan3, difference, across, diagonal, legend = (
        figure.add_subplot(panels[place // 3, place % 3]) for place in range(6)
    )
    for one, style in _styles(data):
        profile = one.stylegan3
        _curve(durall, one.durall, style)
        _curve(stylegan3, profile, style)
        if one is not data.real:
            difference.plot(profile.radius.numpy(), (profile.mean - data.real.stylegan3.mean).numpy(), **style)
        for axes, (cycles, levels) in zip((across, diagonal), slices(one.levels).values(), strict=True):
            axes.plot(cycles.numpy(), levels.numpy(), **style)
    difference.axhline(0, color=INK, linewidth=1)
    _spread(durall, data.real.durall)
    _name(durall, "durall: azimuthal mean", "share of each picture's own range")
    durall.set_xlabel(f"cycles a picture (beyond {round(data.real.stylegan3.radius[-1].item())}: the corners)")
    _name(stylegan3, "stylegan3: azimuthal mean", "power in dB")
    _name(difference, "stylegan3: azimuthal mean less the real one", "difference in dB")
    for axes, degrees in ((across, "0°, to the right"), (diagonal, "45°, along the diagonal")):
        _name(axes, f"stylegan3: slice at {degrees}", "power in dB")
        axes.set_ylim(*SLICE_LEVELS)
    _legend(legend, data)
    figure.supxlabel(
        f"{data.real.durall.pictures} pictures of each set. Grey band: deviation over real pictures. durall: 20 ln |F| "
        "of grey pictures, each brought to [0, 1]. stylegan3: power of pictures whitened as the real set, in a Kaiser "
        "window.",
        fontsize=8,
    )
    return figure


def smoothed(levels: Tensor) -> np.ndarray[Any, Any]:
    """A heat map [4 R + 1, 4 R + 1] as StyleGAN3 draws it: in dB, smoothed by a Gaussian of `SIGMA` cycles."""
    from scipy.ndimage import gaussian_filter

    found: np.ndarray[Any, Any] = gaussian_filter(closed(levels).numpy(), sigma=PADDING * SIGMA, mode="nearest")
    return found


def _heat_maps(figure: "Drawing", place: "SubplotSpec", sets: list[Spectrum], lines: int) -> None:
    grid = place.subgridspec(lines, min(IN_A_ROW, max(4, len(sets))))
    maps = [figure.add_subplot(grid[i // IN_A_ROW, i % IN_A_ROW]) for i in range(len(sets))]
    half = sets[0].levels.shape[-1] / PADDING / 2  # cycles a picture at the edge
    for number, (axes, one) in enumerate(zip(maps, sets, strict=True)):
        levels = smoothed(one.levels)
        edge = half * len(levels) / (len(levels) - 1)  # of the outermost pixels, whose middle is at `half`
        image = axes.imshow(levels, vmin=LEVELS[0], vmax=LEVELS[1], extent=(-edge, edge, edge, -edge))
        steps = np.linspace(-half, half, len(levels))
        contours = range(LEVELS[0], LEVELS[1] + 1, STEP)
        axes.contour(steps, steps, levels, levels=contours, colors="white", linewidths=0.5, linestyles="-", alpha=0.6)
        axes.set_title(one.label)
        axes.set_xticks([-half, 0, half])
        axes.set_yticks([-half, 0, half])
        axes.tick_params(labelsize=8)
        if number % IN_A_ROW == 0:
            axes.set_ylabel("cycles down", fontsize=8.5)
        axes.set_xlabel("cycles to the right", fontsize=8.5)
    figure.colorbar(image, ax=maps, label=f"power in dB,\na contour each {STEP} dB", aspect=12)


def _styles(data: Spectra) -> list[tuple[Spectrum, dict[str, Any]]]:
    """How each set's curves look: real ones in the text's colour, models in order."""
    found: list[tuple[Spectrum, dict[str, Any]]] = [(data.real, {"color": INK, "linewidth": 2.6})]
    for number, one in enumerate(data.models):
        line = STYLES[number // len(COLOURS) % len(STYLES)]
        found.append((one, {"color": COLOURS[number % len(COLOURS)], "linestyle": line, "linewidth": 1.6}))
    if data.held_out is not None:
        found.append((data.held_out, {"color": INK, "linestyle": ":", "linewidth": 1.4}))
    return found


def _curve(axes: "Axes", profile: Profile, style: dict[str, Any]) -> None:
    axes.plot(profile.radius.numpy(), profile.mean.numpy(), **style)


def _spread(axes: "Axes", profile: Profile) -> None:
    low, high = profile.mean - profile.std, profile.mean + profile.std
    axes.fill_between(profile.radius.numpy(), low.numpy(), high.numpy(), color=INK, alpha=0.12, linewidth=0)


def _name(axes: "Axes", title: str, values: str) -> None:
    axes.set_title(title, loc="left")
    axes.set_ylabel(values)
    axes.set_xlabel("cycles a picture")
    axes.locator_params(axis="x", integer=True)
    axes.grid(color=FAINT, linewidth=0.6)


def _legend(axes: "Axes", data: Spectra) -> None:
    from matplotlib.lines import Line2D

    entries = []
    for one, style in _styles(data):
        told = ""
        if one is not data.real:
            told = ": " + ", ".join(quoted(one.distance(data.real, recipe), recipe) for recipe in RECIPES)
        entries.append(Line2D([], [], label=f"{one.label}{told}", **style))
    axes.axis("off")
    axes.legend(
        handles=entries,
        title="Distance from real: durall, stylegan3",
        loc="upper left",
        frameon=False,
        fontsize=9 if len(entries) < 12 else 7,
        alignment="left",
    )


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
