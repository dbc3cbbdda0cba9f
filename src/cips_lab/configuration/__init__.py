"""Where the configuration lies, what is built of it, and how a value is written for Hydra."""

from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from cips_lab.configuration.quoting import quoted
from cips_lab.configuration.targets import target_mistakes
from cips_lab.errors import UserError

__all__ = ["build", "conf_folder", "primary_file", "quoted"]


def conf_folder() -> Path:
    """`conf/`: inside the installed package, or at the top of the repository in an editable install."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def primary_file(command: str) -> Path:
    """The primary configuration of a command: conf/NAME.yaml.

    Or conf/NAME/NAME.yaml for a command with an option that is called like a group of conf/, for Hydra would take the
    option for the group.
    """
    plain = conf_folder() / f"{command}.yaml"
    return plain if plain.is_file() else conf_folder() / command / f"{command}.yaml"


def build(config: DictConfig, **extra: Any) -> Any:
    """Instantiate a config group.

    Args:
        config: has a `_target_`.
        extra: arguments that no configuration holds.

    Raises:
        UserError: the constructor refuses an option, in its own words; it has no such option; there is no such target.
    """
    try:
        return instantiate(config, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        mistakes = target_mistakes(config)
        if mistakes:
            raise UserError("\n".join(mistakes)) from error
        if isinstance(cause, (TypeError, ValueError)):
            raise UserError(str(cause)) from error
        raise
