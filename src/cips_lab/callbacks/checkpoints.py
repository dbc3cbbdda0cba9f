"""Checkpoints by images seen: a folder each, there whole or not at all."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from torch.utils._pytree import tree_leaves

from cips_lab.callbacks.quiet_exit import exit_quietly
from cips_lab.errors import STATUS_MISTAKE, DiskFull
from cips_lab.files.whole import (
    WholeOrNone,
    check_space,
    disk_full,
    flush,
    is_full,
    remove_folder,
    remove_leftovers,
    replace_text,
)
from cips_lab.interop.native import save_generator
from cips_lab.runs.checkpoints import damage, set_aside, write_manifest
from cips_lab.runs.folder import (
    CHECKPOINTS,
    GENERATOR,
    GUARD,
    METRICS,
    SAMPLES,
    TRAINING,
    best_checkpoints,
    checkpoint_folders,
    images_of,
    kimg_label,
)
from cips_lab.training.clock import gan_of, is_due
from cips_lab.training.gan import GAN

log = logging.getLogger(__name__)

MARGIN = 1.05  # of a checkpoint's files over its tensors, and some for what else a run writes
OVERHEAD = 2**18


class Checkpoints(pl.Callback):
    """checkpoints/kimg-*/ with `training.ckpt` (everything to continue) and `generator.safetensors` (to use).

    Both, and a manifest with their sizes and hashes, are written into a folder of another name, flushed to disk, and
    the folder is renamed: whoever reads, at any moment, sees a whole checkpoint or none. Older ones are removed after.

    Args:
        every_kimg: between checkpoints; one more is written at the end.
        keep: how many of the newest stay; None keeps all.
        keep_every_kimg: the first one at or after every multiple of it stays for ever; None for none.
    """

    def __init__(self, every_kimg: float, keep: int | None = 3, keep_every_kimg: float | None = None) -> None:
        if keep is not None and keep < 1:
            raise ValueError("schedule.keep_checkpoints must be at least 1, or null to keep all")
        if keep_every_kimg is not None and keep_every_kimg <= 0:
            raise ValueError("schedule.keep_every_kimg must be more than 0, or null to keep none for ever")
        self.every_kimg = every_kimg
        self.keep = keep
        self.keep_every_kimg = keep_every_kimg
        self._saved = 0  # images seen at the newest

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = PlainFile()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gan = gan_of(pl_module)
        self._saved = gan.images_seen
        if trainer.is_global_zero:
            tidy(Path(trainer.default_root_dir), gan.images_seen)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        gan = gan_of(pl_module)
        if is_due(gan.images_seen, gan.batch_size, self.every_kimg) or trainer.should_stop:
            self.save_once(trainer, gan)

    def save_once(self, trainer: pl.Trainer, gan: GAN) -> None:
        """Save a checkpoint of this moment, unless it is there; every process calls it."""
        if self._saved == gan.images_seen:
            return
        root = Path(trainer.default_root_dir) / CHECKPOINTS
        lines = root.parent / METRICS
        if trainer.is_global_zero and lines.exists():
            flush(lines)  # what happened before a checkpoint is on disk before it
        write_checkpoint(trainer, gan, root / kimg_label(gan.images_seen))
        self._saved = gan.images_seen
        if trainer.is_global_zero:
            for old in self.superfluous(checkpoint_folders(root.parent)):
                remove_folder(old)

    def superfluous(self, folders: list[Path]) -> list[Path]:
        """Which of the checkpoints, oldest first, the policy does not keep; never the newest."""
        if self.keep is None:
            return []
        every = None if self.keep_every_kimg is None else max(1, round(self.keep_every_kimg * 1000))
        doomed, reached = [], 0
        for folder in folders[: -self.keep]:
            multiple = reached if every is None else images_of(folder) // every
            if multiple > reached:
                reached = multiple
            else:
                doomed.append(folder)
        return doomed


def tidy(run: Path, images_seen: int) -> None:
    """At the start, in the folder of a run at a moment: remove what killed writers left, set aside what is damaged.

    A checkpoint beyond the moment that a run is continued from was passed over as damaged: left there, it would count
    as the newest. A best checkpoint is looked at here.
    """
    for folder in (run / CHECKPOINTS, run / SAMPLES, run / GUARD):  # where nobody else writes
        for name in remove_leftovers(folder):
            log.info("removed %s, left by a run that was killed", folder / name)
    beyond = [folder for folder in checkpoint_folders(run) if images_of(folder) > images_seen]
    for best in best_checkpoints(run):
        reason = damage(best)
        if reason is not None:
            log.warning("DAMAGED CHECKPOINT: %s. The best begins anew", reason)
            beyond.append(best)
    for folder in beyond:
        log.warning("%s is now called %s", folder, set_aside(folder).name)


class PlainFile(TorchCheckpointIO):
    """Writes a checkpoint into its file. Lightning's own builds it in memory, then in the system's temporary folder.

    Attributes:
        error: of the last save, on the process that writes; raised there, it would leave the others waiting.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        self.error = None
        try:
            with Path(path).open("wb") as file:
                torch.save(checkpoint, file)
        except Exception as error:
            self.error = error


