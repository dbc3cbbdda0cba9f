"""How far a drawn picture is from the one that is looked for: by its pixels, and by features of a frozen network.

Features are EfficientNet-Lite0's, whose ImageNet weights come in a package, at four scales. As in LPIPS (Zhang et al.
2018) each place's features are brought to unit length, and squared distances averaged over places and summed over the
scales; LPIPS' learned weights of channels are left out, so that these numbers are no LPIPS.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cips_lab.interop.pretrained import STRIDES, Stages, load_features
from cips_lab.networks.projected import seen_size

NETWORK = "efficientnet_lite0"
SMALLEST, LARGEST = 64, 224  # pixels of the shorter side that the network sees


class Terms(NamedTuple):
    """Of one drawn picture; all are numbers without a shape.

    loss: what is minimised. pixels: mean squared difference, of colours in [-1, 1]. features: see above.
    """

    loss: Tensor
    pixels: Tensor
    features: Tensor


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images [B, 3, H, W] at another (height, width), bilinear and antialiased, with gradients."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def feature_network(size: tuple[int, int]) -> tuple[Stages, tuple[int, int]]:
    """The network, and the (height, width) at which it sees pictures of a size."""
    side = min(max(2 * min(size), SMALLEST), LARGEST) // STRIDES[-1] * STRIDES[-1]
    seen = seen_size(size, side, STRIDES[-1])
    return load_features(NETWORK, seen), seen


class Objective:
    """The distance to one picture.

    Args:
        target: [1, 3, H, W] in [-1, 1].
        weights: of the pixels' and of the features' distance.
        network: of `feature_network`, and at which size it looks; None where features do not count.
    """

    def __init__(
        self, target: Tensor, weights: tuple[float, float], network: tuple[Stages, tuple[int, int]] | None
    ) -> None:
        if weights[1] and network is None:
            raise ValueError("a weight of features needs their network")
        self.target, self.weights, self.network = target, weights, network
        self.wanted = self._features(target) if network is not None else []

    @torch.no_grad()
    def measure(self, image: Tensor) -> Terms:
        """The distance of a picture, without a graph."""
        return self(image)

    def __call__(self, image: Tensor) -> Terms:
        """The distance of [1, 3, H, W], with gradients where wanted."""
        image = self._shown(image)
        pixels = (image - self.target).square().mean()
        features = pixels.new_zeros(())
        if self.network is not None:
            pairs = zip(self._features(image), self.wanted, strict=True)
            features = torch.stack([(a - b).square().sum(1).mean() for a, b in pairs]).sum()
        return Terms(self.weights[0] * pixels + self.weights[1] * features, pixels, features)

    def _shown(self, image: Tensor) -> Tensor:
        """The image, cut off at white where the target is white, and at black where it is black: it shows the same.

        Elsewhere it stays what it is, for what is cut off has no gradient.
        """
        image = torch.where(self.target >= 1, image.clamp(max=1), image)
        return torch.where(self.target <= -1, image.clamp(min=-1), image)

    def _features(self, image: Tensor) -> list[Tensor]:
        assert self.network is not None
        stages, size = self.network
        maps = stages(resized(image, size))
        return [m / (m.square().sum(1, keepdim=True) + 1e-10).sqrt() for m in maps]
