"""The low-pass filter [1, 3, 3, 1] that StyleGAN2 puts around every change of resolution (Zhang 2019, "Making
Convolutional Networks Shift-Invariant Again")."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = (1.0, 3.0, 3.0, 1.0)


def blur_kernel(device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """The separable 4 x 4 kernel, of sum 1."""
    taps = torch.tensor(TAPS, device=device, dtype=dtype)
    return torch.outer(taps, taps) / taps.sum() ** 2


def blur(x: Tensor, padding: tuple[int, int], gain: float = 1.0, stride: int = 1) -> Tensor:
    """Filter each channel, keeping every stride-th value of the result.

    Args:
        x: [B, C, H, W]; fastest in channels_last.
        padding: zeros (before, after) each axis.
        gain: factor on the kernel (4 after zeros were inserted by an up-sampling of 2).
        stride: 2 filters and decimates at once, at a quarter of the cost.

    Returns:
        [B, C, H', W'] with ``H' = (H + before + after - 4) // stride + 1``, and W' alike.
    """
    before, after = padding
    if before != after:
        x, before = F.pad(x, (before, after, before, after)), 0
    kernel = (blur_kernel(x.device, x.dtype) * gain).expand(x.shape[1], 1, 4, 4).contiguous()
    return _Blur.apply(x, kernel, before, stride)


class _Blur(torch.autograd.Function):
    """A depthwise convolution whose derivative is written as the transposed convolution, so that the second derivative
    (R1) uses the same fast kernels; torch's own formula for it is ten times slower on CPU. The kernel is constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, padding: int, stride: int) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.padding, ctx.stride, ctx.size = padding, stride, x.shape[-2:]
        return F.conv2d(x, kernel, stride=stride, padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (kernel,) = ctx.saved_tensors
        # What decimation left unused at the far end: the size of x that a transposed convolution cannot know.
        rest = [
            size - ((out - 1) * ctx.stride - 2 * ctx.padding + 4)
            for size, out in zip(ctx.size, gradient.shape[-2:], strict=True)
        ]
        return (
            F.conv_transpose2d(
                gradient,
                kernel.to(gradient.dtype),
                stride=ctx.stride,
                padding=ctx.padding,
                output_padding=rest,
                groups=len(kernel),
            ),
            None,
            None,
            None,
        )
