"""How a process ends that is not the first of its run."""

import sys
from typing import NoReturn

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import LightningEnvironment


def exit_quietly(trainer: pl.Trainer, status: int) -> NoReturn:
    """End a process that is not the first, when the first says why.

    One that Lightning started ends with 0: its observer takes anything else for a crash, and kills the first process
    while that is still saying it.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    started_by_lightning = isinstance(environment, LightningEnvironment) and trainer.local_rank > 0
    sys.exit(0 if started_by_lightning else status)
