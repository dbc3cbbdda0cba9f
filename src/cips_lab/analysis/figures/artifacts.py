"""Figure 12: the most wave-like samples, where their waves come from, and how many more there are than among real ones.

The paper blames the sine of the Fourier features and the leaky ReLU's cutting of the plane; a reviewer blamed the
missing low-pass filter. Here every model is scored (`metrics.waves`) beside real pictures, and real pictures that were
held out are the control. Errors are of the samples and of the real pictures' threshold, by bootstrap. They know nothing
of another training's luck, for which seeds of a variant are averaged in the numbers.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.picture_spectra import HELD_OUT, REAL
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject
from cips_lab.analysis.wave_scores import Comparison, compare, dithered, scored
from cips_lab.analysis.wave_sources import Source, part_drawn, source_of
from cips_lab.metrics.waves import Waves, block_side
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.render.pictures import quantize
from cips_lab.reporting.figures import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

TRACED = 8  # samples whose waves are traced, the most wave-like
SHOWN = 3  # of these are drawn
NEUTRAL = "#8d939c"


@dataclass(frozen=True)
class Artifacts:
    """Of one model.

    Attributes:
        subject, variant: its label, and the variant that it is a seed of.
        waves: of every sample.
        samples: seeds of the most wave-like, [TRACED].
        images: theirs, uint8 [TRACED, 3, R, R].
        source: None of convolutional models.
    """

    subject: str
    variant: str
    waves: Waves
    samples: Tensor
    images: Tensor
    source: Source | None


@dataclass(frozen=True)
class ArtifactStudy:
    """All models, the control, and real pictures.

    Attributes:
        real, held_out: waves of real pictures; None where none are held out.
    """

    models: list[Artifacts]
    real: Waves
    held_out: Waves | None

    @property
    def sets(self) -> dict[str, Waves]:
        """What is compared with real pictures."""
        control = {} if self.held_out is None else {HELD_OUT: self.held_out}
        return control | {one.subject: one.waves for one in self.models}

    def compared(self) -> Comparison:
        """Shares, ranks and differences; the same at every call."""
        return compare(self.real.score, {name: waves.score for name, waves in self.sets.items()})


@torch.no_grad()
def compute(study: Study) -> ArtifactStudy:
    """Scores of equally many samples of every model, of real and of held-out pictures.

    Raises:
        Unsuitable: there are no real pictures.
    """
    real = scored(study, study.real_pictures(), study.count)
    held_out = None
    if study.held_out is not None:
        count = min(study.count, len(study.held_out))
        held_out = scored(study, study.pictures(study.held_out, count), count)
    return ArtifactStudy([_of(study, subject) for subject in study.subjects], real, held_out)


def _of(study: Study, subject: Subject) -> Artifacts:
    waves = scored(study, study.samples(subject), study.count)
    chosen = waves.score.argsort(descending=True, stable=True)[:TRACED]
    worst = Waves(*(column[chosen].to(study.device) for column in waves))
    w = study.styles(subject, chosen.tolist())
    images = quantize(subject.generator.synthesize_native(w)).cpu()
    generator = subject.generator
    source = source_of(generator, w, worst) if isinstance(generator, CIPSGenerator) else None
    return Artifacts(subject.label, subject.variant, waves, chosen, images, source)


def rows(data: ArtifactStudy) -> list[Row]:
    """set, sample, score (dB), right and down (cycles a picture), left and top (pixels, of the block)."""
    return [
        {
            "set": name,
            "sample": number,
            "score": float(score),
            "right": float(frequency[0]),
            "down": float(frequency[1]),
            "left": int(corner[0]),
            "top": int(corner[1]),
        }
        for name, waves in ({REAL: data.real} | data.sets).items()
        for number, (score, frequency, corner) in enumerate(zip(*waves, strict=True))
    ]


def lengths_of(waves: Waves, limit: float) -> dict[str, int]:
    """Pictures above the threshold by the length of their frequency, cycles a picture rounded."""
    found = waves.frequency[waves.score > limit].norm(dim=1).round().long()
    return {str(length): int((found == length).sum()) for length in sorted(set(found.tolist()))}


def numbers(data: ArtifactStudy) -> Row:
    """For each set the share above real pictures' 95th percentile and its error, frequencies, and where waves arise."""
    found = data.compared()
    sources = {one.subject: one.source for one in data.models}
    models: dict[str, Any] = {}
    for name, waves in data.sets.items():
        models[name] = {
            "share_above": found.shares[name].value,
            "share_above_se": found.shares[name].se,
            "above_real": found.ranks[name].value,
            "above_real_se": found.ranks[name].se,
            "median_db": float(waves.score.median()),
            "share_dithered": dithered(waves, found.threshold, data.models[0].images.shape[-1]),
            "frequency_lengths": lengths_of(waves, found.threshold),
        } | _source_numbers(sources.get(name))
    return {
        "threshold_db": found.threshold,
        "real_median_db": float(data.real.score.median()),
        "models": models,
        "differences": {
            f"{one} - {other}": {"share": difference.value, "se": difference.se}
            for (one, other), difference in found.differences.items()
        },
        "variants": _variants(data, found),
        "worst": {
            one.subject: [
                {"sample": int(i), "score_db": float(one.waves.score[i]), "frequency": one.waves.frequency[i].tolist()}
                for i in one.samples
            ]
            for one in data.models
        },
    }


