"""Where the leaky ReLUs of a generator cut the plane of coordinates."""

import math

import torch
from torch import Tensor

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.modulated import Layer, run_layer
from cips_lab.networks.program import PixelProgram

KINKED = ("lrelu", "sinrelu")  # activations that are linear on either side of 0


@torch.no_grad()
def signs_of(generator: CIPSGenerator, w: Tensor, coords: Tensor) -> list[Tensor]:
    """On which side of its kink every unit is, for one style [1, w_dim] at [P, 2]: of each layer, bool [P, units].

    Where the signs of all layers agree, the network is linear in its encoding. A unit's sign is its output's, for a
    leaky ReLU keeps it; `sinrelu` has a kink in every second unit, and only those count. Noise is left out.

    Raises:
        ValueError: the activation has no kink.
    """
    if generator.activation not in KINKED:
        raise ValueError(f"{generator.activation} has no kink")
    program: PixelProgram = generator.program(w)
    found: list[Tensor] = []

    def run(layer: Layer, x: Tensor) -> Tensor:
        y = run_layer(layer, x, generator.activation, None, 0, len(found))
        kinked = y.shape[-1] if generator.activation == "lrelu" else (y.shape[-1] + 1) // 2
        found.append(y.reshape(-1, y.shape[-1])[:, :kinked] > 0)
        return y

    x = run(program.first.at(coords), generator.encoding(coords))
    for block in program.blocks:
        y = run(block.second, run(block.first, x))
        if generator.residual:
            y = (y + (x if block.skip is None else x @ block.skip)) * math.sqrt(0.5)
        x = y
    return found


def cuts_of(generator: CIPSGenerator, w: Tensor, grid: Tensor) -> Tensor:
    """How many units of each layer change sign towards the place to the right and the one below: [layers, H, W].

    Args:
        w: one style [1, w_dim].
        grid: [H, W, 2] coordinates.
    """
    height, width, _ = grid.shape
    maps = []
    for signs in signs_of(generator, w, grid.reshape(-1, 2)):
        there = signs.unflatten(0, (height, width))
        changes = torch.zeros(height, width, device=there.device)
        changes[:, :-1] += (there[:, 1:] ^ there[:, :-1]).sum(-1)
        changes[:-1] += (there[1:] ^ there[:-1]).sum(-1)
        maps.append(changes)
    return torch.stack(maps)


def turnover(generator: CIPSGenerator, w: Tensor, grid: Tensor, fine: int) -> list[float]:
    """Of each layer, the share of its kinked units that switch from one native pixel to the next.

    Args:
        grid: [H, W, 2], `fine` places for each native pixel a side.
    """
    shares = []
    for signs in signs_of(generator, w, grid.reshape(-1, 2)):
        there = signs.unflatten(0, grid.shape[:2])[::fine, ::fine]
        across, down = (there[:, 1:] ^ there[:, :-1]).float().mean(), (there[1:] ^ there[:-1]).float().mean()
        shares.append(float((across + down) / 2))
    return shares
