"""Classes in a discriminator: a logit is a product with what is known of the class (Miyato & Koyama 2018).

As StyleGAN2-ADA does it: the class goes through a mapping network of its own, and a picture's features are projected on
what comes out.
"""

import math

import torch
from torch import Tensor, nn

from cips_lab.networks.equalized import EqualizedLinear, scaled_leaky_relu

LAYERS = 8  # of the class's mapping network
LR_MULTIPLIER = 0.01


def normalised(x: Tensor) -> Tensor:
    """[B, C], each row brought to unit mean square."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class ClassProjection(nn.Module):
    """Features and classes to logits.

    Args:
        classes: how many there are, at least 1.
        features: of what is projected.
    """

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.embedding = EqualizedLinear(classes, features)
        self.layers = nn.ModuleList(
            EqualizedLinear(features, features, lr_multiplier=LR_MULTIPLIER) for _ in range(LAYERS)
        )

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Features [B, features] and classes as one-hot rows [B, classes] -> logits [B, 1]."""
        with torch.autocast(x.device.type, enabled=False):
            direction = normalised(self.embedding(label))
            for layer in self.layers:
                direction = scaled_leaky_relu(layer(direction))
            return (x.float() * direction).sum(1, keepdim=True) / math.sqrt(x.shape[1])


def check_label(label: Tensor | None, classes: int, images: int) -> None:
    """Raise `ValueError` unless there is a row of `classes` for every image, or no label where there are no classes."""
    if (None if label is None else tuple(label.shape)) != ((images, classes) if classes else None):
        given = "none" if label is None else str(list(label.shape))
        wanted = f"classes as one-hot rows [{images}, {classes}]" if classes else "no classes"
        raise ValueError(f"this network was built for {wanted}, and is given {given}")
