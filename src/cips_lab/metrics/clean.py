"""Inception behind clean-fid's resizing (Parmar, Zhang & Zhu, CVPR 2022): what is called clean-FID.

The usual FID inherits TF1's bilinear resize, which does not smooth before it shrinks and so aliases. Here pictures go
to 299 x 299 by Pillow's antialiased bicubic filter on floats, without a rounding in between. The network and its
weights are those of `inception`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 299
LAYERS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)


class CleanInception(nn.Module):
    """uint8 pictures [B, 3, H, W] -> (features [B, 2048],).

    Args:
        inception: torch-fidelity's network, whose own forward pass would resize.
    """

    def __init__(self, inception: nn.Module) -> None:
        super().__init__()
        self.inception = inception

    def forward(self, images: Tensor) -> tuple[Tensor]:
        x = (resized(images, SIZE) - 128) / 128
        for name in LAYERS:
            x = getattr(self.inception, name)(x)
        return (torch.flatten(x, 1),)


def resized(images: Tensor, side: int) -> Tensor:
    """[B, 3, H, W] in [0, 255] -> float32 [B, 3, side, side], clipped to [0, 255]: the bicubic filter overshoots."""
    return F.interpolate(images.float(), (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(
        0, 255
    )
