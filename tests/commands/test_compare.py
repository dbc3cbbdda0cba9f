"""`python -m cips_lab.compare`, and `evaluate reference=`: plain folders, without a data set or a run."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cips_lab.data.blue_marble import load_tiles

Run = Callable[..., subprocess.CompletedProcess[str]]
FEW = ("metrics=efficientnet_lite0", "metrics.kid_subset_size=10", "trainer=cpu")
KEYS = (
    *("fd_efficientnet_lite0", "kid", "isc", "precision", "recall", "density", "coverage"),
    *("swd", "colour", "spectrum_distance_durall", "spectrum_distance"),
)


def write(folder: Path, tiles: np.ndarray, radius: float = 0.0) -> Path:
    folder.mkdir()
    for number, tile in enumerate(tiles):
        picture = Image.fromarray(tile.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(radius))
        picture.save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    tiles = load_tiles(32, "train")[::12]
    write(tmp_path / "real", tiles[:40])
    write(tmp_path / "sharp", tiles[40:70])
    write(tmp_path / "soft", tiles[70:100], radius=1.5)
    return tmp_path


def test_three_folders_in_one_table(run: Run, folders: Path) -> None:
    done = run("compare", "samples=[soft,sharp]", "reference=real", *FEW)
    assert done.returncode == 0, done.stderr
    soft, sharp = json.loads((folders / "comparison.json").read_text())
    assert (soft["of"], sharp["of"], soft["data"]) == ("soft", "sharp", str(folders / "real"))
    assert sharp["fd_efficientnet_lite0"] < soft["fd_efficientnet_lite0"]
    table = (folders / "comparison.md").read_text()
    head, _, first, second = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[:4])
    assert [cell.split()[0] for cell in head] == ["pictures", "samples", *KEYS]
    assert first[:2] == ["soft", "30"]
    assert second[2].startswith(f"**{sharp['fd_efficientnet_lite0']:.0f}"[:3])
    assert all("(± " in cell for cell in second[2:])
    assert "Against 40 real pictures" in table
    assert "standard error over samples" in done.stdout
    assert not (folders / "runs").exists()

    alone = run("evaluate", "samples=sharp", "reference=real", *FEW)
    assert alone.returncode == 0, alone.stderr
    assert json.loads((folders / "metrics.json").read_text()) == sharp


def test_other_counts_are_told(run: Run, folders: Path) -> None:
    for picture in sorted((folders / "soft").iterdir())[20:]:
        picture.unlink()
    done = run("compare", "samples=[soft,sharp]", "reference=real", "metrics.names=[kid]", *FEW)
    assert done.returncode == 0, done.stderr
    assert "The numbers of samples differ" in done.stdout


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        (
            "compare",
            ["reference=real"],
            "give samples=[a,b], folders or .zips of pictures, or ckpts=[run,run], or both",
        ),
        ("compare", ["samples=[soft,nowhere]", "reference=real"], "samples=nowhere: "),
        ("compare", ["samples=[soft,large]", "reference=real"], "cannot be compared: soft has 32, large has 64"),
        ("compare", ["samples=[soft]", "reference=nowhere"], "reference=nowhere: "),
        ("evaluate", ["samples=soft", "reference=real", "data=blue_marble"], "reference=real takes the place of data="),
        ("evaluate", ["samples=soft", "reference=real", "split=test"], "reference=real takes the place of data="),
        ("evaluate", ["samples=soft"], "data.path is not set"),
    ],
)
def test_mistakes_are_told_before_the_work(
    run: Run, folders: Path, command: str, options: list[str], said: str
) -> None:
    write(folders / "large", load_tiles(64, "train")[:20])
    done = run(command, *options, *FEW)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert not (folders / "comparison.json").exists()
