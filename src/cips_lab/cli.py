"""What every command shares: how its arguments are read, where its configuration lies, and how a mistake is told."""

import functools
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, InstantiationException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cips_lab.analysis import figures
from cips_lab.configuration import primary_file
from cips_lab.configuration.check import check_composed
from cips_lab.configuration.help import help_text
from cips_lab.configuration.options import BUILDING
from cips_lab.configuration.overrides import readable
from cips_lab.configuration.refused import in_words
from cips_lab.errors import STATUS_AT_ONCE, STATUS_MISTAKE, STATUS_REQUEUE, Interrupted, UserError
from cips_lab.files.places import check_output, fault_of_place, told
from cips_lab.files.secrets import redact
from cips_lab.interop import exports
from cips_lab.metrics.registry import names, usual_names
from cips_lab.processes import runtime
from cips_lab.processes.ranks import register_resolvers
from cips_lab.processes.supervisor import tell_supervisor

register_resolvers()  # of conf/


def command(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a Hydra program of a function: overrides, `--help`, exit statuses; mistakes are told before it is called.

    Args:
        name: the command's name, and that of its primary configuration.
    """
    runtime.tune()  # before torch is imported, which commands do when they run
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands its errors to `exit_status`, and does not print them

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(task)
        def guarded(cfg: DictConfig) -> Any:
            with exit_status(name):  # in here too: Hydra prints a line before it passes an exception on
                if cfg.get("output") is not None:
                    check_output(Path(str(cfg.output)).expanduser())
                return task(cfg)  # what it returns, a sweeper minimises

        program = hydra.main(version_base="1.3", config_path=str(primary_file(name).parent), config_name=name)(guarded)

        @functools.wraps(task)
        def main() -> None:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):  # a terminal without a letter of a path shows its number
                    stream.reconfigure(errors="backslashreplace")
            with exit_status(name):
                if (given := get_args_parser().parse_known_args()[0]).help:
                    print(
                        help_text(
                            name,
                            given.config_dir,
                            {
                                "metrics": ", ".join(names()),
                                "usual": ", ".join(usual_names()),
                                "figures": ", ".join(figures.names()),
                                "endings": exports.described(),
                            },
                        ),
                        end="",
                    )
                    return
                sys.argv[1:] = readable(name, sys.argv[1:])  # which a run's other processes are started with
                program()

        return main

    return decorate


@contextmanager
def exit_status(name: str) -> Iterator[None]:
    """End the process of the command `name` with the status that an exception means, and a line of what happened.

    Other exceptions are faults of this program, and keep their traceback.
    """
    try:
        yield
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if isinstance(error, InstantiationException):
            raise
        message = redact(in_words(name, error, sys.argv[1:]))
        tell_supervisor(message)  # where this is a job of one
        _end(f"error: {message}", STATUS_MISTAKE)
    except Interrupted as interrupted:
        _end(str(interrupted), STATUS_REQUEUE)
    except KeyboardInterrupt:
        _end("stopped at once", STATUS_AT_ONCE)
    except Exception as error:
        place = fault_of_place(error)
        if place is None:
            raise
        tell_supervisor(told(place))
        _end(f"error: {redact(told(place))}", STATUS_MISTAKE)


def _end(message: str, status: int) -> None:
    sys.stdout.flush()
    print(message, file=sys.stderr)
    sys.exit(status)


class Check(Callback):
    """Hydra's callback that looks at a configuration before a folder is made of it.

    Args:
        command: whose options these are.
    """

    def __init__(self, command: str) -> None:
        self._command = command

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Of the whole configuration, classes included."""
        self._check(config, imports=True)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Of what a sweep's jobs have in common; nothing heavy is imported, and each job looks at its own again."""
        self._check(config, imports=False)

    def _check(self, config: DictConfig, imports: bool) -> None:
        logging.disable(logging.INFO)  # what libraries tell when they are imported
        try:
            with exit_status(self._command):  # SystemExit: of an exception Hydra would make a warning
                check_composed(self._command, config, imports and self._command in BUILDING)
        finally:
            logging.disable(logging.NOTSET)
