"""CIPS: an MLP from a pixel's coordinate and one style vector to its colour (Anokhin et al., CVPR 2021, section 3)."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.encoding import CoordinateEmbedding, FourierFeatures, Lookup, PositionalEncoding
from cips_lab.networks.equalized import EqualizedLinear
from cips_lab.networks.mapping import MappingNetwork
from cips_lab.networks.modulated import Activation, Affine, ModulatedLinear, PixelBlock, PixelLayer
from cips_lab.networks.noise import pixel_keys


class FourierOptions(TypedDict, total=False):
    """features: their number; initialization: uniform (official) or siren; scale: of the initial frequencies."""

    features: int
    initialization: Literal["uniform", "siren"]
    scale: float


class EmbeddingOptions(TypedDict, total=False):
    """features: length of each vector; std: of the initial table (official: 1); lr_multiplier: see the class."""

    features: int
    std: float
    lr_multiplier: float


class PixelProgram(NamedTuple):
    """The generator with its styles filled in: all that is left is a plain MLP over pixels."""

    first: Affine
    blocks: list[list[Affine]]
    rgb: list[Affine | None]


def official_widths(width: int, pairs: int, blocks: Literal["plain", "residual"]) -> list[int]:
    """Layer widths of the released code: constant at first, then halved; its residual variant halves a little less."""
    halvings = (0, 0, 0, 0, 0, 1, 2, 3, 4) if blocks == "plain" else (0, 0, 0, 0, 0, 1, 2, 2, 3)
    if pairs > len(halvings):
        raise ValueError(f"generator.widths=official ends at resolution 1024; use constant for {2 ** (pairs + 1)}")
    return [max(1, width >> halving) for halving in halvings[:pairs]]


class CIPSGenerator(nn.Module):
    """Style and coordinates to colours; no operation sees two pixels at once.

    The encoding enters a first layer, then log2(R) - 1 pairs of layers. With ``output="skip"`` an RGB image is read
    after every pair and the image is their sum (CIPS); with ``output="last"`` it is read once (CIPS-base).

    Args:
        resolution: native resolution R, a power of two of at least 8.
        width: features of every hidden layer (of the widest, with official widths).
        z_dim, w_dim: sizes of the latent and of the style.
        mapping_layers, mapping_lr_multiplier: of the mapping network.
        fourier: options of the Fourier features, or None (the "no Fourier features" variant).
        embedding: options of the coordinate embedding, or None (CIPS-NE).
        widths: ``constant`` (45.9 M parameters at 256, the paper's) or ``official`` (the released code's, 44.3 M).
        output: ``skip`` or ``last``.
        blocks: ``plain`` or ``residual``.
        activation: ``lrelu``, ``sine`` or ``siren`` (see `PixelLayer`); the mapping network keeps leaky ReLU.
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
        fourier: FourierOptions | None = None,
        embedding: EmbeddingOptions | None = None,
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
        for option, value, allowed in (
            ("widths", widths, ("constant", "official")),
            ("output", output, ("skip", "last")),
            ("blocks", blocks, ("plain", "residual")),
        ):
            if value not in allowed:
                raise ValueError(f"generator.{option} must be one of {', '.join(allowed)}, not {value!r}")
        self.resolution = resolution
        self.z_dim = z_dim
        self.w_dim = w_dim
        self.mapping = MappingNetwork(z_dim, w_dim, mapping_layers, mapping_lr_multiplier)
        self.encoding = PositionalEncoding(
            None if fourier is None else FourierFeatures(**fourier),
            None if embedding is None else CoordinateEmbedding(resolution, lookup=embedding_lookup, **embedding),
        )

        pairs = resolution.bit_length() - 2  # log2(R) - 1
        sizes = [width] * pairs if widths == "constant" else official_widths(width, pairs, blocks)

        def layer(in_features: int, out_features: int, index: int) -> PixelLayer:
            return PixelLayer(
                in_features,
                out_features,
                w_dim,
                activation=activation,
                modulated=modulation,
                noise=noise,
                index=index,
            )

        self.first = layer(self.encoding.features, sizes[0], 0)
        # Without modulation, "style concatenated to the encoding" is one more linear map into the first layer.
        self.style_input = None if modulation else EqualizedLinear(w_dim, sizes[0], bias=False)
        inputs = sizes[:1] + sizes[:-1]
        self.blocks = nn.ModuleList(
            PixelBlock(layer(a, b, 2 * i + 1), layer(b, b, 2 * i + 2), residual=blocks == "residual")
            for i, (a, b) in enumerate(zip(inputs, sizes, strict=True))
        )
        with_rgb = range(pairs) if output == "skip" else (pairs - 1,)
        self.to_rgb = nn.ModuleDict(
            {str(i): ModulatedLinear(sizes[i], 3, w_dim, demodulate=False, modulated=modulation) for i in with_rgb}
        )
        self.noise = noise
        self.register_buffer("native_coords", image_grid(resolution, resolution).view(-1, 2), persistent=False)

    native_coords: Tensor

    # ---------------------------------------------------------------- styles

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Pull styles [..., w_dim] towards the tracked mean; psi = 1 changes nothing, 0 gives the mean."""
        return self.mapping.truncate(w, psi)

    def program(self, w: Tensor) -> PixelProgram:
        """Fill the styles in: every modulated weight B-hat, made once however many pixels follow.

        Args:
            w: [B, w_dim].
        """
        first = self.first.affine_map(w)
        if self.style_input is not None:
            first = Affine(first.weight, first.bias + self.style_input(w)[:, None, :])
        return PixelProgram(
            first,
            [block.affine_map(w) for block in self.blocks],  # type: ignore[operator]
            [
                self.to_rgb[str(i)].affine_map(w) if str(i) in self.to_rgb else None  # type: ignore[operator]
                for i in range(len(self.blocks))
            ],
        )

    # ---------------------------------------------------------------- pixels

    def run(self, program: PixelProgram, encoding: Tensor, coords: Tensor, noise_seed: int | Tensor = 0) -> Tensor:
        """The MLP over pixels.

        Args:
            program: from `program`, for B styles.
            encoding: [P, features] or [B, P, features], of the coordinates.
            coords: [P, 2] or [B, P, 2].
            noise_seed: an integer, or [B] int64: one for each sample. Matters only with noise.

        Returns:
            [B, P, 3] float32.
        """
        keys = pixel_keys(coords, self.resolution) if self.noise else None
        x = self.first(encoding, program.first, keys, noise_seed)
        rgb: Tensor | None = None
        for block, affines, to_rgb in zip(self.blocks, program.blocks, program.rgb, strict=True):
            x = block(x, affines, keys, noise_seed)
            if to_rgb is not None:
                colour = to_rgb(x).float()
                rgb = colour if rgb is None else rgb + colour
        assert rgb is not None  # the last block always has an RGB layer
        return rgb

    def synthesis(self, w: Tensor, coords: Tensor, noise_seed: int | Tensor = 0) -> Tensor:
        """Colours at any coordinates, in any order and number.

        Args:
            w: [B, w_dim].
            coords: [P, 2] for all samples or [B, P, 2]; (x, y), the training image spans [-1, 1].
            noise_seed: see `run`.

        Returns:
            [B, P, 3], values about [-1, 1], not clamped.

        Raises:
            ValueError: shapes that do not fit.
        """
        if coords.shape[-1] != 2 or coords.dim() not in (2, 3) or (coords.dim() == 3 and len(coords) != len(w)):
            raise ValueError(f"synthesis: coords must be [P, 2] or [{len(w)}, P, 2], not {list(coords.shape)}")
        return self.run(self.program(w), self.encoding(coords), coords, noise_seed)

    def synthesize_native(self, w: Tensor, noise_seed: int | Tensor = 0) -> Tensor:
        """Styles [B, w_dim] -> images [B, 3, R, R] on the native grid, with the embedding table read directly."""
        rgb = self.run(self.program(w), self.encoding.native(self.native_coords), self.native_coords, noise_seed)
        return to_images(rgb, self.resolution, self.resolution)

    def forward(self, z: Tensor, noise_seed: int | Tensor = 0) -> Tensor:
        """Latents [B, z_dim], standard normal -> images [B, 3, R, R], values about [-1, 1]."""
        return self.synthesize_native(self.mapping(z), noise_seed)

    @torch.no_grad()
    def render(self, w: Tensor, grid: Tensor, tile: int | None = None, noise_seed: int | Tensor = 0) -> Tensor:
        """Images on any grid, tile by tile, without a graph.

        Args:
            w: [B, w_dim].
            grid: [H, W, 2] from `image_grid` or anything of its shape.
            tile: pixels a tile, for each sample; None chooses.
            noise_seed: see `run`.

        Returns:
            [B, 3, H, W].
        """
        height, width, _ = grid.shape
        program = self.program(w)
        tile = tile or max(256, 8192 // len(w))
        tiles = [
            self.run(program, self.encoding(coords), coords, noise_seed) for coords in grid.reshape(-1, 2).split(tile)
        ]
        return to_images(torch.cat(tiles, dim=1), height, width)


def to_images(rgb: Tensor, height: int, width: int) -> Tensor:
    """Pixel lists [B, H * W, 3] -> images [B, 3, H, W] (a view)."""
    return rgb.unflatten(1, (height, width)).permute(0, 3, 1, 2)


__all__: Sequence[str] = ("CIPSGenerator", "PixelProgram", "official_widths", "to_images")
