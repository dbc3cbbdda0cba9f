"""Nearest neighbours and balls among many points: at the speed of bf16 products, with float64's answers.

Squared distances are bounded by one matrix product of points rounded to bf16's 8 bits, which processors multiply
several times faster than float32. With x' the rounded x and r the largest |x - x'| / |x| of a set,

    | |x|^2 + |y|^2 - 2 x'.y' - |x - y|^2 | <= (r_x + r_y + r_x r_y) (|x|^2 + |y|^2)

by Cauchy and Schwarz, to which the rounding of the float32 sums adds at most (2 D + 16) u, u = 2^-24 (Higham, Accuracy
and Stability of Numerical Algorithms, section 3.1, for sums in any order; twice, for accelerators that truncate; the 16
covers centring, norms and additions). A CPU with units for bf16 also rounds the product itself to bf16, which moves it
by at most c |x'.y'|, c = u / (1 - u), u = 2^-8. What these bounds settle is settled; the few other pairs are decided by
their distances in float64. So neither tiles, nor processes, nor devices, nor the order of a sum change a result.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import torch
from torch import Tensor

from cips_lab.metrics.float32 import exact_bfloat16, has_bfloat16_units
from cips_lab.processes.collectives import gather, mine

TILE = 2048  # points a side; a tile of distances is 16 MiB
SPARE = 16  # candidates beyond the k nearest
ROWS = 256  # points whose distances to all others are formed at once, where that is needed
PAIRS = 64  # pairs of points whose difference is formed at once: what the cache holds
TIE = 1e-12  # squared distances that differ by less, relative to |x|^2 + |y|^2, are equal: float64's own bound


class Points:
    """A set of points [N, D] about a centre.

    Args:
        points: float32 [N, D].
        centre: float64 [D], near the points: distances do not change, their rounding does.
    """

    def __init__(self, points: Tensor, centre: Tensor) -> None:
        self.points = points
        self.centre = centre
        self.rounded = torch.empty_like(points, dtype=torch.bfloat16)  # x', relative to the centre
        self.squares = torch.empty(len(points), dtype=torch.float64, device=points.device)  # |x|^2
        self.rounding = 0.0  # r
        for part in tiles(len(points)):
            exact = self.exact(part)
            self.rounded[part] = exact.bfloat16()
            self.squares[part] = exact.square().sum(1)
            residual = (exact - self.rounded[part]).square().sum(1)
            self.rounding = max(self.rounding, float((residual / self.squares[part].clamp(min=1e-300)).max()) ** 0.5)

    def __len__(self) -> int:
        return len(self.points)

    def exact(self, part: slice | Tensor) -> Tensor:
        """Float64 [n, D], relative to the centre."""
        return self.points[part].double() - self.centre


def tiles(count: int) -> list[slice]:
    """Consecutive parts of range(count)."""
    return [slice(start, min(start + TILE, count)) for start in range(0, count, TILE)]


class Error(NamedTuple):
    """How far a bound may lie from the truth.

    Attributes:
        factor: of |x|^2 + |y|^2.
        product: c, of the product's size: 0 where it is not rounded.
    """

    factor: float
    product: float


def error_of(x: Points, y: Points) -> Error:
    """The error of `lower_bounds`."""
    summation = (2 * x.points.shape[1] + 16) * 2.0**-24
    rounds = x.points.device.type == "cpu" and has_bfloat16_units()
    return Error(x.rounding + y.rounding + x.rounding * y.rounding + summation, 1 / 255 if rounds else 0.0)


def lower_bounds(x: Points, y: Points, rows: slice | Tensor, columns: slice) -> Tensor:
    """Float32 [n, m]: at most the true squared distances, and below them by at most twice the error."""
    error = error_of(x, y)
    slack = 1 - error.factor
    squares = (slack * y.squares[columns]).float()[None]
    if error.product:
        product = (x.rounded[rows] @ y.rounded[columns].T).float()
        bounds = torch.add(squares, product, alpha=-2).sub_(product.abs_(), alpha=2 * error.product)
    else:
        bounds = torch.addmm(squares, x.rounded[rows].float(), y.rounded[columns].float().T, alpha=-2)
    return bounds.add_((slack * x.squares[rows]).float()[:, None])


def upper_bounds(lower: Tensor, squares: Tensor, error: Error) -> Tensor:
    """Float64: at least the true squared distances, from lower bounds, |x|^2 + |y|^2 and their error."""
    lower = lower.double()
    upper = lower + 2 * error.factor * squares
    if error.product:  # lower = (1 - factor) squares - 2 P - 2 c |P| bounds the product's |P|
        twice = ((1 - error.factor) * squares - lower).abs() / (1 - error.product)
        upper += 2 * error.product * twice
    return upper


def exact_distances(x: Points, y: Points, i: Tensor, j: Tensor) -> Tensor:
    """Squared distances of the pairs (i, j), int64 [P] each: float64 [P]."""
    result = torch.empty(len(i), dtype=torch.float64, device=i.device)
    for part, a, b in zip(result.split(PAIRS), i.split(PAIRS), j.split(PAIRS), strict=True):
        difference = x.points.index_select(0, a).double()
        difference -= y.points.index_select(0, b)
        torch.linalg.vecdot(difference, difference, out=part)
    return result


def exact_tile(x: Points, y: Points, rows: slice | Tensor, columns: slice) -> Tensor:
    """All squared distances between parts: float64 [n, m]. Cheaper than `exact_distances` where many are needed."""
    product = x.exact(rows) @ y.exact(columns).T
    return product.mul_(-2).add_(x.squares[rows][:, None]).add_(y.squares[columns])


def neighbour_distances(points: Points, orders: Sequence[int]) -> Tensor:
    """Squared distances from each point to its k-th nearest other, for each k of `orders`: float64 [N, orders].

    The same on every process; each takes a part of the tiles, then of the points.
    Raises `ValueError` unless there are more than max(orders) points.
    """
    most = max(orders)
    if len(points) <= most:
        raise ValueError(f"{most} neighbours need at least {most + 1} points, got {len(points)}")
    lower, index = _candidates(points, min(most + SPARE, len(points) - 1))
    rows = torch.arange(len(points), device=lower.device)[mine()]
    distances = torch.cat(gather(_settle(points, rows, lower[rows], index[rows], orders)))
    result = torch.empty_like(distances)
    result[torch.cat(gather(rows))] = distances
    return result


def _candidates(points: Points, count: int) -> tuple[Tensor, Tensor]:
    """The `count` others with the least lower bounds of each point, ascending: float32 and int64 [N, count]."""
    device = points.points.device
    lower = torch.full((len(points), count), torch.inf, device=device)
    index = torch.zeros(len(points), count, dtype=torch.int64, device=device)

    def offer(rows: slice, columns: slice, tile: Tensor) -> None:
        best, where = tile.topk(min(count, tile.shape[1]), largest=False, sorted=False)
        lower[rows], index[rows] = _least([lower[rows], best], [index[rows], where + columns.start])

    parts = tiles(len(points))
    with exact_bfloat16():
        for rows, columns in list(combinations_with_replacement(parts, 2))[mine()]:
            tile = lower_bounds(points, points, rows, columns)
            if rows == columns:
                tile.fill_diagonal_(torch.inf)  # a point is not its own neighbour
            else:
                offer(columns, rows, tile.T.contiguous())  # distances are symmetric: a product serves twice
            offer(rows, columns, tile)
    return _least(gather(lower), gather(index))


def _least(values: list[Tensor], index: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The least of several lists of candidates [n, ...], ascending, as many as the first list has."""
    ordered, order = torch.cat(values, dim=1).sort(dim=1)
    kept = values[0].shape[1]
    return ordered[:, :kept], torch.cat(index, dim=1).gather(1, order[:, :kept])


