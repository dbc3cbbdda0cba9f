"""The end of a run."""

from typing import Any

import pytorch_lightning as pl

from cips_lab.training.clock import gan_of


class StopAtTotal(pl.Callback):
    """Stop once `total_kimg` thousand images were seen: Lightning's own limits count optimiser steps."""

    def __init__(self, total_kimg: float) -> None:
        self.total_images = round(total_kimg * 1000)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A run that has its images is continued only for its last evaluation.
        if gan_of(pl_module).images_seen >= self.total_images:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if gan_of(pl_module).images_seen >= self.total_images:
            trainer.should_stop = True
