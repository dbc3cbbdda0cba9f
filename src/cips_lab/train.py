"""Train a generator: ``python -m cips_lab.train experiment=quickstart``. See ``--help``."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import Interrupted, RunInUse, UserError


@command("train")
def main(cfg: DictConfig) -> None:
    """Compose, then train: heavy imports wait until the command line is known to be right."""
    from cips_lab.training.run import discard_if_unused, train

    try:
        train(cfg)
    except (UserError, Interrupted) as error:
        if not isinstance(error, RunInUse):  # the folder is another run's
            discard_if_unused(Path(HydraConfig.get().runtime.output_dir))
        raise


if __name__ == "__main__":
    main()
