"""The clock that callbacks share: images seen, not optimiser steps."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from cips_lab.errors import UserError
from cips_lab.training.gan import GAN

OPTIONAL = ("sample_kimg", "evaluate_kimg", "keep_every_kimg", "keep_checkpoints")  # of conf/schedule: may be null


def gan_of(module: pl.LightningModule) -> GAN:
    """The module as what it must be for these callbacks."""
    if not isinstance(module, GAN):
        raise TypeError(f"this callback watches a cips_lab GAN, not {type(module).__name__}")
    return module


def check_schedule(schedule: Mapping[str, Any]) -> None:
    """Cadences are in kimg and positive, or null where never is meant.

    Raises:
        UserError: `schedule` has another value; 0 would be due at every iteration.
    """
    for key, value in schedule.items():
        never = ", or null for none" if key in OPTIONAL else ""
        if value is None and never:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise UserError(f"schedule.{key}={'null' if value is None else value}: must be a positive number{never}")


def is_due(images_seen: int, batch_size: int, every_kimg: float | None) -> bool:
    """Whether the last iteration of batch_size images reached or passed a multiple of every_kimg thousand images."""
    if every_kimg is None:
        return False
    every = max(1, round(every_kimg * 1000))
    return images_seen // every > (images_seen - batch_size) // every
