"""The mapping network: formula, tracked mean, truncation."""

import math

import pytest
import torch
from variants import randomise

from cips_lab.networks.mapping import MappingNetwork


@torch.no_grad()
def test_its_formula() -> None:
    torch.manual_seed(0)
    mapping = randomise(MappingNetwork(6, 5, layers=3, lr_multiplier=0.01))
    z = torch.randn(4, 6)
    w = mapping(z)
    assert w.shape == (4, 5)
    for sample in range(4):
        x = z[sample].double()
        x = x / math.sqrt(float(x.square().sum()) / 6 + 1e-8)
        for layer in mapping.layers:
            y = layer.weight.double() @ x * 0.01 / math.sqrt(len(x)) + layer.bias.double() * 0.01
            x = torch.where(y > 0, y, 0.2 * y) * math.sqrt(2)
        torch.testing.assert_close(w[sample].double(), x, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_length_of_a_latent_does_not_matter() -> None:
    torch.manual_seed(0)
    mapping = MappingNetwork(16, 16, layers=2)
    z = torch.randn(3, 16)
    torch.testing.assert_close(mapping(5 * z), mapping(z), atol=1e-5, rtol=1e-4)
    assert mapping(torch.zeros(2, 16)).isfinite().all()


@torch.no_grad()
def test_styles_begin_with_about_unit_variance() -> None:
    torch.manual_seed(0)
    w = MappingNetwork(256, 256, layers=8)(torch.randn(256, 256))
    assert 0.5 < float(w.square().mean()) < 2


def test_sizes() -> None:
    mapping = MappingNetwork(6, 5, layers=3)
    assert [tuple(layer.weight.shape) for layer in mapping.layers] == [(5, 6), (5, 5), (5, 5)]
    assert len(MappingNetwork(512, 512).layers) == 8


def test_under_autocast_it_stays_float32() -> None:
    torch.manual_seed(0)
    mapping = randomise(MappingNetwork(6, 5, layers=3))
    z = torch.randn(4, 6)
    with torch.autocast("cpu", torch.bfloat16):
        w = mapping(z)
    assert w.dtype == torch.float32
    assert torch.equal(w, mapping(z))


def test_the_mean_is_an_exponential_average() -> None:
    torch.manual_seed(0)
    mapping = MappingNetwork(4, 3, layers=1, mean_decay=0.9)
    batches = [torch.randn(5, 3, requires_grad=True) for _ in range(7)]
    expected = torch.zeros(3)
    for w in batches:
        mapping.track_mean(w)
        expected = 0.9 * expected + 0.1 * w.detach().mean(0)
    torch.testing.assert_close(mapping.w_mean, expected)
    assert not mapping.w_mean.requires_grad
    assert "w_mean" in mapping.state_dict()


def test_the_mean_becomes_that_of_w() -> None:
    torch.manual_seed(0)
    mapping = randomise(MappingNetwork(8, 8, layers=2))
    with torch.no_grad():
        for _ in range(4000):
            mapping.track_mean(mapping(torch.randn(8, 8)))
        true_mean = mapping(torch.randn(50_000, 8)).mean(0)
    torch.testing.assert_close(mapping.w_mean, true_mean, atol=0.05, rtol=0)


@pytest.mark.parametrize("psi", [0.0, 0.5, 0.7, 1.0, 1.3])
def test_truncation(psi: float) -> None:
    torch.manual_seed(0)
    mapping = MappingNetwork(8, 8, layers=2)
    mapping.w_mean.normal_()
    w = torch.randn(3, 4, 8)
    actual = mapping.truncate(w, psi)
    for i in range(3):
        for j in range(4):
            torch.testing.assert_close(actual[i, j], (1 - psi) * mapping.w_mean + psi * w[i, j], atol=1e-6, rtol=1e-5)
