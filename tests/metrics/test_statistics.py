"""Moments and feature banks on one process; several are in test_processes.py."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from cips_lab.metrics.statistics import FeatureBank, Moments, gaussian_of, merge, scatter_of


def features_of(count: int, dimension: int = 6, offset: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    mix = torch.randn(dimension, dimension, generator=generator)
    return torch.randn(count, dimension, generator=generator) @ mix + offset


@pytest.mark.parametrize("parts", [[50], [1, 49], [7, 0, 13, 30], [1] * 50])
def test_moments_are_numpys_in_any_parts(parts: list[int]) -> None:
    features = features_of(50)
    metric = Moments(6)
    for part in features.split(parts):
        metric.update(part)
    gaussian = metric.compute()
    assert gaussian.number == 50
    np.testing.assert_allclose(gaussian.mean, features.double().mean(0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gaussian.covariance, np.cov(features.double().numpy(), rowvar=False), rtol=1e-11)


def test_a_large_mean_does_not_spoil_the_covariance() -> None:
    # Sums of squares would lose everything: (1e7)^2 has 14 digits, float64 has 16, the variance is 1.
    exact = features_of(1000).double()
    gaussian = gaussian_of(exact + 1e7, chunk=64)
    np.testing.assert_allclose(gaussian.covariance, np.cov(exact.numpy(), rowvar=False), rtol=1e-6)


def test_float32_sums_would_not_do() -> None:
    features = features_of(5000, offset=1000.0)
    expected = np.cov(features.double().numpy(), rowvar=False)
    np.testing.assert_allclose(gaussian_of(features).covariance, expected, rtol=1e-11)
    naive = (features.T @ features - len(features) * torch.outer(features.mean(0), features.mean(0))) / 4999
    assert np.abs(naive.numpy() / expected - 1).max() > 1e-3


def test_merging_with_nothing_changes_nothing() -> None:
    some, none = scatter_of(features_of(9)), scatter_of(features_of(9)[:0])
    for merged in (merge(some, none), merge(none, some)):
        for a, b in zip(merged, some, strict=True):
            torch.testing.assert_close(a, b)


def test_one_sample_has_no_covariance() -> None:
    metric = Moments(6)
    metric.update(features_of(1))
    with pytest.raises(ValueError, match="at least two samples, got 1"):
        metric.compute()


def test_a_bank_sorts_by_number_and_keeps_each_once() -> None:
    features = features_of(10)
    numbers = torch.tensor([3, 0, 9, 1, 4, 7, 2, 8, 6, 5])
    bank = FeatureBank(6)
    bank.update(features[numbers[:4]], numbers[:4])
    bank.update(features[numbers[4:]], numbers[4:])
    bank.update(features[:3], torch.arange(3))  # as a distributed sampler repeats them
    assert torch.equal(bank.compute(), features)
    bank.reset()
    assert bank.compute().shape == (0, 6)


def test_a_bank_refuses_features_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\[2, 6\] for 2 numbers, got \[2, 5\]"):
        FeatureBank(6).update(torch.zeros(2, 5), torch.arange(2))


def test_neither_enters_a_state_dict() -> None:
    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.moments = Moments(4)
            self.bank = FeatureBank(4)
            self.layer_of_its_own = torch.nn.Linear(2, 2)

    module = Module()
    module.moments.update(torch.zeros(3, 4))
    module.bank.update(torch.zeros(3, 4), torch.arange(3))
    assert set(module.state_dict()) == {"layer_of_its_own.weight", "layer_of_its_own.bias"}
