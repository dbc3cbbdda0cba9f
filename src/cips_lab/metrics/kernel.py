"""Kernel Inception Distance (Binkowski et al., ICLR 2018): the unbiased squared MMD with a cubic kernel."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cips_lab.metrics.constants import KID_COEFFICIENT, KID_DEGREE, KID_SUBSET_SIZE, KID_SUBSETS, RNG_SEED
from cips_lab.metrics.float32 import exact_float32
from cips_lab.metrics.statistics import Estimate
from cips_lab.processes.collectives import mine, total

TILE = 2048
Kernel = Callable[[Tensor, Tensor], Tensor]  # [N, D] and [M, D] -> float64 [N, M]


class KernelDistance(NamedTuple):
    """The mean over subsets, its spread (standard deviation of the population) and its standard error over samples."""

    mean: float
    std: float
    se: float


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(x, y) = (x.y / D + 1)^3 for features [N, D] and [M, D]: float64 [N, M], from float32 products."""
    return ((x @ y.T).double() / x.shape[1] + KID_COEFFICIENT) ** KID_DEGREE


def kernel_distance(
    generated: Tensor, real: Tensor, subsets: int = KID_SUBSETS, subset_size: int = KID_SUBSET_SIZE
) -> KernelDistance:
    """KID over random subsets: the subsets that torch-fidelity's `kid_features_to_metric` draws for these counts.

    Features float32 [N, D] and [M, D] in their samples' order, the same on every process; each takes a part of the
    subsets. The estimator is unbiased, so that values a little below 0 are right. The error is that of a U-statistic,
    from what each sample contributes on average to the subsets that it is in (`influence`); subsets share samples, so
    that their spread says little about it.
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
    influences, times = torch.zeros(2, len(generated), dtype=torch.float64, device=generated.device)
    with exact_float32():
        for subset in range(subsets)[mine()]:
            of_generated, of_real = (index.to(generated.device) for index in drawn[subset])
            x, y = generated[of_generated], real[of_real]
            within, between = kernel(x, x), kernel(x, y)
            distances[subset] = squared_mmd(within, kernel(y, y), between)
            influences[of_generated] += influence(within.sum(1) - within.diagonal(), between.sum(1), len(y))
            times[of_generated] += 1
    distances, influences, times = total(distances), total(influences), total(times)
    error = standard_error(influences[times > 0] / times[times > 0])
    return KernelDistance(float(distances.mean()), float(distances.std(correction=0)), error)


def squared_mmd(within_x: Tensor, within_y: Tensor, between: Tensor) -> Tensor:
    """The unbiased estimate from kernels [N, N], [M, M], [N, M], N, M >= 2 (equation 4 of the paper): float64 []."""
    n, m = between.shape
    return (
        (within_x.sum() - within_x.trace()) / (n * (n - 1))
        + (within_y.sum() - within_y.trace()) / (m * (m - 1))
        - 2 * between.sum() / (n * m)
    )


def influence(within: Tensor, between: Tensor, real: int) -> Tensor:
    """What each generated sample moves the distance by, times N, but for a constant: [N].

    Of a U-statistic of order 2: twice its mean kernel with the other samples, less that with the real ones.

    Args:
        within, between: [N], sums of the kernel of each sample with the others, and with the real ones.
        real: the number of those.
    """
    return 2 * (within / (len(within) - 1) - between / real)


def standard_error(influences: Tensor) -> float:
    """Of what has such influences [N]."""
    return float(influences.std(correction=0)) / len(influences) ** 0.5


def full_kernel_distance(generated: Tensor, real: Tensor) -> Estimate:
    """The unbiased estimate over all pairs, in tiles shared among processes; no subset's noise, and no spread.

    Features float32 [N, D] and [M, D], N, M >= 2, the same on every process.
    """
    n, m = len(generated), len(real)
    within, between = sums_within(generated), sums(generated, real)
    value = within.sum() / (n * (n - 1)) + sums_within(real).sum() / (m * (m - 1)) - 2 * between.sum() / (n * m)
    return Estimate(float(value), standard_error(influence(within, between, m)))


def sums(x: Tensor, y: Tensor, kernel: Kernel = kernel) -> Tensor:
    """Sum of k of each x with all y: [N]; each process takes a part of the tiles."""
    result = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    pairs = [(a, b) for a in range(0, len(x), TILE) for b in range(0, len(y), TILE)]
    with exact_float32():
        for a, b in pairs[mine()]:
            result[a : a + TILE] += kernel(x[a : a + TILE], y[b : b + TILE]).sum(1)
    return total(result)


def sums_within(x: Tensor, kernel: Kernel = kernel) -> Tensor:
    """Sum of k of each sample with the others: [N]; k is symmetric, so that half of the tiles do."""
    result = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    pairs = [(a, b) for a in range(0, len(x), TILE) for b in range(a, len(x), TILE)]
    with exact_float32():
        for a, b in pairs[mine()]:
            tile = kernel(x[a : a + TILE], x[b : b + TILE])
            if a == b:
                tile.fill_diagonal_(0)
            else:
                result[b : b + TILE] += tile.sum(0)
            result[a : a + TILE] += tile.sum(1)
    return total(result)