def _source_numbers(source: Source | None) -> Row:
    if source is None:
        return {}
    energy, contribution = source.energy.mean(0).tolist(), source.contribution.mean(0).tolist()
    return {
        "activation": source.activation,
        "energy_by_output": dict(zip(map(str, source.outputs), energy, strict=True)),
        "contribution_by_output": dict(zip(map(str, source.outputs), contribution, strict=True)),
        "left_where_smoothed": {part: float(left.median()) for part, left in source.left.items()},
        "units_switching_from_pixel_to_pixel": source.turnover,
    }


def _variants(data: ArtifactStudy, found: Comparison) -> Row:
    """Mean and deviation over the seeds of each variant that has several."""
    by_variant: dict[str, list[float]] = {}
    for one in data.models:
        by_variant.setdefault(one.variant, []).append(found.shares[one.subject].value)
    return {
        variant: {
            "seeds": len(shares),
            "share_above": float(torch.tensor(shares).mean()),
            "std": float(torch.tensor(shares).std()),
        }
        for variant, shares in by_variant.items()
        if len(shares) > 1
    }


def reading(data: ArtifactStudy) -> str:
    """How many samples are wave-like, beside real pictures, and what the waves enter through."""
    found = data.compared()
    told = ", ".join(
        f"{name} {share.value:.1%} +- {share.se:.1%}"
        for name, share in sorted(found.shares.items(), key=lambda item: item[1].value)
    )
    sentences = [f"More wave-like than 95 % of real pictures are ({found.threshold:.1f} dB): {told}."]
    side = data.models[0].images.shape[-1]
    fast = ", ".join(f"{name} {dithered(waves, found.threshold, side):.1%}" for name, waves in data.sets.items())
    sentences.append(f"Of all samples these alternate from pixel to pixel: {fast}.")
    traced = [
        f"{one.subject} " + ", ".join(f"{float(left.median()):.0%} ({part})" for part, left in one.source.left.items())
        for one in data.models
        if one.source is not None
    ]
    if traced:
        sentences.append(
            "What is left of the worst samples' waves where an input is smoothed, which leaves 10 % of what passes "
            f"straight through: {'; '.join(traced)}."
        )
    return " ".join(sentences)


# ---------------------------------------------------------------- drawing


def draw(data: ArtifactStudy) -> "Drawing":
    """The scores of all; then for each model its worst samples, their sources, and the cuts under the first."""
    import matplotlib.pyplot as plt

    columns, lines = SHOWN + 5, len(data.models)
    top = max(2.9, 0.24 * (lines + 3))  # a bar and its name need their height
    figure = plt.figure(figsize=(1.75 * columns, top + 0.2 + 2.15 * lines), constrained_layout=True)
    grid = figure.add_gridspec(lines + 1, 1, height_ratios=[top, *[2.15] * lines])
    found = data.compared()
    _draw_scores(figure.add_subfigure(grid[0]), data, found)
    for number, one in enumerate(data.models):
        _draw_model(figure.add_subfigure(grid[number + 1]), one)
    return figure


