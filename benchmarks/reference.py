"""The same networks written as plainly as the formulas stand, all pixels at once: what the fast ones are held against.

This is the public formulation: images in [B, C, H, W], a modulated layer as a grouped 1x1 convolution with B groups, a
blur as a convolution over B*C pictures of one channel. Parameters are borrowed, so results must be equal.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cips_lab.networks.cips import CIPSGenerator, PixelBlock
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.equalized import EqualizedConv2d
from cips_lab.networks.modulated import ModulatedLinear, PixelLayer


def modulated(layer: ModulatedLinear, x: Tensor, w: Tensor) -> Tensor:
    """Equation 3 of the paper on [B, C, H, W], without the bias."""
    assert layer.affine is not None
    batch, channels, height, width = x.shape
    weight = layer.scale * layer.weight[None] * layer.affine(w)[:, None, :]  # [B, out, in]
    if layer.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum(2, keepdim=True) + layer.EPSILON)
    out = F.conv2d(x.reshape(1, batch * channels, height, width), weight.reshape(-1, channels, 1, 1), groups=batch)
    return out.view(batch, -1, height, width)


def pixel_layer(layer: PixelLayer, x: Tensor, w: Tensor) -> Tensor:
    """Modulated layer, bias, leaky ReLU times sqrt 2."""
    y = modulated(layer.linear, x, w) + layer.linear.bias.view(1, -1, 1, 1)
    return F.leaky_relu(y, 0.2) * math.sqrt(2)


def synthesize(generator: CIPSGenerator, w: Tensor) -> Tensor:
    """Styles [B, w_dim] -> [B, 3, R, R], for `cips` with leaky ReLU, plain blocks and no noise."""
    size, batch = generator.resolution, len(w)
    fourier, embedding = generator.encoding.fourier, generator.encoding.embedding
    assert fourier is not None
    assert embedding is not None
    coords = generator.native_coords.t().view(1, 2, size, size).expand(batch, -1, -1, -1)
    features = torch.sin(F.conv2d(coords, fourier.weight[:, :, None, None], fourier.bias))
    table = embedding.table.t().view(1, -1, size, size).expand(batch, -1, -1, -1)
    x = pixel_layer(generator.first, torch.cat([features, table], dim=1), w)
    rgb: Tensor | float = 0.0
    for i, block in enumerate(generator.blocks):
        assert isinstance(block, PixelBlock)
        x = pixel_layer(block.second, pixel_layer(block.first, x, w), w)
        to_rgb = generator.to_rgb[str(i)]
        assert isinstance(to_rgb, ModulatedLinear)
        rgb = rgb + modulated(to_rgb, x, w) + to_rgb.bias.view(1, 3, 1, 1)
    assert isinstance(rgb, Tensor)
    return rgb


def blurred(x: Tensor, padding: int) -> Tensor:
    """[1, 3, 3, 1] as a convolution over B*C pictures of one channel."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps)[None, None] / 64
    batch, channels, height, width = x.shape
    y = F.conv2d(F.pad(x.reshape(-1, 1, height, width), (padding,) * 4), kernel)
    return y.view(batch, channels, *y.shape[2:])


def conv(layer: EqualizedConv2d, x: Tensor, stride: int = 1, activate: bool = True) -> Tensor:
    """Equalised convolution, bias, leaky ReLU times sqrt 2."""
    y = F.conv2d(x, layer.weight * layer.scale, layer.bias, stride=stride, padding=layer.padding)
    return F.leaky_relu(y, 0.2) * math.sqrt(2) if activate else y


def discriminate(discriminator: ResidualDiscriminator, images: Tensor) -> Tensor:
    """Images [B, 3, R, R] -> logits [B, 1], for a batch that group_size divides."""
    x = conv(discriminator.from_rgb, images)
    for block in discriminator.blocks:
        y = conv(block.conv2, blurred(conv(block.conv1, x), 2), stride=2)  # type: ignore[arg-type]
        x = (y + conv(block.skip, blurred(x, 1), stride=2, activate=False)) / math.sqrt(2)  # type: ignore[arg-type]
    batch, channels, height, width = x.shape
    grouped = x.view(min(batch, discriminator.group_size), -1, 1, channels, height, width)
    deviation = torch.sqrt(grouped.var(0, unbiased=False) + 1e-8).mean([2, 3, 4], keepdim=True).squeeze(2)
    x = torch.cat([x, deviation.repeat(grouped.shape[0], 1, height, width)], 1)
    x = conv(discriminator.final_conv, x).flatten(1)
    return discriminator.logit(F.leaky_relu(discriminator.final_linear(x), 0.2) * math.sqrt(2))
