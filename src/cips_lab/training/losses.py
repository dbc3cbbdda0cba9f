"""The adversarial losses, and the penalty on gradients. A logit above zero means "real"."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["logistic", "relativistic", "hinge"]
Mean = Callable[[Tensor], Tensor]  # [b, n], of b samples' n logits -> a scalar


class Adversarial(NamedTuple):
    """A pair of losses, each a mean over samples.

    Attributes:
        discriminator: of logits of real and of generated pictures, [b, n] each, by a mean.
        generator: of logits of generated and of real pictures.
        of_pairs: whether the generator's asks for real pictures' logits; sample i is compared with picture i.
    """

    discriminator: Callable[[Tensor, Tensor, Mean], Tensor]
    generator: Callable[[Tensor, Tensor, Mean], Tensor]
    of_pairs: bool = False


# softplus(-x) = -log sigmoid(x).
ADVERSARIAL: dict[str, Adversarial] = {
    # Goodfellow et al. 2014, equation 1, and the non-saturating generator of their section 3; StyleGAN2, CIPS.
    "logistic": Adversarial(
        lambda real, fake, mean: mean(F.softplus(-real)) + mean(F.softplus(fake)),
        lambda fake, real, mean: mean(F.softplus(-fake)),
    ),
    # Jolicoeur-Martineau 2019, equation 3, in pairs; R3GAN (Huang et al. 2024), equation 2.
    "relativistic": Adversarial(
        lambda real, fake, mean: mean(F.softplus(fake - real)),
        lambda fake, real, mean: mean(F.softplus(real - fake)),
        of_pairs=True,
    ),
    # Lim & Ye 2017, Miyato et al. 2018, equations 16 and 17.
    "hinge": Adversarial(
        lambda real, fake, mean: mean(F.relu(1 - real)) + mean(F.relu(1 + fake)),
        lambda fake, real, mean: -mean(fake),
    ),
}


def discriminator_loss(name: str, real: Tensor, fake: Tensor, weights: Tensor | None = None) -> Tensor:
    """Of the pair of this name.

    Args:
        real, fake: logits [b, n] of real and of generated pictures.
        weights: [n], with which the n losses are summed; None: their mean.
    """
    return ADVERSARIAL[name].discriminator(real, fake, _mean(weights))


def generator_loss(name: str, fake: Tensor, real: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """As `discriminator_loss`; the real pictures' logits are needed where the losses are `of_pairs`."""
    return ADVERSARIAL[name].generator(fake, fake if real is None else real, _mean(weights))


def certainty(name: str, real: Tensor, fake: Tensor) -> Tensor:
    """[b, n], above zero where the discriminator is right about a real picture.

    A loss of pairs leaves logits free up to a constant, so that only a pair's difference means anything.
    """
    return real - fake if ADVERSARIAL[name].of_pairs else real


def _mean(weights: Tensor | None) -> Mean:
    return Tensor.mean if weights is None else lambda losses: (losses.mean(dim=0) * weights).sum()


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
