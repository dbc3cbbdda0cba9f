"""The distance at infinity: against the true distance of two Gaussians, dgm-eval's fit, and itself."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LinearRegression

from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.infinity import frechet_at_infinity, intercept
from cips_lab.metrics.statistics import Gaussian, gaussian_of

DIMENSION = 16


def drawn(count: int, seed: int) -> torch.Tensor:
    """From a Gaussian of mean 0.2 and standard deviations 0.5 to 1.5."""
    noise = torch.randn(count, DIMENSION, generator=torch.Generator().manual_seed(seed))
    return noise * torch.linspace(0.5, 1.5, DIMENSION) + 0.2


STANDARD = Gaussian(10**6, torch.zeros(DIMENSION).double(), torch.eye(DIMENSION).double())
TRUTH = float((torch.linspace(0.5, 1.5, DIMENSION).double() - 1).square().sum() + DIMENSION * 0.2**2)


@pytest.mark.parametrize("count", [200, 400, 1000, 3000])
def test_it_is_nearer_to_the_truth_than_the_distance_of_all_samples(count: int) -> None:
    draws = [drawn(count, seed) for seed in range(12)]
    plain = np.array([frechet_distance(gaussian_of(draw), STANDARD) for draw in draws])
    found = np.array([frechet_at_infinity(draw, STANDARD).value for draw in draws])
    assert abs(found.mean() - TRUTH) < abs(plain.mean() - TRUTH)
    assert abs(found.mean() - TRUTH) < 3 * found.std() / len(found) ** 0.5 + 0.15 * abs(plain.mean() - TRUTH)


def test_the_line_is_scipys_and_scikit_learns() -> None:
    """dgm-eval fits with the latter, over the same sizes."""
    found = frechet_at_infinity(drawn(500, seed=0), STANDARD)
    sizes = np.array(list(found.distances))
    assert sizes.tolist() == np.linspace(50, 500, 15).astype("int32").tolist()
    values = np.array(list(found.distances.values()))
    fit = stats.linregress(1 / sizes, values)
    assert found.value == pytest.approx(fit.intercept, rel=1e-9)
    assert found.se == pytest.approx(fit.intercept_stderr, rel=1e-9)
    theirs = LinearRegression().fit(1 / sizes.reshape(-1, 1), values).predict(np.array([[0.0]]))
    assert found.value == pytest.approx(float(theirs[0]), rel=1e-9)


def test_the_largest_size_is_all_samples() -> None:
    samples = drawn(300, seed=0)
    found = frechet_at_infinity(samples, STANDARD)
    assert list(found.distances)[-1] == 300
    assert found.distances[300] == pytest.approx(frechet_distance(gaussian_of(samples), STANDARD), rel=1e-9)
    assert frechet_at_infinity(samples, STANDARD) == found


def test_points_on_a_line_have_no_error() -> None:
    x = np.linspace(0.1, 1, 9)
    value, error = intercept(x, 3 + 2 * x)
    assert value == pytest.approx(3)
    assert error < 1e-9


def test_two_samples_are_too_few() -> None:
    with pytest.raises(ValueError, match="got 2 samples"):
        frechet_at_infinity(drawn(2, seed=0), STANDARD)
