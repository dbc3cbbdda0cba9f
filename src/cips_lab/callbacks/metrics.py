"""Numbers of a run: averaged over an interval and over processes, into metrics.jsonl and every logger."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from cips_lab.callbacks.clock import gan_of, is_due
from cips_lab.callbacks.interruption import telling_of_a_full_disk
from cips_lab.storage import append_line, replace_text
from cips_lab.training.parallel import average


def peak_memory_gb(device: torch.device) -> float:
    """Peak memory in GB (10^9 bytes): the allocator's on CUDA, the process's resident set elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


class MetricsLog(pl.Callback):
    """Every `every_kimg`: the means of losses and logits since the last time, speed and memory.

    `last` holds the newest values, for other callbacks to show. A continued run drops the lines that lie beyond the
    checkpoint it continues from, so that every kimg is there once.
    """

    def __init__(self, every_kimg: float) -> None:
        self.every_kimg = every_kimg
        self.last: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._began = 0.0
        self._images = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gan = gan_of(pl_module)
        self._restart(gan.images_seen)
        if trainer.is_global_zero:
            drop_lines_after(self._path(trainer), gan.images_seen)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        gan = gan_of(pl_module)
        for name, value in gan.statistics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1
        gan.statistics = {}
        if is_due(gan.images_seen, gan.batch_size, self.every_kimg):
            self._write(trainer, gan.images_seen, gan.device)

    def skip(self, seconds: float) -> None:
        """Leave time out of the speed, which is that of training."""
        self._began += seconds

    def _write(self, trainer: pl.Trainer, images_seen: int, device: torch.device) -> None:
        names = sorted(self._sums)
        # One reduction for all values; each was recorded in the same iterations on every process.
        means = average(torch.stack([self._sums[name] / self._counts[name] for name in names])).tolist()
        seconds = time.monotonic() - self._began
        record: dict[str, float] = {"kimg": images_seen / 1000}
        record |= dict(zip(names, means, strict=True))
        record["time/sec_per_kimg"] = seconds / ((images_seen - self._images) / 1000)
        record["memory/peak_gb"] = peak_memory_gb(device)
        self.last = record
        if trainer.is_global_zero:
            path = self._path(trainer)
            with telling_of_a_full_disk(trainer, path):
                append_line(path, json.dumps(record))
        for logger in trainer.loggers:
            logger.log_metrics(record, step=images_seen)
        self._restart(images_seen)

    def _restart(self, images_seen: int) -> None:
        self._sums, self._counts = {}, {}
        self._began, self._images = time.monotonic(), images_seen

    @staticmethod
    def _path(trainer: pl.Trainer) -> Path:
        return Path(trainer.default_root_dir) / "metrics.jsonl"


def drop_lines_after(path: Path, images_seen: int) -> None:
    """Keep the lines of a metrics.jsonl up to a moment; a line that was cut short by a crash goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        if round(record["kimg"] * 1000) <= images_seen:
            kept.append(line + "\n")
    replace_text(path, "".join(kept))
