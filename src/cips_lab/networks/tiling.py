"""Tiles: exact synthesis, forward and backward, of any number of pixels in the memory of a few.

Pixels are conditionally independent, so an image is a function of each pixel's row of inputs and of tensors that all
pixels share (weights with the style filled in, frequencies). Forward: tile after tile, without a graph. Backward:
the loss's gradient of the image is known by then, and the gradient of the inputs is a sum over tiles,

    dL/d(shared) = sum over tiles of  dL/d(image tile) * d(image tile)/d(shared),

so each tile is synthesised once more, with a graph of its own that is freed at once. Memory is one tile's, whatever the
image; and a tile that fits the processor's cache is also faster.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

log = logging.getLogger(__name__)

Tile = int | Literal["auto"] | None
Tensors = Sequence[Tensor | None]
# (shared tensors, by-row tensors cut to the tile, the tile's first and last-plus-one pixel) -> [B, C, tile]
PixelFunction = Callable[[Tensors, Tensors, slice], Tensor]

# Graphs up to this size (on CUDA: or a quarter of the free memory) are kept from the forward pass, not made again.
KEEP_BYTES = 256 * 2**20


@lru_cache
def cache_bytes() -> int:
    """Size of the last-level cache of the CPU; 16 MiB where it cannot be read."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="utf-8").strip()
        unit = {"K": 2**10, "M": 2**20}.get(text[-1:])
        sizes.append(int(text[:-1]) * unit if unit else int(text))
    return max(sizes, default=16 * 2**20)


