"""Losses beside their formulas, and R1 beside finite differences."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.training.losses import (
    ADVERSARIAL,
    discriminator_loss,
    generator_loss,
    judged_with_penalty,
    r1_penalty,
)

logits = st.lists(st.floats(-30, 30), min_size=1, max_size=6)


def softplus(x: float) -> float:
    """log(1 + e^x), which does not overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@given(real=logits, fake=logits)
def test_the_logistic_losses(real: list[float], fake: list[float]) -> None:
    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)[:, None]

    # -log sigmoid(D(real)) - log(1 - sigmoid(D(fake))), and the non-saturating -log sigmoid(D(fake))
    expected = sum(softplus(-x) for x in real) / len(real) + sum(softplus(x) for x in fake) / len(fake)
    assert abs(float(discriminator_loss("logistic", column(real), column(fake))) - expected) < 1e-6
    assert abs(float(generator_loss("logistic", column(fake))) - sum(softplus(-x) for x in fake) / len(fake)) < 1e-6


def test_their_signs() -> None:
    """The discriminator wants real up and fake down; the generator wants fake up, hardest where it loses."""
    real, fake = torch.zeros(1, 1, requires_grad=True), torch.tensor([[-5.0]], requires_grad=True)
    discriminator_loss("logistic", real, fake).backward()
    assert float(real.grad) == -0.5
    assert 0 < float(fake.grad) < 0.01
    fake.grad = None
    generator_loss("logistic", fake).backward()
    assert -1 < float(fake.grad) < -0.99


class Quadratic(nn.Module):
    """D(x) = sum of a x^2 / 2 over pixels, so that grad D = a x: everything about its R1 is known."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        return (self.a * x.square() / 2).sum((1, 2, 3), keepdim=False)[:, None]


def test_r1_of_a_known_function() -> None:
    network = Quadratic()
    real = torch.randn(5, 3, 4, 4)
    penalty = r1_penalty(network, real)
    norms = [float((network.a * x).detach().square().sum()) for x in real]
    assert abs(float(penalty.detach()) - sum(norms) / 5) < 1e-4
    penalty.backward()
    torch.testing.assert_close(network.a.grad, (2 * network.a * real.square().mean(0)).detach(), atol=1e-5, rtol=1e-5)
    assert not real.requires_grad


def test_r1_of_the_discriminator() -> None:
    """The gradient from central differences of the logits, picture by picture, in float64."""
    torch.manual_seed(0)
    discriminator = ResidualDiscriminator(8, channel_base=64, channel_max=6, group_size=1)
    real = torch.randn(2, 3, 8, 8)
    penalty = float(r1_penalty(discriminator, real).detach())
    discriminator.double()
    step, total = 1e-4, 0.0
    with torch.no_grad():
        for picture in real.double():
            directions = torch.eye(192, dtype=torch.float64).view(192, 3, 8, 8) * step
            difference = discriminator(picture + directions) - discriminator(picture - directions)
            total += float((difference / (2 * step)).square().sum())
    assert abs(penalty - total / 2) < 1e-3 * penalty


def test_r1_is_float32_under_autocast() -> None:
    torch.manual_seed(0)
    discriminator = ResidualDiscriminator(8, channel_base=64, channel_max=6)
    real = torch.randn(4, 3, 8, 8)
    expected = r1_penalty(discriminator, real)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = r1_penalty(discriminator, real)
        assert penalty.dtype == torch.float32
    assert torch.equal(penalty, expected)


@pytest.mark.parametrize("large", [1e4, -1e4])
def test_confident_logits_overflow_nothing(large: float) -> None:
    x = torch.full((2, 1), large, requires_grad=True)
    loss = discriminator_loss("logistic", x, x) + generator_loss("logistic", x)
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()


@given(real=logits, fake=logits)
def test_the_losses_of_pairs(real: list[float], fake: list[float]) -> None:
    """softplus(-(D(x) - D(G(z)))), and the other way round for the generator: each sample with its picture."""
    count = min(len(real), len(fake))
    a, b = (torch.tensor(values[:count], dtype=torch.float64)[:, None] for values in (real, fake))
    found = float(discriminator_loss("relativistic", a, b)), float(generator_loss("relativistic", b, a))
    expected = [sum(softplus(sign * (y - x)) for x, y in zip(real, fake, strict=False)) / count for sign in (1, -1)]
    assert found == pytest.approx(expected, abs=1e-6)
    assert ADVERSARIAL["relativistic"].of_pairs
    assert not ADVERSARIAL["hinge"].of_pairs


@given(real=logits, fake=logits)
def test_the_hinge_losses(real: list[float], fake: list[float]) -> None:
    a, b = (torch.tensor(values, dtype=torch.float64)[:, None] for values in (real, fake))
    expected = sum(max(0.0, 1 - x) for x in real) / len(real) + sum(max(0.0, 1 + x) for x in fake) / len(fake)
    assert float(discriminator_loss("hinge", a, b)) == pytest.approx(expected, abs=1e-6)
    assert float(generator_loss("hinge", b)) == pytest.approx(-sum(fake) / len(fake), abs=1e-6)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_losses_of_several_logits_are_weighted(name: str) -> None:
    real, fake, weights = torch.randn(5, 3), torch.randn(5, 3), torch.tensor([1.0, 0.2, 0.05])
    parts = [(real[:, [i]], fake[:, [i]]) for i in range(3)]
    apart = [discriminator_loss(name, *pair) for pair in parts]
    torch.testing.assert_close(discriminator_loss(name, real, fake, weights), torch.stack(apart) @ weights)
    torch.testing.assert_close(discriminator_loss(name, real, fake), torch.stack(apart).mean())
    apart = [generator_loss(name, fake, real) for real, fake in parts]
    torch.testing.assert_close(generator_loss(name, fake, real, weights), torch.stack(apart) @ weights)


def test_logits_come_with_their_penalty() -> None:
    network, images = Quadratic(), torch.randn(5, 3, 4, 4)
    logits, penalty = judged_with_penalty(network, images)
    assert torch.equal(logits, network(images))
    assert torch.equal(penalty, r1_penalty(network, images))
