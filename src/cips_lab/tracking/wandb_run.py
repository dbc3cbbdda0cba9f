"""A run in Weights & Biases: what it is called, what it records, against what it is drawn.

Everything is logged at the step `images seen`, with `kimg` beside it as the axis of every plot. A run that is continued
repeats what it has logged since its checkpoint, bit for bit: W&B keeps the first and ignores the second.
"""

import io
import json
import os
import shlex
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from cips_lab.errors import UserError
from cips_lab.files.names import printable
from cips_lab.files.secrets import redact_arguments, redact_settings
from cips_lab.files.untrusted import first_line
from cips_lab.files.whole import replace_text
from cips_lab.metrics.registry import of_key
from cips_lab.networks.size import size_name
from cips_lab.runs.choices import composed_choices
from cips_lab.runs.folder import CONFIG, ENVIRONMENT, WANDB, is_run
from cips_lab.runs.settings import read_settings
from cips_lab.tracking.wandb_mode import LONGEST_TAG, check_tags, find_a_home, shortened, wandb_mode

ARTIFACTS = ("auto", "none", "best", "all")
MEDIA = {"samples": "generated"}  # W&B's name of a picture in its section: samples/generated beside samples/real

SUMMARIES = {"time": "mean,last", "memory": "max", "gradient_norm": "max,last"}  # of the sections that are no metrics


class RunLogger(WandbLogger):
    """Lightning's logger without its optimiser steps: a row for each number of images seen.

    Args:
        run: what `wandb.init` returned; None on processes other than rank 0, which log nothing.
        folder: where W&B keeps its files.
        project: the W&B project.
        artifacts, explorer: what is kept as artifacts, and whether the explorer's page is, see
            `conf/logger/wandb.yaml`.
    """

    def __init__(self, run: Any, folder: Path, project: str, artifacts: str = "none", explorer: bool = False) -> None:
        super().__init__(experiment=run, save_dir=str(folder), project=project)
        self.folder = folder
        self.artifacts = artifacts
        self.explorer = explorer
        self._defined = {"kimg"}  # by `start`
        self._status: str | None = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """A row. `metrics` holds ``kimg``; `step` is the number of images seen, which never falls."""
        for name in metrics:
            self._define(name)
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def log_picture(self, name: str, path: Path, kimg: float, images_seen: int) -> None:
        """A picture of the media timeline, whose slider counts images seen."""
        import wandb

        name = f"samples/{MEDIA.get(name, name)}"
        self._define(name)
        picture = wandb.Image(str(path), caption=f"{kimg:g} kimg")
        self.experiment.log({name: picture, "kimg": kimg}, step=images_seen)

    @rank_zero_only
    def log_page(self, name: str, page: str, kimg: float, images_seen: int) -> None:
        """An HTML page that needs no other file, byte for byte: W&B would put a style sheet of its own into it."""
        import wandb

        self._define(name)
        self.experiment.log({name: wandb.Html(io.StringIO(page), inject=False), "kimg": kimg}, step=images_seen)

    def finalize(self, status: str) -> None:
        """Remember how the run ended: Lightning says ``success``, ``failed``, or ``finished`` before a requeue."""
        self._status = status

    @rank_zero_only
    def close(self) -> None:
        """End the run, as failed unless Lightning said that it succeeded; the next job of a sweep starts another."""
        self.experiment.finish(exit_code=0 if self._status in ("success", "finished") else 1)

    def _define(self, name: str) -> None:
        if name in self._defined:
            return
        self._defined.add(name)
        self.experiment.define_metric(name, step_metric="kimg", summary=summary_of(name))


def summary_of(name: str) -> str | None:
    """What the summary keeps of a curve: the best of a metric and its last, ...; None: the last value."""
    section, _, key = name.rpartition("/")
    metric = of_key(key)
    if metric is not None:
        return "max,last" if metric.better == "higher" else "min,last"
    return SUMMARIES.get(section)


