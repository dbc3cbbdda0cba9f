"""StyleGAN2's generator, the convolutional baseline beside CIPS in the paper's tables.

Configuration F with skip connections of Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"
(arXiv 1912.04958), with the conventions of the public PyTorch port by rosinality that CIPS was trained beside.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.equalized import EqualizedLinear, scaled_leaky_relu
from cips_lab.networks.generator import Generator
from cips_lab.networks.mapping import MappingNetwork
from cips_lab.networks.noise import pixel_keys, pixel_noise
from cips_lab.networks.resample import blur, blur_kernel
from cips_lab.networks.size import check_native, halvings, sides, size_of
from cips_lab.networks.tiling import Tile

DEMODULATION_EPSILON = 1e-8


def upsample(x: Tensor) -> Tensor:
    """Twice the size: a zero after every pixel, then the blur [1, 3, 3, 1] with gain 4. [B, C, H, W] -> [B, C, 2H, 2W].

    Inserting zeros and filtering is what a transposed convolution of stride 2 does, so it is one.
    """
    channels = x.shape[1]
    kernel = (4 * blur_kernel(x.device, x.dtype)).expand(channels, 1, 4, 4)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


class ModulatedConv2d(nn.Module):
    """A convolution whose weight depends on the style (Karras et al. 2020, equations 1 and 3).

    With the style ``s = A w`` of a sample and ``c = 1 / sqrt(in k^2)``, its weight is

        w'_oik = c W_oik s_i,    w''_oik = w'_oik / sqrt(sum_ik w'_oik^2 + 1e-8).

    A convolution is linear, so ``s`` may scale the input's channels and the demodulation the output's: one ordinary
    convolution for the whole batch, instead of a grouped one with a weight for each sample.

    Args:
        in_channels, out_channels: channels before and after.
        kernel_size: k, odd.
        w_dim: size of the style vector w.
        demodulate: whether to use w'' (else w').
        upsample: double the size, by a transposed convolution of stride 2 and a blur.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        w_dim: int,
        *,
        demodulate: bool = True,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.demodulate = demodulate
        self.upsample = upsample

    def coefficients(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """Styles [B, w_dim] -> factors of the input's channels [B, in] and of the output's [B, out] (or None).

        Always in the parameters' precision: a sum of squares over thousands of weights is not for half precision.
        """
        with torch.autocast(w.device.type, enabled=False):
            style = self.affine(w.to(self.weight.dtype))
            if not self.demodulate:
                return style, None
            power = (self.weight * self.scale).square().sum((2, 3))  # [out, in]
            return style, torch.rsqrt(style.square() @ power.T + DEMODULATION_EPSILON)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[B, in, H, W] and styles [B, w_dim] -> [B, out, H, W], or [B, out, 2H, 2W] with `upsample`."""
        style, demodulation = self.coefficients(w)
        x = x * style.to(x.dtype)[:, :, None, None]
        weight = self.weight * self.scale
        if self.upsample:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [B, out, 2H + 1, 2W + 1]
            x = blur(x, (1, 1), gain=4)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return x if demodulation is None else x * demodulation.to(x.dtype)[:, :, None, None]

    def extra_repr(self) -> str:
        out_channels, in_channels, kernel, _ = self.weight.shape
        return (
            f"{in_channels}, {out_channels}, kernel_size={kernel}, demodulate={self.demodulate}, "
            f"upsample={self.upsample}"
        )


class StyledLayer(nn.Module):
    """Modulated 3x3 convolution, noise times a learned strength (0 at first), bias, scaled leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, *, upsample: bool, noise: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 3, w_dim, upsample=upsample)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """[B, in, H, W], styles [B, w_dim], noise [1 or B, 1, H', W'] -> [B, out, H', W']."""
        x = self.conv(x, w)
        if self.noise_strength is not None and noise is not None:
            x = x + (self.noise_strength * noise).to(x.dtype)
        return scaled_leaky_relu(x + self.bias.to(x.dtype)[:, None, None])


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, not demodulated, added to the up-sampled RGB of the resolution before."""

    def __init__(self, in_channels: int, w_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, 3, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor, rgb: Tensor | None = None) -> Tensor:
        """[B, in, H, W], styles [B, w_dim], RGB so far [B, 3, H / 2, W / 2] -> [B, 3, H, W]."""
        y = self.conv(x, w) + self.bias[:, None, None]  # from here on in the parameters' precision, as is the sum
        if rgb is None:
            return y
        with torch.autocast(rgb.device.type, enabled=False):
            return y + upsample(rgb)


class StyleGAN2Generator(Generator):
    """Latents to images by convolutions, from a learned 4 x 4 constant; used like `CIPSGenerator`.

    A rectangle begins with a constant of its own shape, whose smaller side has 4 to 7 pixels.

    What it cannot do is synthesise free coordinates: a pixel depends on its neighbours, so `synthesis` and `render`
    accept the native grid alone (`native_only` is True).

    Args:
        resolution: R, side of the images, or (height, width), see `size.check_native`.
        z_dim, w_dim: sizes of the latent and of the style.
        mapping_layers, mapping_lr_multiplier: of the mapping network.
        channel_base, channel_max: channels at resolution r are ``min(channel_max, channel_base / r)``; the defaults
            are configuration F (512 up to 64 pixels, then 256 at 128, 128 at 256), the same as the discriminator's.
        noise: add per-pixel noise after each convolution: a hash of pixel, layer and `noise_seed`, with no state.
        mixing_probability: share of the training samples that get two styles (see `Generator.training_styles`); 0 as
            in CIPS's recipe, 0.9 in StyleGAN2's.
        classes: of pictures; 0: none (see `MappingNetwork`).

    Attributes:
        num_layers: styles that one image takes, ``2 log2(R) - 2``; layer i of the convolutions takes style i, and
            the RGB output of a resolution shares the style of the convolution that follows it.

    Raises:
        ValueError: the resolution is not one that can be doubled up to.
    """

    native_only = True

    def __init__(
        self,
        resolution: int | Sequence[int],
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_lr_multiplier: float = 0.01,
        noise: bool = True,
        mixing_probability: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        check_native(resolution, "StyleGAN2Generator: ")
        self.resolution = size_of(*sides(resolution))
        self.z_dim = z_dim
        self.w_dim = w_dim
        self.noise = noise
        self.mixing_probability = mixing_probability
        doublings = halvings(resolution)
        self.first_size = tuple(side >> doublings for side in self.size)
        sizes = [4 << i for i in range(doublings + 1)]  # 4, 8, ..., R
        channels = [max(1, min(channel_max, channel_base // size)) for size in sizes]
        self.num_layers = 2 * len(sizes)

        self.mapping = MappingNetwork(z_dim, w_dim, mapping_layers, mapping_lr_multiplier, classes=classes)
        self.constant = nn.Parameter(torch.randn(1, channels[0], *self.first_size))
        self.layers = nn.ModuleList([StyledLayer(channels[0], channels[0], w_dim, upsample=False, noise=noise)])
        for a, b in pairwise(channels):
            self.layers.append(StyledLayer(a, b, w_dim, upsample=True, noise=noise))
            self.layers.append(StyledLayer(b, b, w_dim, upsample=False, noise=noise))
        self.to_rgb = nn.ModuleList(ToRGB(c, w_dim) for c in channels)

    def synthesize_native(
        self, w: Tensor, noise_seed: int | Tensor = 0, tile: Tile = "auto", keep: int | None = None
    ) -> Tensor:
        """The image of a style.

        Args:
            w: [B, w_dim], or [B, num_layers, w_dim], one style for each layer.
            noise_seed: seed of the per-pixel noise, one integer for all samples or [B] int64, one for each.
            tile, keep: not used, nor `tile` in `render`: convolutions cannot be tiled exactly.

        Returns:
            [B, 3, H, W], about [-1, 1].

        Raises:
            ValueError: the styles have another shape.
        """
        if w.ndim == 2:
            w = w[:, None].expand(-1, self.num_layers, -1)
        if w.shape[1:] != (self.num_layers, self.w_dim):
            raise ValueError(
                f"styles must be [B, {self.w_dim}] or [B, {self.num_layers}, {self.w_dim}] (one for each layer), "
                f"not {list(w.shape)}"
            )
        # Channels last: faster on CPU, and what tensor cores want. Every later layer keeps the format.
        x = self.constant.expand(w.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.layers[0](x, w[:, 0], self._noise(0, noise_seed, x.device))
        rgb = self.to_rgb[0](x, w[:, 1])
        for level in range(1, len(self.to_rgb)):
            for layer in (2 * level - 1, 2 * level):
                x = self.layers[layer](x, w[:, layer], self._noise(layer, noise_seed, x.device))
            rgb = self.to_rgb[level](x, w[:, 2 * level + 1], rgb)
        return rgb

    def _noise(self, layer: int, seed: int | Tensor, device: torch.device) -> Tensor | None:
        """Noise [1 or B, 1, r, r] of a layer of size r (None without noise), a function of its arguments alone."""
        if not self.noise:
            return None
        height, width = (side << (layer + 1) // 2 for side in self.first_size)
        keys = pixel_keys(image_grid(height, width, device=device), (height, width)).flatten()
        seed = seed.to(device) if isinstance(seed, Tensor) else seed
        return pixel_noise(keys, layer, seed).view(-1, 1, height, width)

    def synthesize_at(
        self,
        w: Tensor,
        coords: Tensor,
        noise_seed: int | Tensor = 0,
        tile: Tile = "auto",
        keep: int | None = None,
    ) -> Tensor:
        self._require_native(coords, (*self.size, 2), (len(w), *self.size, 2))
        return self.synthesize_native(w, noise_seed)

    def synthesize_at_once(self, w: Tensor, noise_seed: int | Tensor = 0, coords: Tensor | None = None) -> Tensor:
        return self.synthesize_native(w, noise_seed)

    def tile_pixels(
        self, tile: Tile, batch: int, device: torch.device, free_bytes: int | None = None, pixels: int | None = None
    ) -> int:
        return math.prod(self.size)

    def compile_synthesis(self, mode: str = "default") -> None:
        self.synthesize_native = torch.compile(self.synthesize_native, mode=mode)  # type: ignore[method-assign]

    def synthesis(self, w: Tensor, coords: Tensor, noise_seed: int | Tensor = 0) -> Tensor:
        """The native image as a list of pixels.

        Args:
            w: styles, as in `synthesize_native`.
            coords: [P, 2] or [B, P, 2], P = H W: the native grid, row by row.
            noise_seed: as in `synthesize_native`.

        Returns:
            [B, P, 3], about [-1, 1].

        Raises:
            ValueError: the coordinates are not the native grid's.
        """
        pixels = math.prod(self.size)
        self._require_native(coords, (pixels, 2), (len(w), pixels, 2))
        return self.synthesize_native(w, noise_seed).flatten(2).transpose(1, 2)

    @torch.no_grad()
    def render(self, w: Tensor, grid: Tensor, tile: Tile = "auto", noise_seed: int | Tensor = 0) -> Tensor:
        """The native image, for inference.

        Args:
            w: styles, as in `synthesize_native`.
            grid: [H, W, 2], the native grid.
            tile: see `synthesize_native`.
            noise_seed: as in `synthesize_native`.

        Returns:
            [B, 3, R, R], about [-1, 1].

        Raises:
            ValueError: the grid is not the native one.
        """
        self._require_native(grid, (*self.size, 2))
        return self.synthesize_native(w, noise_seed)

    def _require_native(self, coords: Tensor, *shapes: tuple[int, ...]) -> None:
        """Raise ValueError unless the coordinates are the native grid in one of these shapes (the first unbatched)."""
        native = image_grid(*self.size, device=coords.device).view(shapes[0])
        # The tolerance is far above linspace's rounding and far below a pixel.
        if tuple(coords.shape) not in shapes or not torch.all((coords - native).abs() < 1e-5):
            raise ValueError(
                f"a convolutional generator cannot synthesise free coordinates (got {list(coords.shape)}): use its "
                f"native grid, image_grid{self.size} row by row, or a CIPS generator"
            )
