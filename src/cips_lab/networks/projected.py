"""A discriminator that looks through a frozen network (Sauer et al. 2021, "Projected GANs Converge Faster").

The frozen network gives maps of features at four scales. Fixed random convolutions mix them across channels and, from
coarse to fine, across scales (their section 3.2), so that no single feature can be played against; a small head at each
scale learns to judge. The authors normalise the heads' maps over the batch. Here nothing is normalised: what is said of
one picture does not depend on which others are beside it, and how bright it is stays seen.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cips_lab.networks.equalized import LRELU_GAIN, LRELU_SLOPE
from cips_lab.networks.projection import ClassProjection, check_label
from cips_lab.networks.size import check_native, sides, size_of

Mixing = Literal["none", "channels", "scales"]
SMALLEST = 4  # side at which a head's maps are read as a whole
SQUARINGS = 10  # of a matrix of squares: its largest part is then that to the power of 1024


class Features(Protocol):
    """A frozen network that a discriminator looks through.

    Attributes:
        channels: of its maps, from the finest on, each half as large as the one before.
        stride: pixels to a place of the finest.
    """

    channels: tuple[int, ...]
    stride: int

    def __call__(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1] -> maps [B, channels, h, w]."""
        ...

    def to(self, device: torch.device) -> "Features":
        """Move it to a device."""
        ...


def largest_singular_value(matrix: Tensor) -> Tensor:
    """The spectral norm of [m, n], with the gradient of the singular vectors held still (Miyato et al. 2018).

    From nothing but the matrix: no vector that is carried from step to step, and that checkpoints would have to hold
    and micro-batches would move more often.
    """
    with torch.no_grad():
        exact = matrix.detach().float()
        short = exact if len(exact) <= exact.shape[1] else exact.T
        power = short @ short.T
        for _ in range(SQUARINGS):
            power = power / power.diagonal().sum().clamp_min(1e-30)
            power = power @ power
        # A column of a matrix that is all but of rank 1; the one that cannot be at right angles to its vector.
        column = power.index_select(1, power.diagonal().argmax().view(1)).squeeze(1)
        first = F.normalize(column, dim=0, eps=1e-30)
        second = F.normalize(short.T @ first, dim=0, eps=1e-30)
        left, right = (first, second) if short is exact else (second, first)
    return torch.dot(left, matrix.float() @ right)


class SpectralConv2d(nn.Module):
    """A convolution whose weight, [out, in k^2], is divided by its largest singular value."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0):
        super().__init__()
        deviation = 1 / math.sqrt(in_channels * kernel_size**2)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size) * deviation)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H', W']."""
        norm = largest_singular_value(self.weight.flatten(1))
        return F.conv2d(x, self.weight / norm, self.bias, stride=self.stride, padding=self.padding)


class Head(nn.Module):
    """Judges the map of one scale: halved down to `SMALLEST`, then read as a whole.

    Args:
        in_channels: of the map.
        size: its (height, width).
        channels: of what the head makes of it.
        classes: of images; 0: none (see `ClassProjection`).
    """

    def __init__(self, in_channels: int, size: tuple[int, int], channels: int, classes: int = 0) -> None:
        super().__init__()
        height, width = size
        halved: list[nn.Module] = []
        while not halved or min(height, width) > SMALLEST:
            if min(height, width) > SMALLEST:
                halved.append(SpectralConv2d(in_channels, channels, 4, stride=2, padding=1))
                height, width = height // 2, width // 2
            else:
                halved.append(SpectralConv2d(in_channels, channels, 3, padding=1))
            in_channels = channels
        self.halved = nn.ModuleList(halved)
        self.logit = SpectralConv2d(channels, channels if classes else 1, min(SMALLEST, height, width))
        self.projection = ClassProjection(classes, channels) if classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """[B, in, h, w], and classes [B, classes] -> logits [B, 1]: the mean over places where there are several."""
        for conv in self.halved:
            x = F.leaky_relu(conv(x), LRELU_SLOPE) * LRELU_GAIN
        x = self.logit(x).mean(dim=(2, 3))
        return x if self.projection is None or label is None else self.projection(x, label)


def seen_size(resolution: int | Sequence[int], input_size: int, coarsest: int) -> tuple[int, int]:
    """(height, width) at which a frozen network sees pictures.

    Args:
        resolution: theirs.
        input_size: the smaller side.
        coarsest: pixels to a place of its coarsest map, of which both sides are multiples.

    Raises:
        ValueError: input_size is no multiple.
    """
    if input_size < coarsest or input_size % coarsest:
        raise ValueError(f"discriminator.input_size must be a multiple of {coarsest}, not {input_size}")
    height, width = sides(resolution)
    scale = input_size / min(height, width) / coarsest
    return max(1, round(height * scale)) * coarsest, max(1, round(width * scale)) * coarsest


