"""The table of a sweep: ``python -m cips_lab.tabulate sweep=runs/ablation``. See ``--help``."""

import json
from pathlib import Path

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import UserError
from cips_lab.files.whole import replace_text


@command("tabulate")
def main(cfg: DictConfig) -> None:
    """Read, compare, print, write."""
    if cfg.sweep is None:
        raise UserError("give sweep=FOLDER, a sweep's folder, or sweep=[FOLDER,FOLDER]; see --help")

    from cips_lab.reporting import formats, plots
    from cips_lab.reporting.options import texts
    from cips_lab.reporting.selection import parse_at
    from cips_lab.reporting.table import make_table
    from cips_lab.runs.records import read_sweeps
    from cips_lab.tracking.wandb_table import log_table

    sweeps = [Path(name).expanduser() for name in texts(cfg, "sweep") or []]
    output = sweeps[0] if cfg.output is None else Path(str(cfg.output)).expanduser()
    if output.exists() and not output.is_dir():
        raise UserError(f"output={output}: expected a folder, and this is a file")
    if None not in (cfg.num_samples, cfg.samples):
        raise UserError("samples is the former name of num_samples; give num_samples alone")
    table = make_table(
        read_sweeps(sweeps),
        at=parse_at(cfg.at),
        metrics=texts(cfg, "metrics.names"),
        patterns=texts(cfg, "jobs"),
        num_samples=cfg.samples if cfg.num_samples is None else cfg.num_samples,
        with_costs=cfg.costs,
    )
    print(formats.console(table))
    written = {
        "table.md": formats.markdown(table),
        "table.tex": formats.latex(table),
        "table.csv": formats.comma_separated(table),
        "table.json": json.dumps(table.as_dict(), indent=2) + "\n",
    }
    for name, text in written.items():
        replace_text(output / name, text)
    figures = plots.draw(table, output) if cfg.plots else []
    if cfg.wandb:
        log_table(table, output, f"{sweeps[0].name} table", cfg.project, figures)
    print("\n".join(str(path) for path in [*(output / name for name in written), *figures]))


if __name__ == "__main__":
    main()
