"""Loggers, each writing into the run's folder. Every value is logged against `kimg`, images seen in thousands."""

from pathlib import Path

from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from cips_lab.errors import UserError
from cips_lab.tracking.wandb_mode import check_tags, wandb_mode
from cips_lab.tracking.wandb_run import RunLogger, check_artifacts


class PictureTensorBoard(TensorBoardLogger):
    """Lightning's logger, which also takes pictures."""

    def log_picture(self, name: str, path: Path, kimg: float, images_seen: int) -> None:
        """A picture of the run's folder, at `images_seen`."""
        import numpy as np
        from PIL import Image

        self.experiment.add_image(name, np.asarray(Image.open(path)), images_seen, dataformats="HWC")


def tensorboard_logger(run_folder: str, images_seen: int = 0) -> PictureTensorBoard:
    """Event files in RUN/tensorboard; a run that is continued at `images_seen` hides what lies beyond.

    Raises:
        UserError: TensorBoard is not installed.
    """
    beyond = images_seen + 1 if images_seen else None
    try:
        return PictureTensorBoard(save_dir=run_folder, name="tensorboard", version="", purge_step=beyond)
    except ModuleNotFoundError:
        raise UserError("logger=tensorboard needs TensorBoard: pip install 'cips-lab[tensorboard]'") from None


def check_loggers(chosen: DictConfig) -> None:
    """See before a run begins that its loggers can be started.

    Args:
        chosen: the group ``logger`` of a configuration.

    Raises:
        UserError: an option, or the environment, is what W&B would refuse.
    """
    options = chosen.get("wandb")
    if options is not None:
        check_artifacts(options.artifacts)
        check_tags([str(tag) for tag in options.tags])
        wandb_mode()


def close(logger: Logger) -> None:
    """End what a logger began: W&B's run, or the next job of a sweep would log into it."""
    if isinstance(logger, RunLogger):
        logger.close()
