"""What a public checkpoint is in the words of `cips_lab.train`: the options that make its networks and its recipe."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cips_lab.configuration import build, conf_folder
from cips_lab.configuration.check import check_composed
from cips_lab.configuration.refused import in_words
from cips_lab.errors import UserError
from cips_lab.interop.official_training import OfficialTraining
from cips_lab.launch.networks import shapes_of

ROUNDING = 1e-9  # relative, of a learning rate that was multiplied and divided
CHANNELS = ("channel_base", "channel_max")
SIZES = {  # of the generator, by the options that a run sets them by
    "width": "model.width",
    "z_dim": "model.z_dim",
    "w_dim": "model.w_dim",
    "mapping_layers": "model.mapping_layers",
    "widths": "model.widths",
    "resolution": "resolution",
}


def composed(overrides: Sequence[str]) -> DictConfig:
    """conf/train.yaml with overrides, and Hydra's own part.

    Raises:
        UserError: they do not compose.
    """
    around = GlobalHydra.instance().hydra  # that of the command which is running: there may be one at a time
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = compose("train", list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(in_words("train", error, overrides)) from error
    finally:
        GlobalHydra.instance().hydra = around
    check_composed("train", cfg, imports=True)
    return cfg


def overrides_of(found: OfficialTraining, batch_size: int) -> list[str]:
    """What to type after `cips_lab.train` to have the networks and the recipe of a file.

    Raises:
        UserError: its optimisers' rates are none that the recipe can have.
    """
    options = found.options
    choices = [f"generator={generator_choice(options)}", "objective=official", f"resolution={options['resolution']}"]
    plain = composed(["name=plain", *choices])
    wanted: dict[str, Any] = {SIZES.get(name, f"generator.{name}"): options[name] for name in options}
    for part in ("fourier", "embedding"):
        width = wanted.pop(f"generator.{part}")
        if width is None:
            wanted[f"generator.{part}"] = None
        elif width["features"] != options["width"]:  # else null, which means the same
            wanted[f"model.{part}_features"] = width["features"]
    if found.discriminator is not None:
        with torch.device("meta"):
            usual = build(plain.discriminator)
        if shapes_of(usual.state_dict()) != shapes_of(found.discriminator.state_dict()):
            wanted |= {f"model.discriminator_{name}": found.discriminator_options[name] for name in CHANNELS}
    wanted |= {"batch_size": batch_size, **recipe_of(found, batch_size)}
    different = {name: value for name, value in wanted.items() if not same(OmegaConf.select(plain, name), value)}
    return [*choices, *(f"{name}={text(value)}" for name, value in different.items())]


def generator_choice(options: Mapping[str, Any]) -> str:
    """The option of conf/generator that a released generator is nearest to."""
    if options["blocks"] == "residual":
        return "cips_residual"
    return "cips" if options["output"] == "skip" else "cips_base"


def recipe_of(found: OfficialTraining, batch_size: int) -> dict[str, Any]:
    """The objective's options, such that Adam is stepped as the file's was.

    The released program multiplies learning rates and raises betas by k / (k + 1), with k of each network's own.

    Raises:
        UserError: the two optimisers' betas do not come of one pair, or there was no R1.
    """
    generator, discriminator = found.generator_adam, found.discriminator_adam
    every, r1_every = number(found.arguments, "g_reg_every", 4), number(found.arguments, "d_reg_every", 16)
    if found.arguments.get("r1") == 0:
        raise UserError(
            f"{found.label}: was trained without R1 (r1=0), which the released code still makes steps for; save it "
            "without args, and give training= the objective.r1_weight to go on with"
        )
    ratio = every / (every + 1)
    recipe: dict[str, Any] = {} if ratio == 0.8 else {"objective.generator_lazy_ratio": ratio}
    betas = []
    if generator is not None:
        betas.append([beta ** (1 / ratio) for beta in generator.betas])
        recipe["objective.generator_lr"] = generator.lr / ratio
    if discriminator is not None:
        ratio = r1_every / (r1_every + 1)
        betas.append([beta ** (1 / ratio) for beta in discriminator.betas])
        recipe["objective.discriminator_lr"] = discriminator.lr / ratio
    if betas and not all(same(betas[0], other) for other in betas):
        raise UserError(
            f"{found.label}: the betas of its two optimisers, before their corrections for {every:g} and {r1_every:g} "
            f"steps, are {betas[0]} and {betas[1]}: the released program has one pair, and so has cips_lab; save the "
            "file without g_optim and d_optim to train on with moments that begin at zero"
        )
    return recipe | {
        **({"objective.betas": betas[0]} if betas else {}),
        "objective.r1_interval": round(r1_every),
        "objective.r1_weight": number(found.arguments, "r1", 10.0),
        "objective.ema_half_life_kimg": 10.0 * batch_size / 32,  # 0.5 ** (32 / 10000) a step, whatever the batch
    }


def number(arguments: Mapping[str, object], name: str, otherwise: float) -> float:
    """A positive number among a program's arguments; `otherwise` where there is none."""
    value = arguments.get(name)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    return float(value) if usable else otherwise  # type: ignore[arg-type]


def same(one: Any, other: Any) -> bool:
    """Whether two values of an option are, up to the rounding of numbers."""
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=1e-12)
    return bool(one == other)


def text(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, list):
        return f"[{','.join(map(text, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
