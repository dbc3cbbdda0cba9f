"""`init=`: what is taken from where, and what is said where it is not taken."""

import logging
from pathlib import Path
from typing import Any

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


def saved_generator(folder: Path, **changes: Any) -> str:
    """A generator of the tiny settings with changes, in its file."""
    config = GENERATOR_CONFIG | changes
    generator = CIPSGenerator(**{name: value for name, value in config.items() if name != "_target_"})
    save_generator(generator, folder / "generator.safetensors", config, kimg=1.0)
    return str(folder / "generator.safetensors")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"resolution": 16, "w_dim": 9}, "resolution is 16 there and 8 here, w_dim is 9 there and 7 here"),
        ({"fourier": None}, r"fourier is null there and \{features: 8\} here"),
        ({"embedding": {"features": 6}}, r"embedding is \{features: 6\} there and \{features: 4\} here"),
        ({"noise": False}, "noise is false there and true here"),
    ],
)
def test_another_generator_is_told_by_its_settings(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=rf"is another generator: {told}$"):
        initialise(build_gan(), saved_generator(tmp_path, **changes))


def test_another_generator_with_the_same_shapes_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = saved_generator(tmp_path, activation="sine")
    gan = build_gan(generator_config=GENERATOR_CONFIG | {"activation": "lrelu"})
    initialise(gan, source)
    assert "another generator: activation is sine there and lrelu here" in caplog.text


def test_a_released_generator_is_told_by_its_resolution_or_a_parameter(tmp_path: Path) -> None:
    path = str(released_file(tmp_path))
    with pytest.raises(UserError, match=r"released\.pt is another generator: resolution is 16 there and 8 here$"):
        initialise(build_gan(), path)
    released = build_gan(generator_config=GENERATOR_CONFIG | {"resolution": 16})  # the file tells no more
    with pytest.raises(UserError, match=r"released\.pt is another generator: \S+ is \[.*there and \[.*here$"):
        initialise(released, path)
