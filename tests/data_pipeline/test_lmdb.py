"""LMDB databases as sources: the public code's layout and LSUN's, written here as those programs write them."""

import io
import pickle
from pathlib import Path

import lmdb
import numpy as np
import pytest
from pictures import random_picture

from cips_lab.data.sources import open_source
from cips_lab.data.sources.lmdb import LmdbSource
from cips_lab.errors import UserError


def encoded(seed: int, side: int, kind: str) -> bytes:
    stream = io.BytesIO()
    random_picture(side, side, seed).save(stream, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return stream.getvalue()


def write(folder: Path, items: dict[bytes, bytes]) -> Path:
    with lmdb.open(str(folder), map_size=2**26) as base, base.begin(write=True) as writing:
        for key, value in items.items():
            writing.put(key, value)
    return folder


def public(folder: Path, count: int = 12, length: int | None = None) -> Path:
    """As `prepare_data.py` writes it: each picture at each resolution under ``resolution-number``, and their number."""
    items = {
        f"{side}-{str(number).zfill(5)}".encode(): encoded(number, side, "PNG")
        for side in (8, 16)
        for number in range(count)
    }
    return write(folder, {**items, b"length": str(count if length is None else length).encode()})


def lsun(folder: Path) -> Path:
    """As LSUN's releases: keys are hashes, values WebP."""
    keys = [bytes(np.random.default_rng(number).integers(97, 123, 40, dtype=np.uint8)) for number in range(9)]
    return write(folder, {key: encoded(number, 20, "WEBP") for number, key in enumerate(keys)})


def test_the_public_layout_at_its_largest_resolution(tmp_path: Path) -> None:
    source = open_source(str(public(tmp_path / "ffhq.lmdb")))
    assert isinstance(source, LmdbSource)
    assert len(source) == 12
    for number in range(12):
        np.testing.assert_array_equal(np.asarray(source.read(number)), np.asarray(random_picture(16, 16, number)))
    assert source.name(3) == f"{tmp_path / 'ffhq.lmdb'}/16-00003"
    assert source.classes() is None


def test_a_hundred_thousand_and_more_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    """Keys have five digits and grow: by name, 100000 comes before 10001."""
    numbers = (0, 9999, 10001, 99999, 100000)
    items = {f"8-{str(number).zfill(5)}".encode(): encoded(number, 8, "PNG") for number in numbers}
    source = LmdbSource(write(tmp_path / "set", {**items, b"length": b"5"}))
    assert [source.name(i).rpartition("-")[2] for i in range(5)] == ["00000", "09999", "10001", "99999", "100000"]


def test_lsuns_layout(tmp_path: Path) -> None:
    source = open_source(str(lsun(tmp_path / "church_outdoor_train_lmdb")))
    found = {np.asarray(source.read(index)).tobytes() for index in range(len(source))}
    assert found == {np.asarray(random_picture(20, 20, number)).tobytes() for number in range(9)}
    assert open_source(str(tmp_path / "church_outdoor_train_lmdb" / "data.mdb")).identity() == source.identity()


def test_it_is_pickled_and_not_locked(tmp_path: Path) -> None:
    folder = public(tmp_path / "set")
    (folder / "lock.mdb").unlink()
    source = LmdbSource(folder)
    source.read(0)
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(np.asarray(again.read(2)), np.asarray(random_picture(16, 16, 2)))
    assert not (folder / "lock.mdb").exists()


def test_contents_are_told_apart(tmp_path: Path) -> None:
    one, same, other = (LmdbSource(public(tmp_path / name, count)) for name, count in (("a", 3), ("b", 3), ("c", 4)))
    assert one.identity() == same.identity() != other.identity()
    assert one.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: write(folder, {b"length": b"0"}), "holds no picture"),
        (lambda folder: write(folder, {}), "holds no picture"),
        (lambda folder: public(folder, 3, length=4), r"says that it holds b'4' pictures, and has 3 at 16"),
        (lambda folder: write(folder, {b"length": b"1", b"x": b"y"}), "no keys such as 256-00012"),
    ],
)
def test_what_is_none_is_told(tmp_path: Path, make: object, message: str) -> None:
    folder = make(tmp_path / "set.lmdb")  # type: ignore[operator]
    with pytest.raises(UserError, match=message) as caught:
        open_source(str(folder))
    assert str(caught.value).startswith(f"data.path={folder}: {folder} ")


def test_one_that_is_cut_off_or_something_else(tmp_path: Path) -> None:
    folder = public(tmp_path / "set", 40)
    data = folder / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"is cut off|is damaged"):
        open_source(str(folder))
    data.write_bytes(bytes(4096))
    with pytest.raises(UserError, match="cannot be read as an LMDB"):
        open_source(str(folder))
