"""What the generator is told about a pixel: Fourier features e_fo, coordinate embedding e_co (paper, section 3).

Each is an `EncodingPart`; another one is one more class here, and one more entry in `positional_encoding`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cips_lab.networks.size import sides
from cips_lab.networks.surface import Surface
from cips_lab.networks.tiling import WeightedRows

PLANE = Surface()
Lookup = Literal["aligned", "official"]


class Inputs(NamedTuple):
    """The parameters that an encoding is computed from, apart from the coordinates.

    They are handed over, not read from the module, so that pixels can be encoded in tiles: a tile is given copies of
    the shared tensors and its own rows of the others, and the gradients of both come back (see `tiling`).
    """

    shared: Sequence[Tensor] = ()  # what every pixel needs the whole of
    by_row: Sequence[Tensor] = ()  # what pixel i needs row i of: [P, ...]
    summed: Sequence[Tensor] = ()  # what pixels read a few rows of: their gradients are sparse, and added up in place


class EncodingPart(nn.Module, ABC):
    """One function of the coordinates, whose values are concatenated with those of the other parts.

    Attributes:
        features: length of what it gives for a pixel.
    """

    features: int

    @abstractmethod
    def inputs(self, native: bool) -> Inputs:
        """The parameters that `encode` needs.

        Args:
            native: whether it is the whole native grid, row by row, that will be encoded, so that what is stored for
                each native pixel may be handed over by row.
        """

    @abstractmethod
    def encode(self, coords: Tensor, inputs: Inputs) -> Tensor:
        """Coordinates [..., 2] and `inputs`, or a tile's [P, 2] and share of them -> [..., features].

        A pixel's result depends on its coordinates, its rows and the shared tensors alone, and is float32 or wider
        under any autocast wherever coordinates enter: 8 bits cannot tell two pixels apart.
        """

    def forward(self, coords: Tensor) -> Tensor:
        """[..., 2] -> [..., features]; in an ordinary graph, whose gradients are dense."""
        inputs = self.inputs(native=False)
        return self.encode(coords, Inputs((*inputs.shared, *inputs.summed), inputs.by_row))


class FourierFeatures(EncodingPart):
    """e_fo(x, y) = sin(B (x, y) + b), with B and b learned (paper, equation 1, and the bias of the released code).

    On a cylinder (x, y) is the point in space, see `Surface.points`: what comes out goes around without a seam.

    Args:
        features: number of features.
        initialization: ``uniform``: B uniform in +-sqrt(9/2), b as PyTorch's linear layers (the released code).
            ``siren``: the first layer of SIREN (Sitzmann et al. 2020): frequencies omega_0 = 30 times uniform in +-1/2.
        scale: factor on the initial frequencies; above 1 the first pictures have finer structure.
        waves: ``sine`` of as many frequencies (the paper); ``pairs``: sine and cosine of half as many (Tancik et al.
            2020, equation 5): a style then moves waves, and textures of two pictures lie at different places.
        surface: where the coordinates lie.
    """

    def __init__(
        self,
        features: int,
        initialization: Literal["uniform", "siren"] = "uniform",
        scale: float = 1.0,
        waves: Literal["sine", "pairs"] = "sine",
        surface: Surface = PLANE,
    ) -> None:
        super().__init__()
        if waves not in ("sine", "pairs"):
            raise ValueError(f"fourier.waves must be sine or pairs, not {waves!r}")
        self.features, self.surface, self.waves = features, surface, waves
        frequencies = features if waves == "sine" else -(-features // 2)
        self.weight = nn.Parameter(torch.empty(frequencies, surface.dimensions))
        self.bias = nn.Parameter(torch.empty(frequencies))
        if initialization == "uniform":
            nn.init.uniform_(self.weight, -math.sqrt(9 / 2), math.sqrt(9 / 2))
            nn.init.uniform_(self.bias, -1 / math.sqrt(2), 1 / math.sqrt(2))
        elif initialization == "siren":
            nn.init.uniform_(self.weight, -30 / 2, 30 / 2)
            nn.init.uniform_(self.bias, -30 / math.sqrt(2), 30 / math.sqrt(2))
        else:
            raise ValueError(f"fourier.initialization must be uniform or siren, not {initialization!r}")
        self.weight.data.mul_(scale)

    def inputs(self, native: bool) -> Inputs:
        return Inputs(shared=(self.weight, self.bias))

    def encode(self, coords: Tensor, inputs: Inputs) -> Tensor:
        weight, bias = inputs.shared
        with torch.autocast(coords.device.type, enabled=False):
            x = F.linear(self.surface.points(coords), weight.float(), bias.float())
            return torch.sin(x) if self.waves == "sine" else torch.cat([x.sin(), x.cos()], -1)[..., : self.features]


class CoordinateEmbedding(EncodingPart):
    """e_co: one learned vector for every native pixel, interpolated bilinearly in between (paper, section 3).

    On a cylinder the table goes around: its last column's neighbour is the first, and a frame has as many columns less
    one as native pixels, where it has a frame for each of the turn's.

    Args:
        resolution: native resolution R, or (height, width); the table has a row for every pixel of the plane's frame.
        features: length of a vector.
        std: the table is drawn from N(0, std^2) (1 in the released code).
        lr_multiplier: learning rate of the table relative to the other layers. Adam moves every entry by its learning
            rate whatever the gradient's size, so a small table turns into speckle before it has learned anything; a
            multiplier below 1 leaves the first shapes to the smooth Fourier features.
        lookup: ``aligned`` puts table entry (i, j) at native pixel (i, j), so that any grid agrees with training;
            ``official`` is what the released code does outside training: `grid_sample(align_corners=False)` at the
            same coordinates, half an entry off at the edges.
        lowpass: standard deviation, in native pixels, of a Gaussian that the table is read through; 0 for none. The
            table then cannot tell neighbouring pixels apart: a test of what high frequencies in it are good for.
        surface: where the coordinates lie.
        frames: on a cylinder, widths of a frame that the table has columns for in a whole turn; None: the turn's own,
            fewer stretch it. What users asked of the released code: how large must it be for panoramas?
    """

    filter_x: Tensor | None  # [columns, columns]: a row of the table's grid -> the same row, filtered
    filter_y: Tensor | None  # [rows, rows], likewise of a column

    def __init__(
        self,
        resolution: int | Sequence[int],
        features: int,
        std: float = 1.0,
        lr_multiplier: float = 1.0,
        lookup: Lookup = "aligned",
        lowpass: float = 0.0,
        surface: Surface = PLANE,
        frames: int | None = None,
    ) -> None:
        super().__init__()
        if lowpass < 0:
            raise ValueError(f"embedding.lowpass must be 0 or more, not {lowpass}")
        if lookup not in ("aligned", "official"):
            raise ValueError(f"embedding_lookup must be aligned or official, not {lookup!r}")
        if frames is not None and (surface.turns is None or not 1 <= frames <= surface.turns):
            most = "a cylinder's, from 1 to generator.turns" if surface.turns is None else f"1 to {surface.turns}"
            raise ValueError(f"embedding.frames must be {most}, not {frames}")
        self.features, self.surface = features, surface
        self.rows, width = sides(resolution)
        self.columns = width if surface.turns is None else (frames or surface.turns) * (width - 1)
        self.lookup = lookup
        self.lr_multiplier = lr_multiplier
        # Row-major: y * columns + x. The vectors are lr_multiplier times the rows.
        self.table = nn.Parameter(torch.randn(self.rows * self.columns, features) * (std / lr_multiplier))
        around = surface.turns is not None
        stretch = 1.0 if surface.turns is None else (frames or surface.turns) / surface.turns
        filters = (
            (gaussian_filter(self.columns, lowpass * stretch, around=around), gaussian_filter(self.rows, lowpass))
            if lowpass
            else (None, None)
        )
        self.register_buffer("filter_x", filters[0], persistent=False)
        self.register_buffer("filter_y", filters[1], persistent=False)

    def reads_table_directly(self) -> bool:
        """Whether native pixel i is row i of the table: not so where `official` is to be had outside training."""
        return self.surface.turns is None and (self.training or self.lookup == "aligned")

    def inputs(self, native: bool) -> Inputs:
        table = self.filtered()
        if native and self.reads_table_directly():
            return Inputs(by_row=(table,))
        # Sparse gradients are for float32 on devices that have them.
        sparse = table.dtype == torch.float32 and table.device.type in ("cpu", "cuda", "meta")
        return Inputs(summed=(table,)) if sparse else Inputs(shared=(table,))

    def filtered(self) -> Tensor:
        """The table as it is read, [rows * columns, features]."""
        if self.filter_x is None:
            return self.table
        grid = self.table.unflatten(0, (self.rows, self.columns))
        return torch.einsum("yi,xj,ijf->yxf", self.filter_y, self.filter_x, grid).flatten(0, 1)

    def encode(self, coords: Tensor, inputs: Inputs) -> Tensor:
        if inputs.by_row:
            return self.scaled(inputs.by_row[0])
        if inputs.summed:
            return self.interpolate(coords, inputs.summed[0], sparse=True)
        return self.interpolate(coords, inputs.shared[0])

    def interpolate(self, coords: Tensor, table: Tensor, sparse: bool = False) -> Tensor:
        """[..., 2] -> [..., features] from a table as `filtered` gives it; beyond edges the border's vectors go on.

        Args:
            coords: (x, y).
            table: [rows * columns, features].
            sparse: whether the gradient that it gets is sparse, and coordinates get none.
        """
        x, y = coords.float().unbind(-1)
        left, right, fx = self._neighbours(self.surface.wrapped(x), self.columns, self.surface.period)
        upper, lower, fy = self._neighbours(y, self.rows, None)
        upper, lower = upper * self.columns, lower * self.columns
        rows = torch.stack([upper + left, upper + right, lower + left, lower + right], dim=-1).flatten(0, -2)
        weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], dim=-1).flatten(0, -2)
        with torch.autocast(coords.device.type, enabled=False):
            summed = self.weighted(table, rows, weights, sparse)
        return self.scaled(summed).unflatten(0, coords.shape[:-1])

    def weighted(self, table: Tensor, rows: Tensor, weights: Tensor, sparse: bool) -> Tensor:
        """A weighted sum of four rows of a table is an embedding bag: no [P, 4, features] in memory."""
        if sparse:
            return WeightedRows.apply(table, rows, weights)
        return F.embedding_bag(rows, table.float(), per_sample_weights=weights, mode="sum")

    def _neighbours(self, place: Tensor, count: int, period: float | None) -> tuple[Tensor, Tensor, Tensor]:
        """Along one axis: the entries on both sides of a coordinate, and how far it is from the first to the second."""
        if period is not None:
            position = (place + 1) * (count / period)  # entry 0 is at -1; entry `count`, one turn on, is entry 0
        elif self.lookup == "aligned":
            position = ((place + 1) * (0.5 * (count - 1))).clamp(0, count - 1)
        else:
            position = ((place + 1) * (0.5 * count) - 0.5).clamp(0, count - 1)
        last = count - 1 if period is not None else count - 2
        first = position.detach().floor().clamp(0, last)
        left = first.long()
        right = (left + 1) % count if period is not None else left + 1
        return left, right, position - first

    def scaled(self, rows: Tensor) -> Tensor:
        """Rows of the table [..., features] -> their vectors."""
        return rows if self.lr_multiplier == 1.0 else rows * self.lr_multiplier


def gaussian_filter(size: int, std: float, around: bool = False) -> Tensor:
    """[size, size] matrix of a Gaussian of `std` places along an axis; its rows sum to 1, at the edges too.

    `around`: the axis is a circle; what is on the other side of its end is near.
    """
    places = torch.arange(size, dtype=torch.float64)
    away = (places[:, None] - places[None, :]).abs()
    if around:
        away = torch.minimum(away, size - away)
    weights = torch.exp(-away.square() / (2 * std**2))
    return (weights / weights.sum(1, keepdim=True)).float()


class PositionalEncoding(nn.Module):
    """The concatenation of all parts, which enters the first layer.

    Args:
        parts: by their names in a state dict, in the order of concatenation; None for one that is left out.

    Raises:
        ValueError: all of them are.
    """

    def __init__(self, parts: Mapping[str, EncodingPart | None]) -> None:
        super().__init__()
        if not any(part is not None for part in parts.values()):
            raise ValueError("the generator needs Fourier features, a coordinate embedding, or both: not neither")
        for name, part in parts.items():
            self.add_module(name, part)
        self.features = sum(part.features for part in self.parts())

    def parts(self) -> list[EncodingPart]:
        """Those that are there."""
        return [part for part in self.children() if isinstance(part, EncodingPart)]

    def forward(self, coords: Tensor) -> Tensor:
        """[..., 2] -> [..., features]; in an ordinary graph, whose gradients are dense."""
        return torch.cat([part(coords) for part in self.parts()], dim=-1)

    def inputs(self, native: bool) -> list[Inputs]:
        """Those of every part, see `EncodingPart.inputs`."""
        return [part.inputs(native) for part in self.parts()]

    def encode(self, coords: Tensor, inputs: Sequence[Inputs]) -> Tensor:
        """See `EncodingPart.encode`."""
        parts = zip(self.parts(), inputs, strict=True)
        return torch.cat([part.encode(coords, own) for part, own in parts], dim=-1)


class FourierOptions(TypedDict, total=False):
    """features: their number, None for the generator's width; the others: as `FourierFeatures`."""

    features: int | None
    initialization: Literal["uniform", "siren"]
    scale: float
    waves: Literal["sine", "pairs"]


