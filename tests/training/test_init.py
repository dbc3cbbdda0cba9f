"""`init=`: what is taken from where, and what is said where it is not taken."""

import logging
from pathlib import Path

import pytest
import torch
from test_official import small_state
from tiny import GENERATOR_CONFIG, build_gan

from cips_lab.errors import UserError
from cips_lab.interop.native import discriminator_state, save_generator
from cips_lab.launch.networks import initialise
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.training.gan import GAN
from cips_lab.training.objective import Objective


def released_gan(channel_max: int = 512) -> GAN:
    """Of the sizes of the golden state dicts."""
    generator = CIPSGenerator(
        16,
        512,
        64,
        64,
        2,
        fourier={"features": 32},
        embedding={"features": 32},
        widths="official",
        noise=True,
    )
    discriminator = ResidualDiscriminator(16, channel_base=32768, channel_max=channel_max)
    return GAN(generator, discriminator, Objective(), batch_size=8)


def released_file(folder: Path) -> Path:
    state = {"g_ema": small_state("CIPSskip-256"), "d": small_state("Discriminator-256")}
    torch.save(state, folder / "released.pt")
    return folder / "released.pt"


def test_a_released_file_gives_both_networks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = released_file(tmp_path)
    gan = released_gan()
    before = {name: value.clone() for name, value in gan.discriminator.state_dict().items()}
    with caplog.at_level(logging.INFO):
        initialise(gan, str(path))
    assert "the weights of both networks" in caplog.text
    found = discriminator_state(path)
    assert found is not None
    after = gan.discriminator.state_dict()
    assert all(torch.equal(after[name], found[name]) for name in after)
    assert any(not torch.equal(after[name], before[name]) for name in after)


def test_a_discriminator_of_another_size_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gan = released_gan(channel_max=64)
    before = {name: value.clone() for name, value in gan.discriminator.state_dict().items()}
    initialise(gan, str(released_file(tmp_path)))
    assert "its discriminator is of another size: ours begins anew" in caplog.text
    assert all(torch.equal(value, before[name]) for name, value in gan.discriminator.state_dict().items())


def test_a_generators_file_holds_no_discriminator(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = build_gan(seed=1)
    path = tmp_path / "generator.safetensors"
    save_generator(other.generator, path, GENERATOR_CONFIG, kimg=1.0)
    gan = build_gan(seed=2)
    with caplog.at_level(logging.INFO):
        initialise(gan, str(path))
    assert "it holds no discriminator, which begins anew" in caplog.text
    theirs = other.generator.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in gan.generator.state_dict().items())


def test_a_released_generator_of_another_size_is_told_by_a_parameter(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"init=.*released\.pt is another generator: \S+ is \[.*there and \[.*here"):
        initialise(build_gan(), str(released_file(tmp_path)))
