"""The recipe in numbers: corrections for laziness, and averaging that counts images."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cips_lab.training.objective import Objective


def group(optimizer: torch.optim.Adam) -> dict[str, Any]:
    (only,) = optimizer.param_groups
    return only


def test_the_released_optimisers() -> None:
    """Adam 2e-3, betas (0, 0.99); discriminator corrected by 16/17, generator by 4/5."""
    objective = Objective()
    generator = group(objective.generator_optimizer(nn.Linear(2, 2)))
    discriminator = group(objective.discriminator_optimizer(nn.Linear(2, 2)))
    assert generator["lr"] == pytest.approx(0.0016)
    assert generator["betas"] == pytest.approx((0.0, 0.99**0.8))
    assert discriminator["lr"] == pytest.approx(0.002 * 16 / 17)
    assert discriminator["betas"] == pytest.approx((0.0, 0.99 ** (16 / 17)))
    assert generator["eps"] == discriminator["eps"] == 1e-8
    assert all(type(beta) is float for beta in (*generator["betas"], *discriminator["betas"]))


@given(interval=st.integers(1, 64))
def test_lazy_steps_move_and_forget_as_much_as_uncorrected_ones(interval: int) -> None:
    """k ordinary steps and one of R1 together: k times the learning rate, and beta ** k of the old average."""
    optimizer = group(Objective(r1_interval=interval, betas=(0.5, 0.9)).discriminator_optimizer(nn.Linear(2, 2)))
    assert (interval + 1) * optimizer["lr"] == pytest.approx(interval * 0.002)
    assert optimizer["betas"][0] ** (interval + 1) == pytest.approx(0.5**interval)
    assert optimizer["betas"][1] ** (interval + 1) == pytest.approx(0.9**interval)


def test_without_r1_nothing_is_corrected() -> None:
    objective = Objective(r1_weight=0.0, betas=(0, 0.99))  # type: ignore[arg-type]
    optimizer = group(objective.discriminator_optimizer(nn.Linear(2, 2)))
    assert (optimizer["lr"], optimizer["betas"]) == (0.002, (0.0, 0.99))


def test_the_optimiser_has_every_parameter() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    parameters = group(Objective().generator_optimizer(network))["params"]
    assert [id(p) for p in parameters] == [id(p) for p in network.parameters()]


def test_the_released_decay() -> None:
    official = Objective(ema_rampup=None)
    for images_seen in (0, 32, 10**7):
        assert official.ema_decay(32, images_seen) == pytest.approx(0.5 ** (32 / 10_000), rel=1e-12)


@given(
    batch=st.sampled_from([1, 4, 32, 64, 500]), half_life=st.sampled_from([0.5, 2.0, 10.0]), start=st.integers(0, 10**6)
)
def test_after_a_half_life_an_old_weight_has_half_its_share(batch: int, half_life: float, start: int) -> None:
    objective = Objective(ema_half_life_kimg=half_life, ema_rampup=None)
    share, images = 1.0, 0
    while images < half_life * 1000:
        share *= objective.ema_decay(batch, start + images)
        images += batch
    assert share == pytest.approx(0.5 ** (images / (half_life * 1000)), rel=1e-6)
    if half_life * 1000 % batch == 0:
        assert share == pytest.approx(0.5, rel=1e-6)


@given(batch=st.integers(1, 64), images_seen=st.integers(1, 10**6), rampup=st.sampled_from([0.05, 0.5]))
def test_ramp_up(batch: int, images_seen: int, rampup: float) -> None:
    """The half-life is a share of the images seen, until it is the one that was asked for."""
    decay = Objective(ema_half_life_kimg=10.0, ema_rampup=rampup).ema_decay(batch, images_seen)
    expected = 10_000 if images_seen >= 10_000 / rampup else rampup * images_seen
    assert decay == pytest.approx(0.5 ** (batch / expected), rel=1e-9)


def test_at_the_start_nothing_is_kept() -> None:
    assert Objective().ema_decay(32, 0) == 0.0
    assert Objective(ema_half_life_kimg=0.0, ema_rampup=None).ema_decay(32, 10**6) == 0.0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("r1_weight", -1.0),
        ("r1_interval", -1),
        ("generator_lr", 0.0),
        ("discriminator_lr", -0.1),
        ("generator_lazy_ratio", 0.0),
        ("generator_lazy_ratio", 1.5),
        ("ema_half_life_kimg", -1.0),
        ("ema_rampup", 0.0),
    ],
)
def test_invalid_values_are_named(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"objective\.{option}"):
        Objective(**{option: value})


# ------------------------------------------------------------------ other recipes


R3GAN: dict[str, Any] = {
    "loss": "relativistic",
    "r1_weight": (2.0, 0.2),
    "r2_weight": (2.0, 0.2),
    "r1_interval": 0,
    "generator_lr": (2e-4, 5e-5),
    "discriminator_lr": (2e-4, 5e-5),
    "betas": (0.0, (0.9, 0.99)),
    "generator_lazy_ratio": 1.0,
    "ema_half_life_kimg": (0.0, 500.0),
    "ema_rampup": None,
}


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0, 3.0])
def test_pairs_follow_half_a_cosine(share: float) -> None:
    recipe = Objective(**R3GAN).at(round(share * 20_000_000))
    gone = (1 - math.cos(math.pi * min(share, 1.0))) / 2
    assert recipe.r1_weight == recipe.r2_weight == pytest.approx(2 - 1.8 * gone)
    assert recipe.generator["lr"] == recipe.discriminator["lr"] == pytest.approx(2e-4 - 1.5e-4 * gone)
    assert recipe.generator["betas"] == recipe.discriminator["betas"] == pytest.approx((0.0, 0.9 + 0.09 * gone))
    assert recipe.ema_half_life_kimg == pytest.approx(500 * gone)


def test_a_recipe_without_pairs_does_not_change() -> None:
    assert Objective().at(0) == Objective().at(10**9)


def test_the_automatic_weight() -> None:
    """StyleGAN2-ADA's: 0.0002 R^2 / batch; at 32 x 32 with batch 16 it is 0.0128."""
    assert Objective(r1_weight="auto").of_pictures(32 * 32, 16).at(0).r1_weight == pytest.approx(0.0128)
    assert Objective(r1_weight=3.0).of_pictures(32 * 32, 16).r1_weight == 3.0


def test_penalties_apart_or_within() -> None:
    assert Objective().penalises_apart
    assert not Objective(r1_interval=0).penalises_apart
    assert Objective(r1_interval=0).discriminator_lazy_ratio == 1.0
    assert Objective(r1_weight=0.0, r2_weight=1.0).penalises_apart
    assert not Objective(r1_weight=0.0).penalises


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("r2_weight", -1.0),
        ("r1_weight", (1.0, -1.0)),
        ("generator_lr", (0.1, 0.0)),
        ("betas", (0.0, (0.9, 1.0))),
        ("anneal_kimg", 0.0),
    ],
)
def test_other_mistakes(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        Objective(**{option: value})
