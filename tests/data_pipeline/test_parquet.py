"""Parquet tables as sources: which columns, which classes, in which order, and what is refused."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import random_picture

from cips_lab.data.datamodule import ImageDataModule
from cips_lab.data.sampler import InfiniteSampler
from cips_lab.data.sources import open_source
from cips_lab.data.sources.base import WINDOW
from cips_lab.data.sources.parquet import HELD, ParquetSource
from cips_lab.errors import UserError

FILES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(number: int) -> bytes:
    stream = io.BytesIO()
    random_picture(20, 20, number).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, first: int, count: int, metadata: dict[str, Any] | None = None, **columns: Any) -> Path:
    """As the hub's: pictures as {bytes, path}, ten rows a group."""
    files = [{"bytes": encoded(first + n), "path": f"{first + n}.png"} for n in range(count)]
    table = pa.table({"image": pa.array(files, FILES)} | columns)
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": metadata}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=10)
    return path


def expect(source: Any, numbers: Any) -> None:
    for index, number in enumerate(numbers):
        np.testing.assert_array_equal(np.asarray(source.read(index)), np.asarray(random_picture(20, 20, number)))


def test_a_folder_of_parts_with_named_classes(tmp_path: Path) -> None:
    names = {"label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}}
    write(tmp_path / "set" / "data" / "train-00000-of-00002.parquet", 0, 25, names, label=[n % 2 for n in range(25)])
    write(tmp_path / "set" / "data" / "train-00001-of-00002.parquet", 25, 7, names, label=[2] * 7)
    source = open_source(str(tmp_path / "set"))
    assert isinstance(source, ParquetSource)
    expect(source, range(32))
    assert source.groups().tolist() == [10, 10, 5, 7]
    assert source.name(26).endswith("train-00001-of-00002.parquet/row 1")
    assert source.name(13).endswith("train-00000-of-00002.parquet/row 13")
    classes = source.classes()
    assert classes is not None
    assert classes.names == ("cat", "dog", "eel")
    assert classes.of.tolist() == [n % 2 for n in range(25)] + [2] * 7


def test_columns_are_chosen(tmp_path: Path) -> None:
    more = {
        "mask": [encoded(100 + n) for n in range(4)],
        "breed": ["pug", "lab", "pug", "cur"],
        "caption": ["a"] * 4,
        "label": [-1, 0, 1, 2],
    }
    path = write(tmp_path / "t.parquet", 0, 4, **more)
    expect(open_source(f"{path}?image=mask"), range(100, 104))
    chosen = open_source(f"{path}?image=image&label=breed")
    classes = chosen.classes()
    assert classes is not None
    assert classes.names == ("cur", "lab", "pug")
    assert classes.of.tolist() == [2, 1, 2, 0]
    with pytest.raises(UserError, match=r"column label: -1 is no class; say another column, \?label=NAME"):
        open_source(str(path)).classes()
    for asked, message in (
        ("image=caption", "no column 'caption' of encoded pictures; there is image, mask"),
        ("label=mask", "no column 'mask' of whole numbers or words; there is breed, caption, label"),
        ("colour=red", r"behind \? there may be image=\.\.\., label=\.\.\."),
        ("nonsense", r"not nonsense="),
    ):
        with pytest.raises(UserError, match=message):
            open_source(f"{path}?{asked}")


def test_a_name_with_a_question_mark_is_a_name(tmp_path: Path) -> None:
    path = write(tmp_path / "what?.parquet", 0, 3)
    expect(open_source(str(path)), range(3))


def test_without_a_usual_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [encoded(0)], "y": [encoded(1)]}), tmp_path / "two.parquet")
    with pytest.raises(UserError, match=r"which column has the pictures\? say \?image=NAME .*there is x, y"):
        open_source(str(tmp_path / "two.parquet"))
    pq.write_table(pa.table({"photo": [encoded(5)]}), tmp_path / "one.parquet")
    source = open_source(str(tmp_path / "one.parquet"))
    expect(source, [5])
    assert source.classes() is None
    pq.write_table(pa.table({"x": [1]}), tmp_path / "none.parquet")
    with pytest.raises(UserError, match="of encoded files there is none"):
        open_source(str(tmp_path / "none.parquet"))


