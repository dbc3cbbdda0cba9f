"""One live line: kimg, speed, time left, losses, memory."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from cips_lab.callbacks.metrics import MetricsLog, peak_memory_gb
from cips_lab.training.clock import gan_of

LINE = "{desc} {percentage:3.0f}%|{bar:20}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]"


class ProgressLine(pl.Callback):
    """A tqdm bar over kimg. On a terminal it is redrawn in place; in a file a line is added every half minute."""

    def __init__(self, total_kimg: float) -> None:
        self.total_kimg = total_kimg
        self._bar: Any = None
        self._drawn = 0.0
        self._speed = (0.0, 0.0)  # (time, kimg) where the current speed estimate began

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        kimg = gan_of(pl_module).images_seen / 1000
        self._interval = 0.5 if sys.stderr.isatty() else 30.0
        self._bar = tqdm(
            total=self.total_kimg,
            initial=kimg,
            desc="training",
            bar_format=LINE,
            dynamic_ncols=sys.stderr.isatty(),
            mininterval=0,
            file=sys.stderr,
        )
        self._drawn = time.monotonic()
        self._speed = (self._drawn, kimg)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is None:
            return
        gan, now = gan_of(pl_module), time.monotonic()
        kimg = min(gan.images_seen / 1000, self.total_kimg)
        if now - self._drawn < self._interval and kimg < self.total_kimg:
            return
        self._drawn = now
        began, from_kimg = self._speed
        shown = {"s/kimg": f"{(now - began) / max(kimg - from_kimg, 1e-9):.2f}"}
        if now - began > 60:  # the speed shown is that of the last minute
            self._speed = (now, kimg)
        last = next((c.last for c in trainer.callbacks if isinstance(c, MetricsLog)), {})  # type: ignore[attr-defined]
        for label, name in (("D", "loss/discriminator"), ("G", "loss/generator"), ("R1", "loss/r1")):
            if name in last:
                shown[label] = f"{last[name]:.3f}"
        shown["mem"] = f"{peak_memory_gb(gan.device):.1f}GB"
        self._bar.n = kimg
        self._bar.set_postfix(shown, refresh=False)
        self._bar.refresh()
        if not sys.stderr.isatty():
            sys.stderr.write("\n")

    def skip(self, seconds: float) -> None:
        """Leave time out of the speed, which is that of training."""
        began, from_kimg = self._speed
        self._speed = (began + seconds, from_kimg)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._bar is not None:
            self._bar.close()
