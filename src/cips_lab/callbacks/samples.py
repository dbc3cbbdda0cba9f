"""Sample grids from latents that stay the same through the run, and one grid of real images."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch

from cips_lab.callbacks.interruption import telling_of_a_full_disk
from cips_lab.callbacks.quiet_exit import check_average
from cips_lab.data.dataset import to_device_range
from cips_lab.networks.mapping import of_classes
from cips_lab.render.pictures import save_picture, tile_images, to_uint8
from cips_lab.render.scene import draw, whole_turn
from cips_lab.runs.folder import REAL, SAMPLES, kimg_label
from cips_lab.training.clock import gan_of, is_due
from cips_lab.training.draws import stream
from cips_lab.training.gan import GAN


@runtime_checkable
class ShowsPictures(Protocol):
    """A logger that can show a picture."""

    def log_picture(self, name: str, path: Path, kimg: float, images_seen: int) -> None:
        """Show the picture at `path` under a name."""
        ...


def show(trainer: pl.Trainer, name: str, path: Path, images_seen: int) -> None:
    """Send a picture to every logger that can show one."""
    for logger in trainer.loggers:
        if isinstance(logger, ShowsPictures):
            logger.log_picture(name, path, images_seen / 1000, images_seen)


class SampleGrids(pl.Callback):
    """samples/kimg-*.png of the averaged generator every `every_kimg` and at the end, and samples/real.png.

    Of a cylinder, whole turns are shown, one below the other. Of classes, each row shows one, from the same latents.

    Args:
        every_kimg: between grids; None for the last alone.
        rows, columns: pictures in a grid; turns fill the rows.
        truncation: psi of the truncation trick, 1 for none.
        batch: pictures synthesised at once.
    """

    def __init__(
        self, every_kimg: float | None, rows: int = 8, columns: int = 8, truncation: float = 1.0, batch: int = 16
    ) -> None:
        self.every_kimg = every_kimg
        self.rows = rows
        self.columns = columns
        self.truncation = truncation
        self.batch = batch

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gan = gan_of(pl_module)
        path = self._folder(trainer) / REAL
        if trainer.is_global_zero and not path.exists():
            dataset = trainer.datamodule.train_dataset  # type: ignore[attr-defined]
            count = min(self.rows * self.columns, len(dataset))
            chosen = torch.randperm(len(dataset), generator=stream(gan.seed, "real grid", 0))[:count]
            images = torch.stack([dataset[int(i)] for i in chosen])
            sheet = tile_images(to_uint8(to_device_range(images, torch.zeros(count, dtype=torch.bool))), self.columns)
            with telling_of_a_full_disk(trainer, path):
                save_picture(sheet, path)
                show(trainer, "real", path, gan.images_seen)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        gan = gan_of(pl_module)
        if not (is_due(gan.images_seen, gan.batch_size, self.every_kimg) or trainer.should_stop):
            return
        check_average(trainer, gan)
        if trainer.is_global_zero:
            self._save(trainer, gan)

    def _save(self, trainer: pl.Trainer, gan: GAN) -> None:
        path = self._folder(trainer) / f"{kimg_label(gan.images_seen)}.png"
        with telling_of_a_full_disk(trainer, path):
            columns = self.columns if gan.generator_ema.period is None else 1
            save_picture(tile_images(to_uint8(self.draw(gan)), columns), path)
            show(trainer, "samples", path, gan.images_seen)

    def draw(self, gan: GAN) -> torch.Tensor:
        """[rows * columns, 3, H, W], or [rows, 3, H, turn], from the run's fixed latents."""
        generator = gan.generator_ema
        z = torch.randn(self.rows * self.columns, generator.z_dim, generator=stream(gan.seed, "sample grid", 0))
        grid = whole_turn(generator, gan.device)
        columns = self.columns if grid is None else 1
        z = self.by_class(z[: self.rows * columns], columns, generator.mapping.classes)
        return torch.cat([draw(generator, part, self.truncation, grid) for part in z.to(gan.device).split(self.batch)])

    def by_class(self, z: torch.Tensor, columns: int, classes: int) -> torch.Tensor:
        """Latents [rows * columns, z_dim] with a class for each row, of which all then have the same latents."""
        if not classes:
            return z
        labels = torch.arange(self.rows).repeat_interleave(columns) % classes
        return of_classes(z[:columns].repeat(self.rows, 1), labels, classes)

    @staticmethod
    def _folder(trainer: pl.Trainer) -> Path:
        return Path(trainer.default_root_dir) / SAMPLES