class ProjectedDiscriminator(nn.Module):
    """Images to one logit a head.

    Args:
        features: the frozen network. It is no part of the parameters, nor of the state that is saved: it is the same
            in every run.
        resolution: side of the images, or (height, width).
        input_size: smaller side at which the frozen network sees them; they are enlarged, or made smaller, to that.
        channels: of the finest mixed map; each coarser one has twice as many.
        head_channels: of every head.
        mixing: random convolutions across ``channels`` only, across ``scales`` too, or ``none``.
        classes: of images; 0: none.

    Raises:
        ValueError: an option is out of its range; the message names it.
    """

    told = "none"

    def __init__(
        self,
        features: Features,
        resolution: int | Sequence[int],
        input_size: int = 224,
        channels: int = 64,
        head_channels: int = 64,
        mixing: Mixing = "scales",
        classes: int = 0,
    ) -> None:
        super().__init__()
        check_native(resolution, "ProjectedDiscriminator: ")
        if mixing not in ("none", "channels", "scales"):
            raise ValueError(f"discriminator.mixing must be none, channels or scales, not {mixing!r}")
        if head_channels < 1:
            raise ValueError(f"discriminator.head_channels must be at least 1, not {head_channels}")
        self.resolution = size_of(*sides(resolution))
        self.mixing = mixing
        self._features = [features]  # in a list, where no parameter is looked for
        coarsest = features.stride * 2 ** (len(features.channels) - 1)
        self.seen = seen_size(resolution, input_size, coarsest)
        count = len(features.channels)
        mixed = list(features.channels) if mixing == "none" else [channels << i for i in range(count)]
        if mixing != "none":
            for i, (before, after) in enumerate(zip(features.channels, mixed, strict=True)):
                self.register_buffer(f"across_channels_{i}", random_convolution(before, after, 1))
        if mixing == "scales":
            for i in range(count - 1):
                self.register_buffer(f"across_scales_{i}", random_convolution(mixed[i + 1], mixed[i], 3))
        height, width = (side // features.stride for side in self.seen)
        self.classes = classes
        self.heads = nn.ModuleList(
            Head(depth, (height >> i, width >> i), head_channels, classes) for i, depth in enumerate(mixed)
        )

    @property
    def features(self) -> Features:
        """The frozen network."""
        return self._features[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its images."""
        return sides(self.resolution)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ProjectedDiscriminator":
        # What .to(), .cuda() and .half() of a holder call: of these, the frozen network follows the device alone.
        self.features.to(fn(torch.empty(0, device=next(self.buffers(), next(self.parameters())).device)).device)
        return super()._apply(fn, recurse)

    def projected(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> the mixed maps, from the finest on."""
        if tuple(images.shape[2:]) != self.seen:
            smaller = images.shape[2] > self.seen[0]
            images = F.interpolate(images, self.seen, mode="bilinear", align_corners=False, antialias=smaller)
        maps = self.features(images)
        if self.mixing == "none":
            return maps
        maps = [F.conv2d(x, self.get_buffer(f"across_channels_{i}")) for i, x in enumerate(maps)]
        if self.mixing == "channels":
            return maps
        for i in reversed(range(len(maps) - 1)):
            coarser = F.interpolate(maps[i + 1], scale_factor=2, mode="bilinear", align_corners=False)
            across = F.conv2d(coarser, self.get_buffer(f"across_scales_{i}"), padding=1)
            maps[i] = (maps[i] + across) * math.sqrt(0.5)
        return maps

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] in about [-1, 1], and classes [B, classes] -> logits [B, heads]; above 0 means "real".

        Raises:
            ValueError: the images have another size; there are classes or none, and it was built otherwise.
        """
        check_label(label, self.classes, len(images))
        if images.shape[1:] != (3, *self.size):
            height, width = self.size
            raise ValueError(
                f"the discriminator was built for images [B, 3, {height}, {width}], not {list(images.shape)}"
            )
        maps = self.projected(images.contiguous(memory_format=torch.channels_last))
        return torch.cat([head(x, label) for head, x in zip(self.heads, maps, strict=True)], dim=1)


def random_convolution(in_channels: int, out_channels: int, kernel_size: int) -> Tensor:
    """A weight that keeps a normal input's variance; it is never trained."""
    deviation = 1 / math.sqrt(in_channels * kernel_size**2)
    return torch.randn(out_channels, in_channels, kernel_size, kernel_size) * deviation
