"""The released implementation's outputs, reproduced from weights that anyone can make again (tests/data/README.md)."""

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import DATA, FORMAT, prefixed, small_state, with_sines

from cips_lab.errors import UserError
from cips_lab.files.untrusted import read_torch
from cips_lab.interop import native, official
from cips_lab.networks.coordinates import image_grid

GOLDEN = dict(np.load(DATA / "official_cips.npz"))


def close(ours: torch.Tensor, name: str) -> None:
    theirs = GOLDEN[name]
    assert ours.shape == theirs.shape
    assert np.abs(ours.numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max()


@pytest.fixture(scope="module")
def z() -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(1).standard_normal((4, 64)).astype(np.float32))


@torch.no_grad()
def test_skip_generator(z: torch.Tensor) -> None:
    generator = official.load_generator(small_state("CIPSskip-256"))
    assert generator.resolution == 16
    close(generator.mapping(z), "skip16_w")
    close(generator(z), "skip16_eval")
    grid = image_grid(16, 16)
    close(generator.render(generator.mapping(z), grid, tile=37), "skip16_eval")
    close(generator.train()(z), "skip16_train")
    aligned = official.load_generator(small_state("CIPSskip-256"), embedding_lookup="aligned")
    close(aligned(z), "skip16_train")
    close(aligned.render(aligned.mapping(z), grid), "skip16_train")


@torch.no_grad()
def test_residual_generator(z: torch.Tensor) -> None:
    generator = official.load_generator({"g": {}, "g_ema": small_state("CIPSres-256")})
    close(generator(z), "res16_eval")


def test_discriminator_and_its_gradient_penalty() -> None:
    discriminator = official.load_discriminator({"d": small_state("Discriminator-256")})
    images = torch.from_numpy(np.random.RandomState(3).uniform(-1, 1, (8, 3, 16, 16)).astype(np.float32))
    images.requires_grad_(True)
    logits = discriminator(images)
    close(logits.detach(), "disc16")
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    penalty = gradient.square().sum((1, 2, 3)).mean()
    theirs = float(GOLDEN["disc16_r1"])
    assert abs(float(penalty) - theirs) <= 1e-4 * theirs


@pytest.mark.parametrize(("variant", "parameters"), [("CIPSskip-256", 44_317_092), ("CIPSres-256", 43_027_858)])
def test_the_released_sizes(variant: str, parameters: int, tmp_path: Path) -> None:
    state = {name: torch.zeros(shape) for name, shape in FORMAT[variant].items()}
    torch.save({"g_ema": state, "g_optim": {"step": 3}}, tmp_path / "official.pt")
    generator = official.load_generator(tmp_path / "official.pt")
    assert generator.resolution == 256
    assert sum(p.numel() for p in generator.parameters()) == parameters == sum(map(math.prod, FORMAT[variant].values()))


def test_the_released_discriminator_size() -> None:
    state = {name: torch.zeros(shape) for name, shape in FORMAT["Discriminator-256"].items()}
    discriminator = official.load_discriminator(state)
    assert discriminator.resolution == 256
    kernels = sum(math.prod(shape) for name, shape in FORMAT["Discriminator-256"].items() if name.endswith("kernel"))
    expected = sum(map(math.prod, FORMAT["Discriminator-256"].values())) - kernels
    assert sum(p.numel() for p in discriminator.parameters()) == expected


def test_what_is_not_such_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        official.load_generator(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(UserError, match=r"text\.pt"):
        official.load_generator(tmp_path / "text.pt")
    with pytest.raises(UserError, match="not a checkpoint of the public CIPS"):
        official.load_generator({"weight": torch.zeros(3)})
    state = small_state("CIPSskip-256")
    del state["linears.3.activate.bias"]
    with pytest.raises(UserError, match="do not fit"):
        official.load_generator(state)


# ------------------------------------------------------------------ as other trainers write them


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.", "inner"]
)
@pytest.mark.parametrize("bare", [True, False])
def test_prefixes_of_wrappers(prefix: str, bare: bool, z: torch.Tensor) -> None:
    state = prefixed(small_state("CIPSskip-256"), prefix)
    generator = official.load_generator(state if bare else {"g_ema": state | {"n_averaged": torch.tensor(7)}})
    close(generator(z), "skip16_eval")
    critic = prefixed(small_state("Discriminator-256"), prefix)
    images = torch.from_numpy(np.random.RandomState(3).uniform(-1, 1, (8, 3, 16, 16)).astype(np.float32))
    close(official.load_discriminator(critic if bare else {"d": critic})(images), "disc16")


def test_a_name_that_is_there_twice_is_refused() -> None:
    state = small_state("CIPSskip-256")
    with pytest.raises(UserError, match=r"style\.1\.weight is there twice"):
        official.load_generator({"module.style.1.weight": state["style.1.weight"], **state})


