"""What the generator is told about a pixel: Fourier features e_fo, coordinate embedding e_co (paper, section 3)."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Lookup = Literal["aligned", "official"]


class FourierFeatures(nn.Module):
    """e_fo(x, y) = sin(B (x, y) + b), with B and b learned (paper, equation 1, and the bias of the released code).

    Args:
        features: number of features.
        initialization: ``uniform``: B uniform in +-sqrt(9/2), b as PyTorch's linear layers (the released code).
            ``siren``: the first layer of SIREN (Sitzmann et al. 2020): frequencies omega_0 = 30 times uniform in +-1/2.
        scale: factor on the initial frequencies; above 1 the first pictures have finer structure.
    """

    def __init__(
        self, features: int, initialization: Literal["uniform", "siren"] = "uniform", scale: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features, 2))
        self.bias = nn.Parameter(torch.empty(features))
        if initialization == "uniform":
            nn.init.uniform_(self.weight, -math.sqrt(9 / 2), math.sqrt(9 / 2))
            nn.init.uniform_(self.bias, -1 / math.sqrt(2), 1 / math.sqrt(2))
        elif initialization == "siren":
            nn.init.uniform_(self.weight, -30 / 2, 30 / 2)
            nn.init.uniform_(self.bias, -30 / math.sqrt(2), 30 / math.sqrt(2))
        else:
            raise ValueError(f"fourier.initialization must be uniform or siren, not {initialization!r}")
        with torch.no_grad():
            self.weight.mul_(scale)

    def forward(self, coords: Tensor) -> Tensor:
        """[..., 2] -> [..., features]. In float32 whatever the autocast: 8 bits cannot tell two pixels apart."""
        with torch.autocast(coords.device.type, enabled=False):
            return torch.sin(F.linear(coords.float(), self.weight.float(), self.bias.float()))


class CoordinateEmbedding(nn.Module):
    """e_co: one learned vector for every native pixel, interpolated bilinearly in between (paper, section 3).

    Args:
        resolution: native resolution R; the table has R * R rows.
        features: length of a vector.
        std: the table is drawn from N(0, std^2) (1 in the released code).
        lr_multiplier: learning rate of the table relative to the other layers. Adam moves every entry by its learning
            rate whatever the gradient's size, so a small table turns into speckle before it has learned anything; a
            multiplier below 1 leaves the first shapes to the smooth Fourier features.
        lookup: ``aligned`` puts table entry (i, j) at native pixel (i, j), so that any grid agrees with training;
            ``official`` is what the released code does outside training: `grid_sample(align_corners=False)` at the
            same coordinates, half an entry off at the edges.
    """

    def __init__(
        self,
        resolution: int,
        features: int,
        std: float = 1.0,
        lr_multiplier: float = 1.0,
        lookup: Lookup = "aligned",
    ) -> None:
        super().__init__()
        if lookup not in ("aligned", "official"):
            raise ValueError(f"embedding_lookup must be aligned or official, not {lookup!r}")
        self.resolution = resolution
        self.lookup = lookup
        self.lr_multiplier = lr_multiplier
        # Row-major: y * R + x. The vectors are lr_multiplier times the rows.
        self.table = nn.Parameter(torch.randn(resolution * resolution, features) * (std / lr_multiplier))

    def forward(self, coords: Tensor) -> Tensor:
        """[..., 2] -> [..., features]. Beyond the training square the border's vectors go on."""
        last = self.resolution - 1
        if self.lookup == "aligned":
            position = (coords.float() + 1) * (0.5 * last)
        else:
            position = (coords.float() + 1) * (0.5 * self.resolution) - 0.5
        position = position.clamp(0, last)
        corner = position.detach().floor().clamp(max=last - 1)
        fraction = position - corner
        x, y = corner.long().unbind(-1)
        fx, fy = fraction.unbind(-1)
        first = y * self.resolution + x
        rows = torch.stack([first, first + 1, first + self.resolution, first + self.resolution + 1], dim=-1)
        weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], dim=-1)
        # A weighted sum of four rows of a table is an embedding bag: no [P, 4, features] in memory.
        with torch.autocast(coords.device.type, enabled=False):
            summed = F.embedding_bag(
                rows.flatten(0, -2), self.table.float(), per_sample_weights=weights.flatten(0, -2), mode="sum"
            )
        return self.scaled(summed).unflatten(0, coords.shape[:-1])

    def scaled(self, rows: Tensor) -> Tensor:
        """Rows of the table [..., features] -> their vectors."""
        return rows if self.lr_multiplier == 1.0 else rows * self.lr_multiplier

    def native(self) -> Tensor:
        """[R * R, features]: the table itself, exactly what training reads."""
        return self.scaled(self.table)


class PositionalEncoding(nn.Module):
    """[e_fo, e_co]: the concatenation that enters the first layer; either part may be missing, not both."""

    def __init__(self, fourier: FourierFeatures | None, embedding: CoordinateEmbedding | None) -> None:
        super().__init__()
        if fourier is None and embedding is None:
            raise ValueError("the generator needs Fourier features, a coordinate embedding, or both: not neither")
        self.fourier = fourier
        self.embedding = embedding
        self.features = sum(
            size
            for size in (
                fourier.weight.shape[0] if fourier is not None else 0,
                embedding.table.shape[1] if embedding is not None else 0,
            )
        )

    def forward(self, coords: Tensor) -> Tensor:
        """[..., 2] -> [..., features]."""
        return torch.cat([part(coords) for part in (self.fourier, self.embedding) if part is not None], dim=-1)

    def native(self, coords: Tensor) -> Tensor:
        """The encoding of the whole native grid in row-major order, with the table read directly.

        Args:
            coords: [R * R, 2], the native grid.

        Returns:
            [R * R, features].
        """
        parts = [] if self.fourier is None else [self.fourier(coords)]
        if self.embedding is not None:
            # Out of training, `official` reads the table as the released evaluation does, on its own grid too.
            direct = self.training or self.embedding.lookup == "aligned"
            parts.append(self.embedding.native() if direct else self.embedding(coords))
        return torch.cat(parts, dim=-1)
