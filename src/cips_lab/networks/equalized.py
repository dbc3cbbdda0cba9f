"""Layers with an equalised learning rate (Karras et al. 2018, "Progressive Growing of GANs", section 4.1).

The stored weight is drawn from N(0, 1) and scaled at run time by He's constant, so that Adam, whose step does not
depend on the size of a gradient, learns every layer at the same relative speed.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)  # keeps the variance of a normal input through the leaky ReLU, as StyleGAN2 does


def scaled_leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, times sqrt(2) (StyleGAN2). Any shape."""
    return F.leaky_relu(x, LRELU_SLOPE) * LRELU_GAIN


class EqualizedLinear(nn.Module):
    """``y = x (c W)^T + m b`` with ``c = m / sqrt(in_features)``: a linear map with an equalised learning rate.

    Args:
        in_features, out_features: sizes of the last axis before and after.
        bias: whether there is a bias.
        bias_init: the bias's first value.
        lr_multiplier: m, the layer's learning rate relative to the others (0.01 in StyleGAN2's mapping network).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier)) if bias else None
        self.scale = lr_multiplier / math.sqrt(in_features)
        self.lr_multiplier = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        bias = None if self.bias is None else self.bias * self.lr_multiplier
        return F.linear(x, self.weight * self.scale, bias)

    def extra_repr(self) -> str:
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}, bias={self.bias is not None}, lr_multiplier={self.lr_multiplier}"


class EqualizedConv2d(nn.Module):
    """A square convolution with an equalised learning rate: the weight is scaled by ``1 / sqrt(in_channels k^2)``.

    Args:
        in_channels, out_channels: channels before and after.
        kernel_size: k, the side of the kernel.
        stride, padding: as in ``torch.nn.functional.conv2d``.
        bias: whether there is a bias, zero at first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H', W'], times gain (put on the weight, which is small)."""
        bias = None if self.bias is None else self.bias * gain
        return F.conv2d(x, self.weight * (self.scale * gain), bias, stride=self.stride, padding=self.padding)

    def extra_repr(self) -> str:
        out_channels, in_channels, kernel, _ = self.weight.shape
        return f"{in_channels}, {out_channels}, kernel_size={kernel}, stride={self.stride}, padding={self.padding}"
