"""Numbers of a run: averaged over an interval and over processes, into metrics.jsonl and every logger."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from cips_lab.callbacks.interruption import telling_of_a_full_disk
from cips_lab.files.whole import append_line
from cips_lab.processes.collectives import is_distributed, mean_over_processes
from cips_lab.runs.folder import METRICS
from cips_lab.runs.records import drop_lines_after
from cips_lab.training.clock import gan_of, is_due


def peak_memory_gb(device: torch.device) -> float:
    """Peak memory in GB (10^9 bytes): the allocator's on CUDA, the process's resident set elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


class MetricsLog(pl.Callback):
    """Every `every_kimg`: the means of losses and logits since the last time, speed and memory.

    `last` holds the newest values, for other callbacks to show. A continued run drops the lines that lie beyond the
    checkpoint it continues from, so that every kimg is there once. A checkpoint within an interval holds its sums so
    far, over all processes: the line at the end of the interval is that of a run that was never stopped.
    """

    def __init__(self, every_kimg: float) -> None:
        self.every_kimg = every_kimg
        self.last: dict[str, float] = {}
        self._values: dict[str, list[Tensor]] = {}  # of this interval, on the device: nothing waits for them
        self._sums: dict[str, float] = {}  # of earlier ones
        self._counts: dict[str, int] = {}
        self._device = torch.device("cpu")
        self._began = 0.0
        self._images = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gan = gan_of(pl_module)
        self._device = gan.device
        self._restart_clock(gan.images_seen)
        if trainer.is_global_zero:
            drop_lines_after(self._path(trainer), gan.images_seen)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        gan = gan_of(pl_module)
        for name, value in gan.statistics.items():
            self._values.setdefault(name, []).append(value)
            self._counts[name] = self._counts.get(name, 0) + 1
        gan.statistics = {}
        if is_due(gan.images_seen, gan.batch_size, self.every_kimg):
            self._write(trainer, gan.images_seen)

    def state_dict(self) -> dict[str, Any]:
        """The interval's sums, as means over processes; Lightning calls this on all of them."""
        return {"sums": self._reduced_sums(), "counts": dict(self._counts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Each process goes on from the mean: their mean is the same again, however many there are now."""
        self._values = {}
        self._sums, self._counts = dict(state_dict["sums"]), dict(state_dict["counts"])

    def skip(self, seconds: float) -> None:
        """Leave time out of the speed, which is that of training."""
        self._began += seconds

    def _reduced_sums(self) -> dict[str, float]:
        """Name -> sum over the interval, the mean over processes.

        In float64: sums of a few thousand float32 numbers of like size are exact there, so that it does not matter
        when, and on how many processes, they were made.
        """
        for name, values in self._values.items():
            fresh = torch.stack(values).cpu().double().sum().item()
            self._sums[name] = self._sums.get(name, 0.0) + fresh
        self._values = {}
        names = sorted(self._sums)
        sums = torch.tensor([self._sums[name] for name in names], dtype=torch.float64)
        if names and is_distributed():
            # One reduction for all values; each was recorded in the same iterations on every process.
            sums = mean_over_processes(sums.to(self._device)).cpu()
        return dict(zip(names, sums.tolist(), strict=True))

    def _write(self, trainer: pl.Trainer, images_seen: int) -> None:
        means = {name: single_precision(total / self._counts[name]) for name, total in self._reduced_sums().items()}
        seconds = time.monotonic() - self._began
        record: dict[str, float] = {"kimg": images_seen / 1000}
        record |= means
        record["time/sec_per_kimg"] = seconds / ((images_seen - self._images) / 1000)
        record["memory/peak_gb"] = peak_memory_gb(self._device)
        self.last = record
        if trainer.is_global_zero:
            path = self._path(trainer)
            with telling_of_a_full_disk(trainer, path):
                append_line(path, json.dumps(record))
        for logger in trainer.loggers:
            logger.log_metrics(record, step=images_seen)
            logger.save()  # or a run that is killed and continued lacks what was in memory
        self._sums, self._counts = {}, {}
        self._restart_clock(images_seen)

    def _restart_clock(self, images_seen: int) -> None:
        self._began, self._images = time.monotonic(), images_seen

    @staticmethod
    def _path(trainer: pl.Trainer) -> Path:
        return Path(trainer.default_root_dir) / METRICS


def single_precision(value: float) -> float:
    """The nearest float32: what is beyond it is rounding."""
    return float(np.float32(value))
