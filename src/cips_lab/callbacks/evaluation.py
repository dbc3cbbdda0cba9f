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

from cips_lab.callbacks.checkpoints import write_checkpoint
from cips_lab.callbacks.clock import gan_of, is_due, kimg_label
from cips_lab.callbacks.interruption import EvaluationAbandoned, interruption_of, telling_of_a_full_disk
from cips_lab.callbacks.metrics import MetricsLog
from cips_lab.callbacks.progress import ProgressLine
from cips_lab.data.datamodule import BaseDataModule
from cips_lab.errors import UserError
from cips_lab.metrics import defaults
from cips_lab.metrics.defaults import FLOOR, HIGHER_IS_BETTER
from cips_lab.metrics.evaluator import Evaluator, Real, Results
from cips_lab.metrics.samples import samples
from cips_lab.storage import append_line, remove_folder, replace_text
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
        if best is not None and best not in (evaluator.names or defaults.NAMES):
            raise UserError(f"callbacks.evaluation.best={best}: not among metrics.names={list(evaluator.names or [])}")
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
        if self.enabled:
            data.setup()
            self.evaluator.check(data.train_dataset, self.num_samples)

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
            self._evaluate(trainer, gan)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        gan = gan_of(pl_module)
        if self._due(gan.images_seen, gan.batch_size) is not None:
            self._evaluate(trainer, gan)

    def _evaluate(self, trainer: pl.Trainer, gan: GAN) -> None:
        began = time.monotonic()
        count = self._due(gan.images_seen, gan.batch_size)
        data: BaseDataModule = trainer.datamodule  # type: ignore[attr-defined]
        evaluator = self.evaluator.to(gan.device)
        if self.real is None:
            self.real = evaluator.reference(data.train_dataset)
        pictures: Iterable[Tensor] = samples(gan.generator_ema, evaluator.batches(count), gan.device)
        interruption = interruption_of(trainer)
        if interruption is not None:
            smallest_share = (count or evaluator.num_samples) // trainer.world_size
            pictures = interruption.watch(trainer, pictures, math.ceil(smallest_share / evaluator.batch_size))
        try:
            record: Results = {"kimg": gan.images_seen / 1000, **evaluator.evaluate(pictures, self.real, count)}
        except EvaluationAbandoned:
            log.info("the evaluation at kimg %g is left, to be done when the run is continued", gan.images_seen / 1000)
            return
        if data.test_dataset is not None:
            floor = evaluator.floor(data.test_dataset, self.real, count)
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
            with telling_of_a_full_disk(trainer, folder / "metrics.jsonl"):
                append_line(folder / "metrics.jsonl", json.dumps(record))
                replace_text(folder / "evaluations.md", table(evaluations(folder)))
            with tqdm.external_write_mode():
                log.info("kimg %g: %s, %.0f s", record["kimg"], sentence(record), seconds)
        self._keep_best(trainer, gan, record)

    def _keep_best(self, trainer: pl.Trainer, gan: GAN, record: Results) -> None:
        if self.best is None:
            return
        folder = Path(trainer.default_root_dir)
        key = self.evaluator.distance_key if self.best == "fd" else self.best
        # On rank 0 alone: the folder is its own, and a checkpoint needs no other process when parameters are replicated
        # but Lightning calls barriers, so that all must agree on whether there is one.
        better = trainer.is_global_zero and is_better(record, key, best_so_far(folder))
        if not trainer.strategy.broadcast(better):
            return
        final = folder / "checkpoints" / f"best-{kimg_label(gan.images_seen)}"
        write_checkpoint(trainer, gan, final, {"metrics.json": json.dumps(record, indent=2) + "\n"})
        if trainer.is_global_zero:
            for old in best_checkpoints(folder):
                if old != final:
                    remove_folder(old)


# ---------------------------------------------------------------------------------------------- records


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a run, oldest first: those lines of metrics.jsonl that name an extractor."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:  # cut short when the run was killed
            continue
    return [record for record in records if "extractor" in record]


def best_checkpoints(folder: Path) -> list[Path]:
    """checkpoints/best-kimg-*; more than one only if the run was killed between writing one and removing another."""
    return sorted((folder / "checkpoints").glob("best-kimg-*"))


def best_so_far(folder: Path) -> dict[str, Any] | None:
    """The evaluation that belongs to the best checkpoint, or None."""
    kept = best_checkpoints(folder)
    return json.loads((kept[-1] / "metrics.json").read_text()) if kept else None


def is_better(record: Results, key: str, best: dict[str, Any] | None) -> bool:
    """Whether an evaluation is the best so far; one of another number of samples or network cannot be compared."""
    if best is None or key not in best:
        return True
    comparable = ("num_samples", "num_real", "extractor", "manifold_extractor", "weights")
    if any(record[name] != best[name] for name in comparable):
        return False
    new, old = float(record[key]), float(best[key])
    return new > old if key in HIGHER_IS_BETTER else new < old


def shown(record: dict[str, Any]) -> list[str]:
    """The names of a record's metrics, in their order, without errors and counts."""
    distances = [name for name in record if name == "fid" or name.startswith("fd_")]
    return [*distances, *(n for n in ("kid", "isc", "precision", "recall", "density", "coverage") if n in record)]


def network_of(record: dict[str, Any], name: str) -> str:
    """The extractor that a metric was computed with."""
    of_manifolds = name in ("precision", "recall", "density", "coverage")
    return str(record["manifold_extractor" if of_manifolds else "extractor"])


def curves(record: dict[str, Any]) -> dict[str, float]:
    """For loggers: ``<extractor>-<samples>/<metric>``, so that no curve mixes networks or numbers of samples."""
    values = {"kimg": record["kimg"]}
    for name in shown(record):
        for prefix in ("", FLOOR):
            count = record.get(f"{prefix}num_samples")
            if prefix + name in record:
                values[f"{network_of(record, name)}-{count}/{prefix.replace('/', ' ')}{name}"] = record[prefix + name]
    return values


def sentence(record: dict[str, Any]) -> str:
    """One line for the console."""
    values = ", ".join(f"{name} {record[name]:.4g}" for name in shown(record))
    networks = record["extractor"]
    if record["manifold_extractor"] != networks:
        networks += f", {record['manifold_extractor']}"
    counts = f"{record['num_samples']} samples against {record['num_real']} real"
    return f"{values} ({counts}, {networks})"


def table(records: list[dict[str, Any]]) -> str:
    """Evaluations as Markdown, one table for each number of samples and network; the floor is the last row."""
    parts = []
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        key = ("num_samples", "num_real", "extractor", "manifold_extractor", "weights")
        groups.setdefault(tuple(record[name] for name in key), []).append(record)
    for group in groups.values():
        first, last = group[0], group[-1]
        names = shown(first)
        rows = [["kimg", *names]]
        rows += [[f"{r['kimg']:g}", *(f"{r[name]:.4f}" for name in names)] for r in group]
        caption = f"{first['num_samples']} samples against {first['num_real']} real pictures, {first['extractor']}"
        if first["manifold_extractor"] != first["extractor"]:
            caption += f" ({first['manifold_extractor']} for precision, recall, density and coverage)"
        if FLOOR + "num_samples" in last:
            rows.append(["floor", *(f"{last[FLOOR + n]:.4f}" if FLOOR + n in last else "" for n in names)])
            caption += f"; floor: {last[FLOOR + 'num_samples']} held-out real pictures instead of generated ones"
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["| " + " | ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|")
        parts.append(caption + ":\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)
