"""Pictures that were found again in a generator: their styles in a file, and drawn at any size.

from cips_lab import load_generator
from cips_lab.render.inverted import draw_inverted, load_inversion

generator, found = load_generator("runs/mine"), load_inversion("inversion/inversion.safetensors")
images = draw_inverted(generator, found, resolution=1024)          # [1, 3, 1024, 1024], about [-1, 1]
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line, parse_config, read_safetensors
from cips_lab.files.whole import replacing
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.networks.tiling import Tile
from cips_lab.render.given_noise import draw_with_noise
from cips_lab.render.scene import TRAINING_SQUARE, check_scene, parse_size

FORMAT = "cips_lab.inversion.1"


@dataclass(frozen=True)
class Inversion:
    """What a generator needs to draw a picture that was found in it.

    Attributes:
        styles: [1, w_dim], or [1, num_layers, w_dim], float32 on the CPU.
        noise: [num_layers, H, W] on the native grid, where noise was looked for too (`render.given_noise`).
        noise_seed: of generators with noise, whose noise they were found with where it was not.
        generator: SHA-256 of the file that it was found in.
        settings: how it was found: the command's options, the picture's name.
    """

    styles: Tensor
    noise: Tensor | None = None
    noise_seed: int = 0
    generator: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def by_layer(self, num_layers: int) -> Tensor:
        """[1, num_layers, w_dim], whichever they are."""
        return self.styles[:, None].repeat(1, num_layers, 1) if self.styles.dim() == 2 else self.styles


def save_inversion(found: Inversion, path: Path) -> None:
    """Write a ``.safetensors`` file that `load_inversion` reads."""
    metadata = {
        "format": FORMAT,
        "generator_sha256": found.generator,
        "noise_seed": str(found.noise_seed),
        "settings": json.dumps(found.settings),
    }
    tensors = {"styles": found.styles} | ({} if found.noise is None else {"noise": found.noise})
    with replacing(path) as partial:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, partial, metadata=metadata)


def load_inversion(path: str | Path) -> Inversion:
    """Read what `save_inversion` wrote.

    Raises:
        UserError: it cannot be read, or is something else.
    """
    tensors, metadata = read_safetensors(Path(path).expanduser())
    remedy = "give the inversion.safetensors that cips_lab.invert wrote"
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: holds no inversion (its header lacks format {FORMAT}); {remedy}")
    try:
        styles, seed, settings = tensors["styles"], int(metadata["noise_seed"]), parse_config(metadata["settings"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: a part of the inversion is missing ({first_line(error)}); {remedy}") from None
    noise = tensors.get("noise")
    if not (_is_sound(styles) and styles.dim() in (2, 3) and len(styles) == 1):
        raise UserError(f"{path}: its styles are not finite numbers [1, w_dim] or [1, layers, w_dim]; {remedy}")
    if noise is not None and not (_is_sound(noise) and noise.dim() == 3):
        raise UserError(f"{path}: its noise is not finite numbers [layers, height, width]; {remedy}")
    return Inversion(styles, noise, seed, metadata.get("generator_sha256", ""), settings)


def _is_sound(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.numel() > 0 and bool(tensor.isfinite().all())


@torch.no_grad()
def draw_inverted(
    generator: Generator,
    found: Inversion,
    resolution: int | Sequence[int] | None = None,
    region: Sequence[float] = TRAINING_SQUARE,
    tile: Tile = "auto",
) -> Tensor:
    """Draw an inversion with the generator that it was found in, at any size and place.

    Args:
        generator: on any device, in evaluation mode.
        found: from `load_inversion`.
        resolution: pixels a side or (height, width); None: the native one.
        region: left, top, right, bottom; the picture is (-1, -1, 1, 1).
        tile: see `Generator.render`.

    Returns:
        [1, 3, H, W], about [-1, 1], not clamped, on the generator's device.

    Raises:
        UserError: it was found in a generator of another kind, or this one cannot draw that size or region.
    """
    layers = found.by_layer(generator.num_layers).shape[1]
    noise_fits = found.noise is None or (
        isinstance(generator, CIPSGenerator) and found.noise.shape == (generator.num_layers, *generator.size)
    )
    if (layers, found.styles.shape[-1]) != (generator.num_layers, generator.w_dim) or not noise_fits:
        raise UserError(
            f"an inversion with styles {list(found.styles.shape)} does not fit a generator with {generator.num_layers} "
            f"layers of {generator.w_dim}; give the generator that it was found in"
        )
    height, width = parse_size(resolution, generator.resolution)
    check_scene(generator, height, width, region)
    device = generator.mapping.w_mean.device
    native = (height, width) == generator.size and tuple(region) == TRAINING_SQUARE
    grid = None if native else image_grid(height, width, region, device=device)
    return draw_styles(generator, found.styles.to(device), grid, found.noise, found.noise_seed, tile)


def draw_styles(
    generator: Generator,
    styles: Tensor,
    grid: Tensor | None = None,
    noise: Tensor | None = None,
    noise_seed: int = 0,
    tile: Tile = "auto",
) -> Tensor:
    """Pictures [B, 3, h, w] of styles, with gradients where wanted; [1, 3, h, w] with chosen noise.

    Args:
        generator: on the styles' device.
        styles: [B, w_dim] or [B, num_layers, w_dim].
        grid: [h, w, 2]; None: the native one.
        noise: [num_layers, H, W] on the native grid; None: that of the seed.
        noise_seed: an integer.
        tile: see `Generator.synthesize_native`.
    """
    if noise is not None:
        assert isinstance(generator, CIPSGenerator)
        return draw_with_noise(generator, styles, noise.to(styles), grid, tile)
    if grid is None:
        return generator.synthesize_native(styles, noise_seed, tile=tile)
    return generator.synthesize_at(styles, grid, noise_seed, tile=tile)
