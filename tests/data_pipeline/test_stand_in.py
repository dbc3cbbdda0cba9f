"""Pictures in place of the paper's: which, how large, and that nobody takes their numbers for the paper's."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cips_lab.data import stand_in
from cips_lab.data.dataset import ArrayDataset
from cips_lab.data.stand_in import EnlargedDataset, StandInDataModule
from cips_lab.errors import UserError


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ffhq_256", "cartoon faces"),
        ("ffhq_1024", "cartoon faces"),
        ("churches_256", "ETOPO1"),
        ("landscapes_256", "Natural Earth"),
        ("satellite_buildings_256", "Blue Marble"),
        ("satellite_landscapes_256", "Blue Marble"),
        ("anything", "Blue Marble"),
    ],
)
def test_each_set_has_one(name: str, shown: str) -> None:
    data = StandInDataModule(name, 64)
    assert data.stand_in
    assert shown in data.location
    assert data.location.startswith("a stand-in: ")
    assert data.name == f"{name}_stand_in"


def test_faces_are_few_enlarged_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in, "FACES", {"train": range(5), "test": range(100, 103)})
    monkeypatch.setattr(stand_in, "LARGEST", 32)
    data = StandInDataModule("ffhq_1024", 64, cache=str(tmp_path))
    data.prepare_data()
    data.setup()
    assert isinstance(data.train_dataset, EnlargedDataset)
    assert (len(data.train_dataset), len(data.test_dataset or ())) == (5, 3)
    item = data.train_dataset[2]
    assert (item.dtype, item.shape) == (torch.uint8, (3, 64, 64))
    small = torch.from_numpy(np.array(data.load("train")[2]))
    assert small.shape == (3, 32, 32)
    assert (F.avg_pool2d(item.float(), 2) - small).abs().mean() < 4
    assert np.array_equal(np.asarray(data.train_dataset.picture(2)), item.permute(1, 2, 0).numpy())
    assert data.train_dataset.fingerprint() != ArrayDataset(data.load("train")).fingerprint()
    assert next(iter(data.train_loader(4, seed=0))).shape == (4, 3, 64, 64)
    assert len(list(tmp_path.glob("stand_in_faces_32_*.npy"))) == 2


def test_maps(tmp_path: Path) -> None:
    data = StandInDataModule("churches_256", 16, cache=str(tmp_path))
    data.setup()
    assert len(data.train_dataset) > 1000
    assert float(data.train_dataset[3].float().std()) > 5


def test_sizes_that_there_are_not() -> None:
    with pytest.raises(UserError, match="data=stand_in has powers of two"):
        StandInDataModule("ffhq_256", 96)
