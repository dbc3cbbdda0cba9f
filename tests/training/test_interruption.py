"""Signals, retention, damaged checkpoints, the lock, a full disk. With all processes of a command: tests/commands."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import MemoryDataModule, build_gan, fit, make_trainer

from cips_lab.callbacks import interruption as module
from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.callbacks.clock import kimg_label
from cips_lab.callbacks.evaluation import Evaluation, evaluations
from cips_lab.callbacks.interruption import Interruption, ask_slurm_to_requeue, slurm_job
from cips_lab.callbacks.metrics import MetricsLog
from cips_lab.errors import DiskFull, Interrupted, RunInUse, UserError
from cips_lab.interop.integrity import damage, sound_checkpoints
from cips_lab.interop.native import images_of
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.storage import append_line, replace_text
from cips_lab.training import locking
from cips_lab.training.gan import GAN
from cips_lab.training.locking import HOLDER, only_run_in
from cips_lab.training.signals import StopSignals


class At(pl.Callback):
    """Does something at the end of iteration n."""

    def __init__(self, iteration: int, action: Callable[[], Any]) -> None:
        self.iteration, self.action = iteration, action

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if pl_module.iteration == self.iteration:
            self.action()


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


def assert_equal(a: GAN, b: GAN) -> None:
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name
    for x, y in zip(a.trainer.optimizers, b.trainer.optimizers, strict=True):
        for p, q in zip(x.state_dict()["state"].values(), y.state_dict()["state"].values(), strict=True):
            assert all(torch.equal(p[name], q[name]) for name in p)


# ------------------------------------------------------------------ signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_finishes_the_iteration_and_saves_and_the_rest_is_the_same_run(tmp_path: Path, number: int) -> None:
    before = [signal.getsignal(n) for n in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}]
    interruption = Interruption(requeue=False)
    first = build_gan()
    trainer = fit(first, tmp_path, 9, At(3, send(number)), Checkpoints(every_kimg=1), interruption)
    assert first.iteration == 3
    assert names(tmp_path) == ["kimg-00000.024"]
    with pytest.raises(Interrupted, match=r"interrupted at kimg 0\.024: a checkpoint is saved; the same command"):
        interruption.conclude(trainer)
    assert [signal.getsignal(n) for n in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}] == before
    second, whole = build_gan(seed=5), build_gan()
    again = Interruption()
    trainer = fit(
        second,
        tmp_path,
        9,
        Checkpoints(every_kimg=1),
        again,
        checkpoint=sound_checkpoints(tmp_path)[-1] / "training.ckpt",
    )
    again.conclude(trainer)  # it came to its end: nothing
    fit(whole, tmp_path / "whole", 9)
    assert_equal(second, whole)


def test_a_signal_in_the_last_iteration_leaves_nothing_to_continue(tmp_path: Path) -> None:
    interruption = Interruption()
    trainer = fit(build_gan(), tmp_path, 3, At(3, send(signal.SIGTERM)), Checkpoints(every_kimg=1), interruption)
    interruption.conclude(trainer)
    assert names(tmp_path) == ["kimg-00000.024"]


def test_a_signal_within_a_save_does_not_save_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cips_lab.callbacks import checkpoints

    written: list[str] = []
    original = checkpoints.write_checkpoint

    def write(trainer: Any, gan: Any, final: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        written.append(final.name)
        original(trainer, gan, final)

    monkeypatch.setattr(checkpoints, "write_checkpoint", write)
    interruption = Interruption()
    fit(build_gan(), tmp_path, 9, Checkpoints(every_kimg=0.016), interruption)
    assert written == names(tmp_path) == ["kimg-00000.016"]
    assert interruption.outcome == module.STOP


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        send(signal.SIGINT)()
        send(signal.SIGINT)()

    with pytest.raises(SystemExit):  # what Lightning makes of KeyboardInterrupt
        fit(build_gan(), tmp_path, 9, At(2, twice), Checkpoints(every_kimg=1), Interruption())
    assert not (tmp_path / "checkpoints").exists()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning leaves it ignored


def test_before_training_begins_a_signal_ends_at_once_unless_others_wait() -> None:
    with pytest.raises(Interrupted, match="SIGTERM before training began"), StopSignals():
        send(signal.SIGTERM)()
    with StopSignals(alone=False) as signals:
        send(signal.SIGUSR1)()
        assert signals.received == signal.SIGUSR1
        assert signals.asks_to_requeue
        send(signal.SIGTERM)()  # SLURM sends one after the other
        assert signals.asks_to_requeue


def test_processes_that_are_started_are_not_killed_before_they_can_handle_signals() -> None:
    """What `begin_training(launching=True)` holds back is inherited, and comes when the child has handlers."""
    child = (
        "import os, sys, time; from cips_lab.training.signals import StopSignals\n"
        "print('ready', flush=True); sys.stdin.readline()\n"  # signalled in between
        "with StopSignals(alone=False) as signals: print(signals.received.name, flush=True)\n"
    )
    with StopSignals() as signals:
        signals.begin_training(launching=True)
        process = subprocess.Popen([sys.executable, "-c", child], stdin=-1, stdout=-1, text=True)
        send(signal.SIGUSR1)()
        assert signals.received is None
        signals.unblock()
        assert signals.received == signal.SIGUSR1
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate("go\n")[0] == "SIGTERM\n"
        assert process.returncode == 0


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in `command &`
    try:
        with StopSignals() as signals:
            send(signal.SIGINT)()
            assert signals.received is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_a_submitit_job_its_own_handler_comes_when_the_checkpoint_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def requeue(number: int, frame: Any) -> None:  # submitit's checkpoint_and_try_requeue
        seen.append((number, names(tmp_path)))
        sys.exit(99)

    def bypass(number: int, frame: Any) -> None:
        seen.append(number)

    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    before = {n: signal.getsignal(n) for n in (signal.SIGUSR2, signal.SIGTERM)}
    signal.signal(signal.SIGUSR2, requeue)
    signal.signal(signal.SIGTERM, bypass)
    try:
        interruption = Interruption()
        actions = [At(2, send(signal.SIGTERM)), At(4, send(signal.SIGUSR2))]
        trainer = make_trainer(tmp_path, 9, *actions, Checkpoints(every_kimg=1), interruption)
        with StopSignals() as signals:
            interruption.signals = signals
            signals.begin_training(launching=False)
            trainer.fit(build_gan(), datamodule=MemoryDataModule())
            with pytest.raises(SystemExit, match="99"):
                interruption.conclude(trainer)
        assert seen == [signal.SIGTERM, (signal.SIGUSR2, ["kimg-00000.032"])]
        assert signal.getsignal(signal.SIGUSR2) is requeue
        assert signal.getsignal(signal.SIGTERM) is bypass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ------------------------------------------------------------------ SLURM


def fake_scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> Path:
    calls = folder / "calls.txt"
    program = folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\necho "slurm says no" >&2\nexit {status}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return calls


@pytest.mark.parametrize(
    ("number", "environment", "calls"),
    [
        (signal.SIGUSR1, {"SLURM_JOB_ID": "77"}, "requeue 77\n"),
        (signal.SIGTERM, {"SLURM_JOB_ID": "77"}, None),  # somebody cancels it
        (signal.SIGUSR1, {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "bash"}, None),
        (signal.SIGUSR1, {}, None),
    ],
)
def test_slurm_is_asked_to_requeue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, environment: dict[str, str], calls: str | None
) -> None:
    log = fake_scontrol(tmp_path, monkeypatch)
    for name in ("SLURM_JOB_ID", "SLURM_JOB_NAME", "SUBMITIT_EXECUTOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    interruption = Interruption()
    trainer = fit(build_gan(), tmp_path, 9, At(1, send(number)), Checkpoints(every_kimg=1), interruption)
    assert not log.exists(), "before the run has ended: SLURM kills it at once"
    with pytest.raises(Interrupted):
        interruption.conclude(trainer)
    assert (log.read_text() if log.exists() else None) == calls


def test_what_scontrol_says_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake_scontrol(tmp_path, monkeypatch, status=1)
    ask_slurm_to_requeue("12")
    assert "scontrol requeue 12 failed (slurm says no): submit the job again" in caplog.text
    monkeypatch.setenv("PATH", "")
    ask_slurm_to_requeue("13")
    assert "scontrol requeue 13 failed" in caplog.text
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert slurm_job() is None


# ------------------------------------------------------------------ within an evaluation


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("statistics")


def evaluation(cache: Path, iterations: int) -> Evaluation:
    options: dict[str, Any] = {"num_samples": 14, "kid_subset_size": 5, "kid_subsets": 3, "batch_size": 4}
    evaluator = Evaluator("efficientnet_lite0", cache=cache, **options)
    return Evaluation(evaluator, 0.016, iterations * 8 / 1000, 10, "fd")


def signal_in_evaluation(monkeypatch: pytest.MonkeyPatch, number: int, batch: int) -> list[int]:
    """SIGTERM while the given evaluation makes the given batch; the list tells how many batches each one made."""
    from cips_lab.callbacks import evaluation as owner

    original, made = owner.samples, []

    def samples(*arguments: Any) -> Any:
        made.append(0)
        for pictures in original(*arguments):
            made[-1] += 1
            if (len(made), made[-1]) == (number, batch):
                os.kill(os.getpid(), signal.SIGTERM)
            yield pictures

    monkeypatch.setattr(owner, "samples", samples)
    return made


@pytest.mark.parametrize("number", [1, 2])
def test_an_evaluation_is_left_at_its_next_batch_and_done_when_the_run_goes_on(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The second one is the last of the run: it has its images, and is continued for the evaluation alone."""

    def callbacks(folder: Path) -> list[pl.Callback]:
        folder.mkdir(exist_ok=True)
        return [MetricsLog(0.008), Checkpoints(every_kimg=1), evaluation(cache, 3), Interruption()]

    whole = build_gan()
    fit(whole, tmp_path / "whole", 3, *callbacks(tmp_path / "whole"))
    made = signal_in_evaluation(monkeypatch, number, 2)
    stopped = callbacks(tmp_path / "run")
    trainer = fit(build_gan(), tmp_path / "run", 3, *stopped)
    assert made[-1] == 2
    moment = 0.016 if number == 1 else 0.024
    assert [r["kimg"] for r in evaluations(tmp_path / "run")] == [0.016][: number - 1]
    with pytest.raises(Interrupted, match=f"interrupted at kimg {moment}"):
        stopped[-1].conclude(trainer)  # type: ignore[attr-defined]
    checkpoint = sound_checkpoints(tmp_path / "run")[-1]
    assert checkpoint.name == f"kimg-00000.0{moment * 1000:.0f}"
    again, rest = build_gan(seed=3), callbacks(tmp_path / "run")
    trainer = fit(again, tmp_path / "run", 3, *rest, checkpoint=checkpoint / "training.ckpt")
    rest[-1].conclude(trainer)  # type: ignore[attr-defined]
    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "whole")
    assert_equal(again, whole)


