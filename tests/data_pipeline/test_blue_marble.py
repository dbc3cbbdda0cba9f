import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cips_lab.data import blue_marble
from cips_lab.data.blue_marble import (
    BLOCK,
    BOTTOM,
    HEIGHT,
    TOP,
    WIDTH,
    Split,
    build_tiles,
    candidate_origins,
    contrast,
    cut,
    held_out_blocks,
    load_tiles,
    read_land,
    read_picture,
    window_mean,
)
from cips_lab.errors import UserError


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return read_picture()


@pytest.fixture(scope="module")
def land() -> np.ndarray:
    return read_land()


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, Split], np.ndarray]:
    cache = tmp_path_factory.mktemp("cache")
    return lambda resolution, split, *_: load_tiles(resolution, split, cache)


def at(latitude: float, longitude: float) -> tuple[int, int]:
    return int((90 - latitude) * 15), int((longitude + 180) * 15)


LAND = {"Sahara": (23, 10), "Australia": (-25, 134), "Brazil": (-10, -55), "Siberia": (65, 100), "Greenland": (72, -40)}
WATER = {"South Atlantic": (-30, -20), "North Pacific": (35, -160), "Lake Superior": (47.7, -87.5)}


@pytest.mark.parametrize("place", LAND.values(), ids=LAND)
def test_land_is_where_land_is(land: np.ndarray, place: tuple[float, float]) -> None:
    assert land[at(*place)] == 255


@pytest.mark.parametrize("place", WATER.values(), ids=WATER)
def test_water_is_where_water_is(land: np.ndarray, place: tuple[float, float]) -> None:
    assert land[at(*place)] == 0


def test_the_mask_lies_on_the_picture(picture: np.ndarray, land: np.ndarray) -> None:
    def separation(mask: np.ndarray) -> float:
        grey = picture[TOP:BOTTOM].mean(axis=2)
        return float(grey[mask[TOP:BOTTOM] == 255].mean() - grey[mask[TOP:BOTTOM] == 0].mean())

    aligned = separation(land)
    shifted = [separation(np.roll(land, shift, axis)) for axis in (0, 1) for shift in (-8, 8)]
    assert aligned > max(shifted)
    assert aligned > 50


def test_the_picture_is_right_side_up(picture: np.ndarray) -> None:
    sahara, congo, greenland, atlantic = (
        picture[at(*place)].astype(int) for place in ((23, 10), (0, 22), (72, -40), (-30, -20))
    )
    assert greenland.min() > 200
    assert sahara[0] > sahara[2] + 40  # sand
    assert congo[1] > congo[0] > congo[2] - 40
    assert congo.sum() < sahara.sum() / 2  # forest
    assert atlantic[2] > atlantic[0]  # sea


def test_window_statistics_agree_with_numpy(picture: np.ndarray) -> None:
    origins = np.array([(300, 0), (1111, 2222), (2000, WIDTH - 10)])  # the last crosses the date line
    windows = [np.roll(picture, -left, axis=1)[top : top + 64, :64].astype(float) for top, left in origins]
    np.testing.assert_allclose(window_mean(picture[..., 1], 64, origins), [w[..., 1].mean() for w in windows])
    np.testing.assert_allclose(contrast(picture, 64, origins), [w.std(axis=(0, 1)).mean() for w in windows])