def choose_tile(
    tile: Tile, pixels: int, batch: int, width: int, device: torch.device, free_bytes: int | None = None
) -> int:
    """Pixels of each sample in a tile.

    Args:
        tile: a number; None for all pixels at once; or ``auto``: on the CPU, activations of a layer fill an eighth of
            the last-level cache; on an accelerator, those of 16 layers an eighth of the free memory.
        pixels: of the picture.
        batch: samples in a tile.
        width: features of the widest layer.
        device: where it is computed.
        free_bytes: free memory of the accelerator, asked of it where not given.
    """
    if tile is None:
        return pixels
    if tile != "auto":
        return max(1, min(tile, pixels))
    row = 4 * width * batch
    if device.type == "cpu":
        budget = min(cache_bytes(), 64 * 2**20) // 8
        return max(64, min(pixels, 1 << max(0, (budget // row)).bit_length() - 1 if budget >= row else 1))
    free_bytes = free_memory(device) if free_bytes is None else free_bytes
    return max(1024, min(pixels, free_bytes // 8 // (16 * row)))


def free_memory(device: torch.device) -> int:
    """Free bytes of an accelerator; 4 GiB where it does not say (MPS, or fake tensors on a device that is not here)."""
    known = device.type == "cuda" and torch.cuda.is_available()
    return torch.cuda.mem_get_info(device)[0] if known else 4 * 2**30


def keep_bytes(device: torch.device, free_bytes: int | None = None) -> int:
    """Size up to which graphs of tiles are kept: on CUDA a quarter of the free memory, asked of it where not given."""
    if device.type != "cuda":
        return KEEP_BYTES
    return max(KEEP_BYTES, (free_memory(device) if free_bytes is None else free_bytes) // 4)


def tiles_of(pixels: int, tile: int) -> list[slice]:
    """The tiles of a picture, in order."""
    return [slice(start, min(start + tile, pixels)) for start in range(0, pixels, tile)]


class WeightedRows(torch.autograd.Function):
    """[P, F]: for each pixel a weighted sum of rows of a table, whose gradient is sparse.

    What `F.embedding_bag(sparse=True)` is, which cannot be counted on tensors without memory.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        """`table` [N, F], `rows` int64 [P, K] and `weights` [P, K]."""
        ctx.save_for_backward(rows, weights)
        ctx.shape = table.shape
        return F.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        rows, weights = ctx.saved_tensors
        values = (weights[..., None] * gradient[:, None, :]).flatten(0, 1)
        sparse = torch.sparse_coo_tensor(rows.view(1, -1), values, ctx.shape, check_invariants=False)
        return sparse, None, None


def synthesize_tiled(
    function: PixelFunction,
    shared: Tensors,
    by_row: Tensors,
    pixels: int,
    tile: int,
    graph_bytes: int = 0,
    may_shrink: bool = False,
    keep: int | None = None,
    summed: Tensors = (),
) -> Tensor:
    """All pixels of a picture, tile by tile, with gradients to every tensor that wants them.

    Args:
        function: synthesises one tile from the tensors it is given, and from nothing else that wants a gradient. Its
            first argument holds the shared tensors, and behind them the summed ones.
        shared: tensors that every pixel uses.
        by_row: tensors [pixels, ...], one row a pixel, that a tile gets its rows of.
        pixels: of the picture.
        tile: pixels a tile.
        graph_bytes: estimated size of all tiles' graphs. Small ones are kept, and nothing is computed twice; beyond
            `keep`, each is made again in the backward pass.
        may_shrink: whether tiles are halved where the device's memory runs out, and the pass begun again.
        keep: bytes of graphs to keep; None: what `keep_bytes` says of the tensors' device.
        summed: large tensors of which a tile uses a few rows, in such a way that their gradient is sparse: it is added
            up in place, so that no tile costs a pass over the whole of them.

    Returns:
        [B, C, pixels].
    """
    tensors = (*shared, *summed, *by_row)
    wants_gradient = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    device = next(t.device for t in tensors if t is not None)
    keep = keep_bytes(device) if keep is None else keep
    plan = _Plan(function, len(shared) + len(summed), len(summed), pixels, tile, graph_bytes <= keep, may_shrink)
    if wants_gradient:
        return _TiledSynthesis.apply(plan, *tensors)
    with torch.no_grad():
        return plan.attempt(lambda: plan.without_graph(tensors))


@dataclass
class _Plan:
    """How a picture is cut, and what computes a piece."""

    function: PixelFunction
    shared: int  # how many of the tensors are shared, the summed ones among them; the others are by row
    summed: int  # how many of these, the last of them, have sparse gradients
    pixels: int
    tile: int
    keep: bool
    may_shrink: bool
    autocast: tuple[torch.dtype, bool] | None = None  # that of the forward pass, for the backward pass

    @property
    def tiles(self) -> list[slice]:
        return tiles_of(self.pixels, self.tile)

    def attempt(self, work: Callable[[], Tensors | Tensor]) -> Any:
        """Do the work; where memory runs out, do it again keeping less at once."""
        while True:
            try:
                return work()
            except torch.OutOfMemoryError:
                if not self.may_shrink or (self.tile == 1 and not self.keep):
                    raise
            if self.keep:
                self.keep = False
                log.warning("out of memory: graphs of tiles are made again in the backward pass instead of kept")
            else:
                self.tile = -(-self.tile // 2)
                log.warning(
                    "out of memory: tiles of %d pixels from now on; trainer.tile=%d avoids this", *[self.tile] * 2
                )

    def cut(self, tensors: Tensors, rows: slice) -> list[Tensor | None]:
        return [None if t is None else t[rows] for t in tensors[self.shared :]]

    def without_graph(self, tensors: Tensors) -> Tensor:
        result: Tensor | None = None
        for rows in self.tiles:
            part = self.function(tensors[: self.shared], self.cut(tensors, rows), rows)
            if result is None:
                result = part.new_empty(*part.shape[:2], self.pixels)
            result[..., rows] = part
        assert result is not None
        return result

    def with_graph(self, leaves: Tensors, tensors: Tensors, needed: Sequence[bool], rows: slice) -> "_Piece":
        """One tile from leaves of its own, so that its graph ends at them."""
        cut = [
            None if t is None else t.detach().requires_grad_(need)
            for t, need in zip(self.cut(tensors, rows), needed[self.shared :], strict=True)
        ]
        device = next(t.device.type for t in (*leaves, *cut) if t is not None)
        assert self.autocast is not None
        dtype, enabled = self.autocast
        # Without autocast's cache, which would hold every pass's leaves until the iteration's end.
        with torch.enable_grad(), torch.autocast(device, dtype, enabled, cache_enabled=False):
            return _Piece(self.function(leaves, cut, rows), leaves[self.shared - self.summed :], cut, rows)

    def sums(self, tensors: Tensors, needed: Sequence[bool]) -> list[Tensor | None]:
        """Where the gradients of the summed tensors are added up."""
        several = zip(tensors[: self.shared], needed[: self.shared], strict=True)
        whole = [torch.zeros_like(t) if need and t is not None else None for t, need in several]
        return whole[self.shared - self.summed :]


@dataclass
class _Piece:
    output: Tensor
    summed: Tensors
    cut: list[Tensor | None]
    rows: slice

    def backward(self, gradient: Tensor, sums: list[Tensor | None], by_row: list[Tensor | None]) -> None:
        """Add to the leaves' gradients and to the sums, and write the rows' own."""
        torch.autograd.backward(self.output, gradient[..., self.rows])
        for total, leaf in zip(sums, self.summed, strict=True):
            if total is not None and leaf is not None and leaf.grad is not None:
                total.add_(leaf.grad)
                leaf.grad = None
        for whole, part in zip(by_row, self.cut, strict=True):
            if whole is not None and part is not None:
                whole[self.rows] = 0 if part.grad is None else part.grad


class _TiledSynthesis(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, *tensors: Tensor | None) -> Tensor:
        ctx.plan = plan
        ctx.save_for_backward(*tensors)
        device = next(t.device.type for t in tensors if t is not None)
        plan.autocast = (torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))

        def work() -> Tensor:
            if not plan.keep:
                return plan.without_graph(tensors)
            needed = ctx.needs_input_grad[1:]
            ctx.leaves = _leaves(tensors[: plan.shared], needed)
            ctx.pieces = [plan.with_graph(ctx.leaves, tensors, needed, rows) for rows in plan.tiles]
            return torch.cat([piece.output.detach() for piece in ctx.pieces], dim=2)

        return plan.attempt(work)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        plan: _Plan = ctx.plan
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        by_row = [
            torch.empty_like(t) if need and t is not None else None
            for t, need in zip(tensors[plan.shared :], needed[plan.shared :], strict=True)
        ]

        def kept() -> Tensors:
            sums = plan.sums(tensors, needed)
            while ctx.pieces:  # each graph is freed once it was used
                ctx.pieces.pop(0).backward(gradient, sums, by_row)
            return gradients(ctx.leaves, sums)

        def recomputed() -> Tensors:
            leaves, sums = _leaves(tensors[: plan.shared], needed), plan.sums(tensors, needed)
            for rows in plan.tiles:
                plan.with_graph(leaves, tensors, needed, rows).backward(gradient, sums, by_row)
            return gradients(leaves, sums)

        def gradients(leaves: Tensors, sums: Tensors) -> Tensors:
            own = [None if leaf is None else leaf.grad for leaf in leaves[: plan.shared - plan.summed]]
            return [*own, *sums]

        return None, *(kept() if plan.keep else plan.attempt(recomputed)), *by_row


def _leaves(tensors: Tensors, needed: Sequence[bool]) -> list[Tensor | None]:
    """The same values, cut off from what made them; their gradients add up over tiles."""
    return [
        None if t is None else t.detach().requires_grad_(need)
        for t, need in zip(tensors, needed[: len(tensors)], strict=True)
    ]
