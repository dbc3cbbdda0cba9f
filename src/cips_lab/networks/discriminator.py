"""The discriminator of StyleGAN2 (Karras et al. 2020, the "residual" one), which CIPS keeps unchanged."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cips_lab.networks.equalized import LRELU_GAIN, LRELU_SLOPE, EqualizedConv2d, EqualizedLinear, scaled_leaky_relu
from cips_lab.networks.projection import ClassProjection, check_label
from cips_lab.networks.resample import blur
from cips_lab.networks.size import check_native, halvings, sides, size_of

Told = Literal["none", "where", "where_and_scale"]
TOLD_CHANNELS: dict[str, int] = {"none": 0, "where": 2, "where_and_scale": 3}


def minibatch_stddev(x: Tensor, group_size: int = 4) -> Tensor:
    """Append one channel: how much the samples of a group differ, on average over features and positions.

    A batch of B is divided into ``G = ceil(B / group_size)`` groups, sample i into group ``i mod G``. When group_size
    divides B this is StyleGAN2's grouping; otherwise the groups' sizes differ by at most one. No sample is left alone
    (its deviation would be zero and give it away) unless it is the whole batch: G is at most B / 2.

    Args:
        x: [B, C, H, W], any B of at least 1.
        group_size: samples in a group; one more where an odd batch is divided into pairs. 1: no deviation at all.

    Returns:
        [B, C + 1, H, W].
    """
    batch, channels, height, width = x.shape
    groups = math.ceil(batch / group_size)
    if group_size > 1:
        groups = max(1, min(groups, batch // 2))
    rounds = math.ceil(batch / groups)
    # Rows past the end of the batch weigh nothing: one formula for every batch size.
    missing = rounds * groups - batch
    y = F.pad(x.float(), (0, 0, 0, 0, 0, 0, 0, missing)).view(rounds, groups, channels, height, width)
    present = (torch.arange(rounds * groups, device=x.device) < batch).to(y).view(rounds, groups, 1, 1, 1)
    count = present.sum(0)
    mean = y.sum(0) / count
    variance = ((y - mean).square() * present).sum(0) / count
    deviation = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3))  # [G]
    feature = deviation.repeat(rounds)[:batch].to(x.dtype).view(batch, 1, 1, 1).expand(batch, 1, height, width)
    return torch.cat([x, feature], dim=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the second with stride 2, beside a 1x1 one with stride 2; their sum over sqrt(2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = EqualizedConv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = EqualizedConv2d(in_channels, out_channels, 3, stride=2)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H / 2, W / 2]."""
        y = conv_lrelu(self.conv1, x)
        y = conv_lrelu(self.conv2, blur(y, (2, 2)), gain=math.sqrt(0.5))
        # A 1x1 convolution with stride 2 reads every second pixel of the blurred input: no other is made.
        return y + self.skip(blur(x, (1, 1), stride=2), gain=math.sqrt(0.5))


def conv_lrelu(conv: EqualizedConv2d, x: Tensor, gain: float = 1.0) -> Tensor:
    """gain * scaled_leaky_relu(conv(x)). Leaky ReLU is positively homogeneous: all gains go into the weight."""
    return F.leaky_relu_(conv(x, gain * LRELU_GAIN), LRELU_SLOPE)


