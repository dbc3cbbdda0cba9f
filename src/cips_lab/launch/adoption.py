"""A run folder out of a public checkpoint, which every command reads and training goes on in.

The run is composed as `cips_lab.train` composes one, by the options that the file's sizes and its optimisers' rates
mean; its networks are built from that configuration, filled, and written by what writes every run's checkpoints. So
a converted run is a run, and there is one format.
"""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from cips_lab.callbacks.checkpoints import PlainFile, write_checkpoint
from cips_lab.configuration import build, conf_folder, quoted
from cips_lab.configuration.check import check_composed
from cips_lab.configuration.overrides import readable_overrides
from cips_lab.configuration.refused import in_words
from cips_lab.errors import UserError
from cips_lab.files.secrets import redact_settings
from cips_lab.files.whole import WholeOrNone
from cips_lab.interop.official_training import Adam, OfficialTraining, load_training
from cips_lab.launch.beginning import write_folder
from cips_lab.launch.networks import build_gan, shapes_of
from cips_lab.networks.modulated import Activation
from cips_lab.runs.choices import choices_of
from cips_lab.runs.folder import CHECKPOINTS, kimg_label
from cips_lab.runs.inputs import Inputs
from cips_lab.runs.status import INTERRUPTED, write_status
from cips_lab.training.gan import GAN
from cips_lab.training.guard import Guard

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


@dataclass(frozen=True)
class Adopted:
    """What was made.

    Attributes:
        folder: the run's.
        kimg: thousands of images that its networks have seen.
        carried: what is in it, phrases.
        missing: what was not in the file, and what is in its place.
        command: which trains on; the pictures are still to be named.
    """

    folder: Path
    kimg: float
    carried: list[str]
    missing: list[str]
    command: str

    def __str__(self) -> str:
        lines = [f"{self.folder}: {'; '.join(self.carried)}; at {self.kimg:g} kimg"]
        lines += [f"not in the file: {phrase}" for phrase in self.missing]
        return "\n".join([*lines, "to train on:", f"  {self.command}"])


def adopt(
    source: Path,
    folder: Path,
    *,
    activation: Activation | None = None,
    batch_size: int = 32,
    kimg: float | None = None,
    training: str | None = None,
) -> Adopted:
    """Make a run folder of a public checkpoint.

    Args:
        source: the ``.pt`` file.
        folder: which is not there yet.
        activation: see `official.load_generator`.
        batch_size: images of an iteration, of all processes, that the file was trained with.
        kimg: thousands of images that it was trained on; None: its generator's steps times `batch_size`.
        training: further options of `cips_lab.train` that the run is to have, as on its command line.

    Raises:
        UserError: the file cannot be read or does not fit, or an option does not.
    """
    found = load_training(source, activation)
    further = [] if training is None else readable_overrides(shlex.split(training))
    overrides = [*overrides_of(found, batch_size), *further]
    cfg = composed([f"name={quoted(folder.name)}", f"paths.runs={quoted(str(folder.parent))}", *overrides])
    iterations = 0 if found.generator_adam is None else found.generator_adam.steps
    images = iterations * batch_size if kimg is None else round(kimg * 1000)
    images -= images % cfg.batch_size
    gan = build_gan(cfg, Guard(), flip=True)
    fill(gan, found, images)
    trainer = idle_trainer(gan, found)
    settings: dict[str, Any] = redact_settings(OmegaConf.to_container(without_hydra(cfg), resolve=True))
    if settings["data"].get("path", ...) is None:
        settings["data"] = None  # no pictures yet: the first that are given are the run's
    place = WholeOrNone(folder)
    place.begin()
    try:
        write_folder(place.partial, settings, Inputs(), overrides, choices_of(cfg.hydra))
        write_checkpoint(trainer, gan, place.partial / CHECKPOINTS / kimg_label(images))
        write_status(place.partial, INTERRUPTED, images / 1000)
        place.commit()
    finally:
        place.discard()
    return Adopted(folder, images / 1000, carried(found), found.missing, command_for(folder, overrides, cfg, images))


# ---------------------------------------------------------------------------------------------- the configuration


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


