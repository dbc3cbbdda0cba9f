"""Training on what people have: names of any bytes, broken files, other files between them, sources of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from cips_lab.data.unreadable import names

Run = Callable[..., subprocess.CompletedProcess[str]]

TINY = ("experiment=debug", "trainer=cpu", "data=folder", "schedule.total_kimg=0.04")
SOURCE = '''
"""Pictures that a text file names."""
from pathlib import Path

from cips_lab.data.sources import SOURCES, ImageSource


class ListSource(ImageSource):
    @classmethod
    def takes(cls, path):
        return path.startswith("list:")

    def __init__(self, path, option="data.path"):
        self.list = path.removeprefix("list:")
        self.files = Path(self.list).read_text().splitlines()

    def __len__(self):
        return len(self.files)

    def name(self, index):
        return self.files[index]

    def open(self, index):
        return Path(self.files[index]).open("rb")

    @property
    def location(self):
        return self.list


SOURCES.insert(0, ListSource)

if __name__ == "__main__":
    from cips_lab.train import main

    main()
'''


def write_pictures(folder: Path, count: int, name: Callable[[int], bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / "x.png")
        (folder / "x.png").rename(folder / os.fsdecode(name(number)))


def test_names_of_any_bytes_through_a_whole_run(run: Run, tmp_path: Path) -> None:
    """With evaluation, a broken file that is skipped, and all loggers; the folder's own name is no text either."""
    folder = tmp_path / os.fsdecode(b"bilder\xff")
    write_pictures(folder, 12, lambda number: b"caf\xe9%02d.png" % number)
    broken = folder / os.fsdecode(b"cut\xe9.jpg")
    Image.effect_noise((64, 64), 50).save(broken)
    broken.write_bytes(broken.read_bytes()[:600])
    (folder / "notes.txt").write_text("x")
    (folder / "old.tga").write_text("x")
    metrics = ("schedule.evaluate_kimg=0.04", "metrics.num_samples=12", "metrics.num_real=12")
    command = (*TINY, f"data.path={folder}", "data.unreadable=skip", "name=odd", "logger=all", *metrics)
    result = run("train", *command, "metrics.kid_subset_size=8")
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert "Logging error" not in result.stderr
    shown = str(tmp_path / r"bilder\xff")
    assert f"pictures: 13 in {shown}; 2 files left out: 1 .tga, 1 .txt" in result.stdout
    made = tmp_path / "runs" / "odd"
    assert names(made / "unreadable.txt") == [str(broken)]
    assert rf"{shown}/cut\xe9.jpg cannot be decoded (image file is truncated" in (made / "unreadable.txt").read_text()
    assert json.loads((made / "pictures.json").read_text())["train"]["left_out"] == {".tga": 1, ".txt": 1}
    assert "13; 2 files left out: 1 .tga, 1 .txt" in (made / "report.html").read_text()
    assert "fd_efficientnet_lite0" in (made / "metrics.jsonl").read_text()
    again = run("train", *command, "metrics.kid_subset_size=8")
    assert again.returncode == 0, again.stderr
    assert "has its 0.04 kimg already" in again.stdout


def test_a_newcomers_source_trains(tmp_path: Path, cache: Path) -> None:
    """One file with one line of registration, and `data.path` names it: no data module, no configuration."""
    write_pictures(tmp_path / "pictures", 12, lambda number: b"%02d.png" % number)
    chosen = sorted(map(str, (tmp_path / "pictures").iterdir()))[::2]
    (tmp_path / "chosen.txt").write_text("\n".join(chosen))
    (tmp_path / "listed.py").write_text(SOURCE)
    environment = os.environ | {"CIPS_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    arguments = [*TINY, f"data.path=list:{tmp_path / 'chosen.txt'}", "name=listed", "data.num_workers=2"]
    result = subprocess.run(
        [sys.executable, "listed.py", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    assert f"pictures: 6 in {tmp_path / 'chosen.txt'}" in result.stdout
    assert (tmp_path / "runs" / "listed" / "samples" / "real.png").exists()
