"""What each RGB output adds: the picture of a skip generator is a sum, and this shows its terms one after the other."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.programs import terms_of
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import lacks_encoding, lacks_outputs
from cips_lab.metrics.spectra import decibels, power_profiles, windowed_power
from cips_lab.reporting.figures import COLOURS, FAINT, STYLES, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

SAMPLES = 32  # that curves and shares are means of


@dataclass(frozen=True)
class Layers:
    """Of one model.

    Attributes:
        subject: its label.
        outputs: which pair of layers each output follows, from 1.
        terms: what each adds to the picture of the study's first seed, [L, 3, R, R], in units of the picture.
        curves: dB of the terms' power at 0, 1, ..., R / 2 cycles a picture, the mean over `SAMPLES`, [L, K]; 0 dB is
            white noise of deviation 1.
        variances: of each term over a picture's pixels, the mean over `SAMPLES` and channels, [L].
        fine: likewise of each term's difference from the mean of 3 x 3 pixels around each, [L].
    """

    subject: str
    outputs: list[int]
    terms: Tensor
    curves: Tensor
    variances: Tensor
    fine: Tensor

    @property
    def sums(self) -> Tensor:
        """The picture after each output, [L, 3, R, R]."""
        return self.terms.cumsum(0)

    def shares(self, of: Tensor) -> list[float]:
        """Each output's share of the sum of what the outputs have, such as `variances`."""
        return (of / of.sum().clamp(min=1e-30)).tolist()


def compute(study: Study) -> list[Layers]:
    """Every model that sums several outputs.

    Raises:
        Unsuitable: no model does.
    """
    found = []
    for subject in study.suited(lacks_encoding, lacks_outputs):
        outputs, terms = terms_of(subject.pixelwise, study.styles(subject, study.seeds[:1]))
        sums = [summary(terms_of(subject.pixelwise, w)[1]) for w in study.styles(subject, range(SAMPLES)).split(4)]
        curves, variances, fine = (torch.stack(part).mean(0) for part in zip(*sums, strict=True))
        found.append(Layers(subject.label, outputs, terms[:, 0].cpu(), decibels(curves), variances, fine))
    return found


def summary(terms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean power [L, K], variances [L] and fine variances [L] of terms [L, B, 3, R, R], float64 on the CPU."""
    values = terms.cpu().double()
    values = values - values.mean((-2, -1), keepdim=True)
    power = torch.stack([power_profiles(windowed_power(one).mean(1)).mean(0) for one in values])
    blurred = torch.nn.functional.avg_pool2d(values.flatten(0, 2)[:, None], 3, stride=1).view(*values.shape[:3], -1)
    inner = values[..., 1:-1, 1:-1].flatten(-2)
    return power, values.square().mean((1, 2, 3, 4)), (inner - blurred).square().mean((1, 2, 3))


def rows(data: list[Layers]) -> list[Row]:
    """model, output (after which pair of layers), share of the variance, of the fine one, cycles (a picture), db."""
    return [
        {
            "model": one.subject,
            "output": output,
            "share": share,
            "share_of_fine": fine,
            "cycles": cycles,
            "db": float(level),
        }
        for one in data
        for output, share, fine, curve in zip(
            one.outputs, one.shares(one.variances), one.shares(one.fine), one.curves, strict=True
        )
        for cycles, level in enumerate(curve)
    ]


def numbers(data: list[Layers]) -> Row:
    """model -> output -> its share of the terms' variance, and of that between neighbouring pixels."""
    return {
        one.subject: {
            "share": dict(zip(map(str, one.outputs), one.shares(one.variances), strict=True)),
            "share_of_fine": dict(zip(map(str, one.outputs), one.shares(one.fine), strict=True)),
        }
        for one in data
    }


def reading(data: list[Layers]) -> str:
    """Which output adds most, and which most of what differs between neighbouring pixels."""
    told = []
    for one in data:
        shares, fine = one.shares(one.variances), one.shares(one.fine)
        most, finest = max(range(len(shares)), key=shares.__getitem__), max(range(len(fine)), key=fine.__getitem__)
        told.append(
            f"{one.subject}: most after pair {one.outputs[most]} of {one.outputs[-1]} ({shares[most]:.0%} of the "
            f"variance), and of what differs between neighbouring pixels after pair {one.outputs[finest]} "
            f"({fine[finest]:.0%})"
        )
    return f"What RGB outputs add, {'; '.join(told)}."


def draw(data: list[Layers]) -> "Drawing":
    """For each model the terms above, the sums below, and the terms' spectra beside them."""
    import matplotlib.pyplot as plt

    columns = max(len(one.outputs) for one in data)
    figure = plt.figure(figsize=(1.45 * columns + 5, 3.5 * len(data)), constrained_layout=True)
    grid = figure.add_gridspec(2 * len(data), columns + 1, width_ratios=[*[1.45] * columns, 4.2])
    for number, one in enumerate(data):
        for column, (output, term, total) in enumerate(zip(one.outputs, one.terms, one.sums, strict=True)):
            above = figure.add_subplot(grid[2 * number, column])
            below = figure.add_subplot(grid[2 * number + 1, column])
            spread = float(term.abs().max().clamp(min=1e-6))
            show(above, term / spread)
            show(below, total)
            above.set_title(f"pair {output}\nscaled to ±{spread:.2g}", fontsize=8.5)
            if column == 0:
                above.set_ylabel("what it adds", fontsize=8.5)
                below.set_ylabel("sum so far", fontsize=8.5)
        _curves(figure.add_subplot(grid[2 * number : 2 * number + 2, columns]), one)
    return figure


def _curves(axes: "Axes", one: Layers) -> None:
    shares = one.shares(one.variances)
    for place, (output, curve, share) in enumerate(zip(one.outputs, one.curves, shares, strict=True)):
        style = {"color": COLOURS[place % len(COLOURS)], "linestyle": STYLES[place // len(COLOURS)]}
        axes.plot(curve.numpy(), label=f"pair {output}: {share:.0%} of the variance", **style)
    axes.set_title(f"{one.subject}: power of what each output adds", loc="left")
    axes.set_xlabel("cycles a picture")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel("dB")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.legend(frameon=False, fontsize=8)


FIGURE = Figure(
    name="layers",
    title="What each RGB output adds",
    place="A reader's question: what does each skip output do?",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