class EmbeddingOptions(TypedDict, total=False):
    """features: length of each vector, None for the generator's width; the others: as `CoordinateEmbedding`."""

    features: int | None
    std: float
    lr_multiplier: float
    lowpass: float
    frames: int | None


# What the paper's model has: all options at the defaults of their classes.
FOURIER = FourierOptions()
EMBEDDING = EmbeddingOptions()


def positional_encoding(
    resolution: int | Sequence[int],
    width: int,
    fourier: FourierOptions | None,
    embedding: EmbeddingOptions | None,
    lookup: Lookup,
    surface: Surface = PLANE,
) -> PositionalEncoding:
    """The encoding that `CIPSGenerator`'s options ask for; the place where a further part enters.

    Args:
        resolution: native resolution R, or (height, width).
        width: the generator's, and so a part's number of features where its options give none.
        fourier, embedding: options of the parts; None leaves one out.
        lookup: as `CoordinateEmbedding`.
        surface: where the coordinates lie.

    Raises:
        ValueError: both are left out, or an option is out of its range.
    """

    def filled(options: FourierOptions | EmbeddingOptions) -> dict[str, Any]:
        return {**options, "features": options.get("features") or width}

    parts: dict[str, EncodingPart | None] = {"fourier": None, "embedding": None}
    if fourier is not None:
        parts["fourier"] = FourierFeatures(**filled(fourier), surface=surface)
    if embedding is not None:
        parts["embedding"] = CoordinateEmbedding(resolution, lookup=lookup, surface=surface, **filled(embedding))
    return PositionalEncoding(parts)
