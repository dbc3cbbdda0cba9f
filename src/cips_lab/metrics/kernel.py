"""Kernel Inception Distance (Binkowski et al., ICLR 2018): the unbiased squared MMD with a cubic kernel."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cips_lab.metrics.constants import KID_COEFFICIENT, KID_DEGREE, KID_SUBSET_SIZE, KID_SUBSETS, RNG_SEED
from cips_lab.metrics.float32 import exact_float32
from cips_lab.processes.collectives import mine, total

TILE = 2048


class KernelDistance(NamedTuple):
    """The mean over subsets and its spread (standard deviation of the population)."""

    mean: float
    std: float


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(x, y) = (x.y / D + 1)^3 for features [N, D] and [M, D]: float64 [N, M], from float32 products."""
    return ((x @ y.T).double() / x.shape[1] + KID_COEFFICIENT) ** KID_DEGREE


def kernel_distance(
    generated: Tensor, real: Tensor, subsets: int = KID_SUBSETS, subset_size: int = KID_SUBSET_SIZE
) -> KernelDistance:
    """KID over random subsets: the subsets that torch-fidelity's `kid_features_to_metric` draws for these counts.

    Features float32 [N, D] and [M, D] in their samples' order, the same on every process; each takes a part of the
    subsets. The estimator is unbiased, so that values a little below 0 are right.
    Raises `ValueError` if a set is smaller than a subset.
    """
    if min(len(generated), len(real)) < subset_size:
        raise ValueError(f"subsets of {subset_size} need as many samples, got {len(generated)} and {len(real)}")
    rng = np.random.RandomState(RNG_SEED)
    drawn = [
        [torch.from_numpy(rng.choice(len(part), subset_size, replace=False)) for part in (generated, real)]
        for _ in range(subsets)
    ]
    distances = torch.zeros(subsets, dtype=torch.float64, device=generated.device)
    with exact_float32():
        for subset in range(subsets)[mine()]:
            of_generated, of_real = (index.to(generated.device) for index in drawn[subset])
            distances[subset] = squared_mmd(generated[of_generated], real[of_real])
    distances = total(distances)
    return KernelDistance(float(distances.mean()), float(distances.std(correction=0)))


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate for whole sets [N, D] and [M, D], N, M >= 2 (equation 4 of the paper): float64 []."""
    n, m = len(x), len(y)
    within_x, within_y = kernel(x, x), kernel(y, y)
    return (
        (within_x.sum() - within_x.trace()) / (n * (n - 1))
        + (within_y.sum() - within_y.trace()) / (m * (m - 1))
        - 2 * kernel(x, y).sum() / (n * m)
    )


def full_kernel_distance(generated: Tensor, real: Tensor) -> float:
    """The unbiased estimate over all pairs, in tiles shared among processes; no subset's noise, and no spread.

    Features float32 [N, D] and [M, D], N, M >= 2, the same on every process.
    """
    n, m = len(generated), len(real)
    estimate = (
        _sum_within(generated) / (n * (n - 1)) + _sum_within(real) / (m * (m - 1)) - 2 * _sum(generated, real) / (n * m)
    )
    return float(estimate)


def _sum(x: Tensor, y: Tensor) -> Tensor:
    """Sum of k over all pairs."""
    result = torch.zeros((), dtype=torch.float64, device=x.device)
    pairs = [(a, b) for a in range(0, len(x), TILE) for b in range(0, len(y), TILE)]
    with exact_float32():
        for a, b in pairs[mine()]:
            result += kernel(x[a : a + TILE], y[b : b + TILE]).sum()
    return total(result)


def _sum_within(x: Tensor) -> Tensor:
    """Sum of k over all pairs of different samples; k is symmetric, so that half of the tiles do."""
    result = torch.zeros((), dtype=torch.float64, device=x.device)
    pairs = [(a, b) for a in range(0, len(x), TILE) for b in range(a, len(x), TILE)]
    with exact_float32():
        for a, b in pairs[mine()]:
            tile = kernel(x[a : a + TILE], x[b : b + TILE])
            result += tile.sum() - tile.trace() if a == b else 2 * tile.sum()
    return total(result)