def test_what_is_no_table_or_has_no_pictures(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", 0, 40)
    content = path.read_bytes()
    path.write_bytes(content[:4] + content[2000:])  # the table of contents is whole, and points elsewhere
    with pytest.raises(UserError, match=r"t\.parquet/row 3 cannot be decoded"):
        open_source(str(path)).read(3)
    for damaged in (b"", b"PAR1", content[: len(content) // 2], bytes(5000)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"t\.parquet cannot be read as a Parquet table \(.*\); download it again"):
            open_source(str(path))
    write(tmp_path / "t.parquet", 0, 0)
    with pytest.raises(UserError, match="has no rows"):
        open_source(str(path))
    table = pa.table({"image": pa.array([{"bytes": None, "path": "/far/a.png"}, None], FILES)})
    pq.write_table(table, path)
    source = open_source(str(path))
    with pytest.raises(UserError, match=r"row 0 cannot be decoded \(not in the table but at /far/a\.png\)"):
        source.read(0)
    with pytest.raises(UserError, match=r"row 1 cannot be decoded \(no picture in this row\)"):
        source.read(1)
    write(tmp_path / "two" / "a.parquet", 0, 3)
    write(tmp_path / "two" / "b.parquet", 0, 3, other=[1, 2, 3])
    with pytest.raises(UserError, match=r"b\.parquet has other columns than"):
        open_source(str(tmp_path / "two"))


def test_it_is_pickled_and_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", 0, 30)
    source = open_source(str(path))
    source.read(0)
    expect(pickle.loads(pickle.dumps(source)), range(30))
    other, same = write(tmp_path / "u.parquet", 1, 30), write(tmp_path / "v.parquet", 0, 30)
    assert source.identity() == open_source(str(same)).identity() != open_source(str(other)).identity()


def test_a_table_of_many_parts_holds_few_files(tmp_path: Path) -> None:
    for part in range(HELD + 4):
        write(tmp_path / "set" / f"{part:03}.parquet", 2 * part, 2)
    source = open_source(str(tmp_path / "set"))
    assert isinstance(source, ParquetSource)
    expect(source, range(2 * (HELD + 4)))
    assert len(source._tables) == HELD


def test_training_reads_every_row_group_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 10 * (3 * WINDOW + 2) + 3
    path = write(tmp_path / "t.parquet", 0, count)
    source = open_source(str(path))
    assert isinstance(source, ParquetSource)
    read: list[int] = []
    table = pq.ParquetFile.read_row_group

    def counted(self: Any, group: int, **options: Any) -> Any:
        read.append(group)
        return table(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    data = ImageDataModule("mine", source, 16, num_workers=0)
    data.setup()
    loader = iter(data.train_loader(7, seed=3))
    for _ in range(count // 7):
        next(loader)
    groups = -(-count // 10)
    assert len(read) == len(set(read)) == groups
    assert len(source._held) <= HELD  # what a process keeps


def test_the_order_in_windows() -> None:
    """Against its definition: groups in an order of their own, and the pictures of each eight mixed."""
    rng = np.random.default_rng(0)
    groups = rng.integers(1, 9, 21)
    length = int(groups.sum())
    owner = np.repeat(np.arange(21), groups)
    sampler = InfiniteSampler(length, 5, groups=groups)
    orders = []
    for epoch in range(3):
        order = sampler.permutation(epoch)
        assert sorted(order.tolist()) == list(range(length))
        seen: list[int] = []
        at = 0
        while at < length:
            taken = list(dict.fromkeys(owner[order[at:]].tolist()))[: min(WINDOW, 21 - len(seen))]
            assert not set(taken) & set(seen)
            window = order[at : at + int(groups[taken].sum())]
            assert set(owner[window].tolist()) == set(taken)  # all of theirs, and no other's
            seen += taken
            at += len(window)
        assert sorted(seen) == list(range(21))
        orders.append(order.tolist())
    assert orders[0] != orders[1] != orders[2]
    assert sampler.permutation(1).tolist() == orders[1]
    with pytest.raises(ValueError, match="groups of"):
        InfiniteSampler(length + 1, 5, groups=groups)


def test_resuming_and_ranks_see_the_same_stream() -> None:
    groups = np.array([4, 9, 2, 7, 7, 1, 3, 8, 6, 5, 5])
    length = int(groups.sum())
    whole = iter(InfiniteSampler(length, 1, groups=groups))
    stream = [next(whole) for _ in range(3 * length)]
    resumed = iter(InfiniteSampler(length, 1, images_seen=40, groups=groups))
    assert [next(resumed) for _ in range(60)] == stream[40:100]
    ranks = [iter(InfiniteSampler(length, 1, rank, 2, groups=groups)) for rank in range(2)]
    assert [next(ranks[n % 2]) for n in range(100)] == stream[:100]
