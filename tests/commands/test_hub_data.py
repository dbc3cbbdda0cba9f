"""Data sets of the hub, from a stand-in of it on this machine: downloaded, streamed, and what is told of mistakes."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "data_pipeline"))
from hub import serving
from pictures import random_picture
from test_parquet import write

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    root = tmp_path / "hub"
    (root / "u" / "gated" / "main").mkdir(parents=True)
    with serving(root) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield root, asked


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    random_picture(20, 20, number).save(path)


def prepared(path: Path) -> list[Image.Image]:
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        return [Image.open(archive.open(name)).convert("RGB") for name in names]


def expect(pictures: list[Image.Image], numbers: list[int]) -> None:
    assert len(pictures) == len(numbers)
    for found, number in zip(pictures, numbers, strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(random_picture(20, 20, number)))


def test_tables_are_downloaded_once_and_read_without_a_network(
    run: Run, hub: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, asked = hub
    data = root / "u" / "n" / "main" / "data"
    write(data / "train-00000-of-00002.parquet", 0, 13, label=[0] * 13)
    write(data / "train-00001-of-00002.parquet", 13, 4, label=[1] * 4)
    write(data / "test-00000-of-00001.parquet", 50, 3, label=[1] * 3)
    command = ("prepare", "source=hf://u/n", "resolution=20")
    result = run(*command, "output=a.zip")
    assert result.returncode == 0, result.stderr
    assert "pictures: 17 in hf://u/n@aaaaaaaaaaaa" in result.stdout
    expect(prepared(tmp_path / "a.zip"), list(range(17)))
    assert sum(line.startswith("GET /datasets/u/n/resolve") for line in asked) == 2  # and not the test split
    asked.clear()
    assert run(*command, "output=b.zip").returncode == 0
    assert not any(line.startswith("GET /datasets/u/n/resolve") for line in asked)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    offline = run(*command, "output=c.zip")
    assert offline.returncode == 0, offline.stderr
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "c.zip").read_bytes()
    next((tmp_path / "home").rglob("snapshots/*/data/train-00001*")).unlink()  # as an interrupted download leaves it
    broken = run(*command, "output=d.zip")
    assert broken.returncode == 2
    assert "the hub is not to be reached" in broken.stderr


def test_a_split_is_chosen_and_streamed(run: Run, hub: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, asked = hub
    write(root / "u" / "n" / "main" / "data" / "train-00000-of-00001.parquet", 0, 12)
    write(root / "u" / "n" / "main" / "data" / "test-00000-of-00001.parquet", 50, 3)
    address = "source='hf://u/n?split=test&stream=true'"
    result = run("prepare", address, "output=a.zip", "resolution=20", "workers=2")
    assert result.returncode == 0, result.stderr
    expect(prepared(tmp_path / "a.zip"), [50, 51, 52])
    assert not any("train-" in line for line in asked)
    assert not list((tmp_path / "home").rglob("*.parquet"))


def test_streamed_pictures_train(run: Run, hub: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, _ = hub
    write(root / "u" / "n" / "main" / "data" / "train-00000-of-00001.parquet", 0, 60)
    downloaded, streamed = "data.path=hf://u/n", "data.path='hf://u/n?stream=true'"
    common = ("experiment=debug", "data=folder", "batch_size=4", "schedule.total_kimg=0.016", "trainer.accelerator=cpu")
    for path, name in ((downloaded, "a"), (streamed, "b")):
        result = run("train", *common, path, f"name={name}", "schedule.evaluate_kimg=null", "data.num_workers=1")
        assert result.returncode == 0, result.stderr
    lines = [(tmp_path / "runs" / name / "metrics.jsonl").read_text().splitlines()[-1] for name in "ab"]
    losses = [re.findall(r'"loss/[a-z_]+": [-0-9.e]+', line) for line in lines]
    assert losses[0]
    assert losses[0] == losses[1]  # the same pictures in the same order


@pytest.mark.parametrize("kind", ["pictures", "zip", "tar", "converted"])
def test_data_sets_without_tables(run: Run, hub: tuple[Path, list[str]], tmp_path: Path, kind: str) -> None:
    root, _ = hub
    main = root / "u" / "n" / "main"
    if kind == "pictures":
        for number in range(5):
            picture(main / "cats" / f"{number}.png", number)
        (main / "README.md").write_text("x")
    elif kind == "converted":
        main.mkdir(parents=True)
        (main / "script.py").write_text("raise SystemExit('it was run')")
        write(root / "u" / "n" / "refs-convert-parquet" / "default" / "train" / "0000.parquet", 0, 5)
    else:
        for number in range(5):
            picture(tmp_path / "p" / f"{number}.png", number)
        main.mkdir(parents=True)
        output = "set.zip" if kind == "zip" else "set.tar"
        assert run("prepare", "source=p", f"output={main / 'data' / output}", "resolution=20").returncode == 0
        for extra in (main / "data").glob("*.[jc]s*"):
            extra.unlink()
    result = run("prepare", "source=hf://u/n", "output=a.zip", "resolution=20")
    assert result.returncode == 0, result.stderr
    expect(prepared(tmp_path / "a.zip"), list(range(5)))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://nobody/nothing", "no such data set on the hub, or a private one .then run hf auth login"),
        ("hf://u/gated", "its owner wants to be asked: open it in a browser"),
        ("hf://u/n@v9", "it has no such revision"),
        ("hf://u/n?split=dev", "no split 'dev'; there is test, train: say .split="),
        ("hf://u/two", "several configurations .large, small.; say which, as in hf://user/name/large"),
        ("hf://u/empty", "neither Parquet tables nor pictures"),
        ("hf://u", "not an address of a data set; it looks like hf://user/name"),
        ("hf://u/n?size=3", "there may be image=..., label=..., split=..., stream=..."),
        ("hf://u/n?stream=maybe", "stream=maybe: must be true or false"),
        ("hf://u/n/../../x", ".. leads out of the data set"),
    ],
)
def test_what_is_wrong_is_told(
    run: Run, hub: tuple[Path, list[str]], tmp_path: Path, address: str, message: str
) -> None:
    root, _ = hub
    for split in ("train", "test"):
        write(root / "u" / "n" / "main" / "data" / f"{split}-00000-of-00001.parquet", 0, 3)
    for name in ("small", "large"):
        write(root / "u" / "two" / "main" / name / "train-00000-of-00001.parquet", 0, 3)
    (root / "u" / "empty" / "main").mkdir(parents=True)
    (root / "u" / "empty" / "main" / "x.txt").write_text("x")
    (root / "u" / "empty" / "refs-convert-parquet").mkdir()
    result = run("prepare", f"source='{address}'", "output=a.zip", "resolution=20")
    assert result.returncode == 2, (result.stdout, result.stderr)
    assert re.search(message, result.stderr), result.stderr
    assert address in result.stderr
    assert "Traceback" not in result.stderr


def test_shards_of_a_split_and_a_zip_by_its_name(run: Run, hub: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, asked = hub
    data = root / "u" / "n" / "main" / "data"
    for split, numbers in (("train", range(5)), ("test", range(50, 53))):
        for number in numbers:
            picture(tmp_path / split / f"{number}.png", number)
        assert run("prepare", f"source={split}", f"output={data / split}.tar", "resolution=20").returncode == 0
    assert run("prepare", "source=test", f"output={data / 'small.zip'}", "resolution=20").returncode == 0
    for address, numbers in (
        ("hf://u/n?split=test", [50, 51, 52]),
        ("hf://u/n", [*range(5)]),  # what was downloaded before lies in the same folder, and is not read
        ("hf://u/n/data/small.zip", [50, 51, 52]),
    ):
        result = run("prepare", f"source='{address}'", "output=a.zip", "resolution=20")
        assert result.returncode == 0, result.stderr
        expect(prepared(tmp_path / "a.zip"), numbers)
        (tmp_path / "a.zip").unlink()
    assert asked


def test_a_configuration_is_a_folder(run: Run, hub: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, _ = hub
    for first, name in ((0, "small"), (30, "large")):
        write(root / "u" / "two" / "main" / name / "train-00000-of-00001.parquet", first, 3)
    result = run("prepare", "source=hf://datasets/u/two@main/large", "output=a.zip", "resolution=20")
    assert result.returncode == 0, result.stderr
    expect(prepared(tmp_path / "a.zip"), [30, 31, 32])


def test_no_hub_at_all(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    result = run("prepare", "source=hf://u/n", "output=a.zip")
    assert result.returncode == 2
    assert "source=hf://u/n: the hub is not to be reached (" in result.stderr
    assert "hf download --repo-type dataset" in result.stderr
