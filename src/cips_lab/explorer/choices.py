"""What a visitor has chosen, as text that anybody may have sent: looked at, then filled in as the page's code does."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.encoding import CoordinateEmbedding, FourierFeatures
from cips_lab.networks.program import PixelProgram

LAST_SEED = 2**32 - 1  # of the page's Mersenne twister
FRACTIONS = ("walk", "psi")  # the others are whole numbers
PARTS = {"fourier": FourierFeatures, "embedding": CoordinateEmbedding}


class Choices(NamedTuple):
    """Of the page's controls those that change the network. Attributes are named as in its address.

    Attributes:
        seed, other: two styles.
        walk: share of the way from the first to the second.
        mix: layers from this one on take the second.
        psi: how far both are from the mean style (truncation).
        label: a class; -1 for each seed's own.
        fourier, embedding: whether that part of the encoding counts (paper, Figure 6).
        pairs: how many pairs of layers add their colours.
    """

    seed: int
    other: int
    walk: float
    mix: int
    psi: float
    label: int
    fourier: int
    embedding: int
    pairs: int


def read_choices(given: Mapping[str, str], generator: CIPSGenerator) -> Choices:
    """Raises `ValueError`, with a sentence, for one that is missing, no number, or out of its range."""
    layers, pairs, classes = generator.num_layers, len(generator.blocks), generator.mapping.classes
    ranges: dict[str, tuple[float, float]] = {
        "seed": (0, LAST_SEED),
        "other": (0, LAST_SEED),
        "walk": (0, 1),
        "mix": (0, layers),
        "psi": (0, 1.5),
        "label": (-1, max(classes - 1, -1)),
        "fourier": (0, 1),
        "embedding": (0, 1),
        "pairs": (1, pairs),
    }
    if unknown := sorted(set(given) - set(ranges)):
        raise ValueError(f"{unknown[0][:20]!r} is no choice; they are {', '.join(ranges)}")
    values = {name: _number(name, given.get(name), *ends) for name, ends in ranges.items()}
    whole = {name: int(value) for name, value in values.items() if name not in FRACTIONS}
    return Choices(walk=values["walk"], psi=values["psi"], **whole)


def _number(name: str, text: str | None, least: float, most: float) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    is_whole = name in FRACTIONS or value == math.floor(value if math.isfinite(value) else 0.5)
    if not (least <= value <= most and is_whole):
        raise ValueError(f"{name} must be a {'' if name in ('walk', 'psi') else 'whole '}number from {least} to {most}")
    return value


@torch.no_grad()
def styles_of(generator: CIPSGenerator, choices: Choices) -> Tensor:
    """[1, num_layers, w_dim]: walked to the second style, or in the layers from `mix` on the second itself."""
    mapping = generator.mapping
    label = None if choices.label < 0 else choices.label
    first, second = mapping(mapping.latents([choices.seed, choices.other], label))
    walked = first + choices.walk * (second - first)
    walked, mixed = (generator.truncate(w[None], choices.psi) for w in (walked, second))
    return generator.mix(walked, mixed, choices.mix)


@torch.no_grad()
def program_of(generator: CIPSGenerator, choices: Choices) -> PixelProgram:
    """The generator with these styles filled in, and without what is switched off."""
    program = generator.program(styles_of(generator, choices))
    off = [kind for name, kind in PARTS.items() if not getattr(choices, name)]
    weight, start = program.first.affine.weight.clone(), 0
    for part in generator.encoding.parts():
        if isinstance(part, tuple(off)):
            weight[..., start : start + part.features, :] = 0  # as if these features were zero
        start += part.features
    first = program.first._replace(affine=program.first.affine._replace(weight=weight))
    # Colours are a sum over pairs, or of the last pair alone.
    last = len(program.blocks) - 1
    shown = range(choices.pairs) if program.blocks[0].rgb is not None else [last]
    blocks = [block if i in shown else block._replace(rgb=None) for i, block in enumerate(program.blocks)]
    return PixelProgram(first, blocks)
