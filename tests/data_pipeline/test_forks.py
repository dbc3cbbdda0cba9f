"""Every source is read on by forked processes, as a loader's are, after its own process has read from it."""

import tarfile
from pathlib import Path

import pytest
from test_lmdb import public
from test_parquet import write
from test_tar import png

from forked import Python

READ = """
import sys
import torch
from torch.utils.data import DataLoader
from cips_lab.data.dataset import ImageDataset
from cips_lab.data.sources import open_source

dataset = ImageDataset(open_source(sys.argv[1]), 16)
here = [dataset[index] for index in range(len(dataset))]
for _ in range(2):
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
    assert all(torch.equal(one, other) for one, other in zip(here, loader, strict=True))
print("the same", len(here))
"""


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "lmdb", "parquet"])
def test_forked_loaders_read_the_same(
    python: Python, kind: str, picture_folder: Path, stylegan_zip: Path, tmp_path: Path
) -> None:
    if kind == "folder":
        path = picture_folder
    elif kind == "zip":
        path = stylegan_zip
    elif kind == "tar":
        path = tmp_path / "set.tar"
        for number in range(9):
            (tmp_path / f"{number}.png").write_bytes(png(number))
        with tarfile.open(path, "w") as archive:
            for number in range(9):
                archive.add(tmp_path / f"{number}.png", f"{number}.png")
    elif kind == "lmdb":
        path = public(tmp_path / "set")
    else:
        path = write(tmp_path / "t.parquet", 0, 30)
    script = tmp_path / "read.py"
    script.write_text(READ)
    result = python(script, path, timeout=200)
    assert result.returncode == 0, result.stderr
    assert "the same" in result.stdout
