"""What every data set is to the training: a Lightning data module with an endless, numbered stream of pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cips_lab.data.dataset import ArrayDataset, ImageDataset, check_resolution
from cips_lab.data.labelled import LabelledDataset
from cips_lab.data.labels import Classes
from cips_lab.data.loading import PictureLoader, end_with_the_run, processes_here, readers_that_fit
from cips_lab.data.sampler import InfiniteSampler
from cips_lab.data.windows import Originals, WindowDataset, WindowsOf
from cips_lab.errors import UserError
from cips_lab.networks.size import sides, size_name, size_of

Split = Literal["train", "test"]


@dataclass(frozen=True)
class _Stream:
    """Which part of the endless stream of training pictures this process reads."""

    batch_size: int
    seed: int
    rank: int
    world_size: int
    images_seen: int
    windows: WindowsOf | None = None
    labelled: bool = False


class BaseDataModule(pl.LightningDataModule):
    """What every data set shares: the training loader, its configuration and its description.

    A subclass fills `train_dataset`, and `test_dataset` if it has one, in `setup`; both yield uint8 [3, R, R].
    `name`: the data set's short name, for run folders and messages. `flip`: whether training mirrors half of the
    pictures (on the device, with `to_device_range`). `num_workers`: processes that read, None for automatic.
    """

    stand_in: bool = False  # whether the pictures are in place of others, so that no number of theirs is wanted
    train_dataset: ImageDataset | ArrayDataset
    test_dataset: ImageDataset | ArrayDataset | None = None

    name: str

    def __init__(self, name: str, resolution: int | Sequence[int], flip: bool, num_workers: int | None) -> None:
        super().__init__()
        check_resolution(resolution)
        if num_workers is not None and num_workers < 0:
            raise UserError(f"data.num_workers={num_workers}: must be null (automatic), 0 or more")
        self.name = name
        self.resolution = size_of(*sides(resolution))
        self.flip = flip
        self.num_workers = num_workers
        self._stream: _Stream | None = None

    @property
    def location(self) -> str:
        """Where the pictures come from, for logs."""
        raise NotImplementedError

    def automatic_workers(self, world_size: int) -> int:
        """The number of reading processes when `num_workers` is None."""
        raise NotImplementedError

    def describe(self) -> dict[str, str | int]:
        """`name`, `count` (training pictures), `resolution` (pixels a side) and `source`, after `setup`."""
        return {
            "name": self.name,
            "count": len(self.train_dataset),
            "resolution": self.resolution if isinstance(self.resolution, int) else size_name(self.resolution),
            "source": self.location,
        }

    def setup(self, stage: str | None = None) -> None:
        """Fill `train_dataset`, and `test_dataset` where there is one; once, whatever the `stage`."""
        raise NotImplementedError

    def finer(self, side: int) -> ImageDataset | ArrayDataset | None:
        """Pictures of the same kind, framed alike, with more pixels a side; None where there are none. After `setup`.

        What `cips_lab.analyze` compares pictures on finer grids with; nothing is enlarged.
        """
        return None

    def originals(self, split: Split = "train") -> Originals | None:
        """Pictures of a split at their own size, in the same order; None where it has none. After `setup`."""
        return self.train_dataset if split == "train" else self.test_dataset

    def classes(self, split: Split = "train") -> Classes | None:
        """Of a split's pictures, in their order; None where they have none. After `setup`."""
        return None

    def groups(self) -> np.ndarray | None:
        """Lengths of stretches of training pictures that are cheap to read together; None: any order costs the same."""
        return None

    def check_originals(self, frame: tuple[int, int]) -> None:
        """Raise `UserError` if one would have to be enlarged to a frame (height, width); after `prepare_data`."""

    def configure(
        self,
        *,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
        images_seen: int,
        windows: WindowsOf | None = None,
        labelled: bool = False,
    ) -> None:
        """Say what `train_dataloader` is to read; the training code calls it before `fit`. See `train_loader`."""
        self._stream = _Stream(batch_size, seed, rank, world_size, images_seen, windows, labelled)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Lightning's hook. The trainer needs `use_distributed_sampler=False`: this order is distributed already.

        Raises `RuntimeError` before `configure`.
        """
        if self._stream is None:
            raise RuntimeError("call configure(batch_size=..., seed=..., ...) before the trainer asks for pictures")
        return self.train_loader(**vars(self._stream))

    def train_loader(
        self,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        images_seen: int = 0,
        windows: WindowsOf | None = None,
        labelled: bool = False,
    ) -> DataLoader[Any]:
        """Endless batches uint8 [batch_size, 3, H, W] for one process, after `setup`; with `windows`, also these, and
        where `labelled` then their classes, int64 [batch_size].

        `batch_size`: pictures per process. `images_seen`: where the stream begins, counted over all processes.
        """
        workers = self.num_workers
        if workers is None:
            batch_bytes = batch_size * 3 * math.prod(sides(self.resolution))
            workers = readers_that_fit(self.automatic_workers(world_size), batch_bytes, processes_here(world_size))
        order = InfiniteSampler(len(self.train_dataset), seed, rank, world_size, images_seen, self.groups())
        dataset: Dataset[Any] = self.train_dataset
        if windows is not None:
            originals = self.originals()
            assert originals is not None  # there are pictures to train on
            dataset = WindowDataset(originals, windows)
        if labelled:
            classes = self.classes()
            assert classes is not None  # who asks for them has looked
            dataset = LabelledDataset(dataset, classes)
        return PictureLoader(
            dataset,
            batch_size=batch_size,
            sampler=order if windows is None else order.numbered(),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=end_with_the_run,
        )
