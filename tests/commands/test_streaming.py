"""Pictures larger than memory: `python -m cips_lab.synthesize output=large.tif`, killed, continued, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from cips_lab.errors import UserError
from cips_lab.interop.native import load_generator, save_generator
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.streaming import StreamedPicture, check_format, stream_pictures

Run = Callable[..., subprocess.CompletedProcess[str]]
OPTIONS = {"resolution": 16, "width": 16, "z_dim": 8, "w_dim": 8, "mapping_layers": 2}
SIZE = "resolution=[1100,1500]"  # 7 bands


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    options = OPTIONS | {"fourier": {"features": 16}, "embedding": {"features": 16}}
    generator = CIPSGenerator(**options)  # type: ignore[arg-type]
    generator.mapping.w_mean.normal_()
    path = tmp_path_factory.mktemp("weights") / "generator.safetensors"
    save_generator(generator, path, {"_target_": "cips_lab.networks.cips.CIPSGenerator", **options}, kimg=1.0)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def kill_in_the_middle(cwd: Path, *overrides: str) -> int:
    """Start synthesize, SIGKILL it once its journal holds a band; return the rows that it had by then."""
    # One pixel a tile would take minutes: there is a middle to be killed in, on any machine.
    command = [sys.executable, "-m", "cips_lab.synthesize", *overrides, "tile=16"]
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = cwd / ".large.tif.journal"
    deadline = time.monotonic() + 60
    try:
        while not journal.is_file() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it had not finished by itself
    return int(json.loads(journal.read_text())["rows"])


def test_a_streamed_picture_is_the_plain_one(run: Run, weights: Path, tmp_path: Path) -> None:
    base = ("synthesize", f"ckpt={weights}", "seeds=4", "truncation=0.8", "region=[-1,-1.5,1.2,1]", SIZE)
    for overrides in (["output=large.tif"], ["output=plain.tif", "stream=false"], ["output=large.png", "stream=true"]):
        result = run(*base, *overrides)
        assert result.returncode == 0, result.stderr
    streamed, plain = pixels(tmp_path / "large.tif"), pixels(tmp_path / "plain.tif")
    assert streamed.shape == (1100, 1500, 3)
    assert plain.std() > 1
    # Bands are cut elsewhere than tiles; where that moves a float's last bit, a colour may round the other way.
    assert np.abs(streamed - plain).max() <= 1
    assert (streamed != plain).mean() < 1e-4
    assert np.array_equal(pixels(tmp_path / "large.png"), streamed)
    assert np.array_equal(tifffile.imread(tmp_path / "large.tif"), streamed)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.png", "large.tif", "plain.tif"]  # nothing left over


def test_killed_and_resumed_is_uninterrupted(run: Run, weights: Path, tmp_path: Path) -> None:
    overrides = (f"ckpt={weights}", "seeds=5", SIZE)
    rows = kill_in_the_middle(tmp_path, *overrides, "output=large.tif")
    assert 0 < rows < 1100
    assert not (tmp_path / "large.tif").exists()  # a half-made picture never bears the name
    # What is in the journal is not made again: mark a row that was done, and find the mark in the result.
    partial = tmp_path / ".large.tif.partial"
    with tifffile.TiffFile(partial) as file:
        first_row = file.pages.first.dataoffsets[0]
    with partial.open("r+b") as file:
        file.seek(first_row)
        file.write(bytes([1, 2, 3]))
    result = run("synthesize", *overrides, "output=large.tif")
    assert result.returncode == 0, result.stderr
    assert f"going on after {rows} of 1100 rows" in result.stdout
    assert run("synthesize", *overrides, "output=whole.tif").returncode == 0
    resumed, whole = (bytearray((tmp_path / name).read_bytes()) for name in ("large.tif", "whole.tif"))
    assert resumed[first_row : first_row + 3] == bytes([1, 2, 3])
    resumed[first_row : first_row + 3] = whole[first_row : first_row + 3]
    resumed_pixels, whole_pixels = (np.frombuffer(data[first_row:], np.uint8).astype(int) for data in (resumed, whole))
    assert resumed[:first_row] == whole[:first_row]
    assert len(resumed_pixels) == 1100 * 1500 * 3
    # The killed run was made slow by tiny tiles; with the same tiles the two are equal to the bit.
    assert np.abs(resumed_pixels - whole_pixels).max() <= 1
    assert (resumed_pixels != whole_pixels).mean() < 1e-4
    again = run("synthesize", *overrides, "output=large.tif")
    assert again.returncode == 0
    assert "already there, complete" in again.stdout


def test_another_truncation_starts_anew(run: Run, weights: Path, tmp_path: Path) -> None:
    overrides = (f"ckpt={weights}", "seeds=5", SIZE, "output=large.tif")
    kill_in_the_middle(tmp_path, *overrides)
    result = run("synthesize", *overrides, "truncation=0.3")
    assert result.returncode == 0, result.stderr
    assert "differs in truncation; starting anew" in result.stdout
    plain = run("synthesize", *overrides[:-1], "truncation=0.3", "stream=false", "output=plain.tif")
    assert plain.returncode == 0
    assert np.abs(pixels(tmp_path / "large.tif") - pixels(tmp_path / "plain.tif")).max() <= 1


def test_several_seeds_need_a_folder(run: Run, weights: Path, tmp_path: Path) -> None:
    overrides = (f"ckpt={weights}", "seeds=[3,1]", "resolution=[30,40]", "stream=true")
    refused = run("synthesize", *overrides, "output=grid.png")
    assert refused.returncode == 2
    assert "2 pictures of 30 x 40 are streamed to a file each; give a folder" in refused.stderr
    result = run("synthesize", *overrides, "output=pictures")
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["seed000001.tif", "seed000003.tif"]
    assert run("synthesize", *overrides[:1], "seeds=1", "resolution=[30,40]", "output=one.png").returncode == 0
    assert np.abs(pixels(tmp_path / "pictures" / "seed000001.tif") - pixels(tmp_path / "one.png")).max() <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_does_not_grow_with_the_picture(weights: Path, tmp_path: Path) -> None:
    # VmHWM and not getrusage: ru_maxrss of a child begins with the peak of the process that started it.
    code = (
        "import re; from cips_lab.synthesize import main; main();"
        "print('peak', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )

    def peak(side: int) -> int:
        overrides = [f"ckpt={weights}", "seeds=0", f"resolution={side}", f"output={side}.tif"]
        result = subprocess.run(
            [sys.executable, "-c", code, *overrides],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return int(result.stdout.split("peak")[1])  # KiB

    small, large = peak(512), peak(2560)
    assert large - small < 20 * 1024  # the larger picture alone, as bytes, is 19 MB; in memory it would take 300


def test_a_disk_that_is_too_small_is_told_before(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_generator(weights)
    assert isinstance(generator, CIPSGenerator)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * 10**9))
    pictures = [StreamedPicture(tmp_path / f"{i}.tif", 20_000, 20_000, {"seed": i}) for i in range(2)]
    with pytest.raises(UserError, match=r"2\.4 GB are needed in that folder and 2\.0 GB are free"):
        stream_pictures(generator, [torch.zeros(8)] * 2, pictures)
    assert list(tmp_path.iterdir()) == []
    stream_pictures(generator, [torch.zeros(8)], [StreamedPicture(tmp_path / "0.tif", 20, 20, {})])


def test_two_processes_do_not_write_one_picture(weights: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    generator = load_generator(weights)
    assert isinstance(generator, CIPSGenerator)
    picture = StreamedPicture(tmp_path / "0.tif", 20, 20, {})
    with FileLock(picture.lock), pytest.raises(UserError, match="another process"):
        stream_pictures(generator, [torch.zeros(8)], [picture])


def test_formats_are_checked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    check_format(Path("large.TIF"), 10**6, 10**6)
    with pytest.raises(UserError, match="65535"):
        check_format(Path("large.jpg"), 10, 65536)
    with pytest.raises(UserError, match="band by band goes into one of .tif"):
        check_format(Path("large.webp"), 10, 10)
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(UserError, match=r"pip install 'cips-lab\[stream\]'"):
        check_format(Path("large.png"), 10, 10)


def test_beyond_4_gb_the_header_is_bigtiff(tmp_path: Path) -> None:
    picture = StreamedPicture(tmp_path / "0.tif", 40_000, 40_000, {})
    picture.prepare()  # a hole: it takes no space
    assert picture.partial.stat().st_size == picture.data_offset() + 3 * 40_000**2
    with tifffile.TiffFile(picture.partial) as file:
        assert file.is_bigtiff
        assert file.pages.first.shape == (40_000, 40_000, 3)
