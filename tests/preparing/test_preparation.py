"""Sets: read by those that they are for, the same bytes whatever happened while they were made."""

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from cips_lab.data.fitting import fit
from cips_lab.data.sources import FolderSource, ZipSource, open_source
from cips_lab.errors import UserError
from cips_lab.preparing import crew
from cips_lab.preparing.preparation import Preparation
from cips_lab.preparing.recipe import Recipe

COUNT = 70
KINDS = {"zip": "set.zip", "shards": "set.tar", "folder": "set"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy pictures of two classes, of which two cannot be read."""
    root = tmp_path_factory.mktemp("source") / "pictures"
    for number in range(COUNT):
        folder = root / ("cats" if number < 30 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (24, 20 + number % 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    (root / "cats" / "005.png").write_bytes(b"x")
    whole = (root / "dogs" / "040.png").read_bytes()
    (root / "dogs" / "040.png").write_bytes(whole[: len(whole) // 2])
    return root


def preparation(source: Path, place: Path, kind: str, **options: Any) -> Preparation:
    recipe = options.pop("recipe", Recipe((16, 16)))
    return Preparation(open_source(str(source)), place, kind, recipe, options.pop("workers", 1), 25, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def good(pictures: Path) -> dict[int, Image.Image]:
    source = FolderSource(pictures)
    return {n: fit(source.read(n), 16) for n in range(COUNT) if n not in (5, 40)}


def test_a_zip_by_the_rules_of_stylegan(pictures: Path, tmp_path: Path) -> None:
    """Those of its `dataset.py`: names sorted, an RGB PNG each, labels by name from dataset.json, none compressed."""
    summary = preparation(pictures, tmp_path / "set.zip", "zip").run()
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert archive.testzip() is None
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        names = sorted(n for n in archive.namelist() if Path(n).suffix.lower() in Image.registered_extensions())
        labels = dict(json.loads(archive.read("dataset.json"))["labels"])
        expected = good(pictures)
        assert names == [f"00000/img{number:08d}.png" for number in expected]
        for name, (number, image) in zip(names, expected.items(), strict=True):
            decoded = Image.open(io.BytesIO(archive.read(name)))
            assert decoded.mode == "RGB"
            assert decoded.tobytes() == image.tobytes()
            assert labels[name] == int(number >= 30)
    source = ZipSource(tmp_path / "set.zip")
    assert summary.numbers["content"] == source.fingerprint()  # what the metrics' cache asks for
    assert summary.numbers["classes"] == ["cats", "dogs"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest == json.loads(json.dumps(summary.numbers))
    assert (manifest["pictures"], manifest["looked_at"], manifest["unreadable"]) == (68, 70, 2)
    rows = (tmp_path / "rejected.csv").read_text().splitlines()
    assert rows[0] == "file,kind,reason"
    assert [row.partition(",")[0] for row in rows[1:]] == [
        str(pictures / "cats" / "005.png"),
        str(pictures / "dogs" / "040.png"),
    ]


def test_shards_by_webdataset_itself(pictures: Path, tmp_path: Path) -> None:
    summary = preparation(pictures, tmp_path / "set.tar", "shards").run()
    assert [path.name for path in summary.written] == ["set-000000.tar", "set-000001.tar", "set-000002.tar"]
    data = webdataset.WebDataset(str(tmp_path / "set-{000000..000002}.tar"), shardshuffle=False).decode("pil")
    expected = good(pictures)
    samples = list(data.to_tuple("__key__", "png", "cls"))
    assert len(samples) == 68
    for (key, image, label), (number, wanted) in zip(samples, expected.items(), strict=True):
        assert (key, label) == (f"{number:08d}", int(number >= 30))
        assert image.tobytes() == wanted.tobytes()
    for path in summary.written[:2]:
        with tarfile.open(path) as archive:
            assert len(archive.getnames()) == 50


def test_all_kinds_are_read_back_as_the_same_pictures_and_classes(pictures: Path, tmp_path: Path) -> None:
    wanted = [image.tobytes() for image in good(pictures).values()]
    for kind, name in KINDS.items():
        preparation(pictures, tmp_path / kind / name, kind).run()
        given = tmp_path / kind if kind == "shards" else tmp_path / kind / name
        source = open_source(str(given))
        assert [source.read(index).tobytes() for index in range(len(source))] == wanted
        classes = source.classes()
        assert classes is not None
        assert classes.of.tolist() == [int(number >= 30) for number in good(pictures)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_from_several_processes(pictures: Path, tmp_path: Path, kind: str) -> None:
    for workers in (1, 3):
        preparation(pictures, tmp_path / str(workers) / KINDS[kind], kind, workers=workers).run()
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_after_any_end(
    pictures: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before every chunk, with bytes behind the last whole one, and when the set was about to get its name."""
    preparation(pictures, tmp_path / "whole" / KINDS[kind], kind).run()
    place = tmp_path / "ended" / KINDS[kind]

    class Killed(BaseException):
        pass

    make, left = crew.make, 0

    def dying(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return make(*arguments)

    monkeypatch.setattr(crew, "make", dying)
    for _ in range(4):
        left = 1
        with pytest.raises(Killed):
            preparation(pictures, place, kind).run()
        assert not place.exists()
        partial = place.with_name(f".{place.name}.partial")
        growing = [*partial.rglob("*.zip"), *sorted(partial.rglob("*.tar"))[-1:], partial / "journal.jsonl"]
        for file in growing:
            with file.open("ab") as stream:
                stream.write(b'{"half a line')
    monkeypatch.undo()
    from cips_lab.preparing.outputs import Output

    publish = Output.publish

    def die_first(self: Output, names: list[str]) -> list[Path]:
        publish(self, names[:1])
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Output, "publish", die_first)
        with pytest.raises(Killed):
            preparation(pictures, place, kind).run()
    preparation(pictures, place, kind).run()
    assert contents(tmp_path / "ended") == contents(tmp_path / "whole")


def test_another_set_is_not_gone_on_with(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "make", None)
    with pytest.raises(TypeError):
        preparation(pictures, tmp_path / "set.zip", "zip").run()
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"holds the beginning of another set \(recipe"):
        preparation(pictures, tmp_path / "set.zip", "zip", recipe=Recipe((8, 8))).run()
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    with pytest.raises(UserError, match=r"another set \(source"):
        preparation(copy, tmp_path / "set.zip", "zip").run()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_over(pictures: Path, tmp_path: Path, kind: str) -> None:
    preparation(pictures, tmp_path / KINDS[kind], kind).run()
    before = contents(tmp_path)
    with pytest.raises(UserError, match="something is there already"):
        preparation(pictures, tmp_path / KINDS[kind], kind).run()
    assert contents(tmp_path) == before


