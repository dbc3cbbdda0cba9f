"""CIPS: an MLP from a pixel's coordinate and one style vector to its colour (Anokhin et al., CVPR 2021, section 3)."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

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
from cips_lab.networks.modulated import Activation, Layer, ModulatedLinear, PixelLayer, run_layer
from cips_lab.networks.noise import pixel_keys
from cips_lab.networks.program import Block, PixelProgram
from cips_lab.networks.rotation import StyleRotation
from cips_lab.networks.shift import StyleShift
from cips_lab.networks.size import check_native, halvings, sides, size_of
from cips_lab.networks.styles import check_styles, styles_of_layers, styles_of_picture
from cips_lab.networks.surface import SurfaceName, surface_of
from cips_lab.networks.tiling import Tensors, Tile, choose_tile, synthesize_tiled
from cips_lab.networks.widths import official_widths


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


CHOICES = {
    "widths": ("constant", "official"),
    "output": ("skip", "last"),
    "blocks": ("plain", "residual"),
    "embedding_lookup": ("aligned", "official"),
}


def check_choices(**chosen: str) -> None:
    """Raise `ValueError` for an option that is none of its `CHOICES`."""
    for option, value in chosen.items():
        if value not in CHOICES[option]:
            raise ValueError(f"generator.{option} must be one of {', '.join(CHOICES[option])}, not {value!r}")


class CIPSGenerator(Generator):
    """Style and coordinates to colours; no operation sees two pixels at once. By default it is the paper's model.

    The encoding enters a first layer, then log2(R) - 1 pairs of layers (of a rectangle: one more than the
    discriminator's halvings). With ``output="skip"`` an RGB image is read
    after every pair and the image is their sum (CIPS); with ``output="last"`` it is read once (CIPS-base).

    Args:
        resolution: native resolution R, or (height, width), see `size.check_native`.
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
        shift: how far, in half frames, a style moves the Fourier features' waves at first; None: never (see
            `StyleShift`; the paper's are where they are in every picture).
        rotation: how far, in radians, a style rotates them at first; None: never (see `StyleRotation`).
        wave_modulation: False leaves the first layer's weights alone: styles make no wave stronger than others.
        embedding_lookup: ``aligned`` or ``official`` (see `CoordinateEmbedding`).
        surface: ``plane``, or ``cylinder``: x goes around, and what the generator makes has no seam.
        turns: frames of a whole turn of the cylinder; at 6, a frame sees 60 degrees.
        mixing_probability: share of the training samples that get two styles (see `Generator.training_styles`).
        classes: of pictures; 0: none (see `MappingNetwork`).

    Raises:
        ValueError: an option is out of its range; the message names it.
    """

    native_only = False  # any coordinate can be synthesised

    def __init__(
        self,
        resolution: int | Sequence[int],
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
        shift: float | None = None,
        rotation: float | None = None,
        wave_modulation: bool = True,
        embedding_lookup: Lookup = "aligned",
        surface: SurfaceName = "plane",
        turns: int = 6,
        mixing_probability: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        check_native(resolution)
        check_choices(widths=widths, output=output, blocks=blocks, embedding_lookup=embedding_lookup)
        self.resolution = size_of(*sides(resolution))
        self.z_dim, self.w_dim, self.mixing_probability = z_dim, w_dim, mixing_probability
        self.curved = surface_of(surface, turns)
        self.surface, self.period = self.curved.name, self.curved.period
        self.mapping = MappingNetwork(z_dim, w_dim, mapping_layers, mapping_lr_multiplier, classes=classes)
        self.encoding = positional_encoding(resolution, width, fourier, embedding, embedding_lookup, self.curved)
        self.shift = None if shift is None else StyleShift(self.encoding.fourier, w_dim, shift)
        self.rotation = None if rotation is None else StyleRotation(self.encoding.fourier, w_dim, rotation)

        pairs = halvings(resolution) + 1  # log2(R) - 1
        self.num_layers = 1 + 2 * pairs  # an RGB image is read with the style of the layer before it
        sizes = [width] * pairs if widths == "constant" else official_widths(width, pairs, blocks)

        layer = partial(PixelLayer, w_dim=w_dim, activation=activation, modulated=modulation, noise=noise)
        fixed = not wave_modulation
        self.first = layer(self.encoding.features, sizes[0], modulated=modulation and not fixed, constant=fixed)
        # Without modulation, "style concatenated to the encoding" is one more linear map into the first layer.
        self.style_input = None if modulation else EqualizedLinear(w_dim, sizes[0], bias=False)
        self.blocks = nn.ModuleList(
            PixelBlock(layer(a, b), layer(b, b), residual=blocks == "residual")
            for a, b in zip(sizes[:1] + sizes[:-1], sizes, strict=True)
        )
        with_rgb = range(pairs) if output == "skip" else (pairs - 1,)
        self.to_rgb = nn.ModuleDict(
            {str(i): ModulatedLinear(sizes[i], 3, w_dim, demodulate=False, modulated=modulation) for i in with_rgb}
        )
        self.noise, self.residual, self.width = noise, blocks == "residual", width
        self.activation: Activation = activation
        # What a graph keeps of each pixel: the encoding and every layer's result.
        self.features_per_pixel = self.encoding.features + sizes[0] + 2 * sum(sizes)
        self.register_buffer("native_coords", image_grid(*self.size).view(-1, 2), persistent=False)

    native_coords: Tensor

    # ---------------------------------------------------------------- styles

    def program(self, w: Tensor) -> PixelProgram:
        """Fill the styles in: every modulated weight B-hat, made once however many pixels follow.

        Args:
            w: [B, w_dim], [B, num_layers, w_dim], or [B, 1 or num_layers, P, w_dim] for a style at every pixel.
        """
        styles = styles_of_layers(w, self.num_layers)
        first = self.first.specialise(styles[0])
        for motion in (self.shift, self.rotation):
            if motion is not None:
                first = motion(first, styles[0], self.encoding.get_parameter("fourier.weight"))
        if self.style_input is not None:
            style = self.style_input(styles[0]) * self.first.bias_gain
            bias = first.affine.bias + (style[:, None, :] if style.dim() == 2 else style)
            first = first._replace(affine=first.affine._replace(bias=bias))
        blocks = []
        for i, block in enumerate(self.blocks):
            assert isinstance(block, PixelBlock)
            to_rgb = dict(self.to_rgb.items()).get(str(i))
            assert to_rgb is None or isinstance(to_rgb, ModulatedLinear)
            blocks.append(
                Block(
                    block.first.specialise(styles[2 * i + 1]),
                    block.second.specialise(styles[2 * i + 2]),
                    None if block.skip is None else (block.skip.weight * block.skip.scale).t(),
                    None if to_rgb is None else to_rgb.specialise(styles[2 * i + 2]),
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
        keys = pixel_keys(coords, self.resolution, self.curved.turns) if self.noise else None

        def layer(specialised: Layer, x: Tensor, index: int) -> Tensor:
            return run_layer(specialised, x, self.activation, keys, noise_seed, index)

        x = layer(program.first.at(coords), encoding, 0)
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
            w: [B, w_dim], [B, num_layers, w_dim] (one a layer), or [B, 1 or num_layers, P, w_dim] (by pixel).
            coords: [P, 2] for all samples or [B, P, 2]; (x, y), the training image spans [-1, 1].
            noise_seed: see `run`.

        Returns:
            [B, P, 3], values about [-1, 1], not clamped.

        Raises:
            ValueError: shapes that do not fit.
        """
        if coords.shape[-1] != 2 or coords.dim() not in (2, 3) or (coords.dim() == 3 and len(coords) != len(w)):
            raise ValueError(f"synthesis: coords must be [P, 2] or [{len(w)}, P, 2], not {list(coords.shape)}")
        check_styles(w, self.w_dim, self.num_layers, coords.shape[-2])
        return self.run(self.program(w), self.encoding(coords), coords, noise_seed).mT

    def synthesize_native(
        self, w: Tensor, noise_seed: int | Tensor = 0, tile: Tile = "auto", keep: int | None = None
    ) -> Tensor:
        """Styles -> images [B, 3, H, W] on the native grid, in tiles, with gradients where wanted.

        Args:
            w: as in `synthesis`.
            noise_seed: see `run`.
            tile: pixels of each sample in a tile; ``auto``; or None for all at once (see `tiling.choose_tile`).
            keep: bytes of graphs kept for the backward pass; None: as the memory allows (see `tiling.keep_bytes`).
        """
        rgb = self._tiled(w, self.native_coords, noise_seed, tile, keep, native=True)
        return rgb.unflatten(2, self.size)

    def synthesize_at(
        self,
        w: Tensor,
        coords: Tensor,
        noise_seed: int | Tensor = 0,
        tile: Tile = "auto",
        keep: int | None = None,
    ) -> Tensor:
        rgb = self._tiled(w, coords.flatten(-3, -2), noise_seed, tile, keep, native=False)
        return rgb.unflatten(2, coords.shape[-3:-1])

    def synthesize_at_once(self, w: Tensor, noise_seed: int | Tensor = 0, coords: Tensor | None = None) -> Tensor:
        size = self.size if coords is None else coords.shape[-3:-1]
        places = self.native_coords if coords is None else coords.flatten(-3, -2)
        return self.synthesis(w, places, noise_seed).mT.unflatten(2, size)

    @torch.no_grad()
    def render(self, w: Tensor, grid: Tensor, tile: Tile = "auto", noise_seed: int | Tensor = 0) -> Tensor:
        """Images on any grid, tile by tile, without a graph.

        Args:
            w: [B, w_dim], [B, num_layers, w_dim], or [B, 1 or num_layers, H, W, w_dim]: a style at every pixel.
            grid: [H, W, 2] from `image_grid` or anything of its shape.
            tile: see `synthesize_native`; None also means ``auto`` here.
            noise_seed: see `run`.

        Returns:
            [B, 3, H, W].
        """
        height, width, _ = grid.shape
        w = styles_of_picture(w, height, width)
        tile = "auto" if tile is None else tile
        rgb = self._tiled(w, grid.reshape(-1, 2), noise_seed, tile, None, native=False)
        return rgb.unflatten(2, (height, width))

    def tile_pixels(
        self, tile: Tile, batch: int, device: torch.device, free_bytes: int | None = None, pixels: int | None = None
    ) -> int:
        return choose_tile(tile, pixels or len(self.native_coords), batch, self.width, device, free_bytes)

    def compile_synthesis(self, mode: str = "default") -> None:
        # What runs once a tile; tiles are of equal size, so that it is compiled once.
        self.run = torch.compile(self.run, mode=mode)  # type: ignore[method-assign]

    def _tiled(
        self, w: Tensor, coords: Tensor, noise_seed: int | Tensor, tile: Tile, keep: int | None, *, native: bool
    ) -> Tensor:
        """[B, 3, P] for coordinates [P, 2] that all samples share, or [B, P, 2].

        Everything that wants a gradient goes through the engine: the encoding's parameters, and the program's tensors
        or, where styles differ from pixel to pixel, the styles, which are then filled in tile by tile.
        """
        pixels = coords.shape[-2]
        check_styles(w, self.w_dim, self.num_layers, pixels)
        encoding = self.encoding.inputs(native)
        per_pixel = w.dim() == 4
        shared, of_shared = tree_flatten(([part.shared for part in encoding], None if per_pixel else self.program(w)))
        summed, of_summed = tree_flatten([part.summed for part in encoding])
        by_row, of_rows = tree_flatten(([part.by_row for part in encoding], w.movedim(2, 0) if per_pixel else None))

        def synthesize(shared: Tensors, by_row: Tensors, rows: slice) -> Tensor:
            whole, program = tree_unflatten(shared[: len(shared) - len(summed)], of_shared)
            sums = tree_unflatten(shared[len(shared) - len(summed) :], of_summed)
            cut, styles = tree_unflatten(by_row, of_rows)
            here = coords[..., rows, :]
            encoding = self.encoding.encode(here, [Inputs(*own) for own in zip(whole, cut, sums, strict=True)])
            program = self.program(styles.movedim(0, 2)) if per_pixel else program
            return self.run(program, encoding, here, noise_seed)

        return synthesize_tiled(
            synthesize,
            shared=shared,
            summed=summed,
            by_row=by_row,
            pixels=pixels,
            tile=choose_tile(tile, pixels, len(w), self.width, w.device),
            may_shrink=tile == "auto",
            graph_bytes=4 * len(w) * pixels * self.features_per_pixel,
            keep=keep,
        )
