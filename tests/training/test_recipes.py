"""Other losses, penalties within the step, changing rates and augmentation: a plain loop, in parts, continued."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_gan import assert_equal, real_batch, state_of
from tiny import RECIPE, build_gan, fit

from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.training.augment import DiffAugment
from cips_lab.training.draws import draw_flips, draw_latents
from cips_lab.training.gan import GAN


def plain_iteration(g: Any, d: Any, optim_g: Any, optim_d: Any, iteration: int, recipe: Any, augment: Any) -> None:
    """R3GAN's iteration as its code has it: both penalties in the step, the same real pictures in both."""
    images_seen = 8 * iteration
    for optimizer, rates in ((optim_g, recipe.generator), (optim_d, recipe.discriminator)):
        optimizer.param_groups[0].update(rates)
    real = real_batch(iteration).float() / 127.5 - 1
    flips = draw_flips(0, images_seen, 8)
    real[flips] = real[flips].flip(3)

    def seen(images: Any, purpose: str) -> Any:
        return d(augment(images, augment.draw(0, purpose, images_seen, 8)))

    latents = draw_latents(0, "discriminator", images_seen, 8, 6)
    with torch.no_grad():
        fake = g(latents.z, latents.noise_seed)
    real.requires_grad_(True)
    fake.requires_grad_(True)
    optim_d.zero_grad()
    real_logits, fake_logits = seen(real, "real"), seen(fake, "fake")
    penalties = []
    for logits, images in ((real_logits, real), (fake_logits, fake)):
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        penalties.append(gradient.square().sum((1, 2, 3)).mean())
    weights = recipe.r1_weight / 2, recipe.r2_weight / 2
    loss = F.softplus(-(real_logits - fake_logits)).mean()
    (loss + weights[0] * penalties[0] + weights[1] * penalties[1]).backward()
    optim_d.step()

    latents = draw_latents(0, "generator", images_seen, 8, 6)
    optim_g.zero_grad()
    made = g.synthesize_native(g.mapping(latents.z), latents.noise_seed)
    F.softplus(-(seen(made, "generator") - seen(real.detach(), "real"))).mean().backward()
    optim_g.step()


@pytest.mark.parametrize("iterations", [1, 4])
def test_iterations_equal_a_plain_loop(tmp_path: Path, iterations: int) -> None:
    gan = build_gan(objective=RECIPE["objective"], augment=DiffAugment())
    g, d = copy.deepcopy(gan.generator), copy.deepcopy(gan.discriminator)
    optim_g, optim_d = (torch.optim.Adam(network.parameters(), eps=1e-8) for network in (g, d))
    for iteration in range(iterations):
        recipe = gan.objective.at(8 * iteration)
        plain_iteration(g, d, optim_g, optim_d, iteration, recipe, gan.augment)
    fit(gan, tmp_path, iterations)
    for ours, theirs in ((gan.generator, g), (gan.discriminator, d)):
        for (name, value), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(value, expected, atol=2e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_the_hinge_loss_and_lazy_penalties_of_both(tmp_path: Path) -> None:
    gan = build_gan(objective={"loss": "hinge", "r2_weight": 1.0})
    fit(gan, tmp_path, 3)
    assert {"loss/r1", "loss/r2", "gradient_norm/r1"} <= gan.statistics.keys()
    assert all(bool(torch.isfinite(value)) for value in gan.statistics.values())


def test_micro_batches_are_the_whole_batch(tmp_path: Path) -> None:
    found = []
    for micro_batch in (None, 4):
        gan = build_gan(**RECIPE, micro_batch=micro_batch)
        fit(gan, tmp_path, 3)
        found.append(state_of(gan))
    assert float(found[0]["augment.probability"]) != 0.5
    assert_equal(*found, tolerance=2e-5)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, stop: int) -> None:
    """ADA takes a step every second iteration: 1 and 3 stop between two."""

    def run(folder: Path, iterations: int, checkpoint: Path | None = None, seed: int = 0) -> GAN:
        gan = build_gan(**RECIPE, seed=seed)
        fit(gan, folder, iterations, Checkpoints(every_kimg=1000), checkpoint=checkpoint)
        return gan

    uninterrupted = run(tmp_path / "a", 5)
    run(tmp_path / "b", stop)
    checkpoint = tmp_path / "b" / "checkpoints" / f"kimg-00000.{8 * stop:03d}" / "training.ckpt"
    assert_equal(state_of(uninterrupted), state_of(run(tmp_path / "b", 5, checkpoint, seed=5)))
    assert uninterrupted.recipe.r1_weight < 2.0


def test_what_cannot_be_combined() -> None:
    gan = build_gan()
    discriminator = copy.deepcopy(gan.discriminator)
    discriminator.told = "where"
    with pytest.raises(ValueError, match=r"discriminator\.told=where"):
        GAN(gan.generator, discriminator, gan.objective, batch_size=8, augment=DiffAugment())
