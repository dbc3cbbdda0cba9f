"""What a run folder says: its configuration, its numbers, its state. Checkpoints and wandb/ are not looked at."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, Literal, cast

from cips_lab.errors import UserError
from cips_lab.files.whole import replace_text
from cips_lab.runs.choices import Choices, read_choices, read_overrides
from cips_lab.runs.folder import CHECKPOINTS, CONFIG, CSV, ENVIRONMENT, METRICS, STATUS, TENSORBOARD, WANDB
from cips_lab.runs.inputs import Inputs, read_inputs
from cips_lab.runs.settings import read_settings

State = Literal["finished", "running", "interrupted", "unfinished", "failed"]
Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        folder: the run's.
        name: the folder's path below the sweep's, or the run's own name.
        config: the resolved configuration, nested.
        training: the lines of metrics.jsonl with losses, oldest first.
        evaluations: those with metrics, which name an extractor.
        environment: environment.json; empty where there is none.
        overrides: what the command line changed, as it was written; empty where it was not recorded.
        status: what the run last said of itself (status.json); empty where it did not.
        choices: which option of each of Hydra's groups it was composed of; empty where it was not recorded.
        inputs: its pictures and first weights by their content.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    training: list[Record]
    evaluations: list[Record]
    environment: dict[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    status: dict[str, Any] = field(default_factory=dict)
    choices: Choices = field(default_factory=dict)
    inputs: Inputs = field(default_factory=Inputs)

    @property
    def kimg(self) -> float:
        """Thousands of images of the newest line."""
        return max((float(record["kimg"]) for record in (*self.training, *self.evaluations)), default=0.0)

    @property
    def total_kimg(self) -> float:
        """What the run was to reach."""
        return float(self.config["schedule"]["total_kimg"])

    @property
    def seed(self) -> int:
        """Of the run's draws."""
        return int(self.config.get("seed", 0))

    @property
    def step_kimg(self) -> float:
        """One iteration: how far apart two moments may be and still be called the same."""
        return float(self.config.get("batch_size", 1)) / 1000

    @cached_property
    def state(self) -> State:
        """What the run says of itself where it does; otherwise whether its numbers reach its end.

        A run that was killed says ``running`` for ever, and one that is just writing its last report says so too: its
        numbers decide which of the two it is.
        """
        said = self.status.get("state")
        if said in ("failed", "finished", "interrupted"):
            return cast(State, said)
        if self._is_complete:
            return "finished"
        return "running" if said == "running" else "unfinished"

    @property
    def _is_complete(self) -> bool:
        """Whether training reached its end, and the evaluation there was done where evaluations are made at all."""
        end = self.total_kimg - 1e-6
        every = self.config["schedule"].get("evaluate_kimg")
        expected = bool(self.config.get("callbacks", {}).get("evaluation")) and every and every <= self.total_kimg
        last = self.evaluations if expected else self.training
        # A training line comes every log_kimg, so that the last one may lie before the end.
        slack = 0.0 if expected else float(self.config["schedule"].get("log_kimg") or 0)
        return any(float(record["kimg"]) >= end - slack for record in last)

    @property
    def experiment(self) -> str | None:
        """The experiment that was asked for, where the command line is known."""
        return next((o.partition("=")[2] for o in self.overrides if o.lstrip("+").startswith("experiment=")), None)

    @property
    def written(self) -> datetime:
        """When its numbers last changed."""
        path = self.folder / METRICS
        newest = (path if path.exists() else self.folder / CONFIG).stat().st_mtime
        return datetime.fromtimestamp(newest, tz=timezone.utc)

    @property
    def seconds_per_kimg(self) -> float | None:
        """The median over the run: a machine that was busy for a while does not count."""
        values = [float(r["time/sec_per_kimg"]) for r in self.training if "time/sec_per_kimg" in r]
        return median(values) if values else None

    @property
    def peak_memory_gb(self) -> float | None:
        """GB (10^9 bytes) of one process: the accelerator's allocator, or the resident set on a CPU."""
        return max((float(r["memory/peak_gb"]) for r in self.training if "memory/peak_gb" in r), default=None)


def read_job(folder: Path, name: str | None = None) -> Job:
    """Read a run folder.

    Args:
        folder: with config.yaml, and whatever of metrics.jsonl, environment.json, overrides.yaml and status.json is
            there.
        name: what to call it; None: as its configuration does.

    Raises:
        UserError: config.yaml cannot be read or is not that of a run.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder}: no run is here, for there is no {CONFIG}")
    config = read_settings(path)
    if "total_kimg" not in (config.get("schedule") or {}):
        raise UserError(f"{path} is not the configuration of a run: it has no schedule.total_kimg")
    records = read_lines(folder / METRICS)
    return Job(
        folder=folder,
        name=name or str(config.get("name") or folder.name),
        config=config,
        training=[r for r in records if "extractor" not in r],
        evaluations=[r for r in records if "extractor" in r],
        environment=_mapping(folder / ENVIRONMENT),
        overrides=read_overrides(folder),
        status=_mapping(folder / STATUS),
        choices=read_choices(folder),
        inputs=read_inputs(folder),
    )


def read_lines(path: Path) -> list[Record]:
    """The lines of a metrics.jsonl in the order of images seen, but one that was cut short when the run was killed."""
    return sorted((record for _, record in _lines(path)), key=lambda record: record["kimg"])


def evaluations(folder: Path) -> list[Record]:
    """The evaluations of a run, oldest first: those of its lines that name an extractor."""
    return [record for record in read_lines(folder / METRICS) if "extractor" in record]


def drop_lines_after(path: Path, images_seen: int) -> None:
    """Keep the lines of a metrics.jsonl up to a moment; a line that was cut short by a crash goes too."""
    if path.exists():
        kept = (line for line, record in _lines(path) if round(record["kimg"] * 1000) <= images_seen)
        replace_text(path, "".join(f"{line}\n" for line in kept))


def _lines(path: Path) -> Iterator[tuple[str, Record]]:
    """Each whole line, and what it says."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and isinstance(record.get("kimg"), (int, float)):
            yield line, record


def read_sweeps(folders: list[Path]) -> list[Job]:
    """The jobs of one sweep or several, in the order of their numbers.

    Raises:
        UserError: a folder is not there or holds no job, or a configuration cannot be read.
    """
    jobs = []
    for sweep in folders:
        if not sweep.is_dir():
            raise UserError(f"sweep={sweep}: no such folder")
        found = [path.parent for path in sweep.rglob(CONFIG) if is_job_folder(path.parent, sweep)]
        if not found:
            raise UserError(f"sweep={sweep}: no job is here; each is a folder with its {CONFIG} and {METRICS}")
        for folder in sorted(found, key=lambda path: _numeric(path.relative_to(sweep))):
            name = folder.relative_to(sweep).as_posix()
            name = sweep.name if name == "." else name
            jobs.append(read_job(folder, name if len(folders) == 1 or folder == sweep else f"{sweep.name}/{name}"))
    return jobs


def is_job_folder(folder: Path, sweep: Path) -> bool:
    """Whether a folder below a sweep is a job's, and not one of a logger's (wandb/ has config.yaml files too)."""
    inside = folder.relative_to(sweep).parts
    return not any(part in (WANDB, CSV, TENSORBOARD, CHECKPOINTS) or part.startswith(".") for part in inside)


def _numeric(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (1 << 30, part) for part in path.parts]


def _mapping(path: Path) -> dict[str, Any]:
    """A small JSON file; empty where it is absent or was cut short: it only decorates."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
