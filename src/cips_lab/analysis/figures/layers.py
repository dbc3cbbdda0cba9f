"""What each RGB output adds: the picture of a skip generator is a sum, and this shows its terms one after the other."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import lacks_encoding, lacks_outputs
from cips_lab.metrics.spectra import decibels, power_profiles, windowed_power
from cips_lab.networks.cips import CIPSGenerator, PixelProgram
from cips_lab.reporting.figures import COLOURS, FAINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Layers:
    """Of one model.

    Attributes:
        subject: its label.
        outputs: which pair of layers each output follows, from 1.
        terms: what each adds, of the study's first seed, [L, 3, R, R].
        curves: dB of the terms' power at 0, 1, ..., R / 2 cycles a picture, the mean over the study's seeds, [L, K].
    """

    subject: str
    outputs: list[int]
    terms: Tensor
    curves: Tensor

    @property
    def sums(self) -> Tensor:
        """The picture after each output, [L, 3, R, R]."""
        return self.terms.cumsum(0)


@torch.no_grad()
def terms_of(generator: CIPSGenerator, w: Tensor) -> tuple[list[int], Tensor]:
    """Each RGB output's own part of the pictures of styles [B, w_dim]: their numbers, and [L, B, 3, R, R].

    A program without its other outputs draws that part alone: outputs only add up.
    """
    side, program = generator.resolution, generator.program(w)
    coords = generator.native_coords
    encoding = generator.encoding(coords)
    numbers = [i for i, block in enumerate(program.blocks) if block.rgb is not None]
    parts = []
    for number in numbers:
        blocks = [block if i == number else block._replace(rgb=None) for i, block in enumerate(program.blocks)]
        rgb = generator.run(PixelProgram(program.first, blocks[: number + 1]), encoding, coords)
        parts.append(rgb.unflatten(2, (side, side)))
    return [number + 1 for number in numbers], torch.stack(parts)


def compute(study: Study) -> list[Layers]:
    """Every model that sums several outputs.

    Raises:
        Unsuitable: a model reads RGB only once.
    """
    found = []
    for subject in study.suited(lacks_encoding, lacks_outputs):
        outputs, terms = terms_of(subject.pixelwise, study.styles(subject))
        flat = terms.flatten(1, 2).double()
        flat = flat - flat.mean((2, 3), keepdim=True)
        curves = decibels(power_profiles(windowed_power(flat).mean(1)))
        found.append(Layers(subject.label, outputs, terms[:, 0].float().cpu(), curves.cpu()))
    return found


def rows(data: list[Layers]) -> list[Row]:
    """model, output (after which pair of layers), radius (cycles a picture), db."""
    return [
        {"model": one.subject, "output": output, "radius": radius, "db": float(level)}
        for one in data
        for output, curve in zip(one.outputs, one.curves, strict=True)
        for radius, level in enumerate(curve)
    ]


def numbers(data: list[Layers]) -> Row:
    """Share of the summed power of the terms that each output has."""
    found = {}
    for one in data:
        energy = one.terms.flatten(1).var(1)
        shares = (energy / energy.sum()).tolist()
        found[one.subject] = {str(output): share for output, share in zip(one.outputs, shares, strict=True)}
    return {"share": found}


def reading(data: list[Layers]) -> str:
    """Which output adds most."""
    told = "; ".join(
        f"{subject}: " + ", ".join(f"{output} {share:.0%}" for output, share in shares.items())
        for subject, shares in numbers(data)["share"].items()
    )
    return f"Share of the outputs' variance by the pair of layers that they follow: {told}."


def draw(data: list[Layers]) -> "Drawing":
    """For each model the terms above, the sums below, and the terms' spectra beside them."""
    import matplotlib.pyplot as plt

    columns = max(len(one.outputs) for one in data)
    figure = plt.figure(figsize=(1.6 * columns + 4.4, 3.4 * len(data)), constrained_layout=True)
    grid = figure.add_gridspec(2 * len(data), columns + 1, width_ratios=[*[1] * columns, 2.4])
    for number, one in enumerate(data):
        for column, (output, term, total) in enumerate(zip(one.outputs, one.terms, one.sums, strict=True)):
            above = figure.add_subplot(grid[2 * number, column])
            below = figure.add_subplot(grid[2 * number + 1, column])
            spread = float(term.abs().max().clamp(min=1e-6))
            above.imshow(((term / spread + 1) / 2).permute(1, 2, 0).numpy(), interpolation="nearest")
            above.set_title(f"output {output}", fontsize=9)
            below.imshow(((total.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy(), interpolation="nearest")
            for axes in (above, below):
                axes.set_xticks([])
                axes.set_yticks([])
            if column == 0:
                above.set_ylabel(f"{one.subject}\nterm", fontsize=8.5)
                below.set_ylabel("sum so far", fontsize=8.5)
        lines = figure.add_subplot(grid[2 * number : 2 * number + 2, columns])
        for place, (output, curve) in enumerate(zip(one.outputs, one.curves, strict=True)):
            lines.plot(curve.numpy(), color=COLOURS[place % len(COLOURS)], label=f"output {output}")
        lines.set_xlabel("cycles a picture")
        lines.set_ylabel("dB")
        lines.grid(color=FAINT, linewidth=0.6)
        lines.legend(frameon=False, fontsize=8)
    return figure


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
