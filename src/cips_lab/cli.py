"""What every command shares: where its configuration lies, and how a user's mistake is told."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import hydra
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cips_lab.configuration import conf_folder
from cips_lab.errors import STATUS_AT_ONCE, STATUS_MISTAKE, STATUS_REQUEUE, Interrupted, UserError
from cips_lab.files.secrets import redact
from cips_lab.processes import runtime
from cips_lab.processes.ranks import register_resolvers

register_resolvers()  # of conf/


def command(config_name: str, folder: str = "") -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a Hydra program of a function: `--help`, overrides, one-line errors on standard error with exit status 2.

    A run that was interrupted and can be continued ends with status 75 (see `cips_lab.errors`).

    Args:
        config_name: the primary configuration.
        folder: below conf/, where it lies; one of its own for a command with an option that is called like a group of
            conf/, for Hydra would take the option for the group.
    """
    runtime.tune()  # before torch is imported, which commands do when they run

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(task)
        def guarded(cfg: DictConfig) -> Any:
            try:
                return task(cfg)  # what it returns, a sweeper minimises
            except (UserError, OmegaConfBaseException) as error:
                sys.stdout.flush()
                print(f"error: {redact(str(error))}", file=sys.stderr)
                sys.exit(STATUS_MISTAKE)
            except Interrupted as interrupted:
                sys.stdout.flush()
                print(interrupted, file=sys.stderr)
                sys.exit(STATUS_REQUEUE)
            except KeyboardInterrupt:
                sys.stdout.flush()
                print("stopped at once", file=sys.stderr)
                sys.exit(STATUS_AT_ONCE)

        return hydra.main(version_base="1.3", config_path=str(conf_folder() / folder), config_name=config_name)(guarded)

    return decorate
