"""Figure 12: the most wave-like samples, which frequency and which layer the waves come from, and a score for all.

The paper blames the sine of the Fourier features and the leaky ReLU's cutting of the plane; a reviewer blamed the
missing low-pass filter. The score, with real pictures as the control, lets models with other activations, frequencies
and outputs be compared instead.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.figures.layers import terms_of
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject
from cips_lab.metrics.spectra import windowed_power
from cips_lab.metrics.waves import Waves, threshold, waves_of
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.modulated import run_layer
from cips_lab.reporting.figures import COLOURS, FAINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SHOWN = 4  # samples, the most wave-like first
FINE = 4  # pixels of the partition for each native one, a side
REAL = "real"


@dataclass(frozen=True)
class Artifacts:
    """Of one model.

    Attributes:
        subject: its label.
        scores: dB of every sample, [N].
        share: of samples above the real pictures' threshold; real ones have 0.05 by its definition.
        samples: seeds of the most wave-like, [SHOWN].
        frequencies: theirs, cycles a picture (right, down), [SHOWN, 2].
        images: theirs, uint8 [SHOWN, 3, R, R].
        outputs: after which pair of layers RGB is read.
        layer_share: share of the power at that frequency that each output contributes, [SHOWN, L]; powers of the terms
            themselves, which may cancel in the sum. Empty of convolutional models.
        cuts: of the first sample: how many units of each layer change sign between neighbouring places of a fine grid,
            [layers, F R, F R]; empty where the activation is not piecewise linear.
    """

    subject: str
    scores: Tensor
    share: float
    samples: Tensor
    frequencies: Tensor
    images: Tensor
    outputs: list[int]
    layer_share: Tensor
    cuts: Tensor


@dataclass(frozen=True)
class ArtifactStudy:
    """All models, and the control.

    Attributes:
        models: see `Artifacts`.
        real_scores: dB of real pictures, [N]; threshold: their 95th percentile.
    """

    models: list[Artifacts]
    real_scores: Tensor
    threshold: float


@torch.no_grad()
def compute(study: Study) -> ArtifactStudy:
    """Scores of equally many samples of every model and of real pictures.

    Raises:
        Unsuitable: there are no real pictures.
    """
    real = study.everything(study.real_pictures())
    real_scores = torch.cat([waves_of(part).score for part in real.split(study.batch)])
    limit = threshold(real_scores)
    return ArtifactStudy([_of(study, subject, limit) for subject in study.subjects], real_scores, limit)


def _of(study: Study, subject: Subject, limit: float) -> Artifacts:
    pictures = study.everything(study.samples(subject))
    parts = [waves_of(part) for part in pictures.split(study.batch)]
    waves = Waves(*(torch.cat(column) for column in zip(*parts, strict=True)))
    shown = waves.score.argsort(descending=True)[:SHOWN]
    generator, w = subject.generator, study.styles(subject, tuple(shown.tolist()))
    outputs: list[int] = []
    shares, cuts = torch.empty(len(shown), 0), torch.empty(0)
    if isinstance(generator, CIPSGenerator):
        outputs, terms = terms_of(generator, w)
        shares = power_at(terms.cpu(), waves.frequency[shown])
        if generator.activation == "lrelu":
            cuts = cuts_of(generator, w[:1]).cpu()
    return Artifacts(
        subject.label,
        waves.score,
        float((waves.score > limit).float().mean()),
        shown,
        waves.frequency[shown],
        pictures[shown],
        outputs,
        shares,
        cuts,
    )


def power_at(terms: Tensor, frequencies: Tensor) -> Tensor:
    """Each output's share of the terms' power at one frequency a picture: [L, B, 3, R, R], [B, 2] -> [B, L]."""
    power = windowed_power(terms).mean(2)  # [L, B, 4 R, 4 R]
    column, row = ((4 * frequencies).round().long() % power.shape[-1]).unbind(1)
    found = power[:, torch.arange(len(column)), row, column].T
    return (found / found.sum(1, keepdim=True)).float()


@torch.no_grad()
def cuts_of(generator: CIPSGenerator, w: Tensor, fine: int = FINE) -> Tensor:
    """Where the leaky ReLUs of each layer cut the plane, for one style [1, w_dim]: [layers, F R, F R].

    Within a piece of the plane that no cut crosses, a layer is linear in its inputs. A unit's sign is its output's, for
    a leaky ReLU keeps it.
    """
    side = generator.resolution * fine
    coords = image_grid(side, side, device=w.device).view(-1, 2)
    program = generator.program(w)
    layers = [program.first, *(layer for block in program.blocks for layer in (block.first, block.second))]
    maps, x = [], generator.encoding(coords)
    for index, layer in enumerate(layers):
        x = run_layer(layer, x, generator.activation, None, 0, index)
        positive = (x[0] > 0).unflatten(0, (side, side))
        changes = torch.zeros(side, side, device=w.device)
        changes[:, 1:] += (positive[:, 1:] ^ positive[:, :-1]).sum(-1)
        changes[1:] += (positive[1:] ^ positive[:-1]).sum(-1)
        maps.append(changes)
    return torch.stack(maps)


def rows(data: ArtifactStudy) -> list[Row]:
    """set, sample, score (dB)."""
    sets = [(REAL, data.real_scores), *((one.subject, one.scores) for one in data.models)]
    return [
        {"set": name, "sample": number, "score": float(score)}
        for name, scores in sets
        for number, score in enumerate(scores)
    ]


def numbers(data: ArtifactStudy) -> Row:
    """Shares above the threshold, medians, and the frequencies and layers of the worst."""
    return {
        "threshold_db": data.threshold,
        "real_median_db": float(data.real_scores.median()),
        "models": {
            one.subject: {
                "share_above": one.share,
                "median_db": float(one.scores.median()),
                "worst": [
                    {
                        "sample": int(sample),
                        "score_db": float(one.scores[sample]),
                        "frequency": frequency.tolist(),
                        "share_by_output": dict(zip(map(str, one.outputs), shares.tolist(), strict=True)),
                    }
                    for sample, frequency, shares in zip(one.samples, one.frequencies, one.layer_share, strict=True)
                ],
            }
            for one in data.models
        },
    }


def reading(data: ArtifactStudy) -> str:
    """How many samples are wave-like, beside real pictures."""
    told = ", ".join(f"{one.subject} {one.share:.1%}" for one in sorted(data.models, key=lambda one: one.share))
    return (
        f"Samples that are more wave-like than {data.threshold:.1f} dB, which 5 % of real pictures are: {told}. "
        "The layers' shares are of the outputs' own power at that frequency."
    )


def draw(data: ArtifactStudy) -> "Drawing":
    """Scores of all; for each model its worst samples, their layers, and the cuts of the plane under the first."""
    import matplotlib.pyplot as plt

    columns = SHOWN + 2
    figure = plt.figure(figsize=(1.9 * columns, 2.4 * (len(data.models) + 1)), constrained_layout=True)
    grid = figure.add_gridspec(len(data.models) + 1, columns)
    curve = figure.add_subplot(grid[0, :])
    for number, (name, scores) in enumerate(
        [(REAL, data.real_scores), *((one.subject, one.scores) for one in data.models)]
    ):
        ordered = scores.sort(descending=True).values
        share = torch.arange(1, len(ordered) + 1) / len(ordered)
        curve.plot(ordered.numpy(), share.numpy(), color=COLOURS[number % len(COLOURS)], label=name)
    curve.axvline(data.threshold, color=FAINT, linestyle="--")
    curve.set_xlabel("score, dB")
    curve.set_ylabel("share above")
    curve.set_yscale("log")
    curve.legend(frameon=False, fontsize=8.5)
    for number, one in enumerate(data.models, 1):
        for place, (image, frequency) in enumerate(zip(one.images, one.frequencies.tolist(), strict=True)):
            axes = figure.add_subplot(grid[number, place])
            axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            score = float(one.scores[one.samples[place]])
            axes.set_title(f"{score:.0f} dB at ({frequency[0]:g}, {frequency[1]:g})", fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
            if place == 0:
                axes.set_ylabel(one.subject)
        if one.outputs:
            bars = figure.add_subplot(grid[number, SHOWN])
            bars.bar(range(len(one.outputs)), one.layer_share.mean(0).numpy(), color=COLOURS[0])
            bars.set_xticks(range(len(one.outputs)), [str(output) for output in one.outputs])
            bars.set_xlabel("RGB output", fontsize=8)
            bars.set_title("share of the wave", fontsize=8)
        if len(one.cuts):
            axes = figure.add_subplot(grid[number, SHOWN + 1])
            axes.imshow(one.cuts.sum(0).clamp(max=float(one.cuts.sum(0).quantile(0.99))).numpy(), cmap="magma")
            axes.set_title("cuts of the leaky ReLUs", fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
    return figure


FIGURE = Figure(
    name="artifacts",
    title="Wave-like artifacts",
    place="Figure 12",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
