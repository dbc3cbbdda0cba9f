"""How a process ends that is not the first of its run."""

import sys
from typing import NoReturn

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import LightningEnvironment

from cips_lab.errors import STATUS_MISTAKE, UserError
from cips_lab.render.finite import check_weights
from cips_lab.training.gan import GAN


def exit_quietly(trainer: pl.Trainer, status: int) -> NoReturn:
    """End a process that is not the first, when the first says why.

    One that Lightning started ends with 0: its observer takes anything else for a crash, and kills the first process
    while that is still saying it.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    started_by_lightning = isinstance(environment, LightningEnvironment) and trainer.local_rank > 0
    sys.exit(0 if started_by_lightning else status)


def check_average(trainer: pl.Trainer, gan: GAN) -> None:
    """Before pictures are made of the averaged generator: end the run if its weights are no longer numbers.

    Every process calls it; they are the same on all.

    Raises:
        UserError: on the first process. On the others, `SystemExit`.
    """
    try:
        check_weights(gan.generator_ema, f"kimg {gan.images_seen / 1000:g}, the averaged generator")
    except UserError:
        if not trainer.is_global_zero:
            exit_quietly(trainer, STATUS_MISTAKE)
        raise
