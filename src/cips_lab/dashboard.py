"""W&B dashboards as code: ``python -m cips_lab.dashboard entity=... project=...``. See ``--help``."""

from omegaconf import DictConfig

from cips_lab.cli import command


@command("dashboard")
def main(cfg: DictConfig) -> None:
    """Check, build, and save or print."""
    from cips_lab.tracking.dashboard import make_dashboards

    for line in make_dashboards(cfg):
        print(line)


if __name__ == "__main__":
    main()
