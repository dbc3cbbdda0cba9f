"""A run folder out of a public checkpoint, which every command reads and training goes on in.

The run is composed as `cips_lab.train` composes one, by the options that the file's sizes and its optimisers' rates
mean; its networks are built from that configuration, filled, and written by what writes every run's checkpoints. So
a converted run is a run, and there is one format.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from cips_lab.callbacks.checkpoints import PlainFile, write_checkpoint
from cips_lab.configuration import quoted
from cips_lab.configuration.overrides import readable_overrides
from cips_lab.errors import UserError
from cips_lab.files.secrets import redact_settings
from cips_lab.files.whole import WholeOrNone
from cips_lab.interop.official_training import Adam, OfficialTraining, load_training
from cips_lab.launch.beginning import write_folder
from cips_lab.launch.networks import build_gan, differing_settings
from cips_lab.launch.released import composed, overrides_of
from cips_lab.launch.run import quiet_libraries
from cips_lab.networks.modulated import Activation
from cips_lab.runs.choices import choices_of
from cips_lab.runs.folder import CHECKPOINTS, kimg_label
from cips_lab.runs.inputs import Inputs
from cips_lab.runs.status import INTERRUPTED, write_status
from cips_lab.training.gan import GAN
from cips_lab.training.guard import Guard


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
    quiet_libraries()
    found = load_training(source, activation)
    further = [] if training is None else readable_overrides(shlex.split(training))
    overrides = overrides_of(found, batch_size)
    place = [f"name={quoted(folder.name)}", f"paths.runs={quoted(str(folder.parent))}"]
    cfg = composed([*place, *overrides, *further])
    if further:
        check_further(found, composed([*place, *overrides]), cfg)
    overrides += further
    iterations = 0 if found.generator_adam is None else found.generator_adam.steps
    images = iterations * batch_size if kimg is None else round(kimg * 1000)
    images -= images % cfg.batch_size
    gan = build_gan(cfg, Guard(), flip=True)
    fill(gan, found, images)
    trainer = idle_trainer(gan, found)
    settings: dict[str, Any] = redact_settings(OmegaConf.to_container(without_hydra(cfg), resolve=True))
    if settings["data"].get("path", ...) is None:
        settings["data"] = None  # no pictures yet: the first that are given are the run's
    run = WholeOrNone(folder)
    run.begin()
    try:
        write_folder(run.partial, settings, Inputs(), overrides, choices_of(cfg.hydra))
        write_checkpoint(trainer, gan, run.partial / CHECKPOINTS / kimg_label(images))
        write_status(run.partial, INTERRUPTED, images / 1000)
        run.commit()
    finally:
        run.discard()
    return Adopted(folder, images / 1000, carried(found), found.missing, command_for(folder, overrides, cfg, images))


def check_further(found: OfficialTraining, own: DictConfig, cfg: DictConfig) -> None:
    """See that further options leave the networks those of the file.

    Raises:
        UserError: they do not.
    """
    parts = ["generator"] if found.discriminator is None else ["generator", "discriminator"]
    for part in parts:
        settings = (OmegaConf.to_container(one[part], resolve=True) for one in (own, cfg))
        if changed := differing_settings(*map(dict, settings)):  # type: ignore[arg-type]
            raise UserError(f"training: the {part} is that of {found.label}, and these options change it: {changed}")


def without_hydra(cfg: DictConfig) -> DictConfig:
    """What a run's config.yaml is made of."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def fill(gan: GAN, found: OfficialTraining, images: int) -> None:
    """Put a file's networks in the place of new ones."""
    gan.generator.load_state_dict(found.generator.state_dict())
    gan.generator_ema.load_state_dict(found.average.state_dict())
    if found.discriminator is not None:
        gan.discriminator.load_state_dict(found.discriminator.state_dict())
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
