"""Loggers, each writing into the run's folder. Every value is logged against `kimg`, images seen in thousands."""

import netrc
import os
import sys
import uuid
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from cips_lab.errors import UserError
from cips_lab.secrets import redact_arguments
from cips_lab.training.continued_csv import ContinuedCSVLogger


def has_wandb_key() -> bool:
    """Whether W&B could log in without asking: WANDB_API_KEY, or what `wandb login` left in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def wandb_logger(
    run_folder: str, project: str, group: str | None, tags: list[str], images_seen: int = 0
) -> WandbLogger:
    """Weights & Biases, online if there is an API key (or WANDB_MODE says so), else offline in the run's folder.

    A run that is continued keeps its id, so that online it goes on as one curve.
    """
    import wandb

    folder = Path(run_folder)
    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    identity = folder / "wandb" / "run_id.txt"
    if not identity.exists():
        identity.write_text(uuid.uuid4().hex[:8])
    mode = os.environ.get("WANDB_MODE") or ("online" if has_wandb_key() else "offline")
    logger = WandbLogger(
        name=folder.name,
        save_dir=str(folder),
        project=project,
        id=identity.read_text().strip(),
        group=group,
        tags=tags,
        mode=mode,
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(
            console="off",
            silent=mode != "online",
            x_disable_meta=redact_arguments(sys.argv) != sys.argv,  # W&B's own record of the command line
        ),
    )
    experiment = logger.experiment
    if hasattr(experiment, "define_metric"):  # a stand-in without it on ranks other than 0
        experiment.define_metric("kimg")
        experiment.define_metric("*", step_metric="kimg")
    return logger


def csv_logger(run_folder: str, images_seen: int = 0) -> CSVLogger:
    """metrics.csv in RUN/csv; a run that is continued at `images_seen` goes on in it (see `continued_csv`)."""
    return ContinuedCSVLogger(run_folder, images_seen)


def tensorboard_logger(run_folder: str, images_seen: int = 0) -> TensorBoardLogger:
    """Event files in RUN/tensorboard; a run that is continued at `images_seen` hides what lies beyond.

    Raises:
        UserError: TensorBoard is not installed.
    """
    beyond = images_seen + 1 if images_seen else None
    try:
        return TensorBoardLogger(save_dir=run_folder, name="tensorboard", version="", purge_step=beyond)
    except ModuleNotFoundError:
        raise UserError("logger=tensorboard needs TensorBoard: pip install 'cips-lab[tensorboard]'") from None


def log_image(logger: Logger, name: str, path: Path, kimg: float, images_seen: int) -> None:
    """Send a picture to a logger that can show one."""
    if isinstance(logger, WandbLogger):
        import wandb

        # No step: W&B counts its own, and every plot is drawn against kimg.
        logger.experiment.log({name: wandb.Image(str(path)), "kimg": kimg})
    elif isinstance(logger, TensorBoardLogger):
        import numpy as np
        from PIL import Image

        logger.experiment.add_image(name, np.asarray(Image.open(path)), images_seen, dataformats="HWC")
