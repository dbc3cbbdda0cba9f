"""Signals that ask a run to stop: noted when they come, acted upon between two iterations."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from cips_lab.errors import Interrupted
from cips_lab.processes.ranks import is_first_of_all

Handler = Callable[[int, FrameType | None], Any] | int | None

STOP = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
AGAIN = "the same command continues the run"


def in_submitit() -> bool:
    """Whether submitit started this process, or one that started it."""
    return "SUBMITIT_EXECUTOR" in os.environ


def preemption_signal() -> signal.Signals:
    """What submitit's jobs are told to requeue by; its own default is SIGUSR2."""
    return signal.Signals["SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")]


class StopSignals:
    """SIGTERM, SIGUSR1 and a first SIGINT while the block runs: ``with StopSignals() as signals: ...``.

    Before `begin_training` there is nothing to save: the signal ends the block with `Interrupted` at once, unless other
    processes wait for this one. After it, the signal is noted in `received`, for `callbacks.interruption` to act upon.
    A second SIGINT is a `KeyboardInterrupt` at any time. What was there before is restored at the end.

    In a job of submitit, its own signal (SIGUSR2) is noted too; its handler, which requeues the job and ends the
    process, waits for `hand_over`, when the checkpoint exists. SIGTERM is left to submitit, which ignores it.

    Args:
        alone: whether no other process waits for this one before training begins.
    """

    def __init__(self, alone: bool = True) -> None:
        self.alone = alone
        self.received: signal.Signals | None = None
        self._training = False
        self._before: dict[signal.Signals, Handler] = {}
        self._deferred: Callable[[int, FrameType | None], Any] | None = None
        self._interrupts = 0

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may set handlers: whoever trains elsewhere watches for signals itself
        handled: dict[signal.Signals, Handler] = dict.fromkeys(STOP, self._handle)
        if in_submitit():
            preemption = preemption_signal()
            existing = signal.getsignal(preemption)
            self._deferred = existing if callable(existing) else None
            handled[preemption] = self._handle
            del handled[signal.SIGTERM]
            if not callable(signal.getsignal(signal.SIGTERM)):  # a process that Lightning started within the job
                handled[signal.SIGTERM] = signal.SIG_IGN
        for number, handler in handled.items():
            if signal.getsignal(number) == signal.SIG_IGN:  # as a shell's `command &` and nohup do, on purpose
                continue
            self._before[number] = signal.signal(number, handler)
        self.unblock()  # whoever started this process may have held them back until now
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
        self.unblock()

    def begin_training(self, launching: bool) -> None:
        """From now on signals are noted.

        Args:
            launching: whether processes are started next. They inherit that signals are held back, until they too have
                handlers; what came meanwhile is delivered then. `unblock` ends it here.
        """
        self._training = True
        if launching:
            signal.pthread_sigmask(signal.SIG_BLOCK, self._before)

    def unblock(self) -> None:
        """Let held-back signals come."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOP, *([preemption_signal()] if in_submitit() else [])})

    @property
    def at_once(self) -> bool:
        """Whether a second SIGINT came."""
        return self._interrupts > 1

    @property
    def asks_to_requeue(self) -> bool:
        """Whether what was received means: end now and be put in the queue again."""
        return self.received in (signal.SIGUSR1, preemption_signal() if in_submitit() else signal.SIGUSR1)

    def hand_over(self) -> None:
        """Call submitit's handler, where there is one: it requeues the job, and on the first task does not return."""
        if self._deferred is not None:
            self._deferred(preemption_signal(), None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        received = signal.Signals(number)
        if received == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                raise KeyboardInterrupt
        if not self._training and self.alone:
            raise Interrupted(f"{received.name} before training began: there was nothing to save; {AGAIN}")
        if self.received is None:
            self.received = received
            self._tell(received)

    @staticmethod
    def _tell(received: signal.Signals) -> None:
        if not is_first_of_all():
            return
        hint = "; Ctrl-C again stops at once" if received == signal.SIGINT else ""
        text = f"\n{received.name}: stopping after this iteration, with a checkpoint{hint}\n"
        with suppress(OSError):  # standard error may be a file on a full disk; the run will say what it did
            os.write(2, text.encode())  # no print, no logging: the signal may have come amid either