def without_hydra(cfg: DictConfig) -> DictConfig:
    """What a run's config.yaml is made of."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


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
        UserError: the two optimisers' betas do not come of one pair.
    """
    generator, discriminator = found.generator_adam, found.discriminator_adam
    every, r1_every = number(found.arguments, "g_reg_every", 4), number(found.arguments, "d_reg_every", 16)
    ratio = every / (every + 1)
    recipe: dict[str, Any] = {} if ratio == 0.8 else {"objective.generator_lazy_ratio": ratio}
    betas = []
    if generator is not None:
        betas.append((generator.betas[0], generator.betas[1] ** (1 / ratio)))
        recipe["objective.generator_lr"] = generator.lr / ratio
    if discriminator is not None:
        ratio = r1_every / (r1_every + 1)
        betas.append((discriminator.betas[0], discriminator.betas[1] ** (1 / ratio)))
        recipe["objective.discriminator_lr"] = discriminator.lr / ratio
    if betas and not all(same(list(betas[0]), list(other)) for other in betas):
        raise UserError(
            f"ckpt: the betas of its two optimisers, before their corrections by {every:g} and {r1_every:g} steps, are "
            f"{betas[0]} and {betas[1]}: the released program has one pair, and so has cips_lab; save the file without "
            "g_optim and d_optim to train on with moments that begin at zero"
        )
    return recipe | {
        **({"objective.betas": list(betas[0])} if betas else {}),
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


# ---------------------------------------------------------------------------------------------- what is in the folder


def fill(gan: GAN, found: OfficialTraining, images: int) -> None:
    """Put a file's networks in the place of new ones.

    Raises:
        UserError: they are others.
    """
    pairs: list[tuple[nn.Module, nn.Module | None]] = [
        (gan.generator, found.generator),
        (gan.generator_ema, found.average),
        (gan.discriminator, found.discriminator),
    ]
    for ours, theirs in pairs:
        if theirs is None:
            continue
        if shapes_of(ours.state_dict()) != shapes_of(theirs.state_dict()):
            raise UserError(f"training: what it says makes another {type(ours).__name__} than the file's; leave it out")
        ours.load_state_dict(theirs.state_dict())
    gan.average.n_averaged.fill_(max(1, images // gan.batch_size))  # 0 would make the average begin anew
    gan.images_seen = images


def idle_trainer(gan: GAN, found: OfficialTraining) -> pl.Trainer:
    """A Trainer that has the module and its optimisers, filled, and has not trained: checkpoints are written of it."""
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        max_epochs=-1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.strategy.connect(gan)
    gan.trainer = trainer
    trainer.strategy.setup_optimizers(trainer)
    trainer.strategy.checkpoint_io = PlainFile()
    networks = (gan.generator, found.generator_adam), (gan.discriminator, found.discriminator_adam)
    for optimizer, (network, adam) in zip(trainer.optimizers, networks, strict=True):
        if adam is not None:
            restore(optimizer, network, adam)
    return trainer


def restore(optimizer: torch.optim.Optimizer, network: nn.Module, adam: Adam) -> None:
    """Give a new optimiser of a network the state that it had elsewhere."""
    numbers = {name: number for number, (name, _) in enumerate(network.named_parameters())}
    state = {numbers[name]: moments for name, moments in adam.moments.items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def carried(found: OfficialTraining) -> list[str]:
    """What a file had."""
    size = f"{found.options['resolution']} x {found.options['resolution']} pixels"
    phrases = [f"a generator of {size}" + ("" if found.generator is found.average else " and its average")]
    if found.discriminator is not None:
        phrases.append("its discriminator")
    for name, adam in (("generator", found.generator_adam), ("discriminator", found.discriminator_adam)):
        if adam is not None:
            phrases.append(f"the {name}'s optimiser after {adam.steps:,} steps")
    return phrases


def command_for(folder: Path, overrides: Sequence[str], cfg: DictConfig, images: int) -> str:
    """The command that trains on."""
    words = [f"name={folder.name}", *overrides]
    if folder.parent != Path("runs"):
        words.append(f"paths.runs={folder.parent}")
    if cfg.data.get("path", ...) is None:
        words.append("data.path=/your/pictures")
    if images >= cfg.schedule.total_kimg * 1000:
        words.append(f"schedule.total_kimg={images / 1000 + 1000:g}")
    return " ".join(["python -m cips_lab.train", *map(shlex.quote, words)])