def straight(state: dict[str, torch.Tensor], residual: bool, activation: str, z: torch.Tensor) -> torch.Tensor:
    """The formulas in float64, on images [B, C, 16, 16], without noise; the embedding is read as in training."""
    s = {name: value.double() for name, value in state.items()}
    x = z.double()
    x = x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    for i in (1, 2):
        x = x @ (s[f"style.{i}.weight"] * 0.01 / math.sqrt(64)).t() + 0.01 * s[f"style.{i}.bias"]
        x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    w = x

    def modulated(part: str, x: torch.Tensor, demodulate: bool) -> torch.Tensor:
        weight = s[f"{part}.conv.weight"][0, :, :, 0, 0]
        scale = w @ s[f"{part}.conv.modulation.weight"].t() / 8 + s[f"{part}.conv.modulation.bias"]
        weight = weight[None] * scale[:, None] / math.sqrt(weight.shape[1])
        if demodulate:
            weight = weight / (weight.square().sum(2, keepdim=True) + 1e-8).sqrt()
        return torch.einsum("boi,bihw->bohw", weight, x)

    def layer(part: str, x: torch.Tensor) -> torch.Tensor:
        y = modulated(part, x, True) + s[f"{part}.bias"]
        if activation == "sin":
            return y.sin()
        even, odd = y[:, 0::2], y[:, 1::2]
        return torch.cat([torch.where(even > 0, even, 0.2 * even), odd.sin()], dim=1) * math.sqrt(2)

    coords = image_grid(16, 16).double().permute(2, 0, 1)[None]
    frequencies = s["lff.ffm.conv.weight"][:, :, 0, 0]
    fourier = (torch.einsum("fc,bchw->bfhw", frequencies, coords) + s["lff.ffm.conv.bias"].view(1, -1, 1, 1)).sin()
    x = torch.cat([fourier, s["emb.input"]], dim=1).expand(len(z), -1, -1, -1)
    x = layer("linears.0" if residual else "conv1", x)
    if residual:
        for i in (1, 2, 3):
            x = (layer(f"linears.{i}.conv2", layer(f"linears.{i}.conv1", x)) + x) / math.sqrt(2)
        return modulated("to_rgb_last", x, False) + s["to_rgb_last.bias"]
    rgb = torch.zeros(1, dtype=torch.float64)
    for i in range(3):
        x = layer(f"linears.{2 * i + 1}", layer(f"linears.{2 * i}", x))
        rgb = rgb + modulated(f"to_rgbs.{i}", x, False) + s[f"to_rgbs.{i}.bias"]
    return rgb


@pytest.mark.parametrize("variant", ["CIPSskip-256", "CIPSres-256"])
@pytest.mark.parametrize("activation", ["sin", "sinrelu"])
@torch.no_grad()
def test_the_released_activations_with_a_sine(variant: str, activation: str, z: torch.Tensor, tmp_path: Path) -> None:
    state = with_sines(variant)
    silent = {name: 0 * value if name.endswith("noise.weight") else value for name, value in state.items()}
    expected = straight(silent, "res" in variant, activation, z)
    arguments = argparse.Namespace(activation=activation, size=16, path="ffhq", r1=10.0, to_crop=False)
    torch.save({"g_ema": silent, "args": arguments}, tmp_path / "told.pt")
    torch.save({"g_ema": silent}, tmp_path / "untold.pt")
    told = native.load_generator(tmp_path / "told.pt").train()
    assert float((told(z) - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
    ours = "sine" if activation == "sin" else "sinrelu"
    given = official.load_generator(tmp_path / "untold.pt", activation=ours).train()
    assert torch.equal(given(z), told(z))
    with pytest.raises(UserError, match=r"untold\.pt: its activation is sin or sinrelu.*cips_lab\.convert"):
        native.load_generator(tmp_path / "untold.pt")
    native.convert(tmp_path / "untold.pt", tmp_path / "ours.safetensors", activation=ours)
    assert torch.equal(native.load_generator(tmp_path / "ours.safetensors").train()(z), told(z))
    noisy = official.load_generator(state, activation=ours)
    assert not torch.equal(noisy(z), told.eval()(z))


def test_an_activation_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="activation=sine does not fit"):
        official.load_generator(small_state("CIPSskip-256"), activation="sine")


class Trainer:
    """Of a module of the trainer's own."""


@pytest.mark.parametrize("content", [Trainer(), argparse.Namespace(trainer=Trainer()), Path("a")])
@pytest.mark.parametrize("zipped", [True, False])
def test_no_other_object_is_read_and_nobody_advises_to(content: object, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "objects.pt"
    torch.save({"g_ema": small_state("CIPSskip-256"), "args": content}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"objects\.pt: not a checkpoint that can be read safely") as caught:
        official.load_generator(path)
    message = str(caught.value)
    assert "\x1b" not in message
    assert "\n" not in message
    for advice in ("weights_only", "torch.serialization", "safe_globals", "trust"):
        assert advice not in message
    assert "Trainer" in message or "pathlib" in message


def test_a_namespace_is_looked_into(tmp_path: Path) -> None:
    """A tensor of any size in a few bytes is refused wherever it is."""
    torch.save({"args": argparse.Namespace(a=[torch.zeros(1).expand(10**9)])}, tmp_path / "huge.pt")
    with pytest.raises(UserError, match=r"huge\.pt.*tensor"):
        read_torch(tmp_path / "huge.pt", "a checkpoint")


def test_loading_leaves_no_type_allowed(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(a=1)}, tmp_path / "a.pt")
    assert vars(read_torch(tmp_path / "a.pt", "a checkpoint")["args"]) == {"a": 1}
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
