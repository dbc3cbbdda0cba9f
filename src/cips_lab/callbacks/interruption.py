"""A run that is asked to stop, or whose disk is full, stops between two iterations, all processes at the same one."""

import logging
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor

from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.callbacks.quiet_exit import exit_quietly
from cips_lab.errors import STATUS_MISTAKE, STATUS_REQUEUE, DiskFull, Interrupted
from cips_lab.files.whole import disk_full, is_full
from cips_lab.processes.ranks import INTERACTIVE
from cips_lab.processes.signals import AGAIN, StopSignals, in_submitit
from cips_lab.training.clock import gan_of

log = logging.getLogger(__name__)

GO_ON, STOP, REQUEUE, FAILED = range(4)  # what processes tell each other; the largest holds for all


class EvaluationAbandoned(Exception):
    """All processes leave an evaluation, to stop; it is done again when the run is continued."""


class Interruption(pl.Callback):
    """Acts upon `StopSignals`. It must be the last callback, so that what is due at an iteration was done before.

    Once an iteration the processes exchange one integer: whether any of them was asked to stop. If so, all save a
    checkpoint at this moment and end. A signal may reach one process or all of them. An evaluation that has begun is
    left between two of its batches.

    Args:
        requeue: whether SIGUSR1, in a SLURM job that nobody sits at, also asks SLURM to run the job again.
    """

    def __init__(self, requeue: bool = True) -> None:
        self.requeue = requeue
        self.signals: StopSignals | None = None
        self.failure: DiskFull | None = None  # of this process, to be told to the others
        self.outcome = GO_ON  # STOP or REQUEUE: how the run was ended early
        self._abandoned = False
        self._own_signals = False

    # ------------------------------------------------------------------ Lightning's hooks

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.outcome, self._abandoned, self.failure = GO_ON, False, None
        # Lightning's own would be put over ours: one that calls collectives whenever the signal comes, and for SLURM
        # one that saves a checkpoint of its own amid an iteration.
        connector = trainer._signal_connector
        assert callable(connector.register_signal_handlers)
        connector.register_signal_handlers = _leave_signals_alone  # type: ignore[method-assign]
        if self.signals is None or self._own_signals:
            self._own_signals = True
            self.signals = StopSignals().__enter__()
            self.signals.begin_training(launching=False)
        self.signals.unblock()  # the other processes were started before this hook

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._abandoned:  # the evaluation that a continued run began with
            self._stop(trainer, pl_module, self.outcome)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        asked = self.outcome if self._abandoned else self._exchange(trainer)
        if asked == FAILED:
            self._fail(trainer)
        ended = trainer.should_stop and not self._abandoned  # it is done: there is nothing to continue
        if asked != GO_ON and not ended:
            self._stop(trainer, pl_module, asked)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._own_signals and self.signals is not None:
            self.signals.__exit__()

    # ------------------------------------------------------------------ for other callbacks

    def watch(self, trainer: pl.Trainer, batches: Iterable[Tensor], polls: int) -> Iterator[Tensor]:
        """The batches of an evaluation; before each of the first `polls`, which every process has, a look at signals.

        Raises:
            EvaluationAbandoned: on every process, if any of them was asked to stop.
        """
        for number, batch in enumerate(batches):
            if number < polls:
                asked = self._exchange(trainer)
                if asked in (STOP, REQUEUE):
                    self.outcome, self._abandoned = asked, True
                    raise EvaluationAbandoned
            yield batch

    # ------------------------------------------------------------------ its parts

    def _exchange(self, trainer: pl.Trainer) -> int:
        assert self.signals is not None
        own = GO_ON
        if self.failure is not None:
            own = FAILED
        elif self.signals.received is not None:
            own = REQUEUE if self.signals.asks_to_requeue else STOP
        if trainer.world_size == 1:
            return own
        flag = torch.tensor(own, device=trainer.strategy.root_device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return int(flag)

    def _stop(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outcome: int) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Checkpoints):
                callback.save_once(trainer, gan_of(pl_module))
        self.outcome = outcome
        trainer.should_stop = True

    def _fail(self, trainer: pl.Trainer) -> NoReturn:
        if self.failure is not None:
            raise self.failure
        exit_quietly(trainer, STATUS_MISTAKE)

    # ------------------------------------------------------------------ after the run

    def conclude(self, trainer: pl.Trainer) -> None:
        """Nothing, if the run came to its end; otherwise end this process as one that is to be started again.

        Raises:
            Interrupted: on the first process.
            SystemExit: on the others.
        """
        if self.outcome == GO_ON:
            return
        if not trainer.is_global_zero:
            exit_quietly(trainer, STATUS_REQUEUE)
        kept = "a checkpoint is saved" if self._keeps(trainer) else "nothing is saved (callbacks.checkpoints=null)"
        message = f"interrupted at kimg {gan_of(trainer.lightning_module).images_seen / 1000:g}: {kept}"
        if self.outcome == REQUEUE and self.requeue:
            assert self.signals is not None
            if in_submitit():
                log.info("%s; submitit requeues the job", message)
                self.signals.hand_over()
            elif slurm_job() is not None:
                ask_slurm_to_requeue(str(slurm_job()))
        raise Interrupted(f"{message}; {AGAIN}")

    @staticmethod
    def _keeps(trainer: pl.Trainer) -> bool:
        return any(isinstance(callback, Checkpoints) for callback in trainer.callbacks)  # type: ignore[attr-defined]


def _leave_signals_alone() -> None:
    """In place of Lightning's `register_signal_handlers`."""


def interruption_of(trainer: pl.Trainer) -> Interruption | None:
    """The trainer's callback, if it has one."""
    return next((c for c in trainer.callbacks if isinstance(c, Interruption)), None)  # type: ignore[attr-defined]


@contextmanager
def telling_of_a_full_disk(trainer: pl.Trainer, path: Path) -> Iterator[None]:
    """Around what one process alone writes: a full disk stops the run, all processes at the same iteration.

    Raises:
        DiskFull: there is no room, and no other process to be told first.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        failure = disk_full(path, note="Checkpoints are as they were. ")
        interruption = interruption_of(trainer)
        if interruption is None or trainer.world_size == 1:
            raise failure from error
        interruption.failure = failure


def slurm_job() -> str | None:
    """The SLURM job that this is, if nobody sits at it."""
    if os.environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        return None
    return os.environ.get("SLURM_JOB_ID")


def ask_slurm_to_requeue(job: str) -> None:
    """`scontrol requeue`, once, by the first process; a failure is told, for then somebody must do it."""
    command = ["scontrol", "requeue", job]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        log.warning("%s failed (%s): submit the job again to continue the run", " ".join(command), said)
    else:
        log.info("SLURM was asked to run job %s again", job)
