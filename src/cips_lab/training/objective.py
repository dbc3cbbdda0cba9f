"""What is optimised and how: losses, weights, cadences, learning rates and averaging, in one place."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

import torch
from torch import nn

from cips_lab.training.losses import LossName

Annealed = float | tuple[float, float]  # one value, or the first and the last
AUTO = 0.0002  # of StyleGAN2-ADA's R1 weight, times pixels over batch


class Rates(TypedDict):
    """Adam's, as it is stepped."""

    lr: float
    betas: tuple[float, float]


class Recipe(NamedTuple):
    """An objective's numbers at a moment."""

    r1_weight: float
    r2_weight: float
    generator: Rates
    discriminator: Rates
    ema_half_life_kimg: float


@dataclass(frozen=True)
class Objective:
    """The training recipe (defaults: the released code of CIPS).

    A value that may be a pair goes from its first to its second over `anneal_kimg`, by half a cosine (R3GAN); `at` says
    what it is at a moment.

    Attributes:
        loss: the adversarial losses, see `losses.ADVERSARIAL`.
        r1_weight: gamma of R1; the penalty is ``gamma / 2 * E |grad D(real)|^2``. 0 turns R1 off; ``auto`` is
            0.0002 pixels / batch (Karras et al. 2020, "Training GANs with limited data", appendix C).
        r2_weight: the same of generated pictures (R3GAN).
        r1_interval: iterations between steps for the penalties alone, which are multiplied by it; 0: they are part of
            every discriminator step.
        generator_lr, discriminator_lr: of Adam, before the correction for laziness.
        betas: of Adam, before the correction; the second may be a pair.
        generator_lazy_ratio: the correction of the generator's optimiser (released code: 4/5).
        ema_half_life_kimg: thousands of images in which an old weight loses half its share in the average.
        ema_rampup: the half-life is at most this share of the images seen, so that early weights are soon forgotten;
            None keeps it constant.
        anneal_kimg: thousands of images over which pairs are gone through.
    """

    loss: LossName = "logistic"
    r1_weight: Annealed | Literal["auto"] = 10.0
    r2_weight: Annealed = 0.0
    r1_interval: int = 16
    generator_lr: Annealed = 0.002
    discriminator_lr: Annealed = 0.002
    betas: tuple[float, Annealed] = (0.0, 0.99)
    generator_lazy_ratio: float = 0.8
    ema_half_life_kimg: Annealed = 10.0
    ema_rampup: float | None = 0.05
    anneal_kimg: float = 20_000.0

    def __post_init__(self) -> None:
        for name in ("r1_weight", "r2_weight", "ema_half_life_kimg", "r1_interval"):
            if any(value < 0 for value in ends(getattr(self, name))):
                raise ValueError(f"objective.{name} must be at least 0")
        for name in ("generator_lr", "discriminator_lr", "anneal_kimg"):
            if any(value <= 0 for value in ends(getattr(self, name))):
                raise ValueError(f"objective.{name} must be positive")
        if not all(0 <= value < 1 for beta in self.betas for value in ends(beta)):
            raise ValueError("objective.betas must be in [0, 1)")
        if not 0 < self.generator_lazy_ratio <= 1:
            raise ValueError("objective.generator_lazy_ratio must be in (0, 1]")
        if self.ema_rampup is not None and self.ema_rampup <= 0:
            raise ValueError("objective.ema_rampup must be positive, or null for a constant half-life")

    def of_pictures(self, pixels: int, batch_size: int) -> "Objective":
        """With ``auto`` in numbers, for what the discriminator sees."""
        if self.r1_weight != "auto":
            return self
        return dataclasses.replace(self, r1_weight=AUTO * pixels / batch_size)

    def at(self, images_seen: int) -> Recipe:
        """The numbers of a moment; ``auto`` must be one already."""
        share = min(1.0, images_seen / (1000 * self.anneal_kimg))
        assert self.r1_weight != "auto"
        betas = self.betas[0], between(self.betas[1], share)
        return Recipe(
            between(self.r1_weight, share),
            between(self.r2_weight, share),
            rates(between(self.generator_lr, share), betas, self.generator_lazy_ratio),
            rates(between(self.discriminator_lr, share), betas, self.discriminator_lazy_ratio),
            between(self.ema_half_life_kimg, share),
        )

    @property
    def penalises(self) -> bool:
        """Whether there are penalties, at some moment."""
        return any(value != 0 for value in (*ends(self.r1_weight), *ends(self.r2_weight)))

    @property
    def penalises_apart(self) -> bool:
        """Whether they have steps of their own."""
        return self.penalises and self.r1_interval > 0

    @property
    def discriminator_lazy_ratio(self) -> float:
        """k / (k + 1) for R1 every k iterations (Karras et al. 2020, appendix B): k ordinary steps and one of R1."""
        return self.r1_interval / (self.r1_interval + 1) if self.penalises_apart else 1.0

    def generator_optimizer(self, network: nn.Module) -> torch.optim.Adam:
        """Adam for the generator."""
        return torch.optim.Adam(network.parameters(), eps=1e-8, fused=True, **self.at(0).generator)

    def discriminator_optimizer(self, network: nn.Module) -> torch.optim.Adam:
        """Adam for the discriminator."""
        return torch.optim.Adam(network.parameters(), eps=1e-8, fused=True, **self.at(0).discriminator)

    def ema_decay(self, batch_size: int, images_seen: int) -> float:
        """Share of the old average kept by one step of batch_size images, of which images_seen came before.

        0.5 ** (batch / half-life); the released code's 0.5 ** (32 / 10000) at batch 32 is a half-life of 10 kimg.
        """
        half_life = self.at(images_seen).ema_half_life_kimg * 1000
        if self.ema_rampup is not None:
            half_life = min(half_life, self.ema_rampup * images_seen)
        return 0.0 if half_life <= 0 else 0.5 ** (batch_size / half_life)


def rates(lr: float, betas: tuple[float, float], ratio: float) -> Rates:
    """Corrected for laziness: with `ratio` = k / (k + 1), k + 1 steps move and forget as much as k uncorrected ones."""
    first, second = betas
    return {"lr": lr * ratio, "betas": (float(first) ** ratio, float(second) ** ratio)}


def ends(value: Annealed | Literal["auto"]) -> tuple[float, ...]:
    """A value's first and last, or the one that it is; none of ``auto``."""
    if value == "auto":
        return ()
    return (float(value),) if isinstance(value, int | float) else tuple(value)


def between(value: Annealed, share: float) -> float:
    """A value when `share` of the way is gone: from its first to its second as half a cosine falls."""
    if isinstance(value, int | float):
        return value
    first, last = value
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
