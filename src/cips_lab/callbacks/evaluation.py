"""Metrics of the averaged generator during a run: now and then with few samples, at the end in full."""

import json
import logging
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from tqdm import tqdm

from cips_lab.callbacks.checkpoints import Checkpoints, write_checkpoint
from cips_lab.callbacks.interruption import EvaluationAbandoned, interruption_of, telling_of_a_full_disk
from cips_lab.callbacks.metrics import MetricsLog
from cips_lab.callbacks.progress import ProgressLine
from cips_lab.callbacks.quiet_exit import check_average
from cips_lab.data.base import BaseDataModule
from cips_lab.errors import UserError
from cips_lab.files.whole import append_line, remove_folder, replace_text
from cips_lab.metrics.constants import FLOOR
from cips_lab.metrics.evaluator import Evaluator, Results
from cips_lab.metrics.extractors import PACKAGED
from cips_lab.metrics.real import Real
from cips_lab.metrics.results import curves, is_better, sentence, table
from cips_lab.render.scene import samples
from cips_lab.runs.checkpoints import best_so_far
from cips_lab.runs.folder import BEST, CHECKPOINTS, EVALUATIONS, METRICS, SCORES, best_checkpoints, kimg_label
from cips_lab.runs.records import evaluations
from cips_lab.training.clock import gan_of, is_due
from cips_lab.training.gan import GAN

log = logging.getLogger(__name__)


