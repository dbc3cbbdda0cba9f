"""The paper's figures of trained generators: ``python -m cips_lab.analyze figure=all ckpt=runs/quickstart``."""

from pathlib import Path

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import UserError


@command("analyze")
def main(cfg: DictConfig) -> None:
    """Check all that can be checked, then start the processes, then make the figures."""
    from cips_lab.analysis.figures import names

    asked = [cfg.figure] if isinstance(cfg.figure, str) else list(cfg.figure or [])
    unknown = [name for name in asked if name not in (*names(), "all")]
    if unknown or not asked:
        raise UserError(f"figure={','.join(unknown) or 'null'}: choose all, or from {', '.join(names())}")
    if set(cfg.logger) - {"wandb"}:
        raise UserError("figures go into their folder, and with logger=wandb into W&B: logger=wandb or none")

    from cips_lab.analysis.figure import figures
    from cips_lab.analysis.making import NEEDED_BY, make_all
    from cips_lab.analysis.opening import on, open_study, run_of
    from cips_lab.launch.run import quiet_libraries
    from cips_lab.processes.layout import fabric_of
    from cips_lab.reporting.analysis_page import write_analysis_page
    from cips_lab.reporting.figures import drawing
    from cips_lab.reporting.run_page import write_run_page
    from cips_lab.runs.folder import ANALYSIS
    from cips_lab.tracking.loggers import check_loggers
    from cips_lab.tracking.wandb_analysis import record_analysis

    with drawing(NEEDED_BY):  # that it can be drawn is known before the work
        pass
    check_loggers(cfg.logger)
    quiet_libraries()
    fabric = fabric_of(cfg.trainer)
    study = open_study(cfg)
    run = run_of(cfg.ckpt)
    if cfg.output is None and run is None:
        raise UserError(f"ckpt={cfg.ckpt} lies in no run folder: say with output=FOLDER where the figures shall go")
    output = run / ANALYSIS if cfg.output is None and run is not None else Path(str(cfg.output)).expanduser()
    if output.is_file():
        raise UserError(f"output={output}: expected a folder, and this is a file")
    fabric.launch()
    chosen = [figure for name, figure in figures().items() if name in asked or "all" in asked]
    made, unsuitable = make_all(chosen, on(study, fabric.device), output)
    if fabric.is_global_zero:
        print(write_analysis_page(output, [str(error) for error in unsuitable]))
        if run is not None and output.resolve() == (run / ANALYSIS).resolve():
            print(write_run_page(run))
        if "wandb" in cfg.logger:
            record_analysis(cfg, output, made)


if __name__ == "__main__":
    main()
