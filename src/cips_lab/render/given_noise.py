"""CIPS with noise that was chosen, not drawn: a map for each layer on the native grid (the released code's noise).

A layer adds strength * noise to what it makes of a pixel, as its bias is added: chosen noise is a bias of each pixel's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.modulated import Layer
from cips_lab.networks.noise import pixel_keys, pixel_noise
from cips_lab.networks.program import PixelProgram
from cips_lab.networks.tiling import Tensors, Tile, choose_tile, synthesize_tiled


def noise_at(maps: Tensor, coords: Tensor) -> Tensor:
    """Maps [L, H, W] at coordinates [P, 2]: [P, L], bilinear between native pixels and constant beyond them.

    A function of the coordinate, as drawn noise is; of a cylinder, that of its first frame.
    """
    at = coords.to(maps)[None, None]
    return F.grid_sample(maps[None], at, "bilinear", "border", align_corners=True)[0, :, 0].mT


def drawn_noise(generator: CIPSGenerator, seed: int) -> Tensor:
    """The maps [num_layers, H, W] that a seed means on the native grid."""
    keys = pixel_keys(generator.native_coords, generator.resolution, generator.curved.turns)
    maps = [pixel_noise(keys, layer, seed) for layer in range(generator.num_layers)]
    return torch.stack(maps).unflatten(1, generator.size)


def with_noise(program: PixelProgram, noise: Tensor) -> PixelProgram:
    """A program for P pixels with their noise [P, L] in it."""

    def filled(layer: Layer, index: int) -> Layer:
        if layer.noise_strength is None:
            return layer
        bias = layer.affine.bias + layer.noise_strength * noise[None, :, index, None]
        return Layer(layer.affine._replace(bias=bias), None)

    blocks = [
        block._replace(first=filled(block.first, 2 * i + 1), second=filled(block.second, 2 * i + 2))
        for i, block in enumerate(program.blocks)
    ]
    return PixelProgram(filled(program.first, 0), blocks)


def draw_with_noise(
    generator: CIPSGenerator, w: Tensor, maps: Tensor, grid: Tensor | None = None, tile: Tile = "auto"
) -> Tensor:
    """A picture of styles and chosen noise, tile by tile, with gradients of both where wanted.

    Args:
        generator: whose own weights get no gradient.
        w: [1, w_dim] or [1, num_layers, w_dim].
        maps: [num_layers, H, W] on the native grid.
        grid: [h, w, 2]; None: the native one.
        tile: see `Generator.synthesize_native`.

    Returns:
        [1, 3, h, w].
    """
    grid = image_grid(*generator.size, device=w.device) if grid is None else grid
    coords = grid.reshape(-1, 2)
    shared, of_shared = tree_flatten(generator.program(w))

    def synthesize(shared: Tensors, by_row: Tensors, rows: slice) -> Tensor:
        program, (noise,), here = tree_unflatten(shared, of_shared), by_row, coords[rows]
        assert noise is not None
        return generator.run(with_noise(program, noise), generator.encoding(here)[None], here)

    rgb = synthesize_tiled(
        synthesize,
        shared=shared,
        by_row=[noise_at(maps, coords)],
        pixels=len(coords),
        tile=choose_tile(tile, len(coords), 1, generator.width, w.device),
        may_shrink=tile == "auto",
        graph_bytes=4 * len(coords) * generator.features_per_pixel,
    )
    return rgb.unflatten(2, grid.shape[:2])
