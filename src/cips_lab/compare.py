"""Several generators in one table: ``python -m cips_lab.compare samples=[a,b] reference=real``. See ``--help``."""

from pathlib import Path

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import UserError
from cips_lab.files.whole import replace_text


@command("compare")
def main(cfg: DictConfig) -> None:
    """Check all of them, then start the processes, then evaluate one after the other."""
    import json

    from cips_lab.launch.run import quiet_libraries
    from cips_lab.processes.layout import fabric_of
    from cips_lab.render.evaluation import check_output, evaluations_of
    from cips_lab.reporting.comparison import Comparison

    if not cfg.samples and not cfg.ckpts:
        raise UserError("give samples=[a,b], folders or .zips of pictures, or ckpts=[run,run], or both; see --help")
    output = Path(str(cfg.output)).expanduser()
    check_output(output)
    quiet_libraries()
    fabric = fabric_of(cfg.trainer)
    evaluations = evaluations_of(cfg)
    fabric.launch()
    records = [evaluation.run(fabric.device) for evaluation in evaluations]
    if fabric.is_global_zero:
        comparison = Comparison(records)
        replace_text(output, json.dumps(records, indent=2, allow_nan=False) + "\n")
        replace_text(output.with_suffix(".md"), comparison.markdown())
        print(f"{comparison.console()}\n{output.with_suffix('.md')}\n{output}")


if __name__ == "__main__":
    main()
