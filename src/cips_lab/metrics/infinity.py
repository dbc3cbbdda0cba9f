"""The Frechet distance of infinitely many samples (Chong & Forsyth, CVPR 2020), as dgm-eval extrapolates it.

The distance of N samples is too large by a share of 1 / N. So it is computed at several N, and the line through them,
over 1 / N, is read at 0: one number for any number of samples.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cips_lab.metrics.constants import INFINITY_LEAST, INFINITY_SIZES, RNG_SEED
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.statistics import Gaussian, gaussian_of
from cips_lab.processes.collectives import mine, total


class Extrapolation(NamedTuple):
    """Of a line through distances over 1 / N.

    Attributes:
        value: where it meets 1 / N = 0.
        se: the fit's standard error there; the distances share samples, so that it is rather too small.
        distances: N -> the distance of so many samples.
    """

    value: float
    se: float
    distances: dict[int, float]


def frechet_at_infinity(features: Tensor, real: Gaussian, sizes: int = INFINITY_SIZES) -> Extrapolation:
    """From features of generated pictures [N, D], the same on every process; each takes a part of the sizes.

    The sizes are dgm-eval's, evenly from min(5000, N / 10) to N; each is a random part of the samples, always the same.
    Raises `ValueError` for fewer than 3 samples.
    """
    count = len(features)
    if count < 3:
        raise ValueError(f"a line needs two numbers of samples, from 2 on; got {count} samples")
    parts = np.linspace(min(INFINITY_LEAST, max(count // 10, 2)), count, sizes).astype(int)
    rng = np.random.RandomState(RNG_SEED)
    drawn = [torch.from_numpy(rng.choice(count, part, replace=False)) for part in parts]
    distances = torch.zeros(sizes, dtype=torch.float64, device=features.device)
    for number in range(sizes)[mine()]:
        distances[number] = frechet_distance(gaussian_of(features[drawn[number].to(features.device)]), real)
    found = total(distances).cpu().numpy()
    value, error = intercept(1 / parts, found)
    return Extrapolation(value, error, dict(zip(parts.tolist(), found.tolist(), strict=True)))


def intercept(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Of the least-squares line, and its standard error, from points [n], n >= 3."""
    slope, value = np.polyfit(x, y, 1)
    variance = ((y - slope * x - value) ** 2).sum() / (len(x) - 2)
    return float(value), float(np.sqrt(variance * (1 / len(x) + x.mean() ** 2 / ((x - x.mean()) ** 2).sum())))
