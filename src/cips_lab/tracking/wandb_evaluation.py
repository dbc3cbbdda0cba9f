"""An evaluation by `cips_lab.evaluate` as a run of its own in Weights & Biases, tied to what it evaluated."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cips_lab.files.secrets import redact_settings
from cips_lab.interop.native import generator_file
from cips_lab.metrics.evaluator import Results
from cips_lab.metrics.real import Real
from cips_lab.metrics.results import curves
from cips_lab.runs.choices import composed_choices
from cips_lab.runs.folder import CHECKPOINTS, GENERATOR, SCORES, kimg_of
from cips_lab.tracking.wandb_artifacts import (
    EVALUATION,
    add,
    artifact_name,
    model_artifact,
    policy,
    summary,
    take,
    use_statistics,
)
from cips_lab.tracking.wandb_run import (
    RunLogger,
    check_artifacts,
    settings_of,
    start,
)


def record_evaluation(cfg: DictConfig, output: Path, real: Real, results: Results) -> None:
    """A run of job type ``evaluate``: the metrics in its summary as ``final/...``; with artifacts, their lineage.

    A generator of one of our run folders is recorded under that run's name, so that W&B ties the evaluation to the
    training, and brings its configuration along. W&B's files lie in wandb/ beside the output.

    Args:
        cfg: composed ``conf/evaluate.yaml`` with ``logger=wandb``.
        output: metrics.json, written already.
        real: statistics of the real pictures.
        results: what metrics.json holds.
    """
    options = cfg.logger.wandb
    check_artifacts(options.artifacts)
    checkpoint = checkpoint_of(cfg.ckpt)
    run = checkpoint.parents[1] if checkpoint is not None else None
    settings = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(settings, dict)
    chosen = composed_choices()
    config: dict[str, Any] = {"evaluation": redact_settings(settings), "choices": chosen}
    if run is not None:
        config = redact_settings(settings_of(run)) | config
    source = run or Path(str(cfg.ckpt or cfg.samples))
    logger = start(
        output.resolve().parent,
        project=options.project,
        entity=options.entity,
        name=f"evaluate {source.name}",
        group=options.group,
        tags=[
            str(cfg.metrics.extractor),
            composed_choices().get("data", "data"),
            f"{results['resolution']}px",
            *options.tags,
        ],
        job_type="evaluate",
        config=config,
        identity=None,
        artifacts=options.artifacts,
    )
    try:
        kimg = (kimg_of(checkpoint.name) if checkpoint is not None else None) or 0.0  # where it is not known
        record = {"kimg": kimg, **results}
        logger.log_metrics(curves(record), step=round(kimg * 1000))
        logger.experiment.summary.update(summary("final", record))
        if policy(logger) != "none":
            record_lineage(logger, checkpoint, real, output, source.name)
        logger.finalize("success")
    finally:
        logger.close()


def record_lineage(logger: RunLogger, checkpoint: Path | None, real: Real, output: Path, name: str) -> None:
    """Statistics and, of our own runs, the generator are inputs; metrics.json is an output."""
    import wandb

    use_statistics(logger, real)
    if checkpoint is not None:
        take(logger, model_artifact(logger, checkpoint))
    artifact = wandb.Artifact(artifact_name("evaluation", name, str(logger.experiment.id)), type=EVALUATION)
    add(logger, artifact, output, f"evaluation-{logger.experiment.id}", SCORES)
    logger.experiment.log_artifact(artifact)


def checkpoint_of(ckpt: str | None) -> Path | None:
    """RUN/checkpoints/kimg-* of a generator that lies in a run folder; None of others."""
    if ckpt is None:
        return None
    file = generator_file(ckpt).resolve()
    of_run = file.name == GENERATOR and file.parent.parent.name == CHECKPOINTS
    return file.parent if of_run and kimg_of(file.parent.name) is not None else None
