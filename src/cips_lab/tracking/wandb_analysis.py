"""Figures by `cips_lab.analyze` as a run of their own in Weights & Biases."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cips_lab.files.secrets import redact_settings
from cips_lab.reporting.analyses import Analysis
from cips_lab.runs.choices import composed_choices
from cips_lab.runs.settings import flatten
from cips_lab.tracking.wandb_run import check_artifacts, start


def record_analysis(cfg: DictConfig, output: Path, made: list[Analysis]) -> None:
    """A run of job type ``analyze``: pictures as ``analysis/NAME``, numbers in its summary likewise.

    W&B's files lie in wandb/ in the figures' folder.

    Args:
        cfg: composed ``conf/analyze.yaml`` with ``logger=wandb``.
        output: the folder of the figures, written already.
        made: what they found.
    """
    import wandb

    options = cfg.logger.wandb
    check_artifacts(options.artifacts)
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    logger = start(
        output.resolve(),
        project=options.project,
        entity=options.entity,
        name=f"analyze {Path(str(cfg.ckpt)).name}",
        group=options.group,
        tags=[*options.tags],
        job_type="analyze",
        config={"analysis": redact_settings(settings), "choices": composed_choices()},
        identity=None,
        artifacts=options.artifacts,
    )
    try:
        for analysis in made:
            pictures: dict[str, Any] = {}
            for name in analysis.files:
                kind, key = Path(name).suffix, f"analysis/{Path(name).stem}"
                if kind == ".png":
                    pictures[key] = wandb.Image(str(output / name), caption=analysis.reading)
                elif kind == ".gif":
                    pictures[f"{key}_film"] = wandb.Video(str(output / name), format="gif")
            logger.experiment.log(pictures)
            numbers = {f"analysis/{analysis.name}/{key}": value for key, value in flatten(analysis.numbers).items()}
            logger.experiment.summary.update(numbers)
        logger.finalize("success")
    finally:
        logger.close()