class Evaluation(pl.Callback):
    """Every `every_kimg` thousand images, and at the end, all processes together evaluate the averaged generator.

    The latents are always those of seeds 0, 1, ..., without truncation. A line goes to metrics.jsonl, to the console
    and to every logger, each number with its extractor and the number of samples; evaluations.md holds them as a table,
    with the floor where the data set has held-out pictures. A run shorter than `every_kimg` is a trial and is not
    evaluated. One that is stopped during an evaluation leaves it, and does it again when it is continued.

    Args:
        evaluator: what is computed, and, for the last evaluation, of how many samples.
        every_kimg: between evaluations; None for none at all.
        total_kimg: length of the run.
        num_samples: of every evaluation but the last, at most the evaluator's.
        best: the metric whose best value so far keeps its checkpoint in checkpoints/best-kimg-*; ``fd`` is the Frechet
            distance whatever the extractor. None keeps no best.

    Raises:
        UserError: `best` is not among the metrics.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        every_kimg: float | None,
        total_kimg: float,
        num_samples: int,
        best: str | None = "fd",
    ) -> None:
        if num_samples < 1:
            raise UserError(f"callbacks.evaluation.num_samples={num_samples}: must be at least 1")
        names = list(evaluator.names or [one.metric.name for one in evaluator.chosen])
        if best is not None and not evaluator.computes(best):
            raise UserError(f"callbacks.evaluation.best={best}: not among metrics.names={names}")
        self.evaluator = evaluator
        self.every_kimg = every_kimg
        self.total_images = round(total_kimg * 1000)
        self.num_samples = min(num_samples, evaluator.num_samples)
        self.best = best
        self.real: Real | None = None  # the real pictures' statistics, once there was an evaluation

    @property
    def enabled(self) -> bool:
        """Whether the run is long enough to be evaluated."""
        return self.every_kimg is not None and self.total_images >= round(self.every_kimg * 1000)

    def check(self, data: BaseDataModule) -> None:
        """Raise `UserError` before the run for what would stop its first evaluation."""
        judges = {self.evaluator.extractor, self.evaluator.manifold_extractor}
        if self.enabled and data.stand_in and not judges <= set(PACKAGED):
            log.warning(
                "not evaluated: metrics are to be computed with %s, whose weights are downloads, and the pictures are "
                "%s; metrics=efficientnet_lite0 evaluates with weights that are here",
                *(", ".join(sorted(judges)), data.location),
            )
            self.every_kimg = None
        if self.enabled:
            data.setup()
            self.evaluator.check(data.train_dataset, self.num_samples, data.test_dataset)
            keys = [one.key for one in self.evaluator.wanted]
            if self.best is not None and self.evaluator.key_of(self.best) not in keys:
                raise UserError(
                    f"callbacks.evaluation.best={self.best}: needs a classifier, and {self.evaluator.extractor} is none"
                )

    def is_pending(self, folder: Path, images_seen: int, batch_size: int) -> bool:
        """Whether a run at this moment lacks the evaluation that belongs here: it was stopped before its end."""
        count = self._due(images_seen, batch_size)
        done = [r["num_samples"] for r in evaluations(folder) if round(r["kimg"] * 1000) == images_seen]
        return count is not None and count not in done

    def _due(self, images_seen: int, batch_size: int) -> int | None:
        """Samples of the evaluation that is due at this moment; None where none is."""
        if not self.enabled or images_seen == 0:
            return None
        if images_seen >= self.total_images:
            return self.evaluator.num_samples
        return self.num_samples if is_due(images_seen, batch_size, self.every_kimg) else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gan = gan_of(pl_module)
        pending = trainer.is_global_zero and self.is_pending(
            Path(trainer.default_root_dir), gan.images_seen, gan.batch_size
        )
        if trainer.strategy.broadcast(pending):  # rank 0 alone reads the file that it alone writes
            self._evaluate_or_save(trainer, gan)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        gan = gan_of(pl_module)
        if self._due(gan.images_seen, gan.batch_size) is not None:
            self._evaluate_or_save(trainer, gan)

    def _evaluate_or_save(self, trainer: pl.Trainer, gan: GAN) -> None:
        """An evaluation that cannot be made ends the run, but not before the training until here is saved."""
        check_average(trainer, gan)
        try:
            self._evaluate(trainer, gan)
        except UserError:  # the same on every process
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, Checkpoints):
                    callback.save_once(trainer, gan)
            raise

    def _evaluate(self, trainer: pl.Trainer, gan: GAN) -> None:
        began = time.monotonic()
        count = self._due(gan.images_seen, gan.batch_size)
        data: BaseDataModule = trainer.datamodule  # type: ignore[attr-defined]
        evaluator = self.evaluator.to(gan.device)
        if self.real is None:
            self.real = evaluator.reference(data.train_dataset)
            if gan.generator.mapping.classes:
                self.real = evaluator.with_classes(self.real, data.classes())
        held_out = None if data.test_dataset is None else evaluator.held_out(data.test_dataset, count)
        pictures: Iterable[Tensor] = samples(gan.generator_ema, evaluator.batches(count), gan.device)
        interruption = interruption_of(trainer)
        if interruption is not None:
            smallest_share = (count or evaluator.num_samples) // trainer.world_size
            pictures = interruption.watch(trainer, pictures, math.ceil(smallest_share / evaluator.batch_size))
        try:
            labels = gan.generator_ema.mapping.classes_of(range(count or evaluator.num_samples))
            found = evaluator.evaluate(pictures, self.real, count, held_out, labels)
        except EvaluationAbandoned:
            log.info("the evaluation at kimg %g is left, to be done when the run is continued", gan.images_seen / 1000)
            return
        record: Results = {"kimg": gan.images_seen / 1000, **found}
        if held_out is not None:
            floor = evaluator.floor(held_out, self.real)
            record |= {FLOOR + name: value for name, value in floor.items() if isinstance(value, float)}
            record[FLOOR + "num_samples"] = floor["num_samples"]
        seconds = time.monotonic() - began
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, (MetricsLog, ProgressLine)):
                callback.skip(seconds)
        for logger in trainer.loggers:
            logger.log_metrics(curves(record), step=gan.images_seen)
            logger.save()
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero:
            with telling_of_a_full_disk(trainer, folder / METRICS):
                append_line(folder / METRICS, json.dumps(record, allow_nan=False))
                replace_text(folder / EVALUATIONS, table(evaluations(folder)))
            with tqdm.external_write_mode():
                log.info("kimg %g: %s, %.0f s", record["kimg"], sentence(record), seconds)
        self._keep_best(trainer, gan, record)

    def _keep_best(self, trainer: pl.Trainer, gan: GAN, record: Results) -> None:
        if self.best is None:
            return
        folder = Path(trainer.default_root_dir)
        key = self.evaluator.key_of(self.best)
        # On rank 0 alone: the folder is its own, and a checkpoint needs no other process when parameters are replicated
        # but Lightning calls barriers, so that all must agree on whether there is one.
        better = trainer.is_global_zero and is_better(record, key, best_so_far(folder))
        if not trainer.strategy.broadcast(better):
            return
        final = folder / CHECKPOINTS / f"{BEST}{kimg_label(gan.images_seen)}"
        write_checkpoint(trainer, gan, final, {SCORES: json.dumps(record, indent=2, allow_nan=False) + "\n"})
        if trainer.is_global_zero:
            for old in best_checkpoints(folder):
                if old != final:
                    remove_folder(old)
