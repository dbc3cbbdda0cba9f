"""The adversarial losses, and the penalty on gradients. A logit above zero means "real"."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["logistic", "relativistic", "hinge"]


class Adversarial(NamedTuple):
    """A pair of losses, each the mean over samples.

    Attributes:
        discriminator: of logits of real and of generated pictures, [b, 1] each.
        generator: of logits of generated and of real pictures.
        of_pairs: whether the generator's asks for real pictures' logits; sample i is compared with picture i.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    of_pairs: bool = False


# softplus(-x) = -log sigmoid(x).
ADVERSARIAL: dict[str, Adversarial] = {
    # Goodfellow et al. 2014, equation 1, and the non-saturating generator of their section 3; StyleGAN2, CIPS.
    "logistic": Adversarial(
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        lambda fake, real: F.softplus(-fake).mean(),
    ),
    # Jolicoeur-Martineau 2019, equation 3, in pairs; R3GAN (Huang et al. 2024), equation 2.
    "relativistic": Adversarial(
        lambda real, fake: F.softplus(fake - real).mean(),
        lambda fake, real: F.softplus(real - fake).mean(),
        of_pairs=True,
    ),
    # Lim & Ye 2017, Miyato et al. 2018, equations 16 and 17.
    "hinge": Adversarial(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        lambda fake, real: -fake.mean(),
    ),
}


def discriminator_loss(name: str, real: Tensor, fake: Tensor) -> Tensor:
    """Of logits [b, 1] of real and of generated pictures, of the pair of this name."""
    return ADVERSARIAL[name].discriminator(real, fake)


def generator_loss(name: str, fake: Tensor, real: Tensor | None = None) -> Tensor:
    """Of logits [b, 1] of generated pictures, and of real ones where the losses are `of_pairs`."""
    return ADVERSARIAL[name].generator(fake, fake if real is None else real)


def r1_penalty(discriminator: Callable[..., Tensor], images: Tensor, *told: Tensor) -> Tensor:
    """E |grad_x D(x)|^2, without its gamma / 2: R1 over real images, R2 over generated ones.

    Mescheder et al. 2018, equation 9 and the one before. In float32 under any autocast: squared gradients of a thousand
    pixels leave the range of half precision.

    Args:
        discriminator: images [B, 3, H, W], and what it is told of them -> logits [B, 1].
        images: [B, 3, H, W].
        told: what it is told of them; no gradient is taken of it.

    Returns:
        A scalar with a graph to the discriminator's parameters.
    """
    return judged_with_penalty(discriminator, images, *told)[1]


def judged_with_penalty(discriminator: Callable[..., Tensor], images: Tensor, *told: Tensor) -> tuple[Tensor, Tensor]:
    """The logits, and `r1_penalty` of the same pass."""
    with torch.autocast(images.device.type, enabled=False):
        images = images.detach().float().requires_grad_(True)
        logits = discriminator(images, *told)
        (gradient,) = torch.autograd.grad(logits.mean(dim=1).sum(), images, create_graph=True)
        return logits, gradient.square().sum(dim=(1, 2, 3)).mean()
