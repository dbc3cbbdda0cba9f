"""The sliced Wasserstein distance (Rabin et al. 2011) of two sets of descriptors, as Karras et al., ICLR 2018, use it.

Both sets are brought to mean 0 and deviation 1 by channel, projected onto random directions, and sorted: in one
dimension that is the best way to move the one onto the other.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from cips_lab.metrics.constants import RNG_SEED
from cips_lab.processes.collectives import mine, total

DIRECTIONS = 128
SCALE = 1000.0  # PGGAN's


class Sliced(NamedTuple):
    """The mean over levels, its standard error over the generated pictures, and each level's own, the largest first."""

    value: float
    se: float
    levels: dict[str, float]


def sliced_wasserstein(generated: Mapping[str, Tensor], real: Mapping[str, Tensor]) -> Sliced:
    """From descriptors [N, P, 3, 49] by level, the same on every process; each takes a part of the directions.

    Of two sets that differ in number as many of the larger one are compared, spread over it.
    """
    values: dict[str, float] = {}
    influences: list[Tensor] = []
    for level in sorted(real, key=lambda name: -int(name.partition("x")[0])):
        count = min(len(generated[level]), len(real[level]))
        ours, theirs = (
            part[torch.arange(count, device=part.device) * len(part) // count]
            for part in (generated[level], real[level])
        )
        value, of_pictures = level_distance(ours, theirs)
        values[level] = SCALE * value
        influences.append(SCALE * of_pictures)
    mean = torch.stack(influences).mean(0)
    return Sliced(sum(values.values()) / len(values), float(mean.std(correction=0)) / len(mean) ** 0.5, values)


def level_distance(generated: Tensor, real: Tensor) -> tuple[float, Tensor]:
    """The distance of descriptors [N, P, 3, 49], and each generated picture's influence on it, [N].

    What a sample at x adds to the distance of two distributions on a line is Kantorovich's potential there: it grows by
    1 a unit where the other distribution lies behind, and falls where it lies ahead (Villani 2003, theorem 1.14). It
    also moves each channel's mean and deviation, by which all samples are brought to 0 and 1: by its own mean, and by
    half of what its own mean square has above 1.
    """
    ours, theirs = normalised(generated), normalised(real)
    shift, stretch = ours.double().mean((1, 3)), (ours.double().square().mean((1, 3)) - 1) / 2  # [N, 3]
    x, y = ours.flatten(0, 1), theirs.flatten(0, 1)
    directions = random_directions(x.shape[1:].numel()).to(x).view(-1, *x.shape[1:])
    value = torch.zeros((), dtype=torch.float64, device=x.device)
    potentials = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    by_shift, by_stretch = torch.zeros(2, 3, dtype=torch.float64, device=x.device)  # what moving all samples does
    for direction in directions[mine()].split(16):
        of_channels = torch.einsum("ncp,dcp->ncd", x, direction)
        projected, order = of_channels.sum(1).sort(dim=0)
        behind = projected - torch.einsum("ncp,dcp->ncd", y, direction).sum(1).sort(dim=0).values
        value += behind.abs().double().mean(0).sum()
        climbed = torch.cat([torch.zeros_like(behind[:1]), (behind[:-1].sign() * projected.diff(dim=0)).cumsum(0)])
        potentials += torch.empty_like(climbed).scatter_(0, order, climbed).double().sum(1)
        signs = torch.empty_like(behind).scatter_(0, order, behind.sign())
        by_shift += (signs.double().mean(0)[:, None] * direction.double().sum(2)).sum(0)
        by_stretch += (signs[:, None] * of_channels).double().mean(0).sum(1)
    value, potentials, by_shift, by_stretch = map(total, (value, potentials, by_shift, by_stretch))
    of_pictures = potentials.view(generated.shape[:2]).mean(1) - shift @ by_shift - stretch @ by_stretch
    return float(value) / len(directions), of_pictures / len(directions)


def normalised(patches: Tensor) -> Tensor:
    """[N, P, 3, 49] -> float32 of the same shape with mean 0 and deviation 1 in each channel of the set."""
    values = patches.float()
    centred = values - values.double().mean((0, 1, 3), keepdim=True).float()
    deviation = centred.double().square().mean((0, 1, 3), keepdim=True).sqrt().float()
    return centred / deviation.clamp(min=1e-6)


def random_directions(dimension: int) -> Tensor:
    """Float32 [DIRECTIONS, dimension] of length 1, always the same."""
    drawn = torch.randn(DIRECTIONS, dimension, generator=torch.Generator().manual_seed(RNG_SEED))
    return drawn / drawn.norm(dim=1, keepdim=True)
