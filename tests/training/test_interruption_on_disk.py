"""Which checkpoints stay and which are whole, the lock of a run folder, and a full disk."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import build_gan, fit

from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.errors import DiskFull, RunInUse, UserError
from cips_lab.files.whole import append_line, replace_text
from cips_lab.processes import ranks
from cips_lab.runs import lock as locking
from cips_lab.runs.checkpoints import damage, sound_checkpoints
from cips_lab.runs.folder import images_of, kimg_label
from cips_lab.runs.lock import HOLDER, only_run_in
from runs import assert_equal, evaluation, names


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("statistics")


# ------------------------------------------------------------------ which checkpoints stay


@given(
    moments=st.lists(st.integers(1, 400), min_size=1, max_size=40, unique=True).map(sorted),
    keep=st.integers(1, 5),
    every=st.integers(1, 120),
)
def test_retention_keeps_the_newest_and_the_first_after_every_multiple(
    moments: list[int], keep: int, every: int
) -> None:
    """Save by save, as a run does; the oracle looks at all moments at once."""
    policy = Checkpoints(every_kimg=1, keep=keep, keep_every_kimg=every)
    there: list[int] = []
    for moment in moments:
        there.append(moment)
        doomed = policy.superfluous([Path(kimg_label(m * 1000)) for m in there])
        there = [m for m in there if Path(kimg_label(m * 1000)) not in doomed]
        assert moment in there
    multiples = range(every, 401, every)
    firsts = {next((m for m in moments if m >= multiple), None) for multiple in multiples}
    assert there == sorted({*moments[-keep:], *(firsts - {None})})


def test_retention_of_a_run(tmp_path: Path) -> None:
    fit(build_gan(), tmp_path, 9, Checkpoints(every_kimg=0.008, keep=2, keep_every_kimg=0.03))
    assert names(tmp_path) == [kimg_label(m) for m in (32, 64, 72)]


def test_nothing_is_removed_before_a_newer_one_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cips_lab.files import whole

    events: list[str] = []
    flush, rmtree = whole.flush, whole.shutil.rmtree
    monkeypatch.setattr(whole, "flush", lambda p: (events.append(f"flush {p.name}"), flush(p)))

    def remove(path: Path, **options: Any) -> None:
        if path.exists():
            events.append(f"remove {path.name}")
        rmtree(path, **options)

    monkeypatch.setattr(whole.shutil, "rmtree", remove)
    fit(build_gan(), tmp_path, 2, Checkpoints(every_kimg=0.008, keep=1))
    old, new = (f"kimg-00000.0{n}" for n in ("08", "16"))
    removed = events.index(f"remove .partial-removed-{old}")
    # Everything of the new one, its folder under its first name, and the folder that holds its final name.
    assert removed == len(events) - 1
    assert events[removed - 2 : removed] == [f"flush .partial-{new}", "flush checkpoints"]
    assert {"flush training.ckpt", "flush generator.safetensors", "flush manifest.json"} <= set(events[5:removed])


@pytest.mark.parametrize("every", [0, -1.5])
def test_keeping_one_of_every_nothing_is_refused(every: float) -> None:
    with pytest.raises(ValueError, match=r"schedule\.keep_every_kimg"):
        Checkpoints(every_kimg=1, keep_every_kimg=every)


# ------------------------------------------------------------------ damaged checkpoints


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["training.ckpt", "generator.safetensors", "manifest.json"])
@pytest.mark.parametrize("harm", [truncate, flip, Path.unlink])
def test_a_damaged_newest_is_passed_over_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, harm: Callable[[Path], None]
) -> None:
    fit(build_gan(), tmp_path, 3, Checkpoints(every_kimg=0.008, keep=None))
    newest = tmp_path / "checkpoints" / "kimg-00000.024"
    harm(newest / name)
    if name == "manifest.json" and harm is Path.unlink:  # as earlier versions left it: read in full, and whole
        assert damage(newest) is None
        truncate(newest / "training.ckpt")
        name = "training.ckpt"
    if name == "manifest.json" and harm is flip and damage(newest) is None:
        pytest.fail("a changed manifest passed")
    found = sound_checkpoints(tmp_path)
    assert [images_of(folder) for folder in found] == [8, 16]
    assert "DAMAGED CHECKPOINT" in caplog.text
    assert str(newest) in caplog.text
    # The run goes on from the one before, sets the damaged one aside, and ends as it would have.
    gan, whole = build_gan(seed=1), build_gan()
    fit(gan, tmp_path, 4, Checkpoints(every_kimg=0.008, keep=1), checkpoint=found[-1] / "training.ckpt")
    fit(whole, tmp_path / "whole", 4)
    assert_equal(gan, whole)
    assert names(tmp_path) == ["damaged-kimg-00000.024", "kimg-00000.032"]


def test_when_none_is_whole_the_run_is_not_begun_anew_in_silence(tmp_path: Path) -> None:
    fit(build_gan(), tmp_path, 2, Checkpoints(every_kimg=0.008))
    for path in tmp_path.glob("checkpoints/*/training.ckpt"):
        truncate(path)
    with pytest.raises(UserError, match=r"no checkpoint can be continued from(.|\n)*kimg-00000\.016(.|\n)*\.008"):
        sound_checkpoints(tmp_path)
    assert sound_checkpoints(tmp_path / "another") == []


def test_leftovers_of_a_killed_run_go_and_a_damaged_best_begins_anew(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(build_gan(), tmp_path, 2, Checkpoints(every_kimg=0.008), evaluation(cache, 2))
    root = tmp_path / "checkpoints"
    (root / ".partial-kimg-00000.024").mkdir()
    (root / ".partial-kimg-00000.024" / "training.ckpt").write_bytes(b"half")
    (best,) = root.glob("best-*")
    truncate(best / "metrics.json")
    checkpoint = root / "kimg-00000.016" / "training.ckpt"
    fit(build_gan(), tmp_path, 4, Checkpoints(every_kimg=0.008), evaluation(cache, 4), checkpoint=checkpoint)
    assert f"damaged-{best.name}" in names(tmp_path)
    assert str(best / "metrics.json") in caplog.text
    assert not [name for name in names(tmp_path) if name.startswith(".")]
    assert len([name for name in names(tmp_path) if name.startswith("best-")]) == 1


# ------------------------------------------------------------------ the lock


HOLD = (
    "import sys; from pathlib import Path; from cips_lab.runs.lock import only_run_in\n"
    "with only_run_in(Path(sys.argv[1])): print('held', flush=True); sys.stdin.readline()\n"
)


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_run_at_a_time_and_a_killed_one_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(RunInUse, match=f"{tmp_path}: a run is being trained .*process {process.pid} on"):
            only_run_in(tmp_path).__enter__()
        for name in ranks.RANKS:  # another process of the same run
            with monkeypatch.context() as patch:
                patch.setenv(name, "1")
                with only_run_in(tmp_path):
                    pass
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / HOLDER).exists()  # it had no time to remove it
    with only_run_in(tmp_path):
        assert json.loads((tmp_path / HOLDER).read_text())["pid"] == os.getpid()
    assert not (tmp_path / HOLDER).exists()
    with only_run_in(tmp_path):  # the next job of a sweep, or the same again
        pass


def test_what_a_killed_run_left_behind_is_waited_for(tmp_path: Path) -> None:
    """A forked data worker keeps the lock of its run for some seconds."""
    process = holder(tmp_path)
    note = json.loads((tmp_path / HOLDER).read_text())
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    (tmp_path / HOLDER).write_text(json.dumps(note | {"pid": int(dead.stdout)}))
    subprocess.Popen(["sh", "-c", f"sleep 1; kill {process.pid}"])
    began = time.monotonic()
    with only_run_in(tmp_path):
        assert time.monotonic() - began < locking.PATIENCE_SECONDS
    process.communicate()


@pytest.mark.parametrize("error", [NotImplementedError("no flock"), OSError(errno.ENOLCK, "No locks available")])
def test_without_locks_there_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(locking.FileLock, "acquire", fail)
    with only_run_in(tmp_path):
        pass
    assert "has no locks" in caplog.text
    assert "make sure that no other process trains in it" in caplog.text


# ------------------------------------------------------------------ a full disk (a real one: tests/commands)


def test_a_checkpoint_that_cannot_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cips_lab.files import whole

    fit(build_gan(), tmp_path, 1, Checkpoints(every_kimg=0.008))
    before = {p.name: p.read_bytes() for p in (tmp_path / "checkpoints" / "kimg-00000.008").iterdir()}
    usage = whole.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(whole.shutil, "disk_usage", lambda path: usage._replace(free=5000))
    checkpoint = tmp_path / "checkpoints" / "kimg-00000.008" / "training.ckpt"
    with pytest.raises(DiskFull) as caught:
        fit(build_gan(), tmp_path, 2, Checkpoints(every_kimg=0.008, keep=1), checkpoint=checkpoint)
    message = str(caught.value)
    assert f"{tmp_path}/checkpoints/kimg-00000.016: no room on the disk" in message
    assert "MB, and 0.005 MB are free" in message
    assert "are as they were (the newest: kimg-00000.008)" in message
    assert "give the same command again to continue" in message
    assert names(tmp_path) == ["kimg-00000.008"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "checkpoints" / "kimg-00000.008").iterdir()} == before


def test_the_room_a_checkpoint_takes_is_known_before(tmp_path: Path) -> None:
    from cips_lab.callbacks.checkpoints import OVERHEAD, expected_bytes

    gan = build_gan()
    trainer = fit(gan, tmp_path, 1, Checkpoints(every_kimg=1))
    size = sum(p.stat().st_size for p in (tmp_path / "checkpoints" / "kimg-00000.008").iterdir())
    assert size <= expected_bytes(trainer, gan) <= size + OVERHEAD


def limited(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in which no file may pass 1000 bytes: the error that a full file system or quota also is."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
    return subprocess.run([sys.executable, "-c", limit + program], cwd=folder, capture_output=True, text=True)


def test_a_file_that_does_not_fit_is_as_it_was(tmp_path: Path) -> None:
    append_line(tmp_path / "lines", "x" * 700)
    replace_text(tmp_path / "text", "old")
    program = (
        "from pathlib import Path; from cips_lab.files.whole import append_line, replace_text, is_full\n"
        "for write, name, text in ((append_line, 'lines', 'y' * 700), (replace_text, 'text', 'z' * 2000)):\n"
        "    try: write(Path(name), text)\n"
        "    except OSError as error: print(is_full(error), error.filename)\n"
    )
    result = limited(program, tmp_path)
    assert result.stdout == "True lines\nTrue text\n", result.stderr
    assert (tmp_path / "lines").read_text() == "x" * 700 + "\n"
    assert (tmp_path / "text").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lines", "text"]
