"""The clock that callbacks share: images seen, not optimiser steps."""

import pytorch_lightning as pl

from cips_lab.training.gan import GAN


def gan_of(module: pl.LightningModule) -> GAN:
    """The module as what it must be for these callbacks."""
    if not isinstance(module, GAN):
        raise TypeError(f"this callback watches a cips_lab GAN, not {type(module).__name__}")
    return module


def is_due(images_seen: int, batch_size: int, every_kimg: float | None) -> bool:
    """Whether the last iteration of batch_size images reached or passed a multiple of every_kimg thousand images."""
    if every_kimg is None:
        return False
    every = max(1, round(every_kimg * 1000))
    return images_seen // every > (images_seen - batch_size) // every
