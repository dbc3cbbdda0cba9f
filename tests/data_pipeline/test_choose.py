"""Which source a path means, what is left out of it, and names of any bytes."""

import json
import logging
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from pictures import random_picture

from cips_lab.data.datamodule import ImageDataModule
from cips_lab.data.inventory import INVENTORY, read_inventory, write_inventory
from cips_lab.data.sources import SOURCES, FolderSource, ImageSource, ZipSource, open_source
from cips_lab.data.sources.base import files_left_out
from cips_lab.data.unreadable import names, note
from cips_lab.errors import UserError
from cips_lab.files.names import escape, printable, unescape

NOT_UTF8 = os.fsdecode(b"caf\xe9.png")


# ------------------------------------------------------------------ what a source must give


def test_a_source_that_leaves_a_method_out_cannot_be_made() -> None:
    class Forgetful(FolderSource):
        location = ImageSource.location  # as if it had not been written

    with pytest.raises(TypeError, match="location"):
        Forgetful("/tmp")  # type: ignore[abstract]
    for name in ("takes", "__init__", "__len__", "name", "open", "location"):
        assert name in ImageSource.__abstractmethods__


class ListSource(ImageSource):
    """A newcomer's: the pictures that a text file names."""

    @classmethod
    def takes(cls, path: str) -> bool:
        return path.startswith("list:")

    def __init__(self, path: str, option: str = "data.path") -> None:
        self.list = Path(path.removeprefix("list:"))
        self.files = self.list.read_text().splitlines()

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return self.files[index]

    def open(self, index: int) -> IO[bytes]:
        return Path(self.files[index]).open("rb")

    @property
    def location(self) -> str:
        return str(self.list)


@pytest.mark.parametrize("as_it_is", [False, True])
def test_a_newcomers_source_needs_one_line(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_it_is: bool
) -> None:
    chosen = [str(picture_folder / name) for name in ("b/c/7.png", "a/2.png")]
    (tmp_path / "list.txt").write_text("\n".join(chosen))
    path = f"list:{tmp_path / 'list.txt'}"
    if not as_it_is:
        monkeypatch.setattr("cips_lab.data.sources.choose.SOURCES", [ListSource, *SOURCES])
    data = ImageDataModule("mine", ListSource(path) if as_it_is else path, 16, num_workers=2)
    data.prepare_data()
    data.setup()
    assert isinstance(data.train_dataset.source, ListSource)
    np.testing.assert_array_equal(data.train_dataset.source.read(1), random_picture(16 + 6, 22, seed=2))
    assert next(iter(data.train_loader(4, seed=0))).shape == (4, 3, 16, 16)


def test_a_home_folder_is_expanded(picture_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(picture_folder.parent))
    assert len(open_source("~/pictures")) == 9
    data = ImageDataModule("mine", "~/pictures", 16)
    assert data.location == str(picture_folder)


def test_a_folder_of_pictures_is_not_walked_to_learn_that_it_is_one(
    picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[str] = []
    walk = os.walk

    def counted(root: Path, **options: Any) -> Any:
        for folder, *rest in walk(root, **options):
            entered.append(folder)
            yield folder, *rest

    for number in range(20):
        (picture_folder / f"z{number:02}").mkdir()
    monkeypatch.setattr(os, "walk", counted)
    assert [source.takes(str(picture_folder)) for source in SOURCES] == [False] * (len(SOURCES) - 1) + [True]
    assert len(entered) < 5


def test_a_link_is_what_its_own_name_says(stylegan_zip: Path, tmp_path: Path) -> None:
    """As in caches that keep files under their hashes."""
    (tmp_path / "blobs").mkdir()
    stored = tmp_path / "blobs" / "0a1b2c"
    stored.write_bytes(stylegan_zip.read_bytes())
    (tmp_path / "set.zip").symlink_to(stored)
    source = open_source(str(tmp_path / "set.zip"))
    assert isinstance(source, ZipSource)
    assert source.location == str(tmp_path / "set.zip")


# ------------------------------------------------------------------ what is not read


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://example.org/a.zip", "is an address, and nothing is downloaded"),
        ("s3://bucket/pictures", "is an address"),
        ("a.tar.gz", "is a compressed tar.*unpack"),
        ("a.arrow", "is an Arrow file(.|\n)*to_parquet"),
        ("a.rar", "is an archive of a kind that is not read"),
        ("a.tfrecords", "TensorFlow's records"),
        ("a.npz", "is a file of arrays"),
        ("a.png", "is one picture, not a folder; give the folder that holds it"),
    ],
)
def test_what_is_not_read_is_named_with_a_remedy(tmp_path: Path, path: str, message: str) -> None:
    if "://" not in path:
        path = str(tmp_path / path)
        Path(path).write_bytes(b"x")
    with pytest.raises(UserError, match=message) as caught:
        open_source(path, option="data.test_path")
    assert str(caught.value).startswith(f"data.test_path={path}")


def test_a_folder_of_shards_is_read_as_them(tmp_path: Path) -> None:
    for number in range(3):
        with tarfile.open(tmp_path / f"{number:06d}.tar", "w"):
            pass
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(UserError, match=r"no picture in it; give a tar"):
        open_source(str(tmp_path))


