"""A GAN that trains in milliseconds, pictures in memory, and a Trainer set up as `training.run` does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pyramid import Pyramid

from cips_lab.callbacks.stop import StopAtTotal
from cips_lab.data.base import BaseDataModule, Split
from cips_lab.data.dataset import ArrayDataset
from cips_lab.data.labels import Classes
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.projected import ProjectedDiscriminator
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.networks.vision_aided import VisionAidedDiscriminator
from cips_lab.processes.strategy import ReplicatedStrategy
from cips_lab.training.augment import Ada
from cips_lab.training.gan import GAN
from cips_lab.training.objective import Objective

PICTURES = 22  # not a multiple of any batch: an epoch ends within one


class MemoryDataModule(BaseDataModule):
    """Noise pictures 8 x 8, each another; of class k every third from k on, where classes are asked for."""

    def __init__(self) -> None:
        super().__init__("memory", resolution=8, flip=True, num_workers=0)

    @property
    def location(self) -> str:
        return "memory"

    def setup(self, stage: str | None = None) -> None:
        shape = (PICTURES, 3, 8, 8)
        self.train_dataset = ArrayDataset(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))

    def classes(self, split: Split = "train") -> Classes:
        return Classes(("0", "1", "2"), np.arange(PICTURES) % 3)


GENERATOR_CONFIG: dict[str, Any] = {
    "_target_": "cips_lab.networks.cips.CIPSGenerator",
    "resolution": 8,
    "width": 8,
    "z_dim": 6,
    "w_dim": 7,
    "mapping_layers": 2,
    "fourier": {"features": 8},
    "embedding": {"features": 4},
    "noise": True,
}


# Another recipe than the released one, all of it changing within a few iterations.
RECIPE: dict[str, Any] = {
    "objective": {
        "loss": "relativistic",
        "r1_weight": (2.0, 0.2),
        "r2_weight": (1.0, 0.1),
        "r1_interval": 0,
        "generator_lr": (1e-3, 2e-4),
        "discriminator_lr": (1e-3, 5e-4),
        "betas": (0.0, (0.9, 0.99)),
        "anneal_kimg": 0.2,
    },
    "augment": "ada",
}


def build_gan(generator: str = "cips", objective: dict[str, Any] | None = None, seed: int = 0, **options: Any) -> GAN:
    """Networks from a fixed seed; `objective`: changes to a recipe with R1 every second iteration."""
    torch.manual_seed(seed)
    if options.get("augment") == "ada":  # whose probability is on its way
        options["augment"] = Ada(speed_kimg=0.2, interval=2)
        options["augment"].probability.fill_(0.5)
    classes = options.pop("classes", 0)
    config = GENERATOR_CONFIG | ({"classes": classes} if classes else {})
    network: CIPSGenerator | StyleGAN2Generator
    if generator == "cips":
        network = CIPSGenerator(**{k: v for k, v in config.items() if k != "_target_"})
    else:
        sizes = {"resolution": 8, "z_dim": 6, "w_dim": 7, "mapping_layers": 2, "channel_base": 64, "channel_max": 8}
        probability = options.pop("mixing_probability", 0.0)
        network = StyleGAN2Generator(**sizes, mixing_probability=probability, classes=classes)
    kind = options.pop("discriminator", "residual")
    discriminator: Any = None
    if kind in ("residual", "vision_aided"):
        discriminator = ResidualDiscriminator(8, channel_base=64, channel_max=8, classes=classes)
    if kind in ("projected", "vision_aided"):
        projected = ProjectedDiscriminator(Pyramid(), 8, 32, channels=4, head_channels=8, classes=classes)
        discriminator = projected if discriminator is None else VisionAidedDiscriminator(discriminator, projected)
    return GAN(
        network,
        discriminator,
        Objective(**{"r1_interval": 2, "ema_half_life_kimg": 0.05, "ema_rampup": 0.5, **(objective or {})}),
        **{"batch_size": 8, "generator_config": config, **options},
    )


def make_trainer(
    folder: Path,
    iterations: int,
    *callbacks: pl.Callback,
    precision: str = "32-true",
    processes: int = 1,
    batch: int = 8,
) -> pl.Trainer:
    """For this process, as the only one or as one of several."""
    return pl.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy=ReplicatedStrategy() if processes > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
        logger=False,
        callbacks=[StopAtTotal(iterations * batch / 1000), *callbacks],
        default_root_dir=folder,
        max_epochs=-1,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def fit(
    gan: GAN,
    folder: Path,
    iterations: int,
    *callbacks: pl.Callback,
    checkpoint: Path | None = None,
    precision: str = "32-true",
) -> pl.Trainer:
    """Train until `iterations` batches of 8 were seen, from a checkpoint or from the start."""
    trainer = make_trainer(folder, iterations, *callbacks, precision=precision)
    trainer.fit(gan, datamodule=MemoryDataModule(), ckpt_path=checkpoint, weights_only=True)
    return trainer
