"""What holds of every generator, and that a class without arguments beyond its size is the paper's model."""

import math
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from variants import VARIANTS, build

from cips_lab.configuration import conf_folder
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.generator import Generator
from cips_lab.networks.stylegan2 import StyleGAN2Generator


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_keeps_the_protocol(name: str) -> None:
    generator = build(name)
    assert isinstance(generator, Generator)
    assert generator.num_layers == 2 * round(math.log2(generator.resolution)) - (2 if generator.native_only else 1)
    z = torch.randn(2, generator.z_dim)
    w = generator.mapping(z)
    assert w.shape == (2, generator.w_dim)
    images = generator.synthesize_native(w, 0, 50)
    assert images.shape == (2, 3, generator.resolution, generator.resolution)
    torch.testing.assert_close(generator.synthesize_at_once(w), images, atol=1e-5, rtol=1e-4)
    assert torch.equal(generator.training_styles(z, torch.randn_like(z), torch.rand(2)), w)
    pixels = generator.resolution**2
    tile = generator.tile_pixels(10, 2, torch.device("cpu"))
    assert tile == (pixels if generator.native_only else 10)
    assert generator.tile_pixels(None, 2, torch.device("cpu")) == pixels


@pytest.mark.parametrize("name", ["cips", "stylegan2"])
def test_compiled_synthesis_is_what_training_calls(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = build(name)
    w = generator.mapping(torch.randn(2, generator.z_dim))
    expected = generator.synthesize_native(w, 0, 100)
    calls = 0

    def compiled(function: Any, mode: str) -> Any:
        assert mode == "max-autotune"

        def counting(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            return function(*args, **options)

        return counting

    monkeypatch.setattr(torch, "compile", compiled)
    generator.compile_synthesis("max-autotune")
    assert torch.equal(generator.synthesize_native(w, 0, tile=100), expected)
    assert calls == (1 if generator.native_only else 3)  # 256 pixels in tiles of 100


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def composed(group: str, *overrides: str) -> Any:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("train", ["name=test", "resolution=256", *overrides])[group]
    return instantiate(OmegaConf.to_container(config, resolve=True), _convert_="all")


@pytest.mark.parametrize("name", ["cips", "stylegan2"])
def test_a_generator_of_a_size_alone_is_the_papers(name: str) -> None:
    with torch.device("meta"):
        plain = CIPSGenerator(256) if name == "cips" else StyleGAN2Generator(256)
        configured = composed("generator", f"generator={name}")
    assert shapes(plain) == shapes(configured)
    simple = (bool, int, float, str)
    here, there = ({k: v for k, v in vars(g).items() if isinstance(v, simple)} for g in (plain, configured))
    assert here == there


def test_none_leaves_a_part_out() -> None:
    with torch.device("meta"):
        assert CIPSGenerator(256, embedding=None).encoding.embedding is None
        assert CIPSGenerator(256, fourier=None).encoding.fourier is None


def test_the_first_weights_are_the_configured_ones() -> None:
    """Not their shapes alone: what the parts' own options (std, scale) make of a seed."""
    torch.manual_seed(0)
    plain = CIPSGenerator(16, width=8)
    torch.manual_seed(0)
    configured = composed("generator", "generator=cips", "generator.resolution=16", "generator.width=8")
    for name, value in plain.state_dict().items():
        assert torch.equal(value, configured.state_dict()[name]), name


def test_a_discriminator_of_a_size_alone_is_the_papers() -> None:
    with torch.device("meta"):
        assert shapes(ResidualDiscriminator(256)) == shapes(composed("discriminator"))
