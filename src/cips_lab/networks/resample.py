"""The low-pass filter [1, 3, 3, 1] that StyleGAN2 puts around every change of resolution (Zhang 2019, "Making
Convolutional Networks Shift-Invariant Again")."""

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = (1.0, 3.0, 3.0, 1.0)


def blur_kernel(device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """The separable 4 x 4 kernel, of sum 1."""
    taps = torch.tensor(TAPS, device=device, dtype=dtype)
    return torch.outer(taps, taps) / taps.sum() ** 2


def blur(x: Tensor, padding: tuple[int, int], gain: float = 1.0) -> Tensor:
    """Filter each channel.

    Args:
        x: [B, C, H, W].
        padding: zeros (before, after) each axis.
        gain: factor on the kernel (4 after zeros were inserted by an up-sampling of 2).

    Returns:
        [B, C, H + before + after - 3, W + before + after - 3].
    """
    before, after = padding
    channels = x.shape[1]
    kernel = (blur_kernel(x.device, x.dtype) * gain).expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, groups=channels)
