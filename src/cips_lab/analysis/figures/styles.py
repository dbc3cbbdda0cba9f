"""What each layer's style changes: pictures of one seed that take the style of one block from another seed.

StyleGAN's readers know that coarse layers hold pose and fine ones colour. In CIPS every layer sees the whole picture's
coordinates and none is coarse: what, then, do its layers decide?
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.programs import drawn, swapped
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject
from cips_lab.metrics.collect import home_of
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.generator import Generator
from cips_lab.processes.collectives import total
from cips_lab.render.pictures import quantize
from cips_lab.reporting.figures import COLOURS, FAINT, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

PAIRS = 64  # of seeds, that shares are means over
PIXELS, FEATURES = "pixels", "features"


@dataclass(frozen=True)
class Styles:
    """Of one model.

    Attributes:
        subject: its label.
        blocks: what each block of layers is called, from the input on.
        images: of each pair of the study's seeds: the first seed's picture, with each block's style from the second
            seed, and the second seed's picture: [pairs, blocks + 2, 3, R, R], values about [-1, 1].
        pixels, features: mean squared change (of the pixels; of the judge's features) that a block's style brings, as
            a share of that which all styles bring together: [blocks]. They add up to 1 only where blocks do not
            interact.
        pairs: of seeds, that shares are means over.
    """

    subject: str
    blocks: list[str]
    images: Tensor
    pixels: list[float]
    features: list[float]
    pairs: int


def blocks_of(generator: Generator) -> dict[str, list[int]]:
    """The generator's blocks: name -> their layers, of `num_layers`.

    CIPS: the first layer, then pairs of layers, each with its RGB output. Convolutional ones: the layers of a
    resolution. Its RGB output has the style of the next resolution's first layer (see `StyleGAN2Generator`), but for
    the last, whose style is counted with the last resolution.
    """
    count = generator.num_layers
    if isinstance(generator, CIPSGenerator):
        return {"first layer": [0], **{f"pair {i}": [2 * i - 1, 2 * i] for i in range(1, 1 + count // 2)}}
    blocks = {f"{4 << i} x {4 << i}": [2 * i - 1, 2 * i] if i else [0] for i in range(count // 2)}
    blocks[f"{generator.side} x {generator.side}"].append(count - 1)
    return blocks


@torch.no_grad()
def mixtures(generator: Generator, first: Tensor, second: Tensor) -> Iterator[Tensor]:
    """Pictures [B, 3, R, R] of `first`, of it with each block's style from `second`, and of `second`: [B, w_dim]."""
    if isinstance(generator, CIPSGenerator):
        programs = generator.program(first), generator.program(second)
        yield drawn(generator, programs[0], len(first))
        for part in range(len(blocks_of(generator))):
            yield drawn(generator, swapped(*programs, part), len(first))
        yield drawn(generator, programs[1], len(first))
        return
    ours, theirs = (w[:, None].expand(-1, generator.num_layers, -1) for w in (first, second))
    yield generator.synthesize_native(ours)
    for layers in blocks_of(generator).values():
        mixed = ours.clone()
        mixed[:, layers] = theirs[:, layers]
        yield generator.synthesize_native(mixed)
    yield generator.synthesize_native(theirs)


def compute(study: Study) -> list[Styles]:
    """Every model's, by pairs of seeds 0 and 1, 2 and 3, ...; the pairs that are shown are those of the study's seeds.

    Raises:
        UserError: a picture is not finite.
    """
    return [_styles(study, subject) for subject in study.subjects]


def _styles(study: Study, subject: Subject) -> Styles:
    generator = subject.generator
    blocks = list(blocks_of(generator))
    changes = torch.zeros(len(blocks) + 1, 2, dtype=torch.float64, device=home_of(study.device))
    pairs = min(PAIRS, study.count)
    for numbers in study.numbers(pairs):
        seeds = numbers.tolist()
        pair = (study.styles(subject, [2 * seed + place for seed in seeds]) for place in (0, 1))
        before: list[Tensor] = []
        for number, images in enumerate(mixtures(generator, *pair)):
            shown = quantize(images)
            seen = [shown.float() / 127.5, study.judge(shown).features]
            if number == 0:
                before = seen
                continue
            for column, (now, then) in enumerate(zip(seen, before, strict=True)):
                changes[number - 1, column] += (now - then).to(changes).square().flatten(1).mean(1).sum()
    changes = total(changes).cpu()
    shares = (changes[:-1] / changes[-1].clamp(min=1e-30)).T.tolist()
    return Styles(subject.label, blocks, _shown(study, subject), shares[0], shares[1], pairs)


def _shown(study: Study, subject: Subject) -> Tensor:
    seeds = list(study.seeds) if len(study.seeds) > 1 else [study.seeds[0], study.seeds[0] + 1]
    pairs = [(first, second) for first, second in zip(seeds[::2], seeds[1::2], strict=False)][:2]
    styles = (study.styles(subject, [pair[place] for pair in pairs]) for place in (0, 1))
    return torch.stack([images.float().cpu() for images in mixtures(subject.generator, *styles)], dim=1)


def rows(data: list[Styles]) -> list[Row]:
    """model, block, pixels and features (shares of the mean squared change that all styles bring)."""
    return [
        {"model": one.subject, "block": block, PIXELS: pixels, FEATURES: features}
        for one in data
        for block, pixels, features in zip(one.blocks, one.pixels, one.features, strict=True)
    ]


def numbers(data: list[Styles]) -> Row:
    """model -> block -> its shares, and their sums."""
    return {
        one.subject: {
            "pairs": one.pairs,
            PIXELS: {**dict(zip(one.blocks, one.pixels, strict=True)), "sum": sum(one.pixels)},
            FEATURES: {**dict(zip(one.blocks, one.features, strict=True)), "sum": sum(one.features)},
        }
        for one in data
    }


def reading(data: list[Styles]) -> str:
    """Which block's style changes most."""
    told = []
    for one in data:
        places = [max(range(len(one.blocks)), key=shares.__getitem__) for shares in (one.pixels, one.features)]
        told.append(
            f"{one.subject}: {one.blocks[places[0]]} ({one.pixels[places[0]]:.0%} of the pixels' change), "
            f"{one.blocks[places[1]]} ({one.features[places[1]]:.0%} of the features')"
        )
    return f"The block whose style alone changes most, {'; '.join(told)}."


def draw(data: list[Styles]) -> "Drawing":
    """A row for each pair of seeds, and the shares beside a model's rows."""
    import matplotlib.pyplot as plt

    columns = max(len(one.blocks) for one in data) + 2
    lines = sum(len(one.images) for one in data)
    figure = plt.figure(figsize=(1.35 * columns + 4.4, 1.55 * lines + 0.5 * len(data)), constrained_layout=True)
    grid = figure.add_gridspec(lines, columns + 1, width_ratios=[*[1.35] * columns, 3.6])
    line = 0
    for one in data:
        titles = ["A", *(f"A, {block}\nfrom B" for block in one.blocks), "B"]
        _bars(figure.add_subplot(grid[line : line + len(one.images), columns]), one)
        for row, images in enumerate(one.images):
            for column, (image, title) in enumerate(zip(images, titles, strict=True)):
                axes = figure.add_subplot(grid[line, column])
                show(axes, image)
                if row == 0:
                    axes.set_title(title, fontsize=8.5)
                if column == 0:
                    axes.set_ylabel(one.subject, fontsize=8.5)
            line += 1
    return figure


def _bars(axes: "Axes", one: Styles) -> None:
    height = 0.36
    for place, (name, shares) in enumerate(((PIXELS, one.pixels), (FEATURES, one.features))):
        where = [block + (place - 0.5) * height for block in range(len(one.blocks))]
        axes.barh(where, [100 * share for share in shares], height, color=COLOURS[place], label=name)
    axes.set_yticks(range(len(one.blocks)), one.blocks, fontsize=8.5)
    axes.invert_yaxis()
    axes.set_title(f"{one.subject}: change by one block's style", loc="left")
    axes.set_xlabel(f"% of the change from A to B, {one.pairs} pairs")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlim(0, 135 * max(*one.pixels, *one.features, 1e-3))  # with room for the legend
    axes.legend(frameon=False, fontsize=8, loc="center right")


FIGURE = Figure(
    name="styles",
    title="What each layer's style changes",
    place="A reader's question: what do the layers of a network without scales decide?",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