# ------------------------------------------------------------------ what is left out


def test_files_that_are_not_taken_are_counted_and_told(
    picture_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        (picture_folder / "a" / f"{number}.TGA").write_bytes(b"x")
    (picture_folder / "README").write_text("x")
    source = FolderSource(picture_folder)
    assert source.left_out == {".txt": 1, ".tga": 3, "hidden": 2, "no ending": 1}
    caplog.set_level(logging.INFO)
    ImageDataModule("mine", str(picture_folder), 16).prepare_data()
    told = f"pictures: 9 in {picture_folder}; 7 files left out: 3 .tga, 2 hidden, 1 .txt, 1 no ending"
    assert told in caplog.text
    write_inventory(tmp_path, source, None)
    assert json.loads((tmp_path / INVENTORY).read_text()) == {
        "train": {"location": str(picture_folder), "count": 9, "left_out": dict(source.left_out)}
    }
    assert read_inventory(tmp_path)["pictures"].startswith("9; 7 files left out: 3 .tga, 2 hidden")


def test_nothing_is_said_of_nothing(stylegan_zip: Path, tmp_path: Path) -> None:
    assert files_left_out({}) == ""
    assert ZipSource(stylegan_zip).left_out == {".json": 1}
    assert read_inventory(tmp_path) == {}
    (tmp_path / INVENTORY).write_text('{"train": 3}')
    assert read_inventory(tmp_path) == {}


def test_many_kinds_are_summed_up() -> None:
    told = files_left_out(Counter({f".{i}": 20 - i for i in range(14)}))
    assert told.startswith("189 files left out: 20 .0, 19 .1")
    assert told.endswith("11 .9, 34 others")


# ------------------------------------------------------------------ names of any bytes


@pytest.fixture
def odd_folder(tmp_path: Path) -> Path:
    root = tmp_path / "odd"
    root.mkdir()
    for seed, name in enumerate(("a\tb.png", "back\\slash.png", NOT_UTF8, "line\nbreak.png", "ä.png")):
        random_picture(16, 16, seed).save(root / "x.png")
        (root / "x.png").rename(root / name)
    return root


def test_a_folder_of_names_that_are_no_text(odd_folder: Path) -> None:
    source = FolderSource(odd_folder)
    assert [Path(source.name(i)).name for i in range(5)] == [
        *("a\tb.png", "back\\slash.png", NOT_UTF8, "line\nbreak.png", "ä.png"),
    ]
    np.testing.assert_array_equal(source.read(2), random_picture(16, 16, seed=2))
    first = source.fingerprint()
    os.utime(odd_folder / NOT_UTF8, ns=(0, 0))
    assert source.fingerprint() != first
    (odd_folder / NOT_UTF8).write_text("no picture")
    with pytest.raises(UserError, match=r"/caf\\xe9\.png cannot be decoded") as caught:
        source.read(2)
    str(caught.value).encode()


def test_listings_hold_any_name(odd_folder: Path, tmp_path: Path) -> None:
    source = FolderSource(odd_folder)
    for _ in range(2):
        for index in range(5):
            note(tmp_path / "unreadable.txt", source.name(index), "truncated\nfile")
    assert names(tmp_path / "unreadable.txt") == [source.name(index) for index in range(5)]
    lines = (tmp_path / "unreadable.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5
    assert rf"{odd_folder}/caf\xe9.png" in lines[2]


def test_names_go_into_text_and_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        name = os.fsdecode(bytes(rng.choice([0x5C, 0x78, 0x65, 0x39, 0x0A, 0xE9, 0xC3, 0xA4, 0x61], 9).tolist()))
        assert unescape(escape(name)) == name
        assert "\n" not in escape(name)
        escape(name).encode()
        printable(name).encode()
    assert printable("사진/ä.png") == "사진/ä.png"


def test_zip_entries_of_old_encodings(tmp_path: Path) -> None:
    """As DOS wrote them: bytes above 127, and no flag that they are UTF-8."""
    path = tmp_path / "old.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a_XX.png", picture_bytes(tmp_path))
    path.write_bytes(path.read_bytes().replace(b"a_XX.png", b"a_\x82\xe9.png"))
    source = ZipSource(path)
    assert source.name(0) == f"{path}/a_éΘ.png"
    assert len(source.fingerprint()) == 64
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read(0), random_picture(16, 16, seed=0))


def picture_bytes(folder: Path) -> bytes:
    random_picture(16, 16, seed=0).save(folder / "x.png")
    return (folder / "x.png").read_bytes()


def test_a_fingerprint_does_not_depend_on_the_locale(odd_folder: Path) -> None:
    code = f"from cips_lab.data.sources import FolderSource; print(FolderSource({str(odd_folder)!r}).fingerprint())"
    prints = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONUTF8": "0", "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for locale in ("C", "C.UTF-8")
    ]
    assert prints[0] == prints[1] == FolderSource(odd_folder).fingerprint() + "\n"
