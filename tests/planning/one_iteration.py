"""Train two iterations on the CPU under Lightning and print how far the resident memory rose, in bytes.

    MALLOC_MMAP_THRESHOLD_=65536 python tests/planning/one_iteration.py tiled|untiled override ...

Run by test_planning.py in a process of its own. The threshold makes the C library hand every freed tensor back at once,
so that the resident memory is what is alive.
"""

import gc
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cips_lab.configuration import build, conf_folder
from cips_lab.launch.run import quiet_libraries
from cips_lab.training.gan import GAN


class Grey(Dataset):
    """Images that cost nothing."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.image = count, torch.zeros(3, size, size, dtype=torch.uint8)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return self.image


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int, size: int) -> None:
        super().__init__()
        self.loader = DataLoader(Grey(2 * batch_size, size), batch_size)

    def configure(self, **share: object) -> None:
        pass

    def train_dataloader(self) -> DataLoader:
        return self.loader


def train(cfg: DictConfig, untiled: bool) -> None:
    gan = GAN(
        build(cfg.generator),
        build(cfg.discriminator),
        build(cfg.objective),
        batch_size=cfg.batch_size,
        micro_batch=cfg.micro_batch,
    )
    if untiled:
        gan._native = gan.generator.synthesize_at_once
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=cfg.trainer.precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(gan, datamodule=Data(cfg.batch_size, cfg.resolution))


def status(field: str) -> int:
    """A size from /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def main() -> None:
    mode, overrides = sys.argv[1], sys.argv[2:]
    quiet_libraries()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        small = compose("train", [*overrides, "resolution=8", "model.width=8", "batch_size=2", "micro_batch=null"])
        cfg = compose("train", overrides)
    train(small, mode == "untiled")  # what libraries load and set up on their first use is no part of an iteration
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM, the high-water mark, starts anew
    before = status("VmRSS")
    train(cfg, mode == "untiled")
    print(status("VmHWM") - before)


if __name__ == "__main__":
    main()
