"""The mapping network of StyleGAN2: latent z to style w."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from cips_lab.networks.equalized import EqualizedLinear, scaled_leaky_relu


def latents_of_seeds(seeds: Iterable[int], z_dim: int) -> Tensor:
    """Latents [B, z_dim], each drawn on the CPU by a generator of its own: a seed is one picture, anywhere."""
    return torch.stack([torch.randn(z_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


class MappingNetwork(nn.Module):
    """z -> w: the latent is brought to unit mean square, then passed through fully connected layers.

    It also tracks the mean of w over training (Karras et al. 2019, section B), the point that truncation pulls towards.

    Args:
        z_dim, w_dim: sizes of the latent and of the style.
        layers: number of fully connected layers (8 in the paper).
        lr_multiplier: learning rate relative to the rest of the generator (0.01 in StyleGAN2 and CIPS).
        mean_decay: what is left of the old mean after each update of `track_mean`.
    """

    w_mean: Tensor

    def __init__(
        self, z_dim: int, w_dim: int, layers: int = 8, lr_multiplier: float = 0.01, mean_decay: float = 0.998
    ) -> None:
        super().__init__()
        widths = [z_dim] + [w_dim] * layers
        self.layers = nn.ModuleList(EqualizedLinear(a, b, lr_multiplier=lr_multiplier) for a, b in pairwise(widths))
        self.mean_decay = mean_decay
        self.register_buffer("w_mean", torch.zeros(w_dim))

    def forward(self, z: Tensor) -> Tensor:
        """[B, z_dim], standard normal -> [B, w_dim]; float32 under any autocast, for it costs nothing."""
        with torch.autocast(z.device.type, enabled=False):
            x = z.float()
            x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)
            for layer in self.layers:
                x = scaled_leaky_relu(layer(x))
            return x

    @torch.no_grad()
    def track_mean(self, w: Tensor) -> None:
        """Move the tracked mean towards the mean of a batch of styles [B, w_dim]."""
        self.w_mean.lerp_(w.detach().float().mean(0), 1 - self.mean_decay)

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Truncation trick: `w_mean + psi (w - w_mean)` for styles [..., w_dim]; psi = 1 changes nothing."""
        return self.w_mean + psi * (w - self.w_mean)