class ResidualDiscriminator(nn.Module):
    """Images to one logit each.

    Args:
        resolution: side of the images, or (height, width), see `size.check_native`.
        channel_base: channels at resolution r are ``min(channel_max, channel_base / r)``. 32768 is the paper's
            (512 up to 64 pixels, then 256 at 128, 128 at 256).
        channel_max: the most channels.
        group_size: of the minibatch standard deviation; 0 or 1 leaves that channel zero.
        told: what it is told of each image beside its colours, in channels of their own: ``none``; ``where``: the
            coordinates of its pixels; ``where_and_scale``: also how fine the frame is that it was cut from.
        classes: of images; 0: none (see `ClassProjection`).
    """

    fade: Tensor

    def __init__(
        self,
        resolution: int | Sequence[int],
        channel_base: int = 32768,
        channel_max: int = 512,
        group_size: int = 4,
        told: Told = "none",
        classes: int = 0,
    ) -> None:
        super().__init__()
        check_native(resolution, "ResidualDiscriminator: ")
        if told not in TOLD_CHANNELS:
            raise ValueError(f"discriminator.told must be one of {', '.join(TOLD_CHANNELS)}, not {told!r}")
        sizes = [4 << i for i in reversed(range(halvings(resolution) + 1))]  # R, R/2, ..., 4
        channels = [max(1, min(channel_max, channel_base // size)) for size in sizes]
        self.resolution = size_of(*sides(resolution))
        self.group_size = max(1, group_size)
        self.told = told
        self.from_rgb = EqualizedConv2d(3 + TOLD_CHANNELS[told], channels[0], 1)
        self.blocks = nn.ModuleList(ResidualBlock(a, b) for a, b in pairwise(channels))
        last = channels[-1]
        self.final_conv = EqualizedConv2d(last + 1, last, 3, padding=1)
        self.final_linear = EqualizedLinear(last * math.prod(side >> len(self.blocks) for side in self.size), last)
        self.logit = EqualizedLinear(last, last if classes else 1)
        self.classes = classes
        self.projection = ClassProjection(classes, last) if classes else None
        # Of a discriminator that has grown (`grow`): what the smaller one saw pictures with, and the share of the rest.
        self.faded: EqualizedConv2d | None = None
        self.new_blocks = 0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its images."""
        return sides(self.resolution)

    def grow(self, blocks: int) -> None:
        """Also see pictures as a discriminator did that had so many blocks less; `fade` is this one's share, 0 to 1.

        Its weights are then loaded: those of `faded` from the smaller one's `from_rgb`. Karras et al. 2018, figure 2.
        """
        channels = self.blocks[blocks].conv1.weight.shape[1]  # type: ignore[union-attr, index]
        self.faded = EqualizedConv2d(self.from_rgb.weight.shape[1], int(channels), 1)
        self.new_blocks = blocks
        self.register_buffer("fade", torch.zeros(()), persistent=False)

    def forward(self, images: Tensor, told: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] in about [-1, 1], any B -> logits [B, 1]; above 0 means "real".

        Args:
            images: of its own size.
            told: [1 or B, 2 or 3, H, W]: what it is told of them, where its option `told` says so.
            label: [B, classes]: their classes as one-hot rows.

        Raises:
            ValueError: the images have another size, or it is told more or less than it was built for.
        """
        check_label(label, self.classes, len(images))
        if images.shape[1:] != (3, *self.size):
            height, width = self.size
            raise ValueError(
                f"the discriminator was built for images [B, 3, {height}, {width}], not {list(images.shape)}"
            )
        if (0 if told is None else told.shape[1]) != TOLD_CHANNELS[self.told]:
            raise ValueError(f"the discriminator was built with told={self.told}, and is told something else")
        if told is not None:
            images = torch.cat([images, told.to(images).expand(len(images), -1, -1, -1)], dim=1)
        # Channels last: 2 to 3 times faster on CPU, and what tensor cores want.
        images = images.contiguous(memory_format=torch.channels_last)
        x = conv_lrelu(self.from_rgb, images)
        for block in self.blocks[: self.new_blocks]:
            x = block(x)
        if self.faded is not None:
            before = conv_lrelu(self.faded, F.avg_pool2d(images, 2**self.new_blocks))
            x = torch.lerp(before, x, self.fade.to(x.dtype))
        for block in self.blocks[self.new_blocks :]:
            x = block(x)
        x = minibatch_stddev(x, self.group_size)
        x = conv_lrelu(self.final_conv, x)
        x = scaled_leaky_relu(self.final_linear(x.flatten(1)))
        x = self.logit(x)
        return x if self.projection is None or label is None else self.projection(x, label)
