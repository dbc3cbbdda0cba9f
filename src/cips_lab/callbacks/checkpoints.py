"""Checkpoints by images seen: a folder each, there whole or not at all."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from cips_lab.callbacks.clock import gan_of, is_due, kimg_label
from cips_lab.interop.native import checkpoint_folders, save_generator
from cips_lab.training.gan import GAN

log = logging.getLogger(__name__)


class Checkpoints(pl.Callback):
    """checkpoints/kimg-*/ with `training.ckpt` (everything to continue) and `generator.safetensors` (to use).

    Both are written into a folder of another name, flushed to disk, and the folder is renamed: whoever reads, at any
    moment, sees a whole checkpoint or none.

    Args:
        every_kimg: between checkpoints; one more is written at the end.
        keep: how many of the newest stay; None keeps all.
    """

    def __init__(self, every_kimg: float, keep: int | None = 3) -> None:
        if keep is not None and keep < 1:
            raise ValueError("schedule.keep_checkpoints must be at least 1, or null to keep all")
        self.every_kimg = every_kimg
        self.keep = keep

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        gan = gan_of(pl_module)
        if is_due(gan.images_seen, gan.batch_size, self.every_kimg) or trainer.should_stop:
            self._save(trainer, pl_module)

    def _save(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gan = gan_of(pl_module)
        root = Path(trainer.default_root_dir) / "checkpoints"
        write_checkpoint(trainer, gan, root / kimg_label(gan.images_seen))
        if trainer.is_global_zero and self.keep is not None:
            for old in checkpoint_folders(root.parent)[: -self.keep]:
                shutil.rmtree(old)


def write_checkpoint(trainer: pl.Trainer, gan: GAN, final: Path, texts: dict[str, str] | None = None) -> None:
    """Write a checkpoint folder; every process calls it, rank 0 writes.

    Args:
        trainer, gan: what is kept.
        final: the folder.
        texts: names and contents of further files in it.
    """
    partial = final.with_name(f".partial-{final.name}")
    if trainer.is_global_zero:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    trainer.save_checkpoint(partial / "training.ckpt")  # every process takes part
    if not trainer.is_global_zero:
        return
    save_generator(
        gan.generator_ema, partial / "generator.safetensors", gan.generator_config, kimg=gan.images_seen / 1000
    )
    for name, text in (texts or {}).items():
        (partial / name).write_text(text)
    for path in (*partial.iterdir(), partial):
        flush(path)
    if final.exists():  # of a run that was continued from before it
        shutil.rmtree(final)
    partial.replace(final)
    flush(final.parent)


def flush(path: Path) -> None:
    """Force a file's or folder's content to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
