"""Sweeps: `--multirun`. Each job trains in a process of its own, as its command would.

So a job that crashes, even one that is killed for its memory, does not take the others down; Lightning starts a job's
other processes with the job's overrides, whatever sweeper chose them; and memory, threads, environment and loggers are
those of a run by itself. Nothing heavy is imported here.
"""

import copy
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from cips_lab.configuration import quoted
from cips_lab.errors import STATUS_REQUEUE, UserError
from cips_lab.files.secrets import redact_settings
from cips_lab.files.whole import replace_text
from cips_lab.launch.naming import swept_keys
from cips_lab.launch.same_run import is_same_and_done
from cips_lab.processes.ranks import LAUNCH, launch_time, started_together
from cips_lab.processes.signals import preemption_signal
from cips_lab.processes.supervisor import ERROR_FILE, POLL_SECONDS, SUPERVISOR
from cips_lab.runs import status
from cips_lab.runs.folder import REPORT, is_run

log = logging.getLogger(__name__)

RECORDS = ".jobs"  # in the sweep's folder: how each job of this invocation ended, until the summary is printed
SKIPPED = "skipped"
NOT_OF_A_JOB = ("hydra.mode=", "hydra.run.dir=", "hydra.sweep.subdir=", "++hydra.job.env_set.")


# ---------------------------------------------------------------------------------------------- one job


def run_job(cfg: DictConfig) -> float | None:
    """Train one job of a sweep, unless it is finished.

    Args:
        cfg: the job's configuration.

    Returns:
        The best evaluation (`callbacks.evaluation.best`), which a sweeper minimises; infinity for a job that failed,
        None for one without evaluations.

    Raises:
        SystemExit: the sweep was asked to stop; the same command continues it.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    record = records_of(Path(HydraConfig.get().sweep.dir)) / f"{folder.name}.json"
    if is_finished(folder, cfg):
        log.info("%s is finished", folder)
        outcome = status.read_status(folder) | {"state": SKIPPED}
    else:
        outcome = _train(folder, record.with_suffix(".error"))
    replace_text(record, json.dumps(outcome | {"folder": str(folder)}))
    return float("inf") if outcome["state"] == status.FAILED else outcome["value"]


def is_finished(folder: Path, cfg: DictConfig) -> bool:
    """Whether a job's folder holds the finished run, last evaluation included, of this configuration and pictures."""
    if status.read_status(folder).get("state") != status.FINISHED or not is_run(folder):
        return False
    asked = OmegaConf.to_container(cfg, resolve=True)
    return is_same_and_done(folder, redact_settings(asked), partial(pictures_at, OmegaConf.select(cfg, "data.path")))


@cache
def pictures_at(path: str | None) -> str | None:
    """The identity of the pictures at `data.path`, once a sweep; None of built-in data sets, and where none is left."""
    from cips_lab.data.sources import open_source

    try:
        return None if path is None else open_source(path).identity()
    except UserError:  # what is finished stays so; a job that trains says what is wrong
        return None


def command_of(hydra: HydraConf) -> list[str]:
    """The command that trains a job by itself.

    Args:
        hydra: the job's `HydraConfig`.
    """
    command = [sys.executable, "-m", "cips_lab.train", "--config-name", str(hydra.job.config_name)]
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            command += ["--config-dir", source.path]
    if not any(override.startswith("sweep_name=") for override in hydra.overrides.task):
        command.append(f"sweep_name={quoted(Path(hydra.sweep.dir).name)}")
    command += list(hydra.overrides.task)
    command += [o for o in hydra.overrides.hydra if not o.startswith(NOT_OF_A_JOB)]
    return [*command, "hydra.mode=RUN", f"hydra.run.dir={quoted(hydra.runtime.output_dir)}"]


