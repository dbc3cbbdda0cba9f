"""Real files for the data tests, made on the spot."""

import io
import zipfile
from pathlib import Path

import pytest
from pictures import random_picture


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Nine pictures of several sizes, nested, with things between them that are no pictures."""
    root = tmp_path / "pictures"
    for index in range(9):
        folder = root / ("a" if index < 4 else "b/c")
        folder.mkdir(parents=True, exist_ok=True)
        random_picture(16 + 3 * index, 20 + index, seed=index).save(folder / f"{index}.png")
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.png").write_text("no picture")
    (root / ".ipynb_checkpoints").mkdir()
    random_picture(8, 8, seed=99).save(root / ".ipynb_checkpoints" / "copy.png")
    return root


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def stylegan_zip(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Eleven pictures 16 x 16 and dataset.json, written as StyleGAN's dataset_tool.py does."""
    path = tmp_path / "dataset.zip"
    with zipfile.ZipFile(path, "w", compression=request.param) as archive:
        for index in range(11):
            buffer = io.BytesIO()
            random_picture(16, 16, seed=index).save(buffer, format="png", compress_level=0, optimize=False)
            archive.writestr(f"{index // 10:05d}/img{index:08d}.png", buffer.getbuffer())
        archive.writestr("dataset.json", '{"labels": null}')
    return path
