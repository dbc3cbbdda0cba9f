"""A discriminator of pixels beside one that looks through a frozen network (Kumari et al. 2022, "Ensembling
Off-the-shelf Models for GAN Training").

Either alone fails where the other does well: from pixels, textures take long; through a frozen network they are there
at once, and whole kinds of pictures are left out (experiments/recipes).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.projected import ProjectedDiscriminator


class VisionAidedDiscriminator(nn.Module):
    """Images to a logit of pixels, and one of each head that looks through the frozen network.

    Args:
        residual: judges pixels. Penalties on gradients are its alone: the heads' weights are bounded as they are.
        projected: judges what a frozen network sees, images of the same size and classes.
        projected_weight: lambda, of the mean over the heads' losses beside the residual one's (their equation 2 has 1).

    Raises:
        ValueError: the weight is not above 0.
    """

    told = "none"

    def __init__(
        self, residual: ResidualDiscriminator, projected: ProjectedDiscriminator, projected_weight: float = 0.1
    ) -> None:
        super().__init__()
        if not projected_weight > 0:
            raise ValueError(f"discriminator.projected_weight must be above 0, not {projected_weight}")
        self.residual, self.projected = residual, projected
        heads = len(projected.heads)
        weights = torch.tensor([1.0, *[projected_weight / heads] * heads])
        self.register_buffer("logit_weights", weights, persistent=False)

    logit_weights: Tensor

    @property
    def penalised(self) -> ResidualDiscriminator:
        """What R1 and R2 are of."""
        return self.residual

    @property
    def resolution(self) -> int | Sequence[int]:
        """Of its images."""
        return self.residual.resolution

    @property
    def classes(self) -> int:
        """Of its images; 0: none."""
        return self.projected.classes

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] in about [-1, 1], and classes [B, classes] -> logits [B, 1 + heads], whose losses are to be
        weighted by `logit_weights`; above 0 means "real".

        Raises:
            ValueError: the images have another size; there are classes or none, and it was built otherwise.
        """
        return torch.cat([self.residual(images, label=label), self.projected(images, label)], dim=1)
