"""The losses of StyleGAN2 and CIPS. A logit above zero means "real"."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss: mean softplus(-D(real)) + mean softplus(D(fake)) (Goodfellow et al. 2014, equation 1)."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss: mean softplus(-D(fake)) (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake_logits).mean()


def r1_penalty(discriminator: nn.Module, real: Tensor, *told: Tensor) -> Tensor:
    """R1: E |grad_x D(x)|^2 over real images (Mescheder et al. 2018, equation 9, without its gamma / 2).

    In float32 under any autocast: squared gradients of a thousand pixels leave the range of half precision.

    Args:
        discriminator: images [B, 3, H, W], and what it is told of them -> logits [B, 1].
        real: [B, 3, H, W].
        told: what it is told of them; no gradient is taken of it.

    Returns:
        A scalar with a graph to the discriminator's parameters.
    """
    with torch.autocast(real.device.type, enabled=False):
        real = real.detach().float().requires_grad_(True)
        logits = discriminator(real, *told)
        (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        return gradient.square().sum(dim=(1, 2, 3)).mean()
