"""AuthPct: beside dgm-eval's loop, of copies, of fresh draws, and with ties and near-duplicates."""

import math

import pytest
import torch
from torch import Tensor

from cips_lab.metrics import authenticity, neighbours
from cips_lab.metrics.authenticity import authentic_share, nearest
from cips_lab.metrics.neighbours import Points


def drawn(count: int, dimension: int, seed: int) -> Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))


def by_loops(generated: Tensor, real: Tensor) -> float:
    """The definition."""
    between = torch.cdist(generated.double(), real.double(), compute_mode="donot_use_mm_for_euclid_dist")
    within = torch.cdist(real.double(), real.double(), compute_mode="donot_use_mm_for_euclid_dist")
    authentic = 0
    for row in between:
        place = int(row.argmin())
        own = min(float(distance) for other, distance in enumerate(within[place]) if other != place)
        authentic += own < float(row[place])
    return 100 * authentic / len(generated)


@pytest.mark.parametrize(("n", "m", "dimension"), [(70, 90, 3), (33, 5, 8), (40, 2, 4), (1, 300, 2)])
def test_it_is_the_loop(n: int, m: int, dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "TILE", 16)
    monkeypatch.setattr(authenticity, "ROWS", 8)
    generated, real = drawn(n, dimension, 0) + 3, drawn(m, dimension, 1) + 3
    assert authentic_share(generated, real).value == pytest.approx(by_loops(generated, real))


def test_copies_are_not_authentic() -> None:
    real = drawn(200, 5, 0)
    assert authentic_share(real, real).value == 0
    assert authentic_share(real[:50] + 1e-6, real).value == 0


@pytest.mark.parametrize(
    ("dimension", "expected"),
    # 1 - v(B) / v(B u B'), two unit balls whose centres are 1 apart: the chance of not being one another's nearest.
    [(1, 1 / 3), (2, 1 - 6 * math.pi / (8 * math.pi + 3 * math.sqrt(3))), (3, 1 - 16 / 27)],
)
def test_of_fresh_draws_it_is_what_theory_says(dimension: int, expected: float) -> None:
    found = authentic_share(drawn(3000, dimension, 0), drawn(3000, dimension, 1))
    assert abs(found.value - 100 * expected) < 4 * found.se
    assert found.se == pytest.approx(100 * (expected * (1 - expected) / 3000) ** 0.5, rel=0.05)


def test_near_duplicates_and_ties_are_settled_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """More candidates within the bounds' error than are kept: all are measured."""
    monkeypatch.setattr(neighbours, "TILE", 32)
    real = torch.cat([drawn(1, 40, 0).repeat(60, 1) + 1e-5 * drawn(60, 40, 1), drawn(30, 40, 2)])
    generated = drawn(1, 40, 0).repeat(7, 1) + 1e-5 * drawn(7, 40, 3)
    centre = real.mean(0).double()
    distances, places = nearest(Points(generated, centre), Points(real, centre))
    expected = torch.cdist(generated.double(), real.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(places, expected.argmin(1))
    torch.testing.assert_close(distances.sqrt(), expected.amin(1), rtol=1e-6, atol=0)
    twice = torch.cat([real, real])
    assert torch.equal(nearest(Points(real[60:], centre), Points(twice, centre))[1], torch.arange(60, 90))