def write_checkpoint(trainer: pl.Trainer, gan: GAN, final: Path, texts: dict[str, str] | None = None) -> None:
    """Write a checkpoint folder; every process calls it, rank 0 writes.

    Args:
        trainer, gan: what is kept.
        final: the folder.
        texts: names and contents of further files in it.

    Raises:
        DiskFull: there is no room; nothing of it is left. On other processes than the first, `SystemExit`.
    """
    error: Exception | None = None
    folder = WholeOrNone(final)
    if trainer.is_global_zero:
        try:
            check_space(final, expected_bytes(trainer, gan), intact(final))
            folder.begin()
        except (OSError, DiskFull) as caught:
            error = caught
    raise_on_all(trainer, gan, final, error)
    try:
        trainer.save_checkpoint(folder.partial / TRAINING)  # every process takes part
        if trainer.is_global_zero:
            io = trainer.strategy.checkpoint_io
            if isinstance(io, PlainFile) and io.error is not None:
                raise io.error
            generator = folder.partial / GENERATOR
            save_generator(gan.generator_ema, generator, gan.generator_config, kimg=gan.images_seen / 1000)
            for name, text in (texts or {}).items():
                replace_text(folder.partial / name, text)
            write_manifest(folder.partial)
            folder.commit()
    except Exception as caught:
        if not trainer.is_global_zero:
            raise
        folder.discard()
        error = caught
    raise_on_all(trainer, gan, final, error)


def raise_on_all(trainer: pl.Trainer, gan: GAN, final: Path, error: Exception | None) -> None:
    """Raise the first process's error, if it has one, when the others know of it; they then end without a word."""
    if trainer.strategy.broadcast(error is not None) and error is None:
        exit_quietly(trainer, STATUS_MISTAKE)
    if error is None:
        return
    if not isinstance(error, DiskFull) and is_full(error):
        raise disk_full(final, expected_bytes(trainer, gan), intact(final)) from error
    raise error


def intact(final: Path) -> str:
    """What a message says of the checkpoints that are there."""
    names = [folder.name for folder in checkpoint_folders(final.parents[1])]
    return f"The checkpoints before it are as they were (the newest: {names[-1]}). " if names else ""


def expected_bytes(trainer: pl.Trainer, gan: GAN) -> int:
    """About how much room a checkpoint takes: all tensors of the module and its optimisers, and the average again."""
    states = [gan.state_dict(), gan.generator_ema.state_dict(), *(o.state_dict() for o in trainer.optimizers)]
    tensors = [leaf for leaf in tree_leaves(states) if isinstance(leaf, torch.Tensor)]
    return round(MARGIN * sum(tensor.numel() * tensor.itemsize for tensor in tensors)) + OVERHEAD
