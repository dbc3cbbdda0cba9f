"""Pictures that cannot be decoded in the middle of a run: fail, or the next in their place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import random_picture
from PIL import Image

from cips_lab.data.datamodule import ImageDataModule
from cips_lab.data.dataset import ImageDataset
from cips_lab.data.sources import FolderSource
from cips_lab.data.unreadable import LISTED_AS, names, note, tell
from cips_lab.errors import UserError

BAD = (0, 4, 5, 11)  # the first, two in a row, the last


def break_picture(path: Path) -> None:
    """Behind a good header, so that only decoding tells."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve JPEGs, four of them cut short."""
    root = tmp_path / "pictures"
    root.mkdir()
    for i in range(12):
        path = root / f"{i:02d}.jpg"
        random_picture(64, 64, seed=i).save(path)
        if i in BAD:
            break_picture(path)
    return root


def stand_in(index: int) -> int:
    """The oracle: step on, one by one, in a circle."""
    while index in BAD:
        index = (index + 1) % 12
    return index


def good(folder: Path, index: int) -> torch.Tensor:
    with Image.open(folder / f"{index:02d}.jpg") as image:
        resized = image.convert("RGB").resize((8, 8), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(resized).transpose(2, 0, 1).copy())


def module(folder: Path, policy: str, workers: int = 0) -> ImageDataModule:
    data = ImageDataModule("mine", str(folder), 8, num_workers=workers, unreadable=policy)
    data.prepare_data()
    data.setup()
    return data


def test_skip_puts_the_next_readable_picture_in_its_place(folder: Path, tmp_path: Path) -> None:
    data = module(folder, "skip")
    listing = data.train_dataset.reader.listing = tmp_path / "run" / LISTED_AS
    for index in (11, *range(12), 0, 5):
        assert torch.equal(data.train_dataset[index], good(folder, stand_in(index))), index
    assert sorted(names(listing)) == [str(folder / f"{i:02d}.jpg") for i in BAD], "each once"
    assert all("cannot be decoded" in line for line in listing.read_text().splitlines())


def test_every_process_and_a_continued_run_see_the_same(folder: Path, tmp_path: Path) -> None:
    """One process without workers, against the shares of two with two workers each, from the middle on."""
    whole = module(folder, "skip").train_loader(8, seed=3)
    expected = [batch for batch, _ in zip(whole, range(6), strict=False)]
    listing = tmp_path / LISTED_AS
    shares = []
    for rank in range(2):
        data = module(folder, "skip", workers=2)
        data.train_dataset.reader.listing = listing
        loader = data.train_loader(4, seed=3, rank=rank, world_size=2, images_seen=16)
        shares.append([batch for batch, _ in zip(loader, range(4), strict=False)])
    for i in range(4):
        joined = torch.stack([shares[0][i], shares[1][i]], dim=1).flatten(0, 1)
        assert torch.equal(joined, expected[2 + i])
    assert sorted(names(listing)) == [str(folder / f"{i:02d}.jpg") for i in BAD], "four workers, each picture once"


@pytest.mark.parametrize("workers", [0, 2])
def test_fail_names_the_file(folder: Path, workers: int) -> None:
    loader = module(folder, "fail", workers).train_loader(4, seed=0)
    with pytest.raises(UserError, match=r"\d\d\.jpg cannot be decoded .*; delete or replace this file$"):
        for _ in zip(loader, range(4), strict=False):
            pass


def test_headers_that_are_damaged_are_told_before_training(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "03.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"1 of the 12 pictures checked.*data\.unreadable"):
        module(folder, "fail")
    data = module(folder, "skip")
    assert "03.jpg" in caplog.text
    assert torch.equal(data.train_dataset[3], good(folder, 6))


def test_nothing_but_unreadable_pictures_is_an_error_whatever_the_policy(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_text("no picture")
    with pytest.raises(UserError, match="3 of the 3 pictures"):
        module(tmp_path, "skip")
    dataset = ImageDataset(FolderSource(tmp_path), 8, "skip")
    with pytest.raises(UserError, match="none of its 3 pictures can be decoded"):
        dataset[1]


def test_another_policy_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"data\.unreadable=ignore"):
        ImageDataModule("mine", str(folder), 8, unreadable="ignore")


def test_the_listing_is_counted_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell(tmp_path / LISTED_AS)
    assert not caplog.text
    for name in ("a.png", "b.png", "a.png"):
        note(tmp_path / LISTED_AS, name, "truncated\nfile")
    tell(tmp_path / LISTED_AS)
    assert f"2 unreadable picture(s) were replaced by others; they are listed in {tmp_path / LISTED_AS}" in caplog.text
