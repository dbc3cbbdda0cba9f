"""The page of a run or of a sweep: ``python -m cips_lab.report run=runs/quickstart``. See ``--help``."""

from pathlib import Path

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import UserError


@command("report")
def main(cfg: DictConfig) -> None:
    """See what the folder is, and write its page."""
    if cfg.run is None:
        raise UserError("give run=FOLDER, the folder of a run or of a sweep; see --help")
    folder = Path(str(cfg.run)).expanduser()
    if not folder.is_dir():
        raise UserError(f"run={folder}: no such folder")
    output = None if cfg.output is None else Path(str(cfg.output)).expanduser()
    if output is not None and (output.suffix != ".html" or output.is_dir()):
        raise UserError(f"output={output}: expected the name of an .html file")

    from cips_lab.reporting.options import texts
    from cips_lab.reporting.run_page import write_run_page
    from cips_lab.reporting.selection import parse_at
    from cips_lab.reporting.sweep_page import write_sweep_page
    from cips_lab.runs.folder import is_run

    if is_run(folder):
        print(write_run_page(folder, output, costs=cfg.costs))
    else:
        print(write_sweep_page(folder, output, texts(cfg, "metrics.names"), parse_at(cfg.at), cfg.costs))


if __name__ == "__main__":
    main()