def _train(folder: Path, error_file: Path) -> dict[str, Any]:
    hydra = HydraConfig.get()
    error_file.parent.mkdir(parents=True, exist_ok=True)  # the job writes there, before any record stands beside it
    error_file.unlink(missing_ok=True)
    environment = os.environ | {SUPERVISOR: str(os.getpid()), ERROR_FILE: str(error_file)}
    # Workers of joblib outlive the process that gave them a job, for as long as the job takes.
    parent = os.getppid() if hydra.runtime.choices.get("hydra/launcher") == "joblib" else None
    with job_signals() as signals:
        child = subprocess.Popen(command_of(hydra), cwd=hydra.runtime.cwd, env=environment)
        signals.pass_on_to(child)
        code = wait_for(child, parent)
    if signals.received is not None or code == STATUS_REQUEUE:
        signals.end(code)
    found = status.read_status(folder)
    if code == 0 and found.get("state") == status.FINISHED:
        return found
    error = error_file.read_text(encoding="utf-8") if error_file.exists() else how_it_ended(code)
    kimg = float(found.get("kimg", 0.0))
    if found.get("state") != status.FINISHED:  # a finished run that another configuration was refused in stays one
        status.write_status(folder, status.FAILED, kimg, error=error)
    log.error("%s failed: %s", folder, error)
    return {"state": status.FAILED, "kimg": kimg, "error": error, "value": None}


def wait_for(child: "subprocess.Popen[bytes]", parent: int | None) -> int:
    """The exit status of a job. If `parent` is given and dies, so does the job, and this process."""
    while True:
        try:
            return child.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if parent is not None and os.getppid() != parent:
                child.kill()
                os._exit(1)


def how_it_ended(code: int) -> str:
    """An exit status in words, where the job could not say more itself."""
    if code >= 0:
        return f"it ended with exit status {code}"
    hint = " (the system does so when memory runs out)" if code == -signal.SIGKILL else ""
    return f"it was killed by {signal.Signals(-code).name}{hint}"


# ---------------------------------------------------------------------------------------------- signals


class JobSignals:
    """What came while a job ran: passed on to it, and acted upon when it has ended."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.requeue: Callable[[int, FrameType | None], Any] | None = None  # submitit's handler, in one of its jobs
        self._child: subprocess.Popen[bytes] | None = None

    def pass_on_to(self, child: "subprocess.Popen[bytes]") -> None:
        """From now on; a signal that came before is passed on at once."""
        self._child = child
        if self.received is not None:
            self._pass_on(self.received)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """What Python calls when a signal comes."""
        self.received = number
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        if self._child is not None:
            # A terminal's Ctrl-C reaches the job by itself: a second SIGINT would mean another thing.
            self._child.send_signal(signal.SIGTERM if number == signal.SIGINT else number)

    def end(self, code: int) -> None:
        """Put the job in the queue again where submitit runs it; otherwise end the sweep, to be continued.

        Raises:
            SystemExit: in either case.
            KeyboardInterrupt: the job was left at once.
        """
        if self.requeue is not None:
            self.requeue(preemption_signal(), None)
        if self.received == signal.SIGINT and code != STATUS_REQUEUE:
            raise KeyboardInterrupt
        log.info("the sweep was asked to stop: the same command continues it")
        sys.exit(STATUS_REQUEUE)


@contextmanager
def job_signals() -> Iterator[JobSignals]:
    """While the block runs, SIGTERM, SIGUSR1, SIGINT and submitit's signal are passed on to the job."""
    signals = JobSignals()
    numbers: list[signal.Signals] = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]
    if "SUBMITIT_EXECUTOR" in os.environ:
        existing = signal.getsignal(preemption_signal())
        signals.requeue = existing if callable(existing) else None
        numbers = [signal.SIGUSR1, preemption_signal()]  # submitit ignores SIGTERM: its own comes next
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():  # only there may handlers be set
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:  # as a shell's `command &` and nohup do, on purpose
                before[number] = signal.signal(number, signals.handle)
    try:
        yield signals
    finally:
        for changed, handler in before.items():
            signal.signal(changed, signal.SIG_DFL if handler is None else handler)


# ---------------------------------------------------------------------------------------------- all jobs


