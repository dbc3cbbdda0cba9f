"""Is the variant whose spectrum is nearest to real pictures also nearest in its features? What a part does to both.

The paper's readers were left with it: in Figure 7 CIPS-NE's spectrum lies nearest, and its FID is the worst.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.picture_spectra import (
    HELD_OUT,
    distances,
    held_out_spectrum,
    quoted,
    real_spectrum,
    subject_spectrum,
)
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Unsuitable
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.spectra import RECIPES
from cips_lab.reporting.figures import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

# What a component is called -> a variant that has it, and the same without.
COMPONENTS = {
    "coordinate embedding": ("cips_base", "cips_ne"),
    "Fourier features": ("cips_base", "cips_no_fourier"),
    "RGB after every pair (skip)": ("cips", "cips_base"),
    "residual connections": ("cips_residual", "cips_base"),
    "sine for leaky ReLU": ("cips_sine", "cips_base"),
    "SiLU for leaky ReLU": ("cips_silu", "cips"),
    "low-pass on the embedding": ("cips_lowpass", "cips"),
}
FEATURES = "features"
MEASURES = (*RECIPES, FEATURES)
AXES = {
    "durall": "spectrum distance (durall, share)",
    "stylegan3": "spectrum distance (stylegan3, dB)",
    FEATURES: "Frechet feature distance",
}
MARKERS = "osD^vP*"  # fewer than colours, so that the ninth variant has another pair
ENOUGH = 4  # variants for a rank correlation


@dataclass(frozen=True)
class Distances:
    """Distances of one set of pictures from the real one: measure -> value; see `AXES` for their units."""

    label: str
    values: dict[str, float]


@dataclass(frozen=True)
class Variant:
    """Models that differ in their seed only.

    Attributes:
        name: of the variant.
        models: at least one.
    """

    name: str
    models: list[Distances]

    def mean(self, measure: str) -> float:
        """Over seeds."""
        return float(np.mean([model.values[measure] for model in self.models]))

    def deviation(self, measure: str) -> float | None:
        """The standard deviation over seeds (n - 1); None of one."""
        values = [model.values[measure] for model in self.models]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True)
class Effect:
    """What adding a component does: the variant that has it less the one that lacks it.

    Attributes:
        component, present, absent: its name and those of the variants.
        change: measure -> difference of the means; negative is nearer to real pictures.
        deviation: measure -> that of the difference of two runs; None where a variant has one seed.
    """

    component: str
    present: str
    absent: str
    change: dict[str, float]
    deviation: dict[str, float | None]


@dataclass(frozen=True)
class Ablation:
    """Every variant; and other real pictures, which show what distance is none, where there are as many."""

    variants: list[Variant]
    held_out: Distances | None
    pictures: int

    @property
    def effects(self) -> list[Effect]:
        """Of every component whose two variants are there."""
        known = {variant.name: variant for variant in self.variants}
        return [
            _effect(component, known[present], known[absent])
            for component, (present, absent) in COMPONENTS.items()
            if present in known and absent in known
        ]

    def nearest(self, measure: str) -> Variant:
        """The variant of the smallest mean distance."""
        return min(self.variants, key=lambda variant: variant.mean(measure))

    def rank_correlation(self, recipe: str) -> float | None:
        """Spearman's, of the variants' spectrum and feature distances; None of fewer than `ENOUGH`."""
        if len(self.variants) < ENOUGH:
            return None
        return spearman(*([variant.mean(measure) for variant in self.variants] for measure in (recipe, FEATURES)))


def _effect(component: str, present: Variant, absent: Variant) -> Effect:
    change, deviation = {}, {}
    for measure in MEASURES:
        change[measure] = present.mean(measure) - absent.mean(measure)
        one, other = present.deviation(measure), absent.deviation(measure)
        deviation[measure] = None if one is None or other is None else float(np.hypot(one, other))
    return Effect(component, present.name, absent.name, change, deviation)


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """The correlation of ranks, equal values sharing theirs; 0 where all values of one are equal."""
    ranks = []
    for values in (np.asarray(first), np.asarray(second)):
        below, equal = values[None] < values[:, None], values[None] == values[:, None]
        ranks.append(below.sum(1) + equal.sum(1) / 2)
    centred = [rank - rank.mean() for rank in ranks]
    size = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum()) / size if size > 0 else 0.0


def compute(study: Study) -> Ablation:
    """Both distances of every subject from as many real pictures.

    Raises:
        Unsuitable: there are no real pictures, or but one variant.
    """
    study.with_real_pictures()
    groups: dict[str, list[int]] = {}
    for number, subject in enumerate(study.subjects):
        groups.setdefault(subject.variant or subject.label, []).append(number)
    for name, members in list(groups.items()):
        seeds = [study.subjects[number].seed for number in members]
        if len(members) > 1 and (None in seeds or len(set(seeds)) < len(seeds)):  # moments of a run, not seeds
            del groups[name]
            groups.update({study.subjects[number].label: [number] for number in members})
    if len(groups) < 2:
        raise Unsuitable(f"it compares variants, and there is only {next(iter(groups))}: give others with ckpts=[...]")
    real = real_spectrum(study)

    def measured(number: int) -> Distances:
        subject = study.subjects[number]
        features = frechet_distance(study.gaussian_of(subject), study.real_gaussian)
        return Distances(subject.label, {**distances(subject_spectrum(study, subject), real), FEATURES: features})

    variants = [Variant(name, [measured(number) for number in members]) for name, members in groups.items()]
    return Ablation(variants, _held_out(study), study.count)


def _held_out(study: Study) -> Distances | None:
    if study.held_out is None or len(study.held_out) < study.count:  # fewer pictures have a larger distance
        return None
    pictures, spectrum = study.held_out, held_out_spectrum(study)
    assert spectrum is not None
    seen = study.once(("gaussian of", HELD_OUT), lambda: study.gaussian(study.pictures(pictures, study.count)))
    features = frechet_distance(seen, study.real_gaussian)
    return Distances(HELD_OUT, {**distances(spectrum, real_spectrum(study)), FEATURES: features})


# ---------------------------------------------------------------------- what is told


def rows(data: Ablation) -> list[Row]:
    """kind (model, variant, component, real), name, seeds, and each measure with its deviation over seeds."""

    def row(kind: str, name: str, seeds: int | None, value: Callable[[str], float], std: Callable[[str], Any]) -> Row:
        columns: Row = {"kind": kind, "name": name, "seeds": seeds}
        for measure in MEASURES:
            columns |= {measure: value(measure), f"{measure}_deviation": std(measure)}
        return columns

    models = [model for variant in data.variants for model in variant.models]
    others = [] if data.held_out is None else [data.held_out]
    return [
        *(row("variant", one.name, len(one.models), one.mean, one.deviation) for one in data.variants),
        *(row("component", one.component, None, one.change.__getitem__, one.deviation.get) for one in data.effects),
        *(row("model", one.label, 1, one.values.__getitem__, lambda measure: None) for one in models),
        *(row("real", one.label, None, one.values.__getitem__, lambda measure: None) for one in others),
    ]


def numbers(data: Ablation) -> Row:
    """Means and deviations by variant, effects by component, and the rank correlations."""
    return {
        "pictures": data.pictures,
        "variants": {
            one.name: {
                "seeds": len(one.models),
                **{measure: {"mean": one.mean(measure), "std": one.deviation(measure)} for measure in MEASURES},
            }
            for one in data.variants
        },
        "held_out": None if data.held_out is None else data.held_out.values,
        "components": {
            one.component: {
                "with": one.present,
                "without": one.absent,
                **{m: {"change": one.change[m], "std": one.deviation[m]} for m in MEASURES},
            }
            for one in data.effects
        },
        "nearest": {measure: data.nearest(measure).name for measure in MEASURES},
        "rank_correlation": {recipe: data.rank_correlation(recipe) for recipe in RECIPES},
    }


def reading(data: Ablation) -> str:
    """Whether the nearest spectrum has the smallest feature distance, and how the two orders agree."""
    best = data.nearest(FEATURES)
    told = []
    for recipe in RECIPES:
        one = data.nearest(recipe)
        same = "the same" if one is best else f"{one.name} ({one.mean(FEATURES):.3g})"
        told.append(f"by {recipe} {same}, {quoted(one.mean(recipe), recipe)} from real")
    found = f"Smallest feature distance: {best.name} ({best.mean(FEATURES):.3g}). Nearest spectrum: {'; '.join(told)}."
    correlations = {recipe: data.rank_correlation(recipe) for recipe in RECIPES}
    listed = ", ".join(f"{recipe} {value:+.2f}" for recipe, value in correlations.items() if value is not None)
    if listed:
        found += f" Rank correlation of the two distances over {len(data.variants)} variants: {listed}."
    return found


# ---------------------------------------------------------------------- drawing


def draw(data: Ablation) -> "Drawing":
    """Feature distance over spectrum distance by both recipes; below, what each component changes."""
    import matplotlib.pyplot as plt

    effects = data.effects
    below = 0.7 + 0.42 * len(effects) if effects else 0.0
    figure = plt.figure(figsize=(11, 4.2 + below), constrained_layout=True)
    halves = figure.add_gridspec(2 if effects else 1, 1, height_ratios=(4.2, below) if effects else (1,))
    above = halves[0].subgridspec(1, 3, width_ratios=(4, 4, 2.2))
    for place, recipe in enumerate(RECIPES):
        _scatter(figure.add_subplot(above[0, place]), data, recipe)
    _legend(figure.add_subplot(above[0, 2]), data)
    if effects:
        panels = halves[1].subgridspec(1, len(MEASURES))
        for place, measure in enumerate(MEASURES):
            _effects(figure.add_subplot(panels[0, place]), effects, measure, named=place == 0)
    return figure


def _look(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)], "linestyle": "none"}


def _scatter(axes: "Axes", data: Ablation, recipe: str) -> None:
    for number, variant in enumerate(data.variants):
        look = _look(number)
        for model in variant.models if len(variant.models) > 1 else []:
            axes.plot(model.values[recipe], model.values[FEATURES], **look, markersize=4, alpha=0.45)
        axes.errorbar(
            variant.mean(recipe),
            variant.mean(FEATURES),
            xerr=variant.deviation(recipe),
            yerr=variant.deviation(FEATURES),
            **look,
            markersize=9,
            capsize=3,
        )
    if data.held_out is not None:
        axes.plot(data.held_out.values[recipe], data.held_out.values[FEATURES], color=INK, marker="+", markersize=11)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(AXES[recipe])
    axes.set_ylabel(AXES[FEATURES])
    correlation = data.rank_correlation(recipe)
    told = "" if correlation is None else f": rank correlation {correlation:+.2f}"
    axes.set_title(f"{recipe}{told}", loc="left")
    axes.grid(color=FAINT, linewidth=0.6)


def _legend(axes: "Axes", data: Ablation) -> None:
    from matplotlib.lines import Line2D

    entries = []
    for number, variant in enumerate(data.variants):
        seeds = f" ({len(variant.models)} seeds)" if len(variant.models) > 1 else ""
        entries.append(Line2D([], [], label=f"{variant.name}{seeds}", markersize=8, **_look(number)))
    if data.held_out is not None:
        label = "other real pictures"
        entries.append(Line2D([], [], color=INK, marker="+", markersize=10, linestyle="none", label=label))
    axes.axis("off")
    title = f"{data.pictures} pictures of each;\nnearer to 0 is nearer to real"
    axes.legend(handles=entries, loc="upper left", frameon=False, fontsize=9, title=title, alignment="left")


def _effects(axes: "Axes", effects: list[Effect], measure: str, named: bool) -> None:
    places = range(len(effects))
    errors = [effect.deviation[measure] or 0.0 for effect in effects]
    changes = [effect.change[measure] for effect in effects]
    colours = [COLOURS[2] if change < 0 else COLOURS[1] for change in changes]
    shown = [error if error else np.nan for error in errors]
    axes.barh(list(places), changes, xerr=shown, color=colours, height=0.6, ecolor=INK, capsize=3)
    axes.axvline(0, color=INK, linewidth=1)
    names = [f"{effect.component}\n{effect.present} less {effect.absent}" for effect in effects]
    axes.set_yticks(list(places), names if named else [""] * len(effects), fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlabel(f"change of {AXES[measure]}", fontsize=8.5)
    axes.margins(x=0.15)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    if named:
        axes.set_title("What adding a component changes: left (green) is nearer to real pictures", loc="left")


FIGURE = Figure(
    name="spectrum_ablation",
    title="Spectrum distance beside feature distance, variant by variant",
    place="Figure 7: a reader's question",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
