"""Precision and recall (Kynkaanniemi et al., NeurIPS 2019), density and coverage (Naeem et al., ICML 2020).

Around each sample of a set lies a ball whose radius is the distance to its k-th nearest other sample of that set.
Precision: share of generated samples in some real ball. Recall: share of real samples in some generated ball.
Density: mean number of real balls that a generated sample is in, over k. Coverage: share of real balls with a generated
sample in them. As in the reference implementations the balls of the first two are closed, of the last two open.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cips_lab.metrics.constants import DENSITY_NEIGHBOURS, NEIGHBOURS
from cips_lab.metrics.float32 import exact_bfloat16
from cips_lab.metrics.neighbours import (
    TIE,
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
from cips_lab.processes.collectives import mine, total


class Manifold(NamedTuple):
    """The four numbers; density is in [0, N / k], the others in [0, 1]."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


@dataclass
class Counts:
    """What was found so far; tensors over generated (first two) and real (last two) samples, int64."""

    in_real: Tensor  # real balls that each generated sample is in
    in_open_real: Tensor  # the same of density's balls
    in_generated: Tensor  # generated balls that each real sample is in
    covering: Tensor  # generated samples in each of coverage's balls

    def add(self, part: "Pairs") -> None:
        """Count the pairs of a tile."""
        distance, tie = part.distances, part.ties
        for count, samples, inside in (
            (self.in_real, part.i, distance <= part.real_radii[:, 0] + tie),
            (self.in_open_real, part.i, distance < part.real_radii[:, 1] - tie),
            (self.in_generated, part.j, distance <= part.generated_radii + tie),
            (self.covering, part.j, distance < part.real_radii[:, 1] - tie),
        ):
            count += torch.bincount(samples[inside], minlength=len(count))


@dataclass
class Pairs:
    """Pairs of a generated sample i and a real sample j that may be in each other's balls; distances are squared."""

    i: Tensor
    j: Tensor
    distances: Tensor
    ties: Tensor  # distances this near to a radius equal it
    generated_radii: Tensor  # [P]
    real_radii: Tensor  # [P, 2]


def manifold(
    generated: Tensor, real: Tensor, neighbours: int = NEIGHBOURS, density_neighbours: int = DENSITY_NEIGHBOURS
) -> Manifold:
    """All four for features float32 [N, D] and [M, D], the same on every process; each takes a part of the tiles.

    Time O((N + M)^2 D), memory beyond the features some tiles of 2,048 x 2,048.
    Raises `ValueError` if a set has no more samples than neighbours.
    """
    orders = (neighbours, density_neighbours)
    centre = (generated.mean(0).double() + real.mean(0).double()) / 2
    x, y = Points(generated, centre), Points(real, centre)
    generated_radii = neighbour_distances(x, orders[:1])
    real_radii = neighbour_distances(y, orders)
    counts = count_inside(x, y, generated_radii[:, 0], real_radii)
    return Manifold(
        precision=_estimate(counts.in_real > 0),
        recall=_estimate(counts.in_generated > 0),
        density=_estimate(counts.in_open_real.double() / density_neighbours),
        coverage=_estimate(counts.covering > 0),
    )


def count_inside(x: Points, y: Points, generated_radii: Tensor, real_radii: Tensor) -> Counts:
    """Who is in whose ball; radii squared, float64 [N] and [M, 2] (closed, open balls)."""
    device = generated_radii.device
    counts = Counts(*(torch.zeros(n, dtype=torch.int64, device=device) for n in (len(x), len(x), len(y), len(y))))
    pairs = [(rows, columns) for rows in tiles(len(x)) for columns in tiles(len(y))]
    with exact_bfloat16():
        for rows, columns in pairs[mine()]:
            counts.add(near_pairs(x, y, rows, columns, generated_radii, real_radii))
    return Counts(total(counts.in_real), total(counts.in_open_real), total(counts.in_generated), total(counts.covering))


def near_pairs(x: Points, y: Points, rows: slice, columns: slice, generated_radii: Tensor, real_radii: Tensor) -> Pairs:
    """The pairs of a tile that are in some ball, perhaps with others that are not; their distances compare rightly."""
    lower = lower_bounds(x, y, rows, columns)
    # Rounded up; the slack in the bounds is far larger than a tie.
    of_rows = (generated_radii[rows] * (1 + 1e-6)).float()
    of_columns = (real_radii[columns].amax(1) * (1 + 1e-6)).float()
    near = (lower <= of_rows[:, None]) | (lower <= of_columns)
    a, b = near.nonzero(as_tuple=True)
    i, j = a + rows.start, b + columns.start
    bounds = lower[a, b].double()
    squares = x.squares[i] + y.squares[j]
    pairs = Pairs(i, j, bounds, TIE * squares, generated_radii[i], real_radii[j])
    radii = torch.cat([pairs.generated_radii[:, None], pairs.real_radii], dim=1)
    upper = upper_bounds(bounds, squares, error_of(x, y))
    doubtful = ((bounds[:, None] <= radii) & (upper[:, None] >= radii)).any(1).nonzero()[:, 0]
    if len(doubtful) > near.numel() // 512:
        pairs.distances[doubtful] = exact_tile(x, y, rows, columns)[a[doubtful], b[doubtful]]
    elif len(doubtful):
        pairs.distances[doubtful] = exact_distances(x, y, i[doubtful], j[doubtful])
    return pairs


def _estimate(samples: Tensor) -> Estimate:
    """Of values [N], the balls taken as given; of a share p of N samples the error is sqrt(p (1 - p) / N)."""
    values = samples.double()
    return Estimate(float(values.mean()), float(values.std(correction=0)) / len(values) ** 0.5)
