"""AuthPct (Alaa et al., ICML 2022, section 3.3, as dgm-eval computes it): how many samples are no copies.

A sample is authentic if it is farther from the real picture nearest to it than that picture is from its own nearest
other. Of copies none is; of fresh draws from the real distribution those are whose nearest real picture is not nearest
to them in turn: a third in one dimension, 38 % in two, half in many.
"""

import torch
from torch import Tensor

from cips_lab.metrics.float32 import exact_bfloat16
from cips_lab.metrics.neighbours import (
    ROWS,
    SPARE,
    Points,
    error_of,
    exact_distances,
    exact_tile,
    lower_bounds,
    neighbour_distances,
    tiles,
    upper_bounds,
)
from cips_lab.metrics.statistics import Estimate
from cips_lab.processes.collectives import gather, mine


def authentic_share(generated: Tensor, real: Tensor) -> Estimate:
    """The percentage of authentic samples, from features float32 [N, D] and [M, D], the same on every process.

    Raises `ValueError` for fewer than two real pictures.
    """
    centre = (generated.mean(0).double() + real.mean(0).double()) / 2
    x, y = Points(generated, centre), Points(real, centre)
    own = neighbour_distances(y, [1])[:, 0]
    distances, places = nearest(x, y)
    authentic = (own[places] < distances).double()
    return Estimate(100 * float(authentic.mean()), 100 * float(authentic.std(correction=0)) / len(authentic) ** 0.5)


def nearest(x: Points, y: Points) -> tuple[Tensor, Tensor]:
    """Squared distance, float64 [N], and number, int64 [N], of the point of y nearest to each of x.

    Of equally near ones the first. The same on every process; each takes a part of x.
    """
    rows = torch.arange(len(x), device=x.points.device)[mine()]
    parts = [_nearest(x, y, part) for part in rows.split(ROWS)]
    none = x.squares[:0]
    distances = torch.cat(gather(torch.cat([none, *(distance for distance, _ in parts)])))
    places = torch.cat(gather(torch.cat([none.long(), *(place for _, place in parts)])))
    order = torch.cat(gather(rows)).argsort()
    return distances[order], places[order]


def _nearest(x: Points, y: Points, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Of some points of x: what bounds leave open is measured, and all of it where there are too many candidates."""
    with exact_bfloat16():
        lower = torch.cat([lower_bounds(x, y, rows, columns) for columns in tiles(len(y))], dim=1)
    least, index = lower.topk(min(SPARE, len(y)), dim=1, largest=False)
    index, order = index.sort(dim=1)  # so that the first of equal distances is the first point
    least = least.gather(1, order)
    squares = x.squares[rows][:, None] + y.squares[index]
    ceiling = upper_bounds(least, squares, error_of(x, y)).amin(1)
    row, place = (least <= ceiling[:, None]).nonzero(as_tuple=True)
    exact = torch.full_like(squares, torch.inf)
    exact[row, place] = exact_distances(x, y, rows[row], index[row, place])
    distances, first = exact.min(1)
    places = index.gather(1, first[:, None])[:, 0]
    if index.shape[1] < len(y):
        open_ones = (least.amax(1) <= ceiling).nonzero()[:, 0]
        if len(open_ones):
            every = [exact_tile(x, y, rows[open_ones], columns) for columns in tiles(len(y))]
            distances[open_ones], places[open_ones] = torch.cat(every, dim=1).clamp_(min=0).min(1)
    return distances, places
