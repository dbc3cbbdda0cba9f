"""The explorer's page of a run's last checkpoint as media in Weights & Biases: `logger.wandb.explorer`."""

import logging
from pathlib import Path

from tqdm import tqdm

from cips_lab.errors import UserError
from cips_lab.explorer.export import open_world
from cips_lab.explorer.packing import pack
from cips_lab.explorer.page import build_page
from cips_lab.files.names import printable
from cips_lab.files.whole import megabytes
from cips_lab.reporting.generators import is_walkable
from cips_lab.tracking.wandb_curves import EXPLORER
from cips_lab.tracking.wandb_run import RunLogger, settings_of

LARGEST = 40 * 10**6  # bytes of a page, which W&B's own pages must load: of about 15 million parameters

log = logging.getLogger(__name__)


def log_explorer(logger: RunLogger, folder: Path, images_seen: int) -> None:
    """Log the page of the newest checkpoint.

    Where there is none, a sentence tells why; whatever else goes wrong is logged with its traceback: the run has ended
    well, and a page can be made again at any time.

    Args:
        logger: of the run.
        folder: the run's.
        images_seen: by now: the step, which never falls.
    """
    if logger.experiment.disabled:
        return
    try:
        logger.log_page(EXPLORER, page_of(folder), images_seen / 1000, images_seen)
    except UserError as error:
        with tqdm.external_write_mode():
            log.warning("logger.wandb.explorer: no page in W&B: %s", error)
    except Exception:
        with tqdm.external_write_mode():
            log.exception("logger.wandb.explorer: no page in W&B of %s", folder)


def page_of(folder: Path) -> str:
    """The page of a run's newest checkpoint as text.

    Raises:
        UserError: there is none, its generator has no page, or it would be too large.
    """
    if not is_walkable(settings_of(folder)):
        raise UserError("a convolutional generator has pictures of one size only, and nothing to walk in")
    world = open_world(str(folder), folder.name)
    packed = pack(world.generator)
    size = len(packed.blob) * 4 // 3  # as base64; the rest is small beside it
    if size > LARGEST:
        raise UserError(
            f"it would have {megabytes(size)}, and {megabytes(LARGEST)} are the most; python -m cips_lab.explore "
            f"ckpt={folder} walks through it here"
        )
    return printable(build_page(packed, world.title, world.facts))
