"""CIPS: an MLP from a pixel's coordinate and one style vector to its colour (Anokhin et al., CVPR 2021, section 3)."""

import math
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.encoding import (
    EMBEDDING,
    FOURIER,
    EmbeddingOptions,
    FourierOptions,
    Inputs,
    Lookup,
    positional_encoding,
)
from cips_lab.networks.equalized import EqualizedLinear
from cips_lab.networks.generator import Generator
from cips_lab.networks.mapping import MappingNetwork
from cips_lab.networks.modulated import Activation, Affine, Layer, ModulatedLinear, PixelLayer, run_layer
from cips_lab.networks.noise import pixel_keys
from cips_lab.networks.tiling import Tensors, Tile, choose_tile, synthesize_tiled


class PixelBlock(nn.Module):
    """A pair of pixel layers; with a residual connection, a linear map beside it where widths differ."""

    def __init__(self, first: PixelLayer, second: PixelLayer, *, residual: bool) -> None:
        super().__init__()
        self.first = first
        self.second = second
        in_features, out_features = first.linear.weight.shape[1], second.linear.weight.shape[0]
        self.skip = (
            EqualizedLinear(in_features, out_features, bias=False) if residual and in_features != out_features else None
        )


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


def official_widths(width: int, pairs: int, blocks: Literal["plain", "residual"]) -> list[int]:
    """Layer widths of the released code: constant at first, then halved; its residual variant halves a little less."""
    halvings = (0, 0, 0, 0, 0, 1, 2, 3, 4) if blocks == "plain" else (0, 0, 0, 0, 0, 1, 2, 2, 3)
    if pairs > len(halvings):
        raise ValueError(f"generator.widths=official ends at resolution 1024; use constant for {2 ** (pairs + 1)}")
    return [max(1, width >> halving) for halving in halvings[:pairs]]


CHOICES = {
    "widths": ("constant", "official"),
    "output": ("skip", "last"),
    "blocks": ("plain", "residual"),
    "embedding_lookup": ("aligned", "official"),
}