def test_a_tile_across_the_date_line_joins_both_ends(picture: np.ndarray) -> None:
    tile = cut(picture, 64, np.array([(400, WIDTH - 24)]), 64)[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(tile[:, :24], picture[400:464, -24:])
    np.testing.assert_array_equal(tile[:, 24:], picture[400:464, :40])


def covered(span: int, split: Split) -> np.ndarray:
    """bool [2700, 5400]: the source pixels that some window of the split touches, painted one window at a time."""
    world = np.zeros((HEIGHT, WIDTH), bool)
    for top, left in candidate_origins(span, split):
        world[top : top + span, left : min(left + span, WIDTH)] = True
        world[top : top + span, : max(left + span - WIDTH, 0)] = True
    return world


@pytest.mark.parametrize("span", [64, 128, 256])
def test_no_pixel_is_in_both_splits_even_across_resolutions(span: int) -> None:
    train, test = covered(span, "train"), covered(span, "test")
    assert train.any()
    assert test.any()
    assert not (train & covered(64, "test")).any()
    assert not (train & test).any()
    assert not train[:TOP].any()
    assert not train[BOTTOM:].any()
    assert not test[:TOP].any()
    assert not test[BOTTOM:].any()


def test_training_windows_cross_the_date_line_and_leave_little_land_unused() -> None:
    origins = candidate_origins(64, "train")
    assert (origins[:, 1] > WIDTH - 64).any()
    free = ~held_out_blocks().repeat(BLOCK, 0).repeat(BLOCK, 1)[: BOTTOM - TOP]
    assert covered(64, "train")[TOP:BOTTOM][free].mean() > 0.95


def test_an_eighth_of_the_blocks_is_held_out() -> None:
    blocks = held_out_blocks()
    assert blocks.shape == (8, 20)
    assert 0.08 < blocks.mean() < 0.18


@pytest.mark.parametrize(("resolution", "train", "test"), [(32, 9091, 1373), (128, 2359, 256), (256, 443, 11)])
def test_tile_counts(tiles: Callable[[int, Split], np.ndarray], resolution: int, train: int, test: int) -> None:
    # Within one per cent: a JPEG decoder may differ in the last bit, and so may a tile at a threshold.
    for array, expected in ((tiles(resolution, "train"), train), (tiles(resolution, "test"), test)):
        assert array.dtype == np.uint8
        assert array.shape[1:] == (3, resolution, resolution)
        assert len(array) == pytest.approx(expected, rel=0.01)


def test_32_is_64_resized(tiles: Callable[[int, Split], np.ndarray]) -> None:
    small, large = tiles(32, "test"), tiles(64, "test")
    assert len(small) == len(large)
    for index in range(0, len(large), 100):
        image = Image.fromarray(large[index].transpose(1, 2, 0)).resize((32, 32), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(small[index].transpose(1, 2, 0), image)


def test_no_tile_is_nearly_uniform_and_every_landscape_occurs(tiles: Callable[[int, Split], np.ndarray]) -> None:
    for array in (np.asarray(tiles(32, "train")).astype(float), np.asarray(tiles(32, "test")).astype(float)):
        assert array.std(axis=(2, 3)).mean(axis=1).min() > 4
        red, green, blue = array.mean(axis=(2, 3)).T
        pixel = array.transpose(1, 0, 2, 3)
        snow = (pixel.min(axis=0) > 180).mean(axis=(1, 2)) > 0.2
        sea = (pixel[2] > pixel[0] + 30).mean(axis=(1, 2)) > 0.2
        desert = (red > blue + 30) & (red > 110)
        forest = (green > red) & (green > blue) & (red < 80)
        for landscape in (snow, sea, desert, forest):
            assert landscape.mean() > 0.04


def test_building_twice_gives_the_same_bytes(tiles: Callable[[int, Split], np.ndarray]) -> None:
    np.testing.assert_array_equal(build_tiles(32, "test"), tiles(32, "test"))


def test_the_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blue_marble, "build_tiles", lambda resolution, split, *_: np.full((2, 3, 8, 8), 7, np.uint8))
    assert (load_tiles(8, "train", tmp_path) == 7).all()
    monkeypatch.setattr(blue_marble, "build_tiles", lambda resolution, split, *_: pytest.fail("built again"))
    assert (load_tiles(8, "train", tmp_path) == 7).all()
    monkeypatch.setattr(blue_marble, "build_tiles", lambda resolution, split, *_: np.full((2, 3, 8, 8), 9, np.uint8))
    monkeypatch.setattr(blue_marble, "MIN_LAND", 0.5)
    assert (load_tiles(8, "train", tmp_path) == 9).all()  # another recipe, another file


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_half_way(file: Path, array: np.ndarray) -> None:
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(blue_marble, "build_tiles", lambda resolution, split, *_: np.zeros((2, 3, 8, 8), np.uint8))
    monkeypatch.setattr(np, "save", fail_half_way)
    with pytest.raises(UserError, match=r"paths\.cache=.*disk full"):
        load_tiles(8, "train", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    program = (
        "import sys; from cips_lab.data.blue_marble import load_tiles; import hashlib;"
        "print(hashlib.sha256(load_tiles(8, 'test', sys.argv[1]).tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "new" / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    results = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert results[0] == results[1]
    assert [path.suffix for path in (tmp_path / "new" / "cache").iterdir()] == [".npy"]


def test_a_damaged_cache_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blue_marble, "build_tiles", lambda resolution, split, *_: np.zeros((2, 3, 8, 8), np.uint8))
    load_tiles(8, "train", tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=rf"{path.name} cannot be read .*delete it"):
        load_tiles(8, "train", tmp_path)


def test_a_cache_that_cannot_be_written_names_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blue_marble, "build_tiles", lambda resolution, split, *_: np.zeros((2, 3, 8, 8), np.uint8))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"paths\.cache="):
        load_tiles(8, "train", tmp_path / "file" / "cache")


def test_the_cache_folder_is_the_argument_then_the_variable_then_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIPS_LAB_CACHE", "/from/variable")
    assert blue_marble.cache_folder("/from/argument") == Path("/from/argument")
    assert blue_marble.cache_folder() == Path("/from/variable")
    monkeypatch.delenv("CIPS_LAB_CACHE")
    assert blue_marble.cache_folder() == Path.home() / ".cache" / "cips_lab"


@pytest.mark.parametrize("resolution", [512, 50])
def test_other_resolutions_are_refused(tmp_path: Path, resolution: int) -> None:
    with pytest.raises(UserError, match=f"resolution={resolution}"):
        load_tiles(resolution, "train", tmp_path)
