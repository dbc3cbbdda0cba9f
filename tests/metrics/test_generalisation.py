"""The gap between KID to held-out and to training pictures: the formula, its error, copies, and who asks."""

import pytest
import torch
from sets import noise_pictures, register_tiny
from torch import Tensor

from cips_lab.data.dataset import ArrayDataset
from cips_lab.metrics import generalisation
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.generalisation import kernel_gap
from cips_lab.metrics.kernel import full_kernel_distance


def features(count: int, seed: int, offset: float = 0.0) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)) + offset


def test_it_is_the_difference_of_two_distances() -> None:
    x, train, held_out = features(70, 0, 0.3), features(90, 1), features(40, 2, 0.1)
    expected = full_kernel_distance(x, held_out).value - full_kernel_distance(x, train).value
    assert kernel_gap(x, train, held_out).value == pytest.approx(expected, abs=1e-9)


def test_its_error_is_the_spread_over_draws_of_all_three() -> None:
    found = torch.tensor(
        [kernel_gap(features(150, i, 0.3), features(150, 1000 + i), features(60, 2000 + i)) for i in range(80)]
    )
    assert found[:, 1].mean() == pytest.approx(float(found[:, 0].std()), rel=0.3)
    assert abs(found[:, 0].mean()) < 4 * found[:, 1].mean() / 80**0.5


def test_copies_are_seen_and_fresh_draws_are_not() -> None:
    train, held_out = features(300, 1), features(200, 2)
    fresh, copies = (kernel_gap(part, train, held_out) for part in (features(300, 3), train.clone()))
    assert abs(fresh.value) < 3 * fresh.se
    assert copies.value > 3 * copies.se


def test_large_sets_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    x, train, held_out = features(100, 0), features(120, 1), features(40, 2)
    monkeypatch.setattr(generalisation, "GAP_PICTURES", 40)
    assert kernel_gap(x, train, held_out) == kernel_gap(x[::3], train[::3], held_out)


def test_an_evaluation_has_it_where_there_are_held_out_pictures() -> None:
    register_tiny()
    evaluator = Evaluator("tiny", names=["fd", "kid_gap"], num_samples=60, kid_subset_size=20)
    train, held_out = (ArrayDataset(noise_pictures(80, seed)) for seed in (0, 1))
    real, beside = evaluator.reference(train), evaluator.held_out(held_out)
    made = [torch.from_numpy(noise_pictures(60, 2))]
    found = evaluator.evaluate(made, real, held_out=beside)
    seen = evaluator.extractors[0](made[0]).features
    expected = kernel_gap(seen, real.references["tiny"].features, beside.references["tiny"].features)
    assert (found["kid_gap"], found["kid_gap_se"]) == pytest.approx(expected, rel=1e-5)
    assert "kid_gap" not in evaluator.evaluate(made, real)
    assert "kid_gap" not in evaluator.floor(beside, real)
