"""The mapping network of StyleGAN2: latent z to style w."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from cips_lab.networks.equalized import EqualizedLinear, scaled_leaky_relu
from cips_lab.networks.projection import check_label, normalised

CLASS_STREAM = 0x636C617373  # sets the draw of a seed's class apart from that of its latent


def latents_of_seeds(seeds: Iterable[int], z_dim: int) -> Tensor:
    """Latents [B, z_dim], each drawn on the CPU by a generator of its own: a seed is one picture, anywhere."""
    return torch.stack([torch.randn(z_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def classes_of_seeds(seeds: Iterable[int], shares: Tensor) -> Tensor:
    """Class [B] of each seed, on the CPU, as often as `shares` [classes] says; another draw than the latent's."""
    places = [torch.rand((), generator=torch.Generator().manual_seed(seed ^ CLASS_STREAM)) for seed in seeds]
    ends = shares.double().cumsum(0) / shares.double().sum()
    return torch.bucketize(torch.stack(places).double(), ends.cpu(), right=True).clamp_max(len(shares) - 1)


class MappingNetwork(nn.Module):
    """z -> w: the latent is brought to unit mean square, then passed through fully connected layers.

    It also tracks the mean of w over training (Karras et al. 2019, section B), the point that truncation pulls towards.

    Args:
        z_dim, w_dim: sizes of the latent and of the style.
        layers: number of fully connected layers (8 in the paper).
        lr_multiplier: learning rate relative to the rest of the generator (0.01 in StyleGAN2 and CIPS).
        mean_decay: what is left of the old mean after each update of `track_mean`.
        classes: how many there are; 0: none. A class is then embedded and stands beside the latent (StyleGAN2-ADA).

    Attributes:
        class_shares: [classes] how often each is among the training pictures; sums to 1.
    """

    w_mean: Tensor
    class_shares: Tensor

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        layers: int = 8,
        lr_multiplier: float = 0.01,
        mean_decay: float = 0.998,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.z_dim, self.classes = z_dim, classes
        widths = [z_dim + (w_dim if classes else 0)] + [w_dim] * layers
        self.layers = nn.ModuleList(EqualizedLinear(a, b, lr_multiplier=lr_multiplier) for a, b in pairwise(widths))
        self.mean_decay = mean_decay
        self.register_buffer("w_mean", torch.zeros(w_dim))
        self.embedding = None
        if classes:
            self.embedding = EqualizedLinear(classes, w_dim)
            self.register_buffer("class_shares", torch.full((classes,), 1 / classes))

    def latents(self, seeds: Iterable[int], label: int | None = None) -> Tensor:
        """What `forward` takes, of seeds, on the mapping network's device; without `label` each has a class of its own.

        Raises:
            ValueError: there is no such class, or there are none.
        """
        if label is not None and not 0 <= label < self.classes:
            known = f"has classes 0 to {self.classes - 1}" if self.classes else "knows no classes"
            raise ValueError(f"class={label}: this generator {known}")
        seeds = list(seeds)
        z = latents_of_seeds(seeds, self.z_dim)
        of_seeds = self.classes_of(seeds)
        if of_seeds is not None:
            z = of_classes(z, of_seeds if label is None else torch.full_like(of_seeds, label), self.classes)
        return z.to(self.w_mean.device)

    def classes_of(self, seeds: Iterable[int]) -> Tensor | None:
        """The class that each seed has by itself, int64 [B] on the CPU; None where there are no classes."""
        return classes_of_seeds(seeds, self.class_shares) if self.classes else None

    def forward(self, z: Tensor) -> Tensor:
        """[B, z_dim], standard normal -> [B, w_dim]; float32 under any autocast, for it costs nothing.

        Of classes, [B, z_dim + classes]: behind a latent its class, as a one-hot row.

        Raises:
            ValueError: it has another width.
        """
        with torch.autocast(z.device.type, enabled=False):
            if z.shape[1] < self.z_dim:
                raise ValueError(f"latents have {self.z_dim} numbers, not {z.shape[1]}")
            x, label = z.float()[:, : self.z_dim], z.float()[:, self.z_dim :]
            # Not len(z), which is a number, and would be one for ever in what `torch.export` makes of this.
            check_label(label if label.shape[1] else None, self.classes, z.shape[0])
            x = normalised(x)
            if self.embedding is not None:
                x = torch.cat([x, normalised(self.embedding(label))], dim=1)
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


def of_classes(z: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Latents [B, z_dim] with their classes, int64 [B], behind: [B, z_dim + classes]."""
    return torch.cat([z, torch.nn.functional.one_hot(labels, classes).to(z)], dim=1)
