"""State dicts of the released implementation that anyone can make again, by the recipe of tests/data/README.md."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

DATA = Path(__file__).parents[1] / "data"
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


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Before every name, or, with `inner`, after its first part: a submodule that was compiled alone."""
    if prefix == "inner":
        return {"._orig_mod.".join(name.split(".", 1)): value for name, value in state.items()}
    return {prefix + name: value for name, value in state.items()}


def with_sines(variant: str) -> dict[str, torch.Tensor]:
    """A state dict as ``--activation sin`` and ``sinrelu`` make it: the bias [1, C, 1, 1] is the layer's own."""
    state = {}
    for name, value in small_state(variant).items():
        if name.endswith("activate.bias"):
            state[name.replace("activate.bias", "bias")] = value.view(1, -1, 1, 1)
        else:
            state[name] = value + 0.1 if name.endswith("noise.weight") else value
    return state


# ------------------------------------------------------------------ whole dictionaries

State = dict[str, torch.Tensor]
RATIOS = {"g": 4 / 5, "d": 16 / 17}
STEPS = {"g": 32, "d": 34}  # the next iteration has R1 in a step of its own


def parameters(state: State) -> list[str]:
    return [name for name in state if not name.endswith(".kernel")]


def adam_state(state: State, ratio: float, steps: float, lr: float, betas: tuple[float, float]) -> dict[str, Any]:
    """What `torch.optim.Adam.state_dict` gives after some steps, with moments that no two elements share."""
    draw = torch.Generator().manual_seed(len(state))
    names = parameters(state)
    moments = {
        i: {
            "step": torch.tensor(float(steps)),
            "exp_avg": torch.randn(state[name].shape, generator=draw),
            "exp_avg_sq": 0.1 + torch.rand(state[name].shape, generator=draw),
        }
        for i, name in enumerate(names)
    }
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=lr * ratio, betas=tuple(beta**ratio for beta in betas))  # type: ignore[arg-type]
    (group,) = optimizer.state_dict()["param_groups"]
    return {"state": moments, "param_groups": [group | {"params": list(range(len(names)))}]}


def whole(
    variant: str = "CIPSskip-256", lr: float = 0.002, betas: tuple[float, float] = (0.0, 0.99)
) -> dict[str, dict[str, Any]]:
    """The released program's whole dictionary; what it trains is not what it averages."""
    average, critic = small_state(variant), small_state("Discriminator-256")
    trained = {name: value + 0.01 * value.roll(1, 0).sign() for name, value in average.items()}
    return {
        "g": trained,
        "d": critic,
        "g_ema": average,
        "g_optim": adam_state(trained, RATIOS["g"], STEPS["g"], lr, betas),
        "d_optim": adam_state(critic, RATIOS["d"], STEPS["d"], lr, betas),
    }
