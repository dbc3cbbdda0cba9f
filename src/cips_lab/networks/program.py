"""A generator of pixels whose styles are known: what `CIPSGenerator.program` makes and `CIPSGenerator.run` draws."""

from typing import NamedTuple

from torch import Tensor

from cips_lab.networks.modulated import Affine, Layer


class Block(NamedTuple):
    """A pair of layers for known styles."""

    first: Layer
    second: Layer
    skip: Tensor | None  # [in, out] of the residual connection, where widths differ
    rgb: Affine | None  # where an RGB image is read after the pair


class PixelProgram(NamedTuple):
    """The generator with its styles filled in: all that is left is a plain MLP over pixels."""

    first: Layer
    blocks: list[Block]
