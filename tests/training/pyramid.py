"""A frozen network for a projected discriminator, small enough for a test."""

import torch
from torch import Tensor, nn


class Pyramid(nn.Module):
    """Four maps at strides 4 to 32, of a network small enough for a test."""

    channels = (3, 5, 6, 7)
    stride = 4

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.convs = nn.ModuleList(nn.Conv2d(3, c, 4 << i, stride=4 << i) for i, c in enumerate(self.channels))
        for conv in self.convs:  # the same in every process, as a file's weights are
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            conv.weight.data.normal_(0, 1 / (conv.stride[0] * 3**0.5), generator=draw)
            conv.bias.data.zero_()
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [conv(images) for conv in self.convs]
