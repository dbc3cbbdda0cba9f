"""Of which class pictures are: by folder, by StyleGAN's list, and what is wrong with a list."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from pictures import random_picture

from cips_lab.data.datamodule import ImageDataModule
from cips_lab.data.labelled import parts_of
from cips_lab.data.labels import LABELS, Classes, classes_by_folder, classes_by_list
from cips_lab.data.sources import open_source
from cips_lab.errors import UserError

FILES = ["cats/a.png", "cats/deep/b.png", "dogs/c.png"]


def write(root: Path, files: list[str]) -> Path:
    for number, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        random_picture(8, 8, number).save(root / file)
    return root


def zipped(root: Path) -> Path:
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.*")):
            archive.write(file, file.relative_to(root).as_posix())
    return path


def classes_of(path: Path) -> Classes | None:
    return open_source(str(path)).classes()


@pytest.mark.parametrize("archived", [False, True])
def test_folders_are_classes(tmp_path: Path, archived: bool) -> None:
    root = write(tmp_path / "pictures", FILES)
    found = classes_of(zipped(root) if archived else root)
    assert found is not None
    assert found.names == ("cats", "dogs")
    assert found.of.tolist() == [0, 0, 1]
    assert found.shares().tolist() == pytest.approx([2 / 3, 1 / 3])
    assert found.described() == "cats (2), dogs (1)"


@pytest.mark.parametrize("archived", [False, True])
def test_a_list_says_more_than_folders(tmp_path: Path, archived: bool) -> None:
    root = write(tmp_path / "pictures", FILES)
    labels = [["dogs/c.png", 0], ["cats/a.png", 4], ["cats/deep/b.png", 1], ["gone.png", 9]]
    (root / LABELS).write_text(json.dumps({"labels": labels}), encoding="utf-8")
    found = classes_of(zipped(root) if archived else root)
    assert found is not None
    assert found.of.tolist() == [4, 1, 0]
    assert found.names == ("0", "1", "2", "3", "4")
    (root / LABELS).write_text('{"labels": null}', encoding="utf-8")  # StyleGAN's own folders of a thousand
    assert classes_of(zipped(root) if archived else root) is None


def test_a_zips_list_that_cannot_be_unpacked_is_named(tmp_path: Path) -> None:
    path = zipped(write(tmp_path / "pictures", FILES))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(LABELS, '{"labels": null}')
    with pytest.raises(UserError, match=r"pictures\.zip/dataset\.json: cannot be unpacked \(compressed by method 12"):
        classes_of(path)


@pytest.mark.parametrize("files", [["a.png", "dogs/c.png"], ["cats/a.png"], ["a.png", "b.png"]])
def test_no_classes(files: list[str]) -> None:
    assert classes_by_folder(files) is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no list of classes"),
        (b"[" * 100_000, "no list of classes"),
        (b"\xff", "no list of classes"),
        (b"{}", "no list of classes"),
        (b'{"labels": 3}', "no list of classes"),
        (b'{"labels": [["a.png"]]}', "no list of classes"),
        (b'{"labels": [["a.png", -1]]}', "-1 is no class"),
        (b'{"labels": [["a.png", 1e99]]}', "is no class"),
        (b'{"labels": [["a.png", true]]}', "True is no class"),
        (b'{"labels": [["a.png", 99999999999]]}', "is no class"),
        (b'{"labels": [["b.png", 0]]}', "says no class of a.png and 1 others"),
    ],
)
def test_a_list_that_cannot_be_used(content: bytes, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        classes_by_list(content, ["a.png", "c.png"], "here/dataset.json")
    assert str(error.value).startswith("here/dataset.json: ")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_hold_each_pictures_class(tmp_path: Path, workers: int) -> None:
    root = write(tmp_path / "pictures", [f"{kind}/{n}.png" for kind in "abc" for n in range(5)])
    data = ImageDataModule("classes", str(root), 8, num_workers=workers)
    data.setup()
    classes = data.classes()
    assert classes is not None
    seen = 0
    for batch in data.train_loader(4, seed=3, labelled=True):
        pictures, windows, label = parts_of(batch, 3)
        assert windows is None
        assert label is not None
        for picture, row in zip(pictures, label, strict=True):
            number = next(i for i in range(15) if torch.equal(data.train_dataset[i], picture))
            assert row.tolist() == [float(classes.of[number] == k) for k in range(3)]
        seen += len(pictures)
        if seen > 20:
            break


def test_windows_have_classes_too(tmp_path: Path) -> None:
    images, windows, labels = torch.zeros(2, 3, 8, 8), torch.ones(2, 5), torch.tensor([2, 0])
    assert parts_of(images, 0) == (images, None, None)
    found = parts_of([images, windows, labels], 3)
    assert found[1] is windows
    assert found[2] is not None
    assert found[2].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert parts_of([images, windows], 0)[1] is windows
