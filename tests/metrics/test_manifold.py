"""Precision, recall, density and coverage: beside loops, torch-fidelity and the authors' package; tiles and memory."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from oracles import prdc as by_loops
from oracles import radii
from prdc import compute_prdc
from torch import Tensor
from torch_fidelity.metric_prc import prc_features_to_metric

from cips_lab.metrics import manifold as module
from cips_lab.metrics import neighbours
from cips_lab.metrics.manifold import manifold
from cips_lab.metrics.neighbours import Points, neighbour_distances


def gaussian(count: int, dimension: int, seed: int) -> Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))


def values(generated: Tensor, real: Tensor, k: int = 3, k_density: int = 5) -> dict[str, float]:
    return {name: estimate.value for name, estimate in manifold(generated, real, k, k_density)._asdict().items()}


def far_from_the_origin() -> tuple[Tensor, Tensor]:
    return gaussian(60, 16, 0) + 1000, gaussian(50, 16, 1) + 1000


def with_duplicates() -> tuple[Tensor, Tensor]:
    real = gaussian(50, 16, 1)
    return torch.cat([real[:20], real[:10], gaussian(30, 16, 0)]), torch.cat([real, real[5:15]])


def nearly_collapsed() -> tuple[Tensor, Tensor]:
    """Ten clusters of near-duplicates: float32 products cannot tell who is whose neighbour."""
    clusters = gaussian(10, 16, 0).repeat(6, 1)
    return clusters + 1e-5 * gaussian(60, 16, 2), clusters[:50] + 1e-5 * gaussian(50, 16, 3)


def collapsed() -> tuple[Tensor, Tensor]:
    return gaussian(1, 16, 0).repeat(60, 1), gaussian(50, 16, 1)


def apart() -> tuple[Tensor, Tensor]:
    return 30 * gaussian(60, 16, 0), gaussian(50, 16, 1)


SETS = [
    lambda: (gaussian(60, 16, 0), gaussian(50, 16, 1)),
    far_from_the_origin,
    with_duplicates,
    nearly_collapsed,
    collapsed,
    apart,
]
NAMES = ["gaussian", "far", "duplicates", "nearly", "collapsed", "apart"]


@pytest.mark.parametrize("units", [False, True], ids=["exact products", "rounded products"])
@pytest.mark.parametrize("tile", [7, 2048])
@pytest.mark.parametrize("sets", SETS, ids=NAMES)
def test_is_the_loop(
    sets: Callable[[], tuple[Tensor, Tensor]], tile: int, units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "TILE", tile)
    monkeypatch.setattr(neighbours, "has_bfloat16_units", lambda: units)
    generated, real = sets()
    expected = by_loops(generated.numpy(), real.numpy(), 3, 5)
    assert values(generated, real) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("spare", [1, 16])
@pytest.mark.parametrize("sets", SETS, ids=NAMES)
def test_radii_are_the_loops(
    sets: Callable[[], tuple[Tensor, Tensor]], spare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "TILE", 16)
    monkeypatch.setattr(neighbours, "SPARE", spare)
    for points in sets():
        found = neighbour_distances(Points(points, points.mean(0).double()), (3, 5)).sqrt()
        expected = np.stack([radii(points.numpy(), 3), radii(points.numpy(), 5)], axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-6 * float(points.norm(dim=1).mean()))


@pytest.mark.parametrize("units", [False, True])
def test_bounds_hold(units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "has_bfloat16_units", lambda: units)
    x, y = gaussian(300, 700, 0) * torch.logspace(-3, 3, 300)[:, None], gaussian(200, 700, 1) + 0.5
    centre = y.double().mean(0)
    a, b = Points(x, centre), Points(y, centre)
    everything = slice(0, 300), slice(0, 200)
    true = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    with neighbours.exact_bfloat16():
        lower = neighbours.lower_bounds(a, b, *everything)
    squares = a.squares[:, None] + b.squares
    upper = neighbours.upper_bounds(lower, squares, neighbours.error_of(a, b))
    assert (lower.double() <= true).all()
    assert (upper >= true).all()
    # Useful ones: wide of the truth by less than a hundredth of the norms.
    assert ((upper - lower) < 0.01 * squares).all()


def test_few_distances_are_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0
    original = neighbours.exact_distances

    def counting(x: Points, y: Points, i: Tensor, j: Tensor) -> Tensor:
        nonlocal counted
        counted += len(i)
        return original(x, y, i, j)

    def forbidden(*arguments: object) -> Tensor:
        raise AssertionError("a whole tile in float64")

    for where in (neighbours, module):
        monkeypatch.setattr(where, "exact_distances", counting)
        monkeypatch.setattr(where, "exact_tile", forbidden)
    manifold(gaussian(1500, 64, 0), gaussian(1500, 64, 1))
    assert 0 < counted < 0.02 * 3 * 1500**2


@pytest.mark.parametrize(("n", "m"), [(400, 400), (701, 350)])
def test_is_torch_fidelitys_and_the_authors(n: int, m: int) -> None:
    generated, real = gaussian(n, 256, 0).relu(), 1.05 * gaussian(m, 256, 1).relu()
    ours = values(generated, real)
    theirs = prc_features_to_metric(generated, real, verbose=False)
    assert ours["precision"] * n == pytest.approx(theirs["precision"] * n, abs=1e-3)
    assert ours["recall"] * m == pytest.approx(theirs["recall"] * m, abs=1e-3)
    authors = compute_prdc(real.double().numpy(), generated.double().numpy(), nearest_k=5)
    assert ours["density"] == pytest.approx(authors["density"], abs=1e-9)
    assert ours["coverage"] == pytest.approx(authors["coverage"], abs=1e-9)
    assert 0.05 < ours["precision"] < 0.95


def test_mode_collapse_costs_recall_and_noise_costs_precision() -> None:
    real = gaussian(600, 8, 0)
    narrow = values(0.2 * gaussian(600, 8, 1), real)
    noisy = values(2.5 * gaussian(600, 8, 1), real)
    same = values(gaussian(600, 8, 1), real)
    assert narrow["precision"] > 0.98
    assert narrow["recall"] < 0.1
    assert narrow["coverage"] < 0.4 < 0.9 < same["coverage"]
    assert noisy["recall"] > 0.85
    assert noisy["precision"] < 0.3
    assert noisy["density"] < 0.2 < 0.9 < same["density"] < 1.1


def test_the_error_is_that_of_repeated_draws() -> None:
    real = gaussian(300, 4, 0)
    runs = [manifold(1.5 * gaussian(300, 4, seed), real) for seed in range(1, 41)]
    precision = [run.precision.value for run in runs]
    density = [run.density.value for run in runs]
    assert runs[0].precision.se == pytest.approx(float(np.std(precision)), rel=0.4)
    assert runs[0].density.se == pytest.approx(float(np.std(density)), rel=0.4)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="5 neighbours need at least 6 points, got 5"):
        manifold(gaussian(60, 4, 0), gaussian(5, 4, 1))


MEMORY = """
import resource, sys, torch
from cips_lab.metrics.manifold import manifold

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

count = int(sys.argv[1])
generator = torch.Generator().manual_seed(0)
real, generated = torch.randn(count, 32, generator=generator), torch.randn(count, 32, generator=generator)
before = peak()
manifold(generated, real)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the resident set in KiB")
def test_memory_does_not_grow_with_the_square() -> None:
    """Each whole matrix of distances between 10,000 points would take 400 MB."""
    command = [sys.executable, "-c", MEMORY, "10000"]
    peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peak < 200  # MiB
