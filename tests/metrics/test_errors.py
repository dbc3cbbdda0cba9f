"""Standard errors of metrics: what they say beside how much values differ from one draw of samples to the next."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cips_lab.metrics.frechet import frechet_distance, frechet_estimate
from cips_lab.metrics.inception_score import inception_score
from cips_lab.metrics.kernel import full_kernel_distance, kernel_distance
from cips_lab.metrics.statistics import gaussian_of

DRAWS = 60
DIMENSION = 24
GENERATOR = torch.Generator()


def features(count: int, seed: int, offset: float = 0.1) -> Tensor:
    """Skewed and correlated, [count, DIMENSION]; another offset, another distribution."""
    GENERATOR.manual_seed(0)
    mixing = torch.randn(DIMENSION, DIMENSION, generator=GENERATOR) / DIMENSION**0.5
    GENERATOR.manual_seed(seed)
    return ((1 + offset) * torch.randn(count, DIMENSION, generator=GENERATOR) @ mixing + offset).relu()


REAL = features(600, seed=1000, offset=0.0)


def frechet(generated: Tensor) -> tuple[float, float]:
    return frechet_estimate(generated, gaussian_of(generated), gaussian_of(REAL))


def kid_of_all(generated: Tensor) -> tuple[float, float]:
    return full_kernel_distance(generated, REAL)


def kid_of_subsets(generated: Tensor) -> tuple[float, float]:
    found = kernel_distance(generated, REAL, subsets=30, subset_size=100)
    return found.mean, found.se


def score(generated: Tensor) -> tuple[float, float]:
    found = inception_score(2 * generated, splits=5)
    return found.mean, found.se


@pytest.mark.parametrize(
    ("metric", "count", "ratio"),
    [
        (frechet, 400, (0.75, 1.3)),
        (frechet, DIMENSION // 2, (0.75, 1.6)),  # fewer samples than dimensions: never too small, a bit too large
        (kid_of_all, 400, (0.75, 1.3)),
        (kid_of_subsets, 400, (0.75, 1.5)),  # subsets bring noise of their own
        (score, 400, (0.75, 1.3)),
    ],
)
def test_it_is_the_spread_over_draws(
    metric: Callable[[Tensor], tuple[float, float]], count: int, ratio: tuple[float, float]
) -> None:
    found = torch.tensor([metric(features(count, seed)) for seed in range(DRAWS)])
    spread = found[:, 0].std()
    least, most = ratio
    assert least * spread < found[:, 1].mean() < most * spread


@pytest.mark.parametrize("count", [300, 13])
def test_the_estimate_is_the_distance(count: int) -> None:
    generated = gaussian_of(features(count, seed=0)), gaussian_of(REAL)
    found = frechet_estimate(features(count, seed=0), *generated)
    assert found.value == pytest.approx(frechet_distance(*generated), rel=1e-9)


def test_it_is_the_derivative() -> None:
    """Of the distance by a sample's weight, numerically."""
    x, step = features(50, seed=0).double(), 1e-5
    real, influences = gaussian_of(REAL), []
    for i in range(len(x)):
        weights = torch.full((len(x), 1), 1 / len(x)).double()
        weights[i] += step
        weights /= weights.sum()
        mean = (weights * x).sum(0)
        moved = gaussian_of(x)._replace(mean=mean, covariance=(x - mean).T @ (weights * (x - mean)) * 50 / 49)
        influences.append((frechet_distance(moved, real) - frechet_distance(gaussian_of(x), real)) / step)
    expected = torch.tensor(influences).std(correction=0) / len(x) ** 0.5
    assert frechet_estimate(x, gaussian_of(x), real).se == pytest.approx(float(expected), rel=0.03)
