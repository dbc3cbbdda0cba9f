"""Signals, SLURM, submitit, and evaluations that are left. With all processes of a command: tests/commands."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from tiny import MemoryDataModule, build_gan, fit, make_trainer

from cips_lab.callbacks import interruption as module
from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.callbacks.interruption import Interruption, ask_slurm_to_requeue, slurm_job
from cips_lab.callbacks.metrics import MetricsLog
from cips_lab.errors import Interrupted
from cips_lab.processes.signals import StopSignals
from cips_lab.runs.checkpoints import sound_checkpoints
from cips_lab.runs.records import evaluations
from runs import assert_equal, evaluation, names


class At(pl.Callback):
    """Does something at the end of iteration n."""

    def __init__(self, iteration: int, action: Callable[[], Any]) -> None:
        self.iteration, self.action = iteration, action

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if pl_module.iteration == self.iteration:
            self.action()


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


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
        "import os, sys, time; from cips_lab.processes.signals import StopSignals\n"
        "print('ready', flush=True); sys.stdin.readline()\n"  # signalled in between
        "with StopSignals(alone=False) as signals: print(signals.received.name, flush=True)\n"
    )
    with StopSignals() as signals:
        signals.begin_training(launching=True)
        process = subprocess.Popen([sys.executable, "-c", child], stdin=-1, stdout=-1, text=True)
        signal.raise_signal(signal.SIGUSR1)  # to this very thread: another one might not hold it back
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