def _settle(points: Points, rows: Tensor, lower: Tensor, index: Tensor, orders: Sequence[int]) -> Tensor:
    """True squared distances to the k-th nearest others of some points: float64 [n, orders].

    The k-th least distance lies between the k-th least lower and the k-th least upper bound, so that only candidates
    whose bounds touch this interval can be it; most often there is one.
    """
    squares = points.squares[rows][:, None] + points.squares[index]
    upper = upper_bounds(lower, squares, error_of(points, points))
    floors = [lower[:, k - 1, None].double() for k in orders]
    ceilings = [upper.kthvalue(k, dim=1, keepdim=True).values for k in orders]
    possible = [(upper >= floor) & (lower <= ceiling) for floor, ceiling in zip(floors, ceilings, strict=True)]
    wanted = torch.stack(possible).any(0)
    exact = torch.zeros_like(upper)
    row, place = wanted.nonzero(as_tuple=True)
    exact[row, place] = exact_distances(points, points, rows[row], index[row, place])
    result = torch.empty(len(rows), len(orders), dtype=torch.float64, device=rows.device)
    for column, (k, floor, can_be) in enumerate(zip(orders, floors, possible, strict=True)):
        outside = torch.where(upper < floor, -torch.inf, torch.inf)
        result[:, column] = torch.where(can_be, exact, outside).kthvalue(k, dim=1).values
    if index.shape[1] < len(points) - 1:
        # A point that is no candidate might be nearer: as among many near-duplicates.
        unsettled = (lower[:, -1] <= torch.stack(ceilings).amax(0)[:, 0]).nonzero()[:, 0]
        for start in range(0, len(unsettled), ROWS):
            part = unsettled[start : start + ROWS]
            result[part] = _search(points, rows[part], orders)
    return result


def _search(points: Points, rows: Tensor, orders: Sequence[int]) -> Tensor:
    """As `_settle`, from all distances in float64."""
    distances = torch.cat([exact_tile(points, points, rows, columns) for columns in tiles(len(points))], dim=1)
    distances.clamp_(min=0)
    distances[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    least = distances.topk(max(orders), largest=False).values
    return least[:, [k - 1 for k in orders]]
