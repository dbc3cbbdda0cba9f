"""DINOv2 (Oquab et al. 2024): the vision transformer whose features FD-DINOv2 compares, by dgm-eval's protocol.

Stein et al., NeurIPS 2023: pictures brought to 224 x 224 by Pillow's antialiased bicubic filter, ImageNet's mean and
deviation, ViT-L/14, the class token after the last norm. The network is written out here, for the published file of
weights alone is needed then, and no code from the network; its parameters have the file's names.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 224  # pixels a side that it sees
TRAINED = 518  # pixels a side that its position embeddings are of
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class Attention(nn.Module):
    """Multi-head self-attention of tokens [B, T, D]."""

    def __init__(self, dimension: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dimension, 3 * dimension)
        self.proj = nn.Linear(dimension, dimension)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return mixed


class Mlp(nn.Module):
    """Two layers on each token."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dimension, 4 * dimension)
        self.fc2 = nn.Linear(4 * dimension, dimension)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor for each feature."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dimension))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Attention, then the two layers, each added to what it is given."""

    def __init__(self, dimension: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dimension, eps=1e-6)
        self.attn = Attention(dimension, heads)
        self.ls1 = LayerScale(dimension)
        self.norm2 = nn.LayerNorm(dimension, eps=1e-6)
        self.mlp = Mlp(dimension)
        self.ls2 = LayerScale(dimension)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    """Patches as tokens: [B, 3, S, S] -> [B, (S / 14)^2, D]."""

    def __init__(self, dimension: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dimension, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class DINOv2(nn.Module):
    """uint8 pictures [B, 3, H, W] -> (class token [B, D],). The defaults are ViT-L/14's.

    Args:
        dimension: of a token.
        depth: blocks.
        heads: of each attention.
        patch: pixels a side.
    """

    def __init__(self, dimension: int = 1024, depth: int = 24, heads: int = 16, patch: int = 14) -> None:
        super().__init__()
        self.grid = TRAINED // patch
        self.patch_embed = PatchEmbedding(dimension, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dimension))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, dimension))
        self.mask_token = nn.Parameter(torch.zeros(1, dimension))  # of its training; in the file
        self.blocks = nn.ModuleList(Block(dimension, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dimension, eps=1e-6)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.tokens(prepared(images)),)

    def tokens(self, x: Tensor) -> Tensor:
        """The class token of prepared pictures [B, 3, S, S]: [B, D]."""
        x = self.patch_embed(x)
        side = round(x.shape[1] ** 0.5)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.positions(side)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]

    def positions(self, side: int) -> Tensor:
        """Embeddings of side x side patches and of the class token: [1, 1 + side^2, D].

        As the published code reads them between those that were trained, its 0.1 included: a scale that is a little too
        large keeps its rounding from losing a row, and moves every place by a hair.
        """
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if side == self.grid:
            return self.pos_embed
        scale = (side + 0.1) / self.grid
        table = rest.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        read = F.interpolate(table, scale_factor=(scale, scale), mode="bicubic", align_corners=False)
        return torch.cat([first, read.flatten(2).transpose(1, 2)], dim=1)


def prepared(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] -> float32 [B, 3, 224, 224]: resized and normalised."""
    mean, deviation = (torch.tensor(values, device=images.device)[:, None, None] for values in (MEAN, DEVIATION))
    return (resized_as_pillow(images, SIZE) / 255 - mean) / deviation


def resized_as_pillow(images: Tensor, side: int) -> Tensor:
    """What Pillow's ``resize((side, side), BICUBIC)`` makes of 8-bit pictures [B, 3, H, W]: whole numbers in [0, 255].

    It filters rows first and columns then, and rounds after either; halves go up.
    """
    x = images.float()
    for size in ((x.shape[-2], side), (side, side)):
        x = F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
        x = (x + 0.5).floor().clamp(0, 255)
    return x
