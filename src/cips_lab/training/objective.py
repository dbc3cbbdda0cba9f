"""What is optimised and how: weights, cadences, learning rates and averaging, in one place."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Objective:
    """The training recipe (defaults: the released code of CIPS).

    Attributes:
        r1_weight: gamma of R1; the penalty is ``gamma / 2 * E |grad D(real)|^2``. 0 turns R1 off.
        r1_interval: iterations between R1 steps; the penalty is multiplied by it.
        generator_lr, discriminator_lr: of Adam, before the correction for laziness.
        betas: of Adam, before the correction.
        generator_lazy_ratio: the correction of the generator's optimiser (released code: 4/5).
        ema_half_life_kimg: thousands of images in which an old weight loses half its share in the average.
        ema_rampup: the half-life is at most this share of the images seen, so that early weights are soon forgotten;
            None keeps it constant.
    """

    r1_weight: float = 10.0
    r1_interval: int = 16
    generator_lr: float = 0.002
    discriminator_lr: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)
    generator_lazy_ratio: float = 0.8
    ema_half_life_kimg: float = 10.0
    ema_rampup: float | None = 0.05

    def __post_init__(self) -> None:
        if self.r1_weight < 0 or self.r1_interval < 1:
            raise ValueError("objective.r1_weight must be at least 0 and objective.r1_interval at least 1")
        if self.generator_lr <= 0 or self.discriminator_lr <= 0:
            raise ValueError("objective.generator_lr and objective.discriminator_lr must be positive")
        if not 0 < self.generator_lazy_ratio <= 1:
            raise ValueError("objective.generator_lazy_ratio must be in (0, 1]")
        if self.ema_half_life_kimg < 0:
            raise ValueError("objective.ema_half_life_kimg must be at least 0")
        if self.ema_rampup is not None and self.ema_rampup <= 0:
            raise ValueError("objective.ema_rampup must be positive, or null for a constant half-life")

    @property
    def discriminator_lazy_ratio(self) -> float:
        """k / (k + 1) for R1 every k iterations (Karras et al. 2020, appendix B): k ordinary steps and one of R1."""
        return self.r1_interval / (self.r1_interval + 1) if self.r1_weight > 0 else 1.0

    def generator_optimizer(self, network: nn.Module) -> torch.optim.Adam:
        """Adam for the generator."""
        return self._adam(network, self.generator_lr, self.generator_lazy_ratio)

    def discriminator_optimizer(self, network: nn.Module) -> torch.optim.Adam:
        """Adam for the discriminator."""
        return self._adam(network, self.discriminator_lr, self.discriminator_lazy_ratio)

    def _adam(self, network: nn.Module, lr: float, ratio: float) -> torch.optim.Adam:
        # With `ratio` = k / (k + 1), k + 1 steps move and forget as much as k uncorrected ones would.
        first, second = (float(beta) ** ratio for beta in self.betas)
        return torch.optim.Adam(network.parameters(), lr=lr * ratio, betas=(first, second), eps=1e-8, fused=True)

    def ema_decay(self, batch_size: int, images_seen: int) -> float:
        """Share of the old average kept by one step of batch_size images, of which images_seen came before.

        0.5 ** (batch / half-life); the released code's 0.5 ** (32 / 10000) at batch 32 is a half-life of 10 kimg.
        """
        half_life = self.ema_half_life_kimg * 1000
        if self.ema_rampup is not None:
            half_life = min(half_life, self.ema_rampup * images_seen)
        return 0.0 if half_life <= 0 else 0.5 ** (batch_size / half_life)
