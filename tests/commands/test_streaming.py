"""Pictures larger than memory: `python -m cips_lab.synthesize output=large.tif`, killed, continued, refused."""

import itertools
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
from filelock import FileLock
from PIL import Image

from cips_lab.errors import UserError
from cips_lab.interop.native import load_generator, save_generator
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.render import streaming
from cips_lab.render.pictures import to_uint8
from cips_lab.render.streaming import StreamedPicture, check_format, stream_pictures

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


def load(weights: Path) -> CIPSGenerator:
    generator = load_generator(weights)
    assert isinstance(generator, CIPSGenerator)
    return generator


def style(generator: CIPSGenerator, seed: int, truncation: float = 1.0) -> torch.Tensor:
    """What `synthesize` makes of a seed."""
    z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    return generator.truncate(generator.mapping(z), truncation)


def kill_in_the_middle(cwd: Path, *overrides: str) -> int:
    """Start synthesize, SIGKILL it once its journal holds a band; return the rows that it had by then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cips_lab.synthesize", *overrides],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = cwd / ".large.tif.journal"
    deadline = time.monotonic() + 120
    try:
        while not journal.is_file() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it had not finished by itself
    return int(json.loads(journal.read_text())["rows"])


def test_a_streamed_picture_is_the_plain_one(run: Run, weights: Path, tmp_path: Path) -> None:
    region = (-1, -1.5, 1.2, 1)
    result = run(
        "synthesize", f"ckpt={weights}", "seeds=4", "truncation=0.8", f"region={list(region)}", SIZE, "output=large.tif"
    )
    assert result.returncode == 0, result.stderr
    streamed = pixels(tmp_path / "large.tif")
    generator = load(weights)
    w = style(generator, 4, 0.8)
    plain = to_uint8(generator.render(w, image_grid(1100, 1500, region)))[0].astype(int)
    assert streamed.shape == (1100, 1500, 3)
    assert plain.std() > 1
    # Bands end elsewhere than tiles; where that moves a float's last bit, a colour may round the other way.
    assert np.abs(streamed - plain).max() <= 1
    assert (streamed != plain).mean() < 1e-4
    assert np.array_equal(tifffile.imread(tmp_path / "large.tif"), streamed)
    for name in ("large.png", "large.jpg"):
        stream_pictures(generator, [w], [StreamedPicture(tmp_path / name, 1100, 1500, {})], region)
    assert np.array_equal(pixels(tmp_path / "large.png"), streamed)
    assert np.abs(pixels(tmp_path / "large.jpg") - streamed).mean() < 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.jpg", "large.png", "large.tif"]  # nothing left over


def test_killed_and_resumed_is_uninterrupted(run: Run, weights: Path, tmp_path: Path) -> None:
    # Tiny tiles make it slow: there is a middle to be killed in, on any machine.
    overrides = (f"ckpt={weights}", "seeds=5", SIZE, "output=large.tif", "tile=256")
    rows = kill_in_the_middle(tmp_path, *overrides)
    assert 0 < rows < 1100
    assert not (tmp_path / "large.tif").exists()  # a half-made picture never bears the name
    # What is in the journal is not made again: mark a pixel that was done, and find the mark in the result.
    partial = tmp_path / ".large.tif.partial"
    with tifffile.TiffFile(partial) as file:
        first_pixel = file.pages.first.dataoffsets[0]
    with partial.open("r+b") as file:
        file.seek(first_pixel)
        file.write(bytes([1, 2, 3]))
    result = run("synthesize", *overrides)
    assert result.returncode == 0, result.stderr
    assert f"going on after {rows} of 1100 rows" in result.stdout
    generator = load(weights)
    stream_pictures(
        generator, [style(generator, 5)], [StreamedPicture(tmp_path / "whole.tif", 1100, 1500, {})], tile=64
    )
    resumed, whole = tifffile.imread(tmp_path / "large.tif"), tifffile.imread(tmp_path / "whole.tif")
    assert resumed[0, 0].tolist() == [1, 2, 3]
    resumed[0, 0] = whole[0, 0]
    assert np.array_equal(resumed, whole)  # to the bit


@pytest.mark.slow
def test_another_truncation_starts_anew(run: Run, weights: Path, tmp_path: Path) -> None:
    overrides = (f"ckpt={weights}", "seeds=5", SIZE, "output=large.tif", "tile=256")
    kill_in_the_middle(tmp_path, *overrides)
    result = run("synthesize", *overrides, "truncation=0.3")
    assert result.returncode == 0, result.stderr
    assert "differs in truncation; starting anew" in result.stdout
    generator = load(weights)
    plain = to_uint8(generator.render(style(generator, 5, 0.3), image_grid(1100, 1500)))[0].astype(int)
    assert np.abs(pixels(tmp_path / "large.tif") - plain).max() <= 1


def test_several_seeds_need_a_folder(run: Run, weights: Path, tmp_path: Path) -> None:
    overrides = (f"ckpt={weights}", "seeds=[3,1]", "resolution=[30,40]", "stream=true")
    refused = run("synthesize", *overrides, "output=grid.png")
    assert refused.returncode == 2
    assert "2 pictures of 30 x 40 are streamed to a file each; give a folder" in refused.stderr
    result = run("synthesize", *overrides, "output=pictures")
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["seed000001.tif", "seed000003.tif"]
    generator = load(weights)
    plain = to_uint8(generator.render(style(generator, 1), image_grid(30, 40)))[0].astype(int)
    assert np.abs(pixels(tmp_path / "pictures" / "seed000001.tif") - plain).max() <= 1


def test_a_complete_picture_is_not_made_again(weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    generator = load(weights)
    path = tmp_path / "large.tif"

    def stream(seed: int) -> os.stat_result:
        stream_pictures(generator, [style(generator, seed)], [StreamedPicture(path, 20, 30, {"seed": seed})])
        return path.stat()

    first = stream(1)
    with caplog.at_level("INFO"):
        assert stream(1).st_ino == first.st_ino
    assert "already there, complete" in caplog.text
    before = path.read_bytes()
    stream(2)
    assert path.read_bytes() != before
    Image.new("RGB", (3, 3)).save(path)  # a picture of someone else's
    stream(1)
    assert path.read_bytes() == before


class Stopped(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("name", ["large.tif", "large.png"])
def test_a_stop_between_any_two_moves_loses_nothing(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    generator = load(weights)
    monkeypatch.setattr(streaming, "BAND_PIXELS", 50)

    def stream(folder: Path) -> bytes:
        picture = StreamedPicture(folder / name, 5, 20, {})
        stream_pictures(generator, [style(generator, 1)], [picture])
        return picture.path.read_bytes()

    def stop_before_move(number: int, patches: pytest.MonkeyPatch) -> None:
        moves = itertools.count()

        def guarded(move: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                if next(moves) >= number:
                    raise Stopped
                return move(*args, **kwargs)

            return call

        for owner, function in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (tifffile, "imwrite")):
            patches.setattr(owner, function, guarded(getattr(owner, function)))

    whole = stream(tmp_path / "whole")
    for number in range(100):
        folder = tmp_path / str(number)
        try:
            with monkeypatch.context() as patches:
                stop_before_move(number, patches)
                stream(folder)
        except Stopped:
            assert stream(folder) == whole
            assert [p.name for p in folder.iterdir()] == [name]
        else:
            break
    assert 10 < number < 99  # at each of so many moves it was stopped, and at last it was not


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_does_not_grow_with_the_picture(weights: Path, tmp_path: Path) -> None:
    # VmHWM and not getrusage: ru_maxrss of a child begins with the peak of the process that started it.
    code = """if True:
        import re, sys, torch
        from pathlib import Path
        from cips_lab import load_generator
        from cips_lab.render.streaming import StreamedPicture
        from cips_lab.render.streaming import stream_pictures
        generator = load_generator(sys.argv[1])
        for side in 1024, 3072:
            stream_pictures(generator, [torch.zeros(8)], [StreamedPicture(Path(f"{side}.tif"), side, side, {})])
            print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    """
    result = subprocess.run(
        [sys.executable, "-c", code, str(weights)],
        cwd=tmp_path,
        # By default glibc keeps up to 30 MB of what was freed, more or less from run to run.
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    small, large = (int(line) * 1024 for line in result.stdout.split())
    assert small < 1.5e9
    assert large - small < 8e6  # made in memory the larger picture takes 400 MB


def test_a_disk_that_is_too_small_is_told_before(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load(weights)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * 10**9))
    pictures = [StreamedPicture(tmp_path / f"{i}.tif", 20_000, 20_000, {"seed": i}) for i in range(2)]
    with pytest.raises(UserError, match=r"2\.4 GB are needed in that folder and 2\.0 GB are free"):
        stream_pictures(generator, [torch.zeros(8)] * 2, pictures)
    assert list(tmp_path.iterdir()) == []
    stream_pictures(generator, [torch.zeros(8)], [StreamedPicture(tmp_path / "0.tif", 20, 20, {})])


def test_two_processes_do_not_write_one_picture(weights: Path, tmp_path: Path) -> None:
    generator = load(weights)
    picture = StreamedPicture(tmp_path / "0.tif", 20, 20, {})
    with FileLock(picture.lock), pytest.raises(UserError, match="another process"):
        stream_pictures(generator, [torch.zeros(8)], [picture])


def test_formats_are_checked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    check_format(Path("large.TIF"), 10**6, 10**6)
    with pytest.raises(UserError, match="65535"):
        check_format(Path("large.jpg"), 10, 65536)
    with pytest.raises(UserError, match="band by band goes into one of"):
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