def _colours(data: ArtifactStudy) -> dict[str, str]:
    names = [one.subject for one in data.models]
    return {HELD_OUT: NEUTRAL} | {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def _draw_scores(part: Any, data: ArtifactStudy, found: Comparison) -> None:
    curve, bars, lengths = part.subplots(1, 3, gridspec_kw={"width_ratios": [1.25, 1, 1]})
    colours = _colours(data)
    for name, waves in ({REAL: data.real} | data.sets).items():
        ordered = waves.score.sort(descending=True).values
        share = torch.arange(1, len(ordered) + 1) / len(ordered)
        style = "--" if name in (REAL, HELD_OUT) else "-"
        curve.plot(ordered.numpy(), share.numpy(), style, color=colours.get(name, INK), label=name, linewidth=1.4)
    curve.axvline(found.threshold, color=FAINT)
    curve.set(xlabel="wave score, dB", ylabel="share of pictures above", yscale="log")
    curve.set_title("Scores (grey line: 95 % of real pictures)", fontsize=9)
    curve.set_xlim(left=0)
    entries = None if len(colours) <= len(COLOURS) else curve.lines[:2]  # of many models the bars tell the colours
    curve.legend(handles=entries, frameon=False, fontsize=7.5, loc="lower left")
    names = list(found.shares)[::-1]
    bars.barh(
        names,
        [100 * found.shares[name].value for name in names],
        xerr=[100 * found.shares[name].se for name in names],
        color=[colours[name] for name in names],
        ecolor=INK,
    )
    bars.axvline(5, color=INK, linestyle="--", linewidth=0.8)
    bars.set_xlabel("% of samples, bar: 1 standard error")
    bars.set_title("Above the threshold (dashed: real, 5 %)", fontsize=9)
    bars.tick_params(labelsize=8)
    for name, waves in data.sets.items():
        shares = {int(k): v / len(waves.score) for k, v in lengths_of(waves, found.threshold).items()}
        lengths.plot(list(shares), [100 * v for v in shares.values()], ".-", color=colours[name], linewidth=1)
    lengths.set(xlabel="frequency, cycles a picture", ylabel="% of samples")
    lengths.set_title("Frequencies of those above", fontsize=9)


def _draw_model(part: Any, one: Artifacts) -> None:
    axes = part.subplots(1, SHOWN + 5)
    part.suptitle(one.subject, fontsize=10, fontweight="bold", x=0.01, ha="left")
    resolution = one.images.shape[-1]
    for place in range(SHOWN):
        if place < len(one.samples):
            _draw_sample(axes[place], one, place)
        else:
            axes[place].axis("off")
    outputs, left, *cuts = axes[SHOWN:]
    if one.source is None:
        for empty in axes[SHOWN:]:
            empty.axis("off")
        outputs.text(0, 0.5, "convolutional: neither inputs nor\noutputs of single pixels to trace", fontsize=8)
        return
    _draw_source(outputs, left, one.source)
    if not one.source.layers:
        for empty in cuts:
            empty.axis("off")
        cuts[0].text(0, 0.5, f"{one.source.activation} has no kinks:\nit cuts no regions", fontsize=8)
    for axis, layer, changes in zip(cuts, one.source.layers, one.source.cuts, strict=False):
        axis.imshow(changes.clamp(max=2).numpy(), cmap="Greys", interpolation="antialiased")
        axis.set_title(f"cuts of layer {layer}\nin the blue box", fontsize=8)
        axis.set_xlabel(f"{one.source.turnover[layer - 1]:.0%} of units switch\nfrom pixel to pixel", fontsize=7.5)
        _bare(axis)
    if one.source.layers:
        x, y, side = part_drawn(resolution, one.waves.corner[one.samples[0]].tolist())
        axes[0].add_patch(_box(x, y, side, COLOURS[5]))


def _draw_sample(axes: "Axes", one: Artifacts, place: int) -> None:
    sample = one.samples[place]
    axes.imshow(one.images[place].permute(1, 2, 0).numpy(), interpolation="nearest")
    x, y = one.waves.corner[sample].tolist()
    axes.add_patch(_box(x, y, block_side(one.images.shape[-1]), COLOURS[1]))
    right, down = one.waves.frequency[sample].tolist()
    axes.set_title(f"{float(one.waves.score[sample]):.1f} dB, seed {int(sample)}", fontsize=8)
    axes.set_xlabel(f"({right:.1f}, {down:.1f}) cycles", fontsize=7.5)
    _bare(axes)


def _draw_source(outputs: "Axes", left: "Axes", source: Source) -> None:
    places = range(len(source.outputs))
    outputs.bar(places, source.energy.mean(0).numpy(), color=COLOURS[0])
    outputs.plot(places, source.contribution.mean(0).numpy(), "o", color=COLOURS[1], markersize=4)
    outputs.axhline(0, color=FAINT, linewidth=0.8)
    outputs.set_xticks(list(places), [str(output) for output in source.outputs])
    outputs.set_title("outputs: energy (bars),\nsigned part (dots)", fontsize=8)
    names = list(source.left)
    left.barh(names, [float(source.left[name].median()) for name in names], color=COLOURS[2])
    left.set_yticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
    left.axvline(0.1, color=INK, linestyle="--", linewidth=0.8)
    left.axvline(1, color=FAINT, linewidth=0.8)
    left.set_title("left of the wave,\ninput smoothed", fontsize=8)
    for axes in (outputs, left):
        axes.tick_params(labelsize=7)


def _box(left: float, top: float, side: float, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor=colour, linewidth=1.4)


def _bare(axes: "Axes") -> None:
    axes.set_xticks([])
    axes.set_yticks([])


FIGURE = Figure(
    name="artifacts",
    title="Wave-like artifacts, how many there are and where they come from",
    place="Figure 12",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
