"""A discriminator beside its generator: two files that are read alone, together, and by `init=`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from test_native import CIPS, build, write_checkpoint
from test_official import small_state
from tiny import GENERATOR_CONFIG, build_gan

from cips_lab.errors import UserError
from cips_lab.files.untrusted import read_safetensors
from cips_lab.interop.discriminators import (
    RESIDUAL,
    discriminator_config,
    load_discriminator,
    save_discriminator,
    write_both,
)
from cips_lab.interop.native import DISCRIMINATOR_FORMAT, discriminator_state, load_generator, load_trained
from cips_lab.launch.networks import initialise
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.training.gan import GAN

RESIDUAL_CONFIG: dict[str, Any] = {"_target_": RESIDUAL, "resolution": 8, "channel_base": 64, "channel_max": 8}


def residual() -> ResidualDiscriminator:
    torch.manual_seed(1)
    return ResidualDiscriminator(8, channel_base=64, channel_max=8).eval()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose newest checkpoint holds `residual()`."""
    folder = write_checkpoint(tmp_path / "run" / "checkpoints" / "kimg-00001.500", build(CIPS), CIPS)
    content = torch.load(folder / "training.ckpt", weights_only=True)
    content["state_dict"] |= {f"discriminator.{name}": value for name, value in residual().state_dict().items()}
    torch.save(content, folder / "training.ckpt")
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({"discriminator": RESIDUAL_CONFIG}, sort_keys=False))
    return tmp_path / "run"


def same(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_both_of_a_run(run: Path, tmp_path: Path) -> None:
    files = write_both(run, tmp_path / "both")
    assert [path.name for path in files] == ["generator.safetensors", "discriminator.safetensors"]
    for source in (tmp_path / "both", str(tmp_path / "both")):
        found = discriminator_state(source)
        assert same(found, residual().state_dict())
        assert same(load_generator(source).state_dict(), build(CIPS).state_dict())
    assert load_trained(tmp_path / "both").kimg == 1.5
    assert discriminator_state(files[0]) is None  # a generator's file is a generator alone, whatever lies beside it
    images = torch.randn(2, 3, 8, 8)
    for source in (run, tmp_path / "both", files[1]):
        loaded = load_discriminator(source)
        assert torch.equal(loaded(images), residual()(images))
        assert not any(p.requires_grad for p in loaded.parameters())
    again = write_both(tmp_path / "both", tmp_path / "again")
    for there, here in zip(map(read_safetensors, again), map(read_safetensors, files), strict=True):
        assert same(there[0], here[0])
        assert there[1] == here[1]


def test_the_header_says_what_the_file_is(run: Path, tmp_path: Path) -> None:
    _, path = write_both(run, tmp_path / "both")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata == {
        "format": DISCRIMINATOR_FORMAT,
        "discriminator": json.dumps(RESIDUAL_CONFIG),
        "kimg": "1.5",
    }


def test_init_takes_both(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, gan = build_gan(seed=5), build_gan(seed=6)
    content = {
        "state_dict": {f"average.module.{name}": value for name, value in source.generator.state_dict().items()}
        | {f"discriminator.{name}": value for name, value in source.discriminator.state_dict().items()},
        "cips_lab": {"images_seen": 8000, "generator": GENERATOR_CONFIG},
    }
    torch.save(content, tmp_path / "training.ckpt")
    write_both(tmp_path / "training.ckpt", tmp_path / "both")
    assert not same(gan.discriminator.state_dict(), source.discriminator.state_dict())
    with caplog.at_level("INFO"):
        initialise(gan, str(tmp_path / "both"))
    assert "the weights of both networks" in caplog.text
    assert isinstance(gan, GAN)
    assert same(gan.discriminator.state_dict(), source.discriminator.state_dict())
    assert same(gan.generator.state_dict(), source.generator.state_dict())
    assert discriminator_config(tmp_path / "both") == {}  # a checkpoint outside its run does not tell it
    with pytest.raises(UserError, match="its discriminator is None"):
        load_discriminator(tmp_path / "both")


def test_both_of_a_released_file(tmp_path: Path) -> None:
    state = {"g_ema": small_state("CIPSskip-256"), "d": small_state("Discriminator-256")}
    torch.save(state, tmp_path / "released.pt")
    write_both(tmp_path / "released.pt", tmp_path / "both")
    assert same(discriminator_state(tmp_path / "both"), discriminator_state(tmp_path / "released.pt"))
    loaded = load_discriminator(tmp_path / "both")
    assert same(loaded.state_dict(), discriminator_state(tmp_path / "released.pt"))
    official, ours = load_generator(tmp_path / "released.pt"), load_generator(tmp_path / "both")
    assert same(ours.state_dict(), official.state_dict())
    assert ours.encoding.embedding.lookup == official.encoding.embedding.lookup == "official"


def test_what_a_grown_one_saw_with_before_stays_behind(tmp_path: Path) -> None:
    config = RESIDUAL_CONFIG | {"resolution": 16}
    discriminator = ResidualDiscriminator(16, channel_base=64, channel_max=8)
    whole = discriminator.state_dict()
    discriminator.grow(1)
    state = discriminator.state_dict()
    assert any(name.startswith("faded.") for name in state)
    save_discriminator(state, tmp_path / "d.safetensors", config, kimg=1)
    assert same(load_discriminator(tmp_path / "d.safetensors").state_dict(), whole)


def test_what_holds_none(run: Path, tmp_path: Path) -> None:
    file = run / "checkpoints" / "kimg-00001.500" / "generator.safetensors"
    with pytest.raises(UserError, match="holds no discriminator"):
        write_both(file, tmp_path / "both")
    assert not (tmp_path / "both").exists()
    with pytest.raises(UserError, match="holds no cips_lab discriminator"):
        load_discriminator(file)
    (run / "checkpoints" / "kimg-00001.500" / "training.ckpt").unlink()
    with pytest.raises(UserError, match="holds no discriminator"):
        load_discriminator(run)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"_target_": "os.system"}, "'os.system'"),
        ({"channel_max": 4}, "do not fit"),
        ({"resolution": 4096}, "do not fit"),
        ({"resolution": "8"}, "do not fit"),
        ({"unknown": 1}, "do not fit"),
    ],
)
def test_headers_from_elsewhere(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    save_discriminator(residual().state_dict(), tmp_path / "d.safetensors", {**RESIDUAL_CONFIG, **change}, kimg=1)
    with pytest.raises(UserError, match=says):
        load_discriminator(tmp_path / "d.safetensors")


def test_a_header_without_a_configuration(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "d.safetensors", metadata={"format": DISCRIMINATOR_FORMAT})
    with pytest.raises(UserError, match="no configuration"):
        load_discriminator(tmp_path / "d.safetensors")
