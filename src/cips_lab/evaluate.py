"""Metrics of a generator or of pictures: ``python -m cips_lab.evaluate ckpt=runs/quickstart``. See ``--help``."""

from pathlib import Path

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import UserError
from cips_lab.files.whole import replace_text


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Check all that can be checked, then start the processes, then evaluate."""
    if (cfg.ckpt is None) == (cfg.samples is None):
        raise UserError(
            "give either ckpt=... (a run folder, a .safetensors or a released .pt file) "
            "or samples=... (a folder or .zip of pictures of any generator); see --help"
        )
    if cfg.split not in ("train", "test"):
        raise UserError(f"split={cfg.split}: expected train or test")
    if set(cfg.logger) - {"wandb"}:
        raise UserError("an evaluation goes into its output, and with logger=wandb into W&B: logger=wandb or none")

    import json

    from cips_lab.launch.run import quiet_libraries
    from cips_lab.metrics.results import sentence
    from cips_lab.processes.layout import fabric_of
    from cips_lab.render.evaluation import Evaluation, check_output
    from cips_lab.tracking.loggers import check_loggers
    from cips_lab.tracking.wandb_evaluation import record_evaluation

    output = Path(str(cfg.output)).expanduser()
    check_output(output)
    check_loggers(cfg.logger)
    quiet_libraries()
    fabric = fabric_of(cfg.trainer)
    evaluation = Evaluation(cfg)
    fabric.launch()
    results = evaluation.run(fabric.device)
    if fabric.is_global_zero:
        replace_text(output, json.dumps(results, indent=2, allow_nan=False) + "\n")
        print(f"{sentence(results)}\n{output}")
        if "wandb" in cfg.logger:
            assert evaluation.real is not None
            record_evaluation(cfg, output, evaluation.real, results)


if __name__ == "__main__":
    main()