class Sweep(Callback):
    """Hydra's callback: names the jobs' folders before a sweep, and says at its end how each job ended.

    The sweep ends with exit status 1 if a job failed.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        # Hydra sets it for each job; the names of a sweep's folder and study are resolved before.
        HydraConfig.instance().set_config(copy.deepcopy(config))
        mistake = mistake_in(config)
        if mistake is not None:
            print(f"error: {mistake}", file=sys.stderr)
            sys.exit(2)
        hydra = config.hydra
        shutil.rmtree(records_of(Path(hydra.sweep.dir)).parent, ignore_errors=True)  # of one that was killed
        now: str = launch_time()
        additions = [f"++hydra.job.env_set.{LAUNCH}={now}"]  # for workers on other machines
        if not any(override.startswith("hydra.sweep.subdir=") for override in hydra.overrides.hydra):
            keys = ",".join(f'"{key}"' for key in keys_of(config))
            additions.append(f"hydra.sweep.subdir='${{job_folder:{keys}}}'")
        with flag_override(config, ["readonly", "struct"], False):
            hydra.overrides.hydra = [*hydra.overrides.hydra, *additions]  # what every job's configuration is made with

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = records_of(Path(config.hydra.sweep.dir))
        if not folder.is_dir():  # no job trained: python -m cips_lab.plan --multirun
            return
        found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
        shutil.rmtree(folder.parent)
        if config.callbacks.get("report") is not None and any(began(outcome) for outcome in found.values()):
            from cips_lab.callbacks.report import refresh_sweep  # when all jobs have ended: it is heavy

            refresh_sweep(Path(config.hydra.sweep.dir))  # a job that failed last could not write it
        print(summary(config.hydra.sweep.dir, found), flush=True)
        if any(outcome["state"] == status.FAILED for outcome in found.values()):
            sys.exit(1)


def keys_of(config: DictConfig) -> list[str]:
    """What the sweep varies, from `hydra.sweeper.params` and the command line."""
    params = OmegaConf.to_container(config.hydra.sweeper.get("params") or OmegaConf.create({}), resolve=True)
    assert isinstance(params, dict)
    parse = OverridesParser.create().parse_overrides
    return swept_keys(
        parse(list(config.hydra.overrides.task)), planned=parse([f"{key!s}={value}" for key, value in params.items()])
    )


def mistake_in(config: DictConfig) -> str | None:
    """Why a sweep cannot be started as it was asked for."""
    if started_together() > 1:
        return (
            "--multirun under torchrun or srun: every process would run the sweep; let a launcher start the jobs "
            "(hydra/launcher=slurm), and trainer=gpu their processes"
        )
    seeks = "optuna" in config.hydra.sweeper._target_.lower()
    every, total = config.schedule.evaluate_kimg, config.schedule.total_kimg
    if seeks and (every is None or total < every or config.callbacks.get("evaluation") is None):
        return (
            "hydra/sweeper=optuna seeks the best evaluation, and a run of this configuration is not evaluated: "
            f"schedule.evaluate_kimg={every} must be at most schedule.total_kimg={total}"
        )
    return None


def records_of(sweep: Path) -> Path:
    """Where the jobs of this invocation leave their records."""
    return sweep / RECORDS / launch_time()


def began(outcome: dict[str, Any]) -> bool:
    """Whether a job left a run folder; one that was refused did not."""
    return is_run(Path(outcome["folder"]))


def summary(folder: str, found: dict[str, dict[str, Any]]) -> str:
    """What is printed at the end of a sweep: counts, and each job that failed, with its error."""
    states = [outcome["state"] for outcome in found.values()]
    failed = {name: outcome for name, outcome in found.items() if outcome["state"] == status.FAILED}
    done, skipped = states.count(status.FINISHED), states.count(SKIPPED)
    lines = [f"sweep {folder}: {len(found)} jobs, {done} trained now, {skipped} finished before, {len(failed)} failed"]
    for name, outcome in failed.items():
        lines.append(f"  {name}: {outcome['error']}")
    if failed:
        lines.append("the same command tries these again and leaves the others as they are")
    if (Path(folder) / REPORT).is_file():
        lines.append(f"page: {folder}/{REPORT}")
    lines.append(f"table: python -m cips_lab.tabulate {shlex.quote(f'sweep={folder}')}")
    return "\n".join(lines)