class CIPSGenerator(Generator):
    """Style and coordinates to colours; no operation sees two pixels at once. By default it is the paper's model.

    The encoding enters a first layer, then log2(R) - 1 pairs of layers. With ``output="skip"`` an RGB image is read
    after every pair and the image is their sum (CIPS); with ``output="last"`` it is read once (CIPS-base).

    Args:
        resolution: native resolution R, a power of two of at least 8.
        width: features of every hidden layer (of the widest, with official widths).
        z_dim, w_dim: sizes of the latent and of the style.
        mapping_layers, mapping_lr_multiplier: of the mapping network.
        fourier: options of the Fourier features; None leaves them out (the "no Fourier features" variant).
        embedding: options of the coordinate embedding; None leaves it out (CIPS-NE).
        widths: ``constant`` (45.9 M parameters at 256, the paper's) or ``official`` (the released code's, 44.3 M).
        output: ``skip`` or ``last``.
        blocks: ``plain`` or ``residual``.
        activation: ``lrelu``, ``sine``, ``siren``, ``sinrelu`` or ``silu`` (see `PixelLayer`); not the mapping
            network's.
        modulation: False leaves the weights alone: the style enters as further input features of the first layer.
        noise: learned per-pixel noise in every layer (released code); its values depend on pixel and seed only.
        embedding_lookup: ``aligned`` or ``official`` (see `CoordinateEmbedding`).

    Raises:
        ValueError: an option is out of its range; the message names it.
    """

    native_only = False  # any coordinate can be synthesised

    def __init__(
        self,
        resolution: int,
        width: int = 512,
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
        fourier: FourierOptions | None = FOURIER,
        embedding: EmbeddingOptions | None = EMBEDDING,
        widths: Literal["constant", "official"] = "constant",
        output: Literal["skip", "last"] = "skip",
        blocks: Literal["plain", "residual"] = "plain",
        activation: Activation = "lrelu",
        modulation: bool = True,
        noise: bool = False,
        embedding_lookup: Lookup = "aligned",
    ) -> None:
        super().__init__()
        if resolution < 8 or resolution & (resolution - 1):
            raise ValueError(f"resolution must be a power of two of at least 8, not {resolution}")
        chosen = {"widths": widths, "output": output, "blocks": blocks, "embedding_lookup": embedding_lookup}
        for option, value in chosen.items():
            if value not in CHOICES[option]:
                raise ValueError(f"generator.{option} must be one of {', '.join(CHOICES[option])}, not {value!r}")
        self.resolution = resolution
        self.z_dim = z_dim
        self.w_dim = w_dim
        self.mapping = MappingNetwork(z_dim, w_dim, mapping_layers, mapping_lr_multiplier)
        self.encoding = positional_encoding(resolution, width, fourier, embedding, embedding_lookup)

        pairs = resolution.bit_length() - 2  # log2(R) - 1
        self.num_layers = 1 + 2 * pairs  # an RGB image is read with the style of the layer before it
        sizes = [width] * pairs if widths == "constant" else official_widths(width, pairs, blocks)

        layer = partial(PixelLayer, w_dim=w_dim, activation=activation, modulated=modulation, noise=noise)
        self.first = layer(self.encoding.features, sizes[0])
        # Without modulation, "style concatenated to the encoding" is one more linear map into the first layer.
        self.style_input = None if modulation else EqualizedLinear(w_dim, sizes[0], bias=False)
        inputs = sizes[:1] + sizes[:-1]
        self.blocks = nn.ModuleList(
            PixelBlock(layer(a, b), layer(b, b), residual=blocks == "residual")
            for a, b in zip(inputs, sizes, strict=True)
        )
        with_rgb = range(pairs) if output == "skip" else (pairs - 1,)
        self.to_rgb = nn.ModuleDict(
            {str(i): ModulatedLinear(sizes[i], 3, w_dim, demodulate=False, modulated=modulation) for i in with_rgb}
        )
        self.noise = noise
        self.activation: Activation = activation
        self.residual = blocks == "residual"
        self.width = width
        # What a graph keeps of each pixel: the encoding and every layer's result.
        self.features_per_pixel = self.encoding.features + sizes[0] + 2 * sum(sizes)
        self.register_buffer("native_coords", image_grid(resolution, resolution).view(-1, 2), persistent=False)

    native_coords: Tensor

    # ---------------------------------------------------------------- styles

    def program(self, w: Tensor) -> PixelProgram:
        """Fill the styles in: every modulated weight B-hat, made once however many pixels follow.

        Args:
            w: [B, w_dim], or [B, P, w_dim] for a style of its own at every pixel.
        """
        first = self.first.specialise(w)
        if self.style_input is not None:
            style = self.style_input(w) * self.first.bias_gain
            bias = first.affine.bias + (style[:, None, :] if w.dim() == 2 else style)
            first = first._replace(affine=first.affine._replace(bias=bias))
        blocks = []
        for i, block in enumerate(self.blocks):
            assert isinstance(block, PixelBlock)
            to_rgb = dict(self.to_rgb.items()).get(str(i))
            assert to_rgb is None or isinstance(to_rgb, ModulatedLinear)
            blocks.append(
                Block(
                    block.first.specialise(w),
                    block.second.specialise(w),
                    None if block.skip is None else (block.skip.weight * block.skip.scale).t(),
                    None if to_rgb is None else to_rgb.specialise(w),
                )
            )
        return PixelProgram(first, blocks)

    # ---------------------------------------------------------------- pixels

    def run(self, program: PixelProgram, encoding: Tensor, coords: Tensor, noise_seed: int | Tensor = 0) -> Tensor:
        """The MLP over pixels: a function of its arguments alone.

        Args:
            program: from `program`, for B styles.
            encoding: [P, features] or [B, P, features], of the coordinates.
            coords: [P, 2] or [B, P, 2].
            noise_seed: an integer, or [B] int64: one for each sample. Matters only with noise.

        Returns:
            [B, 3, P] float32: channels first, as an image is.
        """
        keys = pixel_keys(coords, self.resolution) if self.noise else None

        def layer(specialised: Layer, x: Tensor, index: int) -> Tensor:
            return run_layer(specialised, x, self.activation, keys, noise_seed, index)

        x = layer(program.first, encoding, 0)
        rgb: Tensor | None = None
        for i, block in enumerate(program.blocks):
            y = layer(block.second, layer(block.first, x, 2 * i + 1), 2 * i + 2)
            if self.residual:  # (f(x) + skip(x)) / sqrt 2, as in the released code
                y = (y + (x if block.skip is None else x @ block.skip)) * math.sqrt(0.5)
            x = y
            if block.rgb is not None:
                colour = block.rgb.colours(x).float()
                rgb = colour if rgb is None else rgb + colour
        assert rgb is not None  # the last block always has an RGB layer
        return rgb

    def synthesis(self, w: Tensor, coords: Tensor, noise_seed: int | Tensor = 0) -> Tensor:
        """Colours at any coordinates, in any order and number, all at once.

        Args:
            w: [B, w_dim], or [B, P, w_dim]: a style of its own at every pixel.
            coords: [P, 2] for all samples or [B, P, 2]; (x, y), the training image spans [-1, 1].
            noise_seed: see `run`.

        Returns:
            [B, P, 3], values about [-1, 1], not clamped.

        Raises:
            ValueError: shapes that do not fit.
        """
        if coords.shape[-1] != 2 or coords.dim() not in (2, 3) or (coords.dim() == 3 and len(coords) != len(w)):
            raise ValueError(f"synthesis: coords must be [P, 2] or [{len(w)}, P, 2], not {list(coords.shape)}")
        if w.shape[-1] != self.w_dim or w.dim() not in (2, 3) or (w.dim() == 3 and w.shape[1] != coords.shape[-2]):
            pixels = coords.shape[-2]
            raise ValueError(
                f"synthesis: w must be [B, {self.w_dim}] or [B, {pixels}, {self.w_dim}], not {list(w.shape)}"
            )
        return self.run(self.program(w), self.encoding(coords), coords, noise_seed).mT

    def synthesize_native(
        self, w: Tensor, noise_seed: int | Tensor = 0, tile: Tile = "auto", keep: int | None = None
    ) -> Tensor:
        """Styles [B, w_dim] -> images [B, 3, R, R] on the native grid, in tiles, with gradients where wanted.

        Args:
            w: [B, w_dim].
            noise_seed: see `run`.
            tile: pixels of each sample in a tile; ``auto``; or None for all at once (see `tiling.choose_tile`).
            keep: bytes of graphs kept for the backward pass; None: as the memory allows (see `tiling.keep_bytes`).
        """
        rgb = self._tiled(w, self.native_coords, noise_seed, tile, keep, native=True)
        return rgb.unflatten(2, (self.resolution, self.resolution))

    def synthesize_at_once(self, w: Tensor, noise_seed: int | Tensor = 0) -> Tensor:
        rgb = self.synthesis(w, self.native_coords, noise_seed)
        return rgb.mT.unflatten(2, (self.resolution, self.resolution))

    @torch.no_grad()
    def render(self, w: Tensor, grid: Tensor, tile: Tile = "auto", noise_seed: int | Tensor = 0) -> Tensor:
        """Images on any grid, tile by tile, without a graph.

        Args:
            w: [B, w_dim], or [B, H, W, w_dim]: a style of its own at every pixel.
            grid: [H, W, 2] from `image_grid` or anything of its shape.
            tile: see `synthesize_native`; None also means ``auto`` here.
            noise_seed: see `run`.

        Returns:
            [B, 3, H, W].
        """
        height, width, _ = grid.shape
        if w.dim() == 4:
            w = w.flatten(1, 2)
        tile = "auto" if tile is None else tile
        rgb = self._tiled(w, grid.reshape(-1, 2), noise_seed, tile, None, native=False)
        return rgb.unflatten(2, (height, width))

    def tile_pixels(self, tile: Tile, batch: int, device: torch.device, free_bytes: int | None = None) -> int:
        return choose_tile(tile, self.resolution**2, batch, self.width, device, free_bytes)

    def compile_synthesis(self) -> None:
        # What runs once a tile; tiles are of equal size, so that it is compiled once.
        self.run = torch.compile(self.run)  # type: ignore[method-assign]

    def _tiled(
        self, w: Tensor, coords: Tensor, noise_seed: int | Tensor, tile: Tile, keep: int | None, *, native: bool
    ) -> Tensor:
        """[B, 3, P] for shared coordinates [P, 2], those of the native grid or any others.

        Everything that wants a gradient goes through the engine: the encoding's parameters, and the program's tensors
        or, where styles differ from pixel to pixel, the styles, which are then filled in tile by tile.
        """
        encoding = self.encoding.inputs(native)
        per_pixel = w.dim() == 3
        shared, of_shared = tree_flatten(([part.shared for part in encoding], None if per_pixel else self.program(w)))
        by_row, of_rows = tree_flatten(([part.by_row for part in encoding], w.transpose(0, 1) if per_pixel else None))

        def synthesize(shared: Tensors, by_row: Tensors, rows: slice) -> Tensor:
            whole, program = tree_unflatten(shared, of_shared)
            cut, styles = tree_unflatten(by_row, of_rows)
            encoding = self.encoding.encode(coords[rows], [Inputs(*own) for own in zip(whole, cut, strict=True)])
            program = self.program(styles.transpose(0, 1)) if per_pixel else program
            return self.run(program, encoding, coords[rows], noise_seed)

        return synthesize_tiled(
            synthesize,
            shared=shared,
            by_row=by_row,
            pixels=len(coords),
            tile=choose_tile(tile, len(coords), len(w), self.width, w.device),
            may_shrink=tile == "auto",
            graph_bytes=4 * len(w) * len(coords) * self.features_per_pixel,
            keep=keep,
        )
