"""Where styles are looked for: coordinates in which the generator's own styles are standard normal.

The mapping network's styles spread far along some directions and hardly along others. A step of one length would
be too long for the ones and too short for the others; in coordinates u with w = mean + root u, where root root^T is
the styles' covariance, steps are measured in standard deviations (Zhu et al. 2020, "Improved StyleGAN Embedding").
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from cips_lab.networks.generator import Generator

LEAST_VARIANCE = 1e-3  # of a direction, in mean variances: styles beyond the mapping's own stay within reach
SAMPLES = 10_000  # as StyleGAN2's projector takes (Karras et al. 2020, Appendix D)


@dataclass(frozen=True)
class StyleSpace:
    """The coordinates.

    Attributes:
        mean: [w_dim].
        root: [w_dim, w_dim], invertible.
    """

    mean: Tensor
    root: Tensor

    def style(self, u: Tensor) -> Tensor:
        """Coordinates [..., w_dim] -> styles."""
        return self.mean + u @ self.root.T

    def coordinates(self, w: Tensor) -> Tensor:
        """Styles [..., w_dim] -> coordinates."""
        return torch.linalg.solve(self.root, (w - self.mean).mT).mT if w.dim() > 1 else self.coordinates(w[None])[0]


def space_of(w: Tensor) -> StyleSpace:
    """The coordinates of styles [N, w_dim], of which N should be a few times w_dim."""
    mean = w.double().mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(w.double().T))
    least = max(LEAST_VARIANCE * float(values.clamp(min=0).mean()), 1e-12)
    root = vectors * values.clamp(min=least).sqrt()
    return StyleSpace(mean.to(w), root.to(w))


@torch.no_grad()
def styles_of(generator: Generator, seed: int, count: int, label: int | None = None) -> Tensor:
    """Styles [count, w_dim] of random latents, of which none is that of a number that somebody would choose.

    A picture of seed 5 must not be found because latent 5 was among those that were tried.
    """
    first = int.from_bytes(hashlib.sha256(f"inversion {seed}".encode()).digest()[:6]) + 2**40
    return generator.mapping(generator.mapping.latents(range(first, first + count), label))
