"""What a run leaves in Weights & Biases beside its curves: its last evaluation, and artifacts with their lineage.

    statistics of real pictures -> training run -> generator -> evaluation run -> metrics.json

Artifacts are told apart by their content: the same statistics or generator, recorded by several runs, are one version.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from cips_lab.callbacks.evaluation import Evaluation
from cips_lab.metrics.real import Real
from cips_lab.metrics.reference import Reference
from cips_lab.metrics.registry import keys_of
from cips_lab.runs.checkpoints import best_so_far
from cips_lab.runs.folder import CONFIG, GENERATOR, SCORES, WANDB, best_checkpoints, checkpoint_folders, kimg_of
from cips_lab.runs.records import evaluations
from cips_lab.tracking.wandb_explorer import log_explorer
from cips_lab.tracking.wandb_mode import shortened
from cips_lab.tracking.wandb_run import RunLogger, identity_of
from cips_lab.training.clock import gan_of

STATISTICS, MODEL, EVALUATION = "reference-statistics", "model", "evaluation"  # types of artifacts


class WandbResults(pl.Callback):
    """Stands after the callbacks that write checkpoints and evaluations; without ``logger=wandb`` it does nothing.

    At the end the last evaluation goes into the run's summary as ``final/...`` and that of the best checkpoint as
    ``best/...``: plain numbers for tables, bars and the metric of a W&B sweep. What becomes an artifact, and when, and
    whether the explorer's page is logged, are the logger's options (`conf/logger/wandb.yaml`).
    """

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        logger = logger_of(trainer)
        if logger is None or policy(logger) != "all" or not trainer.is_global_zero:
            return
        for checkpoint in checkpoint_folders(trainer.default_root_dir):
            self._log(logger, checkpoint, ["latest"])

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        logger = logger_of(trainer)
        if logger is None or not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        records = evaluations(folder)
        if records:
            logger.experiment.summary.update(summary("final", records[-1]))
        best = best_so_far(folder)
        if best is not None:
            logger.experiment.summary.update(summary("best", best))
        if logger.explorer:
            log_explorer(logger, folder, gan_of(pl_module).images_seen)
        if policy(logger) == "none":
            return
        real = next((c.real for c in trainer.callbacks if isinstance(c, Evaluation)), None)  # type: ignore[attr-defined]
        if real is not None:
            use_statistics(logger, real)
        for checkpoint in best_checkpoints(folder)[-1:]:
            self._log(logger, checkpoint, ["best"])
        for checkpoint in checkpoint_folders(folder)[-1:]:
            self._log(logger, checkpoint, ["latest"])

    def _log(self, logger: RunLogger, checkpoint: Path, aliases: list[str]) -> None:
        if checkpoint.name in self._logged:
            return
        self._logged.add(checkpoint.name)
        kimg = checkpoint.name.removeprefix("best-")
        logger.experiment.log_artifact(model_artifact(logger, checkpoint), aliases=[*aliases, kimg])


def logger_of(trainer: pl.Trainer) -> RunLogger | None:
    """The run's W&B logger, if it has one."""
    return next((logger for logger in trainer.loggers if isinstance(logger, RunLogger)), None)


def policy(logger: RunLogger) -> str:
    """``none``, ``best`` or ``all``: what ``auto`` means online and offline."""
    if logger.artifacts != "auto":
        return logger.artifacts
    return "none" if logger.experiment.offline or logger.experiment.disabled else "best"


def summary(prefix: str, record: dict[str, Any]) -> dict[str, Any]:
    """An evaluation as plain entries of a summary: the metrics, and what must agree where they are compared."""
    names = ("kimg", *keys_of(record), "num_samples", "num_real", "extractor", "manifold_extractor")
    return {f"{prefix}/{name}": record[name] for name in names if name in record}


# ---------------------------------------------------------------------------------------------- artifacts


def model_artifact(logger: RunLogger, checkpoint: Path) -> Any:
    """A checkpoint's generator and configuration; its version's metadata holds kimg and, of the best, the metrics.

    Args:
        logger: of the run that is recorded.
        checkpoint: folder with generator.safetensors.
    """
    import wandb

    run = checkpoint.parents[1]
    metrics = checkpoint / SCORES
    artifact = wandb.Artifact(
        artifact_name(run.name, identity_of(run)),
        type=MODEL,
        description="The averaged generator: cips_lab.load_generator('generator.safetensors')",
        metadata={
            "kimg": kimg_of(checkpoint.name),
            **(json.loads(metrics.read_text(encoding="utf-8")) if metrics.exists() else {}),
        },
    )
    add(logger, artifact, checkpoint / GENERATOR)
    if (run / CONFIG).exists():
        add(logger, artifact, run / CONFIG, checkpoint.name)
    return artifact


def add(logger: RunLogger, artifact: Any, path: Path, kept_as: str | None = None, name: str | None = None) -> None:
    """Add a file so that W&B can still read it when it uploads.

    Online W&B copies it, uploads the copy and removes it. Offline it must outlive the checkpoint it belongs to, which
    the run may remove: it is kept in RUN/wandb/artifacts, as a hard link where the file system has them.

    Args:
        logger: of the run that is recorded.
        artifact: not logged yet.
        path: the file.
        kept_as: folder below RUN/wandb/artifacts; None: that of the file.
        name: in the artifact; None: the file's.
    """
    if not logger.experiment.offline:
        artifact.add_file(str(path), name=name)
        return
    kept = logger.folder / WANDB / "artifacts" / (kept_as or path.parent.name) / path.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.unlink(missing_ok=True)
    if path.suffix == ".safetensors":  # never written again, only replaced; config.yaml is written over
        try:
            os.link(path, kept)
        except OSError:
            shutil.copy2(path, kept)
    else:
        shutil.copy2(path, kept)
    artifact.add_file(str(kept), name=name or path.name, policy="immutable", skip_cache=True)


def use_statistics(logger: RunLogger, real: Real) -> None:
    """Record what was measured against: an input of the run.

    The files stay in the cache (none is there if it could not be written); W&B holds their checksums and where they
    lie. Offline W&B knows no inputs (it must ask the server), so that there they are recorded as outputs.
    """
    import wandb

    for reference in (part for part in real.references.values() if part.path.exists()):
        artifact = wandb.Artifact(
            artifact_name("statistics", reference.path.stem),
            type=STATISTICS,
            description=f"What a network sees in {reference.count} real pictures of {reference.location}",
            metadata=described(reference),
        )
        artifact.add_reference(reference.path.resolve().as_uri(), name=reference.path.name)
        take(logger, artifact)


def take(logger: RunLogger, artifact: Any) -> None:
    """An input of the run; offline, where W&B refuses inputs, an output."""
    if logger.experiment.offline:
        logger.experiment.log_artifact(artifact)
    else:
        logger.experiment.use_artifact(artifact)


def described(reference: Reference) -> dict[str, Any]:
    """What tells statistics of real pictures apart."""
    return {
        "count": reference.count,
        "resolution": reference.resolution,
        "location": reference.location,
        "features": reference.features.shape[1],
    }


def artifact_name(*parts: str) -> str:
    """``quickstart-1a2b3c4d``: what W&B allows, and unique where the last part is."""
    name = "-".join(re.sub(r"[^\w.-]+", "_", part) for part in parts)
    return shortened(name)
