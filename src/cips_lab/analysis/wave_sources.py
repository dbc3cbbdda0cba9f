"""Where a wave in a picture comes from: which RGB output draws it, and whether it enters through the encoding."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cips_lab.analysis.cuts import KINKED, cuts_of, turnover
from cips_lab.analysis.encodings import parts_of
from cips_lab.analysis.programs import terms_of
from cips_lab.metrics.waves import Waves, amplitudes_at, block_side
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.encoding import gaussian_filter
from cips_lab.networks.program import PixelProgram

GAIN = 0.1  # what is left of a wave that passes straight through the low-pass
ALL = "all inputs"
CUT_PIXELS, FINE = 8, 32  # side of the part of the plane whose cuts are drawn, and places a side of each of its pixels


@dataclass(frozen=True)
class Source:
    """Where the waves of some samples of a pixelwise model come from.

    Attributes:
        outputs: after which pairs of layers RGB is read.
        energy, contribution: of each output, [B, L]: see `shares_of_outputs`.
        left: part of the encoding -> what is left of the wave where it is smoothed, [B]: see `left_without`.
        layers: the layers whose cuts are drawn, from 1; none where the activation has no kinks.
        cuts: of the first sample, in the middle of its wave's block, [layers, S, S]: see `cuts_of`.
        turnover: of every layer, the share of units that switch from one pixel to the next there; of KINKED only.
        activation: the layers'.
    """

    outputs: list[int]
    energy: Tensor
    contribution: Tensor
    left: dict[str, Tensor]
    layers: list[int]
    cuts: Tensor
    turnover: list[float]
    activation: str


def shares_of_outputs(generator: CIPSGenerator, w: Tensor, waves: Waves) -> tuple[list[int], Tensor, Tensor]:
    """Each RGB output's part in one wave of each picture of styles [B, w_dim], in the wave's block.

    Returns:
        After which pairs of layers RGB is read, from 1; the outputs' shares of the energy, [B, L]: of the sum of the
        squares of their own waves, which may cancel each other; and what they contribute to the picture's wave, [B, L]:
        the parts of their waves in its phase, of sum 1, some of them negative.
    """
    outputs, terms = terms_of(generator, w)
    parts = torch.stack([amplitudes_at(term, waves.frequency, waves.corner) for term in terms], dim=1)  # [B, L, 3]
    energy = parts.abs().square().sum(2)
    return outputs, energy / energy.sum(1, keepdim=True), _in_phase(parts, parts.sum(1, keepdim=True))


def _in_phase(parts: Tensor, whole: Tensor) -> Tensor:
    """Of complex amplitudes [..., 3] the part in phase with others, of which they are a share: [...]."""
    return (parts * whole.conj()).real.sum(-1) / whole.abs().square().sum(-1).clamp(min=1e-30)


@torch.no_grad()
def left_without(generator: CIPSGenerator, w: Tensor, waves: Waves) -> dict[str, Tensor]:
    """What is left of one wave of each picture where parts of the encoding lose what varies as fast: part -> [B].

    A part is seen through a Gaussian over the native grid that leaves `GAIN` of a wave of that frequency. A wave that
    the network passes on from that part falls to about `GAIN`; one that its layers make of slower inputs, by their
    kinks or otherwise, stays at 1, the more so with all parts smoothed. `ALL` is there for more than one part.
    Waves are those of the unclamped pictures of styles [B, w_dim]; only what is in phase counts.
    """
    side, coords = generator.side, generator.native_coords
    parts = {name: part(coords) for name, part in parts_of(generator.encoding).items()}
    choices = {name: [name] for name in parts} | ({ALL: list(parts)} if len(parts) > 1 else {})
    left: dict[str, list[Tensor]] = {name: [] for name in choices}
    for number in range(len(w)):
        one = Waves(*(column[number : number + 1] for column in waves))
        program = generator.program(w[number : number + 1])
        length = float(one.frequency.norm())
        smoothed = {name: smooth(values, side, length) for name, values in parts.items()}
        whole = _wave(generator, program, parts, one)
        for name, chosen in choices.items():
            changed = {part: smoothed[part] if part in chosen else values for part, values in parts.items()}
            left[name].append(_in_phase(_wave(generator, program, changed, one), whole))
    return {name: torch.cat(found).cpu() for name, found in left.items()}


def _wave(generator: CIPSGenerator, program: PixelProgram, parts: dict[str, Tensor], one: Waves) -> Tensor:
    """Complex amplitudes of the wave in the unclamped picture of these encodings, [1, 3]."""
    side = generator.side
    rgb = generator.run(program, torch.cat(list(parts.values()), dim=-1), generator.native_coords)
    return amplitudes_at(rgb.unflatten(2, (side, side)), one.frequency, one.corner)


def smooth(values: Tensor, side: int, cycles: float) -> Tensor:
    """Maps [side * side, F] through a Gaussian that leaves `GAIN` of waves of so many cycles a picture; 0 for as is."""
    if cycles == 0:
        return values
    deviation = math.sqrt(-2 * math.log(GAIN)) / (2 * math.pi * cycles) * side
    rows = gaussian_filter(side, deviation).to(values)
    return torch.einsum("yi,xj,ijf->yxf", rows, rows, values.unflatten(0, (side, side))).flatten(0, 1)


def source_of(generator: CIPSGenerator, w: Tensor, worst: Waves) -> Source:
    """Of the waves of styles [B, w_dim], on the generator's device."""
    outputs, energy, contribution = shares_of_outputs(generator, w, worst)
    layers: list[int] = []
    cuts, switching = torch.empty(0), [0.0][:0]
    if generator.activation in KINKED:
        grid = plane(generator.side, worst.corner[0].tolist(), w.device)
        whole = cuts_of(generator, w[:1], grid).cpu()
        layers = [1, (len(whole) + 1) // 2, len(whole)]
        cuts = whole[[layer - 1 for layer in layers]]
        switching = turnover(generator, w[:1], grid, FINE)
    return Source(
        outputs,
        energy.cpu(),
        contribution.cpu(),
        left_without(generator, w, worst),
        layers,
        cuts,
        switching,
        generator.activation,
    )


def part_drawn(resolution: int, corner: list[int]) -> tuple[int, int, int]:
    """Left, top and side, in pixels, of the part of a block whose cuts are drawn: its middle."""
    side = min(CUT_PIXELS, block_side(resolution))
    inset = (block_side(resolution) - side) // 2
    return corner[0] + inset, corner[1] + inset, side


def plane(resolution: int, corner: list[int], device: torch.device) -> Tensor:
    """Coordinates of `part_drawn`, from edge to edge of its pixels, [S, S, 2]."""
    left, top, side = part_drawn(resolution, corner)
    step = 2 / (resolution - 1)
    first = -0.5 + 0.5 / FINE  # of a pixel, from its middle

    def at(pixel: float) -> float:
        return -1 + step * pixel

    region = (at(left + first), at(top + first), at(left + side - 1 - first), at(top + side - 1 - first))
    return image_grid(side * FINE, side * FINE, region, device=device)
