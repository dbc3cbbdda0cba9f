"""Samples nearest to training pictures beyond chance: the formula, its error, copies, and who asks."""

import pytest
import torch
from sets import noise_pictures, register_tiny
from torch import Tensor

from cips_lab.data.dataset import ArrayDataset
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.generalisation import training_gap


def features(count: int, seed: int, offset: float = 0.0) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)) + offset


def naive(x: Tensor, train: Tensor, held_out: Tensor) -> float:
    nearest = [int((torch.cat([train, held_out]) - one).norm(dim=1).argmin()) < len(train) for one in x]
    share, chance = sum(nearest) / len(x), len(train) / (len(train) + len(held_out))
    return (share - chance) / (1 - chance)


def test_it_is_the_formula() -> None:
    x, train, held_out = features(70, 0, 0.3), features(90, 1), features(40, 2, 0.1)
    assert training_gap(x, train, held_out).value == pytest.approx(naive(x, train, held_out), abs=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1.5])
def test_it_is_0_within_its_error_for_good_and_bad_samples(offset: float) -> None:
    """Whatever the samples: training and held-out pictures are exchangeable to them."""
    draws = [(features(150, i, offset), features(150, 1000 + i), features(60, 2000 + i)) for i in range(80)]
    found = torch.tensor([training_gap(*draw) for draw in draws])
    assert found[:, 1].mean() == pytest.approx(float(found[:, 0].std()), rel=0.3)
    assert abs(found[:, 0].mean()) < 4 * found[:, 1].mean() / 80**0.5


def test_its_error_is_that_of_permutations() -> None:
    x, real = features(80, 0), features(100, 1)
    orders = [torch.randperm(100, generator=torch.Generator().manual_seed(i)) for i in range(2000)]
    found = torch.tensor([training_gap(x, real[order[:70]], real[order[70:]]) for order in orders[:400]])
    assert found[:, 1].mean() == pytest.approx(float(found[:, 0].std()), rel=0.1)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_it_is_the_share_of_copies(share: float) -> None:
    train, held_out, fresh = features(600, 1), features(400, 2), features(600, 3)
    count = round(600 * share)
    found = training_gap(torch.cat([train[:count] + 1e-3, fresh[count:]]), train, held_out)
    assert found.value == pytest.approx(share, abs=2.5 * found.se)
    assert found.value > 3 * found.se


def test_an_evaluation_has_it_where_there_are_held_out_pictures() -> None:
    register_tiny()
    evaluator = Evaluator("tiny", names=["fd", "train_gap"], num_samples=60)
    train, held_out = (ArrayDataset(noise_pictures(80, seed)) for seed in (0, 1))
    real, beside = evaluator.reference(train), evaluator.held_out(held_out)
    made = [torch.from_numpy(noise_pictures(60, 2))]
    found = evaluator.evaluate(made, real, held_out=beside)
    seen = evaluator.extractors[0](made[0]).features
    expected = training_gap(seen, real.references["tiny"].features, beside.references["tiny"].features)
    assert (found["train_gap"], found["train_gap_se"]) == pytest.approx(expected, rel=1e-5)
    assert "train_gap" not in evaluator.evaluate(made, real)
    assert "train_gap" not in evaluator.floor(beside, real)