def test_two_sets_beside_each_other_keep_their_manifests(pictures: Path, tmp_path: Path) -> None:
    for name in ("train.zip", "test.zip"):
        preparation(pictures, tmp_path / name, "zip").run()
    assert json.loads((tmp_path / "manifest.json").read_text())["output"] == "train.zip"
    assert json.loads((tmp_path / "test.zip.manifest.json").read_text())["rejected"] == "test.zip.rejected.csv"


def test_tiles_have_names_of_their_own_and_their_pictures_class(pictures: Path, tmp_path: Path) -> None:
    summary = preparation(pictures, tmp_path / "set.zip", "zip", recipe=Recipe((8, 8), "tiles")).run()
    tiles = {number: 9 if number % 5 == 4 else 6 for number in good(pictures)}  # 24 high, and 20 to 24 wide
    assert summary.numbers["pictures"] == sum(tiles.values())
    source = ZipSource(tmp_path / "set.zip")
    assert source.name(7).endswith("00000/img00000001-0001.png")
    classes = source.classes()
    assert classes is not None
    assert classes.of.tolist() == [int(number >= 30) for number, count in tiles.items() for _ in range(count)]


def test_without_labels_and_without_a_single_picture(pictures: Path, tmp_path: Path) -> None:
    preparation(pictures, tmp_path / "set.zip", "zip", labels=False).run()
    assert ZipSource(tmp_path / "set.zip").classes() is None
    with pytest.raises(UserError, match=r"not one of its 70 pictures can be used; the first, .*smaller than minimum"):
        preparation(pictures, tmp_path / "none.zip", "zip", recipe=Recipe((16, 16), minimum=100)).run()
