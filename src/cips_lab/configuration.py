"""Where the configuration lies, and what is built of it."""

from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from cips_lab.errors import UserError


def conf_folder() -> Path:
    """`conf/`: inside the installed package, or at the top of the repository in an editable install."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def build(config: DictConfig, **extra: Any) -> Any:
    """Instantiate a config group; what its constructor refuses becomes a `UserError` with the constructor's words."""
    try:
        return instantiate(config, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, (TypeError, ValueError)):
            raise UserError(str(cause)) from error
        raise
