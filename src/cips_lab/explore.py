"""A generator as a page to walk in: ``python -m cips_lab.explore ckpt=runs/quickstart``. See ``--help``."""

from pathlib import Path

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import UserError


@command("explore")
def main(cfg: DictConfig) -> None:
    """Check all that can be checked, then write the page, or serve it."""
    if cfg.ckpt is None:
        raise UserError("ckpt=... is missing: a run folder, a .safetensors or a released .pt file (see --help)")
    if cfg.output is None:
        from cips_lab.explorer.serving import serve

        serve(str(cfg.ckpt), int(cfg.port), cfg.device, cfg.title)
        return
    output = Path(str(cfg.output)).expanduser()
    if output.suffix not in (".html", ".htm"):
        raise UserError(f"output={cfg.output}: the page is an HTML file; choose a name that ends in .html")
    if output.is_dir():
        raise UserError(f"output={cfg.output} is a folder; give the page a name in it, such as {output}/world.html")

    from cips_lab.explorer.export import export
    from cips_lab.reporting.run_page import write_run_page
    from cips_lab.runs.folder import EXPLORER, REPORT, is_run

    print(export(str(cfg.ckpt), output, cfg.title))
    run = output.parent
    if output.name == EXPLORER and is_run(run) and (run / REPORT).is_file():
        print(write_run_page(run))  # which links to it


if __name__ == "__main__":
    main()
