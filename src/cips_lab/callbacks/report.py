"""report.html of a run while it goes on and at its end, and of the sweep that it is a job of."""

import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from cips_lab.callbacks.metrics import MetricsLog
from cips_lab.callbacks.progress import ProgressLine
from cips_lab.reporting.run_page import write_run_page
from cips_lab.reporting.sweep_page import write_sweep_page
from cips_lab.runs.folder import REPORT, is_run
from cips_lab.runs.records import State
from cips_lab.training.clock import gan_of, is_due

log = logging.getLogger(__name__)


class Report(pl.Callback):
    """Rank 0 writes RUN/report.html after sample grids, after evaluations and at the end, without counting FLOPs.

    A job of a multirun also writes the page of its sweep when it ends. Whatever goes wrong is logged with its
    traceback, and the run goes on: a page can be made again at any time (`python -m cips_lab.report`), a run cannot.

    Args:
        sample_kimg, evaluate_kimg: when grids and evaluations come; None for never.
        total_kimg: length of the run; one shorter than `evaluate_kimg` is not evaluated.
    """

    def __init__(self, sample_kimg: float | None, evaluate_kimg: float | None, total_kimg: float) -> None:
        self.total_images = round(total_kimg * 1000)
        self.sample_kimg = sample_kimg
        self.evaluate_kimg = evaluate_kimg if evaluate_kimg is not None and evaluate_kimg <= total_kimg else None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        gan = gan_of(pl_module)
        due = (is_due(gan.images_seen, gan.batch_size, every) for every in (self.sample_kimg, self.evaluate_kimg))
        if any(due) and not trainer.should_stop:  # the end has a page of its own
            self._write(trainer, "running")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        reached = gan_of(pl_module).images_seen >= self.total_images  # a run may be asked to stop before
        self._write(trainer, "finished" if reached else "unfinished")
        sweep = sweep_of(Path(trainer.default_root_dir)) if trainer.is_global_zero else None
        if sweep is not None:
            refresh_sweep(sweep)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._write(trainer, "interrupted" if isinstance(exception, KeyboardInterrupt) else "failed")

    def _write(self, trainer: pl.Trainer, state: State) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        if not is_run(folder):  # a trainer of a program's own, whose folder holds no configuration
            return
        began = time.monotonic()
        try:
            write_run_page(folder, state=state, costs=False)
        except Exception:
            complain(folder)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, (MetricsLog, ProgressLine)):
                callback.skip(time.monotonic() - began)


def sweep_of(folder: Path) -> Path | None:
    """The folder of the sweep that a run is a job of: the nearest one above with Hydra's multirun.yaml."""
    above = folder.resolve().parents
    return next((parent for parent in above[:3] if (parent / "multirun.yaml").is_file()), None)


def refresh_sweep(folder: Path) -> None:
    """Write a sweep's page as it stands, without counting FLOPs; what goes wrong is logged, and no more."""
    try:
        write_sweep_page(folder, costs=False)
    except Exception:
        complain(folder)


def complain(folder: Path) -> None:
    """Log the exception that is being handled."""
    with tqdm.external_write_mode():
        log.exception(
            "%s of %s could not be written; training goes on. To try again: python -m cips_lab.report run=%s",
            REPORT,
            folder,
            folder,
        )