def wandb_logger(
    run_folder: str,
    project: str,
    entity: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    artifacts: str = "auto",
    explorer: bool = False,
    images_seen: int = 0,
) -> RunLogger:
    """The logger of a training run, online if there is an API key (or WANDB_MODE says so), else offline in its folder.

    A run that is continued keeps its id: online it goes on as one run; offline each part is a folder of its own, and
    syncing all of them gives one run.

    Args:
        run_folder: holds config.yaml and environment.json, which become the run's config.
        project, entity: where the run goes; an agent of a W&B sweep knows better.
        group: None: in a sweep, the sweep's name.
        tags: beside the experiment, the variant, the data and the resolution.
        artifacts, explorer: see `conf/logger/wandb.yaml`.
        images_seen: where a run is continued; W&B itself ignores the rows that it has already.

    Raises:
        UserError: an option has a value that it cannot have.
    """
    folder = Path(run_folder)
    check_artifacts(artifacts)
    check_tags(tags or [])
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return RunLogger(None, folder, project, artifacts, explorer)
    settings = settings_of(folder)
    chosen = composed_choices()
    config = redact_settings(settings) | {"choices": chosen, "environment": read_environment(folder)}
    if "generator" in chosen:
        config["variant"] = chosen["generator"]
    resolution = f"{size_name(settings['resolution'])}px" if "resolution" in settings else None
    found = [chosen.get("experiment"), chosen.get("generator"), chosen.get("data"), resolution, *(tags or [])]
    return start(
        folder,
        project=project,
        entity=entity,
        name=folder.name,
        group=group or sweep_of(folder, settings),
        tags=[tag for tag in found if tag],
        job_type="train",
        config=config,
        identity=identity_of(folder),
        artifacts=artifacts,
        explorer=explorer,
    )


def start(
    folder: Path,
    *,
    project: str,
    entity: str | None,
    name: str,
    group: str | None,
    tags: list[str],
    job_type: str,
    config: dict[str, Any],
    identity: str | None,
    artifacts: str,
    explorer: bool = False,
) -> RunLogger:
    """`wandb.init`, with the command as the run's notes. Only rank 0 calls it."""
    import wandb

    (folder / WANDB).mkdir(parents=True, exist_ok=True)
    mode = wandb_mode()
    find_a_home()
    by_agent = "WANDB_SWEEP_ID" in os.environ  # which has chosen the project and the id, and warns of others
    command, hides = command_line()
    arguments = sys.argv
    try:
        sys.argv = [printable(argument) for argument in arguments]  # which W&B records, and takes as text alone
        run = wandb.init(
            dir=str(folder),
            project=None if by_agent else project,
            entity=None if by_agent else entity,
            id=None if by_agent else identity,
            resume="allow" if mode == "online" and not by_agent else None,
            name=shortened(name),
            group=group and shortened(group),
            tags=list(dict.fromkeys(shortened(tag, LONGEST_TAG) for tag in tags)),
            job_type=job_type,
            notes=command,
            config=config,
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(
                console="off",  # train.log has it
                silent=mode != "online",
                x_disable_meta=hides,  # W&B's own record of the command line would tell what is hidden here
            ),
        )
    except (wandb.errors.CommError, wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
        raise UserError(f"logger=wandb: {first_line(error)}; WANDB_MODE=offline keeps the run in {folder}") from error
    finally:
        sys.argv = arguments
    run.define_metric("kimg", hidden=True)
    run.define_metric("*", step_metric="kimg")
    return RunLogger(run, folder, project, artifacts, explorer)


def check_artifacts(artifacts: str) -> None:
    """Raise `UserError` for another value than the option has."""
    if artifacts not in ARTIFACTS:
        raise UserError(f"logger.wandb.artifacts={artifacts}: choose from {', '.join(ARTIFACTS)}")


def identity_of(folder: Path) -> str:
    """The run's id in W&B: what the sweep agent gave, what the folder remembers, or a new one."""
    path = folder / WANDB / "run_id.txt"
    given = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
    known = path.read_text(encoding="utf-8").strip() if path.exists() else None
    identity = given or known or uuid.uuid4().hex[:8]
    if identity != known:
        replace_text(path, identity)
    return identity


def settings_of(folder: Path) -> dict[str, Any]:
    """config.yaml of a run folder; empty where there is none."""
    return read_settings(folder / CONFIG) if is_run(folder) else {}


def read_environment(folder: Path) -> dict[str, Any]:
    """environment.json of a run folder; empty where there is none."""
    path = folder / ENVIRONMENT
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def sweep_of(folder: Path, settings: dict[str, Any]) -> str | None:
    """The sweep that a run belongs to: its folder lies in the sweep's, which lies in ``paths.runs``."""
    runs = Path(settings.get("paths", {}).get("runs") or "runs").expanduser().resolve()
    parents = folder.resolve().relative_to(runs).parts[:-1] if folder.resolve().is_relative_to(runs) else ()
    return "/".join(parents) or None


def command_line() -> tuple[str, bool]:
    """The command that makes this run (of a sweep: this job), and whether something in it had to be hidden."""
    if HydraConfig.initialized():
        overrides = HydraConfig.get().overrides
        program = ["python", "-m", f"cips_lab.{HydraConfig.get().job.name}"]
        arguments = [*overrides.task, *(o for o in overrides.hydra if not o.startswith("hydra.mode="))]
    else:
        program, arguments = [sys.argv[0]], sys.argv[1:]
    shown = redact_arguments(list(arguments))
    return shlex.join([*program, *shown]), shown != list(arguments)
