"""What is written and said when a run begins: its configuration, its surroundings, its size."""

import importlib.metadata
import json
import logging
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cips_lab.data.base import BaseDataModule
from cips_lab.files.secrets import redact_arguments
from cips_lab.files.whole import replace_text, sha256_of
from cips_lab.interop.native import generator_file
from cips_lab.runs.choices import Choices, composed_choices, write_choices, write_overrides
from cips_lab.runs.folder import CONFIG, ENVIRONMENT
from cips_lab.runs.inputs import Inputs, read_inputs, write_inputs
from cips_lab.training.gan import GAN

log = logging.getLogger(__name__)


def inputs_of(data: BaseDataModule, init: str | None) -> Inputs:
    """What a run is made from, by its content; `data` is prepared."""
    data.setup()
    weights = None if init is None else sha256_of(generator_file(init))
    return Inputs(pictures=data.train_dataset.identity(), init=weights)


def write_folder(
    folder: Path,
    settings: dict[str, Any],
    inputs: Inputs,
    overrides: Sequence[str] | None = None,
    choices: Choices | None = None,
) -> None:
    """What is known of a run when it begins; of one that goes on, what has not changed meanwhile is kept.

    Args:
        folder: the run's.
        settings: resolved, without secrets.
        inputs: what it is made from.
        overrides, choices: what it was composed of; None: as this command was.
    """
    overrides = HydraConfig.get().overrides.task if overrides is None else overrides
    write_overrides(folder, redact_arguments([o for o in overrides if not o.startswith("sweep_name=")]))
    write_choices(folder, composed_choices() if choices is None else choices)
    begun_with = read_inputs(folder).init  # a run in `init=` may have gone on since
    write_inputs(folder, replace(inputs, init=begun_with or inputs.init))
    replace_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(settings)))
    packages = ("cips-lab", "torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "wandb")
    environment = {
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "commit": commit(),
    }
    replace_text(folder / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")


def commit() -> str | None:
    """The git commit of the source tree, if it is one."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def describe(gan: GAN, cfg: DictConfig, folder: Path, processes: int, checkpoints: list[Path]) -> None:
    """Say what is about to happen."""

    def millions(network: torch.nn.Module) -> str:
        return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M"

    log.info("run folder: %s", folder)
    log.info(
        "generator %s (%s), discriminator %s, %s, batch %d on %d process(es), %s, %s",
        composed_choices()["generator"],
        millions(gan.generator),
        millions(gan.discriminator),
        pixels_of(gan),
        cfg.batch_size,
        processes,
        cfg.trainer.precision,
        f"{torch.get_num_threads()} threads" if not torch.cuda.is_available() else torch.cuda.get_device_name(),
    )
    if checkpoints:
        log.info("continuing from %s", checkpoints[-1].name)
    problem = split_groups(cfg.batch_size, cfg.micro_batch, processes, cfg.discriminator.get("group_size", 1))
    if problem:
        log.warning(problem)


def pixels_of(gan: GAN) -> str:
    """Of a picture, and of what of it is shown at once."""
    whole, part = (" x ".join(map(str, size)) for size in (gan.generator.size, gan.view.sides))
    view = type(gan.view).__name__.lower()
    return f"{whole} pixels" + ("" if view == "full" else f" in view {view}" + ("" if whole == part else f" of {part}"))


def split_groups(batch_size: int, micro_batch: int | None, processes: int, group_size: int) -> str | None:
    """What to say where passes are too small for whole groups of the minibatch standard deviation; else None."""
    samples = micro_batch or batch_size // processes
    if samples == batch_size or group_size <= 1 or samples % group_size == 0:
        return None
    return (
        f"passes of {samples} images do not hold whole groups of the minibatch standard deviation "
        f"(discriminator.group_size={group_size}): this run differs from one on another number of processes; "
        f"with passes of a multiple of {group_size} it would not"
    )
