"""Tars and WebDataset's shards as sources: what is read, in which order, and what is refused."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from pictures import random_picture
from PIL import Image

from cips_lab.data.sources import FolderSource, open_source
from cips_lab.data.sources.tar import TarSource
from cips_lab.errors import UserError


def png(seed: int, side: int = 16) -> bytes:
    stream = io.BytesIO()
    random_picture(side, side, seed).save(stream, "PNG")
    return stream.getvalue()


def tar(path: Path, files: dict[str, bytes], **fields: object) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for field, value in fields.items():
                setattr(entry, field, value)
            archive.addfile(entry, io.BytesIO(content))
    return path


def pixels(source: TarSource, index: int) -> np.ndarray:
    return np.asarray(source.read(index))


def test_pictures_are_those_of_the_folder_that_was_packed(picture_folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(picture_folder, ".")
    source, folder = open_source(str(tmp_path / "set.tar")), FolderSource(picture_folder)
    assert isinstance(source, TarSource)
    assert len(source) == len(folder) == 9
    for index in range(9):
        np.testing.assert_array_equal(np.asarray(source.read(index)), np.asarray(folder.read(index)))
    assert source.name(3) == f"{tmp_path / 'set.tar'}/./a/3.png"
    assert source.left_out == folder.left_out


@pytest.mark.parametrize("given", ["folder", "range"])
def test_shards_in_their_order_with_classes(tmp_path: Path, given: str) -> None:
    for shard in range(3):
        tar(
            tmp_path / f"set-{shard:06d}.tar",
            {
                f"{4 * shard + place:04d}.{ending}": content
                for place in (1, 0)
                for ending, content in (("cls", str(shard).encode()), ("png", png(4 * shard + place)))
            },
        )
    (tmp_path / "manifest.json").write_text("{}")
    source = open_source(str(tmp_path if given == "folder" else tmp_path / "set-{000000..000002}.tar"))
    assert len(source) == 6
    for index, seed in enumerate((0, 1, 4, 5, 8, 9)):
        np.testing.assert_array_equal(np.asarray(source.read(index)), np.asarray(random_picture(16, 16, seed)))
    classes = source.classes()
    assert classes is not None
    assert (classes.of == [0, 0, 1, 1, 2, 2]).all()
    assert not source.left_out
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(np.asarray(again.read(5)), np.asarray(source.read(5)))


def test_classes_by_folder(tmp_path: Path) -> None:
    classes = TarSource(tar(tmp_path / "a.tar", {"dog/1.png": png(1), "cat/1.png": png(2)})).classes()
    assert classes is not None
    assert (classes.names, classes.of.tolist()) == (("cat", "dog"), [0, 1])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1.png": png(1), "1.cls": b"1", "2.png": png(2)}, r"2\.png: has no \.cls file beside it"),
        ({"1.png": png(1), "1.cls": b"cat"}, r"1\.png: its \.cls file holds no class"),
        ({"1.png": png(1), "1.cls": b"9" * 40}, r"1\.png: its \.cls file holds no class \(too long\)"),
    ],
)
def test_classes_that_say_nothing(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TarSource(tar(tmp_path / "a.tar", files)).classes()


def test_the_cache_is_asked_by_time_and_a_run_by_content(tmp_path: Path) -> None:
    one = TarSource(tar(tmp_path / "a.tar", {"1.png": png(1)}))
    tar(tmp_path / "b.tar", {"1.png": png(1)})
    other = TarSource(tmp_path / "b.tar")
    assert one.identity() == other.identity()
    assert one.fingerprint() != other.fingerprint()
    assert TarSource(tar(tmp_path / "c.tar", {"1.png": png(2)})).identity() != one.identity()


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png", "C:\\a.png"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"a\.tar cannot be read as a tar \(entry .*its name"):
        TarSource(tar(tmp_path / "a.tar", {name: png(1)}))


def test_links_devices_and_doubles(tmp_path: Path) -> None:
    """A link could lead anywhere: it is no picture."""
    tar(tmp_path / "a.tar", {"a.png": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd")
    with pytest.raises(UserError, match=r"no picture in it"):
        TarSource(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for _ in range(2):
            entry = tarfile.TarInfo("a.png")
            archive.addfile(entry, io.BytesIO())
    with pytest.raises(UserError, match=r"'a\.png': its name is there twice"):
        TarSource(tmp_path / "b.tar")


def test_one_that_is_cut_off(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"1.png": png(1, 64), "2.png": png(2, 64)})
    path.write_bytes(path.read_bytes()[:15000])
    with pytest.raises(UserError, match=r"a\.tar cannot be read as a tar"):
        TarSource(path)


def test_compressed_and_missing_ones(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(UserError, match="a compressed one must be unpacked first"):
        TarSource(tmp_path / "a.tar")
    with pytest.raises(UserError, match=r"no such \.tar"):
        open_source(str(tmp_path / "set-{000000..000002}.tar"))


def test_a_folder_with_pictures_beside_tars_is_a_folder_of_pictures(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", {"1.png": png(1)})
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    assert isinstance(open_source(str(tmp_path)), FolderSource)


def test_shards_of_several_disks(tmp_path: Path) -> None:
    for disk, numbers in (("a", (0, 1)), ("b", (2, 3))):
        (tmp_path / disk).mkdir()
        for shard in numbers:
            tar(tmp_path / disk / f"set-{shard:06d}.tar", {f"{shard}.png": png(shard)})
    path = f"{tmp_path}/a/set-{{000000..000001}}.tar::{tmp_path}/b"
    source = open_source(path)
    assert isinstance(source, TarSource)
    assert [pixels(source, n).tobytes() for n in range(4)] == [
        np.asarray(random_picture(16, 16, n)).tobytes() for n in range(4)
    ]
    assert source.location == path
    with pytest.raises(UserError, match=r"does not exist|no such"):
        open_source(f"{tmp_path}/a/set-{{000000..000001}}.tar::{tmp_path}/c")
