"""Pictures of a `PixelProgram` that was taken apart and put together again: parts of the sum, blocks of two styles."""

import torch
from torch import Tensor

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.program import PixelProgram

AT_ONCE = 2**18  # pixels of all samples that are computed together


@torch.no_grad()
def drawn(generator: CIPSGenerator, program: PixelProgram, count: int) -> Tensor:
    """Native pictures of a program of `count` styles: float32 [count, 3, R, R], without a graph."""
    parts = [
        generator.run(program, generator.encoding(coords), coords)
        for coords in generator.native_coords.split(max(1, AT_ONCE // count))
    ]
    return torch.cat(parts, dim=2).unflatten(2, (generator.side, generator.side))


@torch.no_grad()
def terms_of(generator: CIPSGenerator, w: Tensor) -> tuple[list[int], Tensor]:
    """What each RGB output adds to the pictures of styles [B, w_dim]: after which pairs, from 1, and [L, B, 3, R, R].

    A program without its other outputs draws one's part alone: outputs only add up.
    """
    program = generator.program(w)
    numbers = [number for number, block in enumerate(program.blocks) if block.rgb is not None]
    parts = []
    for number in numbers:
        blocks = [block if i == number else block._replace(rgb=None) for i, block in enumerate(program.blocks)]
        parts.append(drawn(generator, PixelProgram(program.first, blocks[: number + 1]), len(w)))
    return [number + 1 for number in numbers], torch.stack(parts)


def swapped(first: PixelProgram, second: PixelProgram, part: int) -> PixelProgram:
    """A program of two styles: all of `first` but one part, which is `second`'s.

    Args:
        first, second: of equally many styles.
        part: 0 for the first layer, i for the i-th pair of layers with its RGB output, from 1.
    """
    if part == 0:
        return first._replace(first=second.first)
    blocks = [*first.blocks[: part - 1], second.blocks[part - 1], *first.blocks[part:]]
    return first._replace(blocks=blocks)
