"""Every random draw of training, as a function of (seed, purpose, images seen) alone.

Nothing is drawn from a running stream, so there is no state to save: a resumed run draws what the uninterrupted one
would have, and N processes draw what one would have, each keeping its share.
"""

from dataclasses import dataclass, replace
from hashlib import blake2b

import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """Which samples of a global batch belong here: index, index + count, index + 2 count, ...

    Strided rather than contiguous, for the minibatch standard deviation puts sample i into group i mod G: a strided
    share holds whole groups, so that they are the same on any number of processes and micro-batches.
    """

    index: int
    count: int

    def of(self, batch: Tensor) -> Tensor:
        """Rows of a global batch [B, ...] that belong to this share."""
        return batch[self.index :: self.count]


@dataclass(frozen=True)
class Latents:
    """What one pass of the generator takes: z [b, z_dim], a noise seed for each sample, and style-mixing partners."""

    z: Tensor
    noise_seed: Tensor
    z_mixed: Tensor
    crossover: Tensor  # [b] in [0, 1): the share of layers that keep the first style

    def of(self, label: Tensor | None) -> "Latents":
        """With the classes of their samples, one-hot rows [b, classes], behind both latents; None: there are none."""
        if label is None:
            return self
        z, z_mixed = (torch.cat([x, label.to(x)], dim=1) for x in (self.z, self.z_mixed))
        return replace(self, z=z, z_mixed=z_mixed)


def stream(seed: int, purpose: str, images_seen: int) -> torch.Generator:
    """A fresh CPU generator for one purpose at one moment."""
    digest = blake2b(f"{seed}/{purpose}/{images_seen}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def draw_latents(seed: int, purpose: str, images_seen: int, batch_size: int, z_dim: int) -> Latents:
    """Latents of a whole global batch, on the CPU.

    Args:
        seed: the run's.
        purpose: ``generator`` or ``discriminator``: the two steps of an iteration see different latents.
        images_seen: at the start of the iteration.
        batch_size: global.
        z_dim: size of a latent.
    """
    generator = stream(seed, purpose, images_seen)
    return Latents(
        z=torch.randn(batch_size, z_dim, generator=generator),
        noise_seed=torch.randint(2**31, (batch_size,), generator=generator),
        z_mixed=torch.randn(batch_size, z_dim, generator=generator),
        crossover=torch.rand(batch_size, generator=generator),
    )


def share_of(latents: Latents, share: Share, device: torch.device) -> Latents:
    """One share of a global batch of latents, on the device."""
    z, noise_seed, z_mixed, crossover = (
        share.of(x).to(device, non_blocking=True)
        for x in (latents.z, latents.noise_seed, latents.z_mixed, latents.crossover)
    )
    return Latents(z, noise_seed, z_mixed, crossover)


def draw_flips(seed: int, images_seen: int, batch_size: int) -> Tensor:
    """Which images of a global batch are mirrored: [B] bool, on the CPU."""
    return torch.rand(batch_size, generator=stream(seed, "flip", images_seen)) < 0.5