def test_an_evaluation_that_a_continued_run_begins_with_is_left_too(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    fit(build_gan(), run, 2, Checkpoints(every_kimg=1))  # without its evaluation
    signal_in_evaluation(monkeypatch, 1, 1)
    interruption = Interruption()
    gan = build_gan()
    trainer = fit(
        gan,
        run,
        5,
        Checkpoints(every_kimg=1),
        evaluation(cache, 5),
        interruption,
        checkpoint=run / "checkpoints" / "kimg-00000.016" / "training.ckpt",
    )
    assert gan.iteration == 2, "no iteration was begun"
    assert names(run) == ["kimg-00000.016"]
    with pytest.raises(Interrupted, match=r"kimg 0\.016"):
        interruption.conclude(trainer)


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
    from cips_lab import storage

    events: list[str] = []
    flush, rmtree = storage.flush, storage.shutil.rmtree
    monkeypatch.setattr(storage, "flush", lambda p: (events.append(f"flush {p.name}"), flush(p)))

    def remove(path: Path, **options: Any) -> None:
        if path.exists():
            events.append(f"remove {path.name}")
        rmtree(path, **options)

    monkeypatch.setattr(storage.shutil, "rmtree", remove)
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
    "import sys; from pathlib import Path; from cips_lab.training.locking import only_run_in\n"
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
        for name in locking.RANKS:  # another process of the same run
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
    from cips_lab import storage

    fit(build_gan(), tmp_path, 1, Checkpoints(every_kimg=0.008))
    before = {p.name: p.read_bytes() for p in (tmp_path / "checkpoints" / "kimg-00000.008").iterdir()}
    usage = storage.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage._replace(free=5000))
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
        "from pathlib import Path; from cips_lab.storage import append_line, replace_text, is_full\n"
        "for write, name, text in ((append_line, 'lines', 'y' * 700), (replace_text, 'text', 'z' * 2000)):\n"
        "    try: write(Path(name), text)\n"
        "    except OSError as error: print(is_full(error), error.filename)\n"
    )
    result = limited(program, tmp_path)
    assert result.stdout == "True lines\nTrue text\n", result.stderr
    assert (tmp_path / "lines").read_text() == "x" * 700 + "\n"
    assert (tmp_path / "text").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lines", "text"]
