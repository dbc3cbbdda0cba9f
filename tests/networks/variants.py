"""Every conf/generator/*.yaml, built through Hydra at a size that takes milliseconds."""

import functools
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from cips_lab.configuration import conf_folder
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.encoding import FourierFeatures
from cips_lab.networks.equalized import EqualizedLinear
from cips_lab.networks.stylegan2 import StyleGAN2Generator

RESOLUTION = 16


@functools.cache
def composed(name: str) -> dict[str, Any]:
    """conf/generator/NAME.yaml, resolved, at the tests' size."""
    overrides = [f"generator={name}", f"resolution={RESOLUTION}", "name=test"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("train", overrides).generator
    # The nodes' interpolations end at the root, so resolve before the group is cut off.
    options: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return options | {option: value for option, value in SMALL.items() if option in options}


# Of whatever options a generator has; in CIPS the encoding's sizes follow from the width.
SMALL = {"z_dim": 8, "w_dim": 12, "mapping_layers": 2, "width": 16, "channel_base": 128, "channel_max": 16}
# Whoever adds a file adds a variant: there is no list to touch.
VARIANTS = tuple(sorted(path.stem for path in (conf_folder() / "generator").glob("*.yaml")))
CIPS_VARIANTS = tuple(name for name in VARIANTS if composed(name)["_target_"].endswith(".CIPSGenerator"))

SHIFT: dict[str, Any] = {"fourier": {"features": 16, "waves": "pairs"}, "shift": 1.0}
ROTATION: dict[str, Any] = {"fourier": SHIFT["fourier"], "rotation": 1.0}
# (variant, options) pairs for parametrised tests. Beside the paper's variants with and without noise: the options that
# no variant sets, and official widths at a resolution where they do change, so that residual blocks need a projection.
CIPS_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"{name}{'+noise' if noise else ''}": (name, {"noise": noise})
        for name in CIPS_VARIANTS
        for noise in (False, True)
    },
    "unmodulated+noise": ("cips", {"modulation": False, "noise": True}),
    "sinrelu": ("cips", {"activation": "sinrelu"}),
    "shift+noise": ("cips", {**SHIFT, "noise": True}),
    "rotation": ("cips", ROTATION),
    "rotation+shift": ("cips_base", {**SHIFT, **ROTATION}),
    "fixed_waves+noise": ("cips_base", {**SHIFT, "wave_modulation": False, "noise": True}),
    "slow_table": ("cips", {"embedding": {"features": 16, "std": 0.5, "lr_multiplier": 0.1}}),
    "rectangle+noise": ("cips", {"resolution": [24, 16], "noise": True}),
    "cylinder+noise": ("cips", {"surface": "cylinder", "turns": 3, "noise": True}),
    "cylinder_coarse": (
        "cips_lowpass",
        {
            "surface": "cylinder",
            "turns": 4,
            "embedding": {"features": 16, "frames": 2, "std": 0.5, "lr_multiplier": 0.5, "lowpass": 1.0},
        },
    ),
    "official_lookup": ("cips", {"embedding_lookup": "official"}),
    "official_widths": (
        "cips_residual",
        {"resolution": 128, "widths": "official", "output": "skip", "embedding": None},
    ),
}


def build(name: str, seed: int = 0, **options: Any) -> CIPSGenerator | StyleGAN2Generator:
    """A small generator in evaluation mode, no parameter at a value that could hide it (a bias or strength of 0)."""
    torch.manual_seed(seed)
    generator = instantiate({**composed(name), **options}, _convert_="all")
    return randomise(generator).eval()


def with_waves(**options: Any) -> tuple[CIPSGenerator, FourierFeatures]:
    """A CIPS and its Fourier features."""
    generator = build("cips", **options)
    assert isinstance(generator, CIPSGenerator)
    fourier = generator.encoding.fourier
    assert isinstance(fourier, FourierFeatures)
    return generator, fourier


def build_case(case: str) -> CIPSGenerator:
    name, options = CIPS_CASES[case]
    generator = build(name, **options)
    assert isinstance(generator, CIPSGenerator)
    return generator


@torch.no_grad()
def randomise(network: nn.Module) -> Any:
    """Move every bias and noise strength off its first value, from the global generator."""
    multipliers = {id(m.bias): m.lr_multiplier for m in network.modules() if isinstance(m, EqualizedLinear)}
    for name, parameter in network.named_parameters():
        if name.endswith(("bias", "constant_style")):
            parameter += 0.3 * torch.randn_like(parameter) / multipliers.get(id(parameter), 1.0)
        elif name.endswith("noise_strength"):
            parameter += 0.2 + 0.2 * torch.rand_like(parameter)
    for name, buffer in network.named_buffers():
        if name.endswith("w_mean"):
            buffer += torch.randn_like(buffer)
    return network
