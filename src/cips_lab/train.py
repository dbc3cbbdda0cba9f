"""Train a generator: ``python -m cips_lab.train experiment=quickstart``. See ``--help``."""

from omegaconf import DictConfig

from cips_lab.cli import command


@command("train")
def main(cfg: DictConfig) -> None:
    """Compose, then train: heavy imports wait until the command line is known to be right."""
    from cips_lab.training.run import train

    train(cfg)


if __name__ == "__main__":
    main()
