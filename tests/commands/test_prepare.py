"""`python -m cips_lab.prepare` as a user runs it: damaged pictures by the dozen, kills, the same bytes, mistakes."""

import csv
import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[str]]
COUNT, EVERY = 1000, 20  # of which each twentieth is damaged, in one of ten ways


def jpeg(path: Path, number: int) -> bytes:
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    coarse.resize((40 + number % 7, 36 + number % 5), Image.Resampling.BICUBIC).save(path, quality=85)
    return path.read_bytes()


def too_large(path: Path) -> None:
    """A PNG whose header asks for 100,000 pixels a side."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0")))
    written = (struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))


def in_floats(path: Path) -> None:
    Image.fromarray(np.zeros((40, 40), np.float32), "F").save(path, format="TIFF")


# Each makes an unusable file of a path that holds a picture.
DAMAGES: tuple[Callable[[Path], object], ...] = (
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:200]),  # cut off in its header
    lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),  # cut off in its pixels
    lambda path: path.write_text("<html>404 Not Found</html>"),
    lambda path: path.write_bytes(bytes(5000)),
    lambda path: path.write_bytes(os.urandom(3000)),
    lambda path: path.write_bytes(b"%PDF-1.7 " + bytes(100)),
    lambda path: path.write_bytes(b"\x00\x00\x00\x20ftypheic" + bytes(100)),
    too_large,
    in_floats,
)


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("thousand") / "pictures"
    for number in range(COUNT):
        path = root / f"{number // 100:02d}" / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        jpeg(path, number)
        if number % EVERY == 7:
            DAMAGES[number // EVERY % 10](path)
    return root


@pytest.fixture(scope="module")
def whole(thousand: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """What one process makes of them, undisturbed."""
    place = tmp_path_factory.mktemp("whole")
    command = [sys.executable, "-m", "cips_lab.prepare", f"source={thousand}", "output=set.zip", "resolution=32"]
    return place, subprocess.run([*command, "workers=1"], cwd=place, capture_output=True, text=True)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_thousand_pictures_of_which_fifty_are_damaged(
    whole: tuple[Path, subprocess.CompletedProcess[str]], thousand: Path
) -> None:
    place, result = whole
    assert result.returncode == 3, result.stderr
    assert "950 pictures of 1,000 prepared: " in result.stdout
    assert f"50 cannot be read: {place}/rejected.csv" in result.stdout
    assert "error: 50 picture(s) could not be read; the set is whole without them" in result.stderr
    with (place / "rejected.csv").open() as file:
        rejected = list(csv.DictReader(file))
    assert [row["file"] for row in rejected] == [
        f"{thousand}/{number // 100:02d}/{number:04d}.jpg" for number in range(7, COUNT, EVERY)
    ]
    assert {row["kind"] for row in rejected} == {"unreadable"}
    reasons = [row["reason"] for row in rejected]
    for expected in ("not a picture", "HEIC", "10000000000 pixels", "32 bits a pixel", "Truncated"):
        assert any(expected in reason for reason in reasons), expected
    assert not any("\n" in reason or str(thousand) in reason for reason in reasons)
    manifest = json.loads((place / "manifest.json").read_text())
    assert (manifest["pictures"], manifest["looked_at"], manifest["unreadable"]) == (950, 1000, 50)
    with zipfile.ZipFile(place / "set.zip") as archive:
        assert len(archive.namelist()) == 951
    assert sorted(path.name for path in place.iterdir()) == ["manifest.json", "rejected.csv", "set.zip"]


def test_killed_three_times_with_two_workers_the_bytes_are_the_same(
    whole: tuple[Path, subprocess.CompletedProcess[str]], thousand: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "cips_lab.prepare", f"source={thousand}", "output=set.zip", "resolution=32"]
    journal = tmp_path / ".set.zip.partial" / "journal.jsonl"
    lines = 0
    for _ in range(3):
        with (tmp_path / "log").open("a") as log:
            process = subprocess.Popen([*command, "workers=2"], cwd=tmp_path, stdout=log, stderr=log)
            deadline = time.monotonic() + 60
            while not journal.exists() or len(journal.read_bytes().splitlines()) < lines + 6:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        lines = len(journal.read_bytes().splitlines())
        assert not (tmp_path / "set.zip").exists()
    assert 18 <= lines < 62
    result = subprocess.run([*command, "workers=2"], cwd=tmp_path, capture_output=True, text=True)
    (tmp_path / "log").unlink()
    assert result.returncode == 3, result.stderr
    assert "going on after" in result.stdout + result.stderr
    found, expected = digests(tmp_path), digests(whole[0])
    assert found == expected


def lives(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_of_a_killed_command_end(thousand: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cips_lab.prepare", f"source={thousand}", "output=set", "resolution=32"]
    process = subprocess.Popen([*command, "workers=2"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    journal = tmp_path / ".set.partial" / "journal.jsonl"
    while not journal.exists():
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(map(lives, children)):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.05)


def test_ctrl_c_keeps_what_is_done(thousand: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cips_lab.prepare", f"source={thousand}", "output=set.zip", "resolution=32"]
    process = subprocess.Popen(
        [*command, "workers=2"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    journal = tmp_path / ".set.zip.partial" / "journal.jsonl"
    while not journal.exists() or journal.stat().st_size < 2000:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert journal.stat().st_size > 2000


def test_shards_are_read_by_webdataset(run: Run, tmp_path: Path) -> None:
    for number in range(60):
        folder = tmp_path / "pictures" / ("a" if number < 25 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        jpeg(folder / f"{number:03d}.jpg", number)
    result = run("prepare", "source=pictures", "output=shards/set.tar", "resolution=16", "shard_size=25")
    assert result.returncode == 0, result.stderr
    assert run("prepare", "source=pictures", "output=set.zip", "resolution=16").returncode == 0
    urls = str(tmp_path / "shards" / "set-{000000..000002}.tar")
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("png", "cls"))
    assert [int(label) for _, label in found] == [0] * 25 + [1] * 35
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        for number, (image, _) in enumerate(found):
            expected = Image.open(archive.open(f"00000/img{number:08d}.png"))
            assert np.array_equal(np.asarray(image), np.asarray(expected))


def test_what_was_prepared_trains(run: Run, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        jpeg(tmp_path / "pictures" / f"{number:03d}.jpg", number)
    for output in ("set.zip", "folder", "set.tar"):
        assert run("prepare", "source=pictures", f"output={output}", "resolution=16").returncode == 0
    for path in ("set.zip", "folder", "set-000000.tar"):
        short = ("schedule.total_kimg=0.008", "batch_size=4", "schedule.evaluate_kimg=null", f"name={path}")
        result = run("train", "experiment=debug", "data=folder", f"data.path={path}", "resolution=16", *short)
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "source=... is missing, such as source=/my/pictures"),
        (("source=pictures",), "output=... is missing, such as output=set.zip"),
        (("source=nowhere", "output=set.zip"), "source=nowhere: .*nowhere does not exist"),
        (("source=pictures", "output=there.zip"), "something is there already; delete it, or choose another place"),
        (("source=pictures", "output=pictures/set"), "output=.* lies in the source"),
        (("source=pictures", "output=set.rar"), r"\.rar is not written; give a \.zip"),
        (("source=pictures", "output=set.zip", "crop=tiles", "crops=3"), "crops=3 is for crop=random"),
        (("source=pictures", "output=set.zip", "resolution=null"), "give resolution=256, or crop=none"),
        (("source=pictures", "output=set.zip", "resolution=-1"), "resolution=-1"),
        (("source=pictures", "output=set.zip", "crop=middle"), "crop=middle.*center"),
        (("source=pictures", "output=set.zip", "sizes=3"), "sizes"),
        (("source=pictures", "output=none.zip", "minimum=4000"), "not one of its 3 pictures can be used"),
        (("source=hf://", "output=set.zip"), "source=hf://"),
    ],
)
def test_mistakes_are_told_before_work_begins(
    run: Run, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        jpeg(tmp_path / "pictures" / f"{number}.jpg", number)
    (tmp_path / "there.zip").write_bytes(b"mine")
    result = run("prepare", *overrides)
    assert result.returncode == 2, (result.stdout, result.stderr)
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "there.zip").read_bytes() == b"mine"
    assert not (tmp_path / "set.zip").exists()


def test_help_teaches(run: Run) -> None:
    result = run("prepare", "--help")
    assert result.returncode == 0
    for told in ("source=/my/pictures output=set.zip", "crop=tiles", "shard_size", "rejected.csv", "Exit status"):
        assert told in result.stdout


def test_frames_of_a_film(run: Run, tmp_path: Path) -> None:
    sys.path.append(str(Path(__file__).parents[1] / "data_pipeline"))
    from test_video import film, level

    film(tmp_path / "a.mp4")
    result = run("prepare", "source=a.mp4", "output=set.zip", "resolution=16", "every=10")
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        for number in range(6):
            picture = np.asarray(Image.open(archive.open(f"00000/img{number:08d}.png")))
            assert abs(picture.mean() - level(10 * number)) < 12
    refused = run("prepare", "source=set.zip", "output=b.zip", "resolution=16", "every=10")
    assert refused.returncode == 2
    assert "every=10 is for frames of films" in refused.stderr


def test_animations_are_left_out_if_asked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    frames = [Image.new("L", (20, 20), grey) for grey in (0, 255)]
    frames[0].save(tmp_path / "p" / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "p" / "b.gif")
    assert run("prepare", "source=p", "output=all.zip", "resolution=16").returncode == 0
    result = run("prepare", "source=p", "output=still.zip", "resolution=16", "animations=leave_out")
    assert result.returncode == 0, result.stderr
    assert "1 pictures of 2 prepared" in result.stdout
    listing = (tmp_path / "still.zip.rejected.csv").read_text()
    assert f"{tmp_path}/p/a.gif,left out,2 pictures in one file (animations=leave_out)" in listing


def test_it_does_not_wait_for_torch(tmp_path: Path) -> None:
    """Nor does each of its processes: on a folder of a hundred pictures that would be most of the time."""
    (tmp_path / "p").mkdir()
    jpeg(tmp_path / "p" / "a.jpg", 0)
    code = (
        "import sys; sys.argv = ['prepare', 'source=p', 'output=set.zip', 'resolution=16']; "
        "from cips_lab.prepare import main; main(); print('torch' in sys.modules, 'pyarrow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout.endswith("False False\n"), result.stdout + result.stderr
