"""The released implementation's outputs, reproduced from weights that anyone can make again (tests/data/README.md)."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from cips_lab.errors import UserError
from cips_lab.interop import official
from cips_lab.networks.coordinates import image_grid

DATA = Path(__file__).parents[1] / "data"
GOLDEN = dict(np.load(DATA / "official_cips.npz"))
FORMAT: dict[str, dict[str, list[int]]] = json.loads((DATA / "official_checkpoint_format.json").read_text())


def golden_tensor(name: str, shape: list[int]) -> torch.Tensor:
    if name.endswith(".kernel"):
        taps = np.array([1, 3, 3, 1], dtype=np.float32)
        return torch.from_numpy(np.outer(taps, taps) / 64)
    r = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("noise.weight"):
        r = 0 * r
    elif name.endswith("bias"):
        r = 0.1 * r + (1.0 if "modulation" in name else 0.0)
    elif name.startswith("style.") and name.endswith("weight"):
        r = 100 * r
    elif name.startswith("lff."):
        r = 2 * r
    return torch.from_numpy(np.asarray(r, dtype=np.float32))


def small_state(variant: str) -> dict[str, torch.Tensor]:
    """The format at 256 brought down to the golden sizes: resolution 16, 32 + 32 features, 2 mapping layers of 64."""
    state = {}
    for name, shape in FORMAT[variant].items():
        parts = name.split(".")
        if variant.startswith("Disc"):
            # Resolution 16: the two 512-channel blocks nearest the end become convs.1 and convs.2.
            if parts[0] == "convs" and int(parts[1]) > 2:
                continue
            shape = [512 if side in (128, 256) else side for side in shape]
        else:
            if parts[0] == "style" and int(parts[1]) > 2:
                continue
            if parts[0] == "to_rgbs" and int(parts[1]) > 2:
                continue
            if parts[0] == "linears" and int(parts[1]) > (3 if "res" in variant else 5):
                continue
            first = name.startswith("linears.0." if "res" in variant else "conv1.")
            if parts[0] == "style":
                shape = [64] * len(shape)
            elif parts[0] == "lff":
                shape = [32, *shape[1:]]
            elif name == "emb.input":
                shape = [1, 32, 16, 16]
            elif "modulation" in name:
                features = 64 if first else 512
                shape = [features, 64] if name.endswith("weight") else [features]
            elif first and name.endswith("conv.weight"):
                shape = [1, 512, 64, 1, 1]
            elif name == "to_rgb_last.conv.weight":
                shape = [1, 3, 512, 1, 1]
        state[name] = golden_tensor(name, shape)
    return state


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
