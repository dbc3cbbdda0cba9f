"""The command line, before Hydra reads it: values that its grammar has no words for are taken as they are.

That grammar knows spaces, brackets, quotes, `=`, `,`, `#` and `~` as signs of its own, and no letter beyond ASCII.
"""

import os
import shlex
from collections.abc import Iterable

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException

from cips_lab.configuration import conf_folder
from cips_lab.configuration.advice import GONE, left_out
from cips_lab.configuration.known import choices
from cips_lab.configuration.options import is_text_option
from cips_lab.configuration.quoting import quoted
from cips_lab.errors import UserError


def readable(command: str, arguments: list[str]) -> list[str]:
    """A command's arguments with every `key=value` as Hydra reads it; Hydra's flags stay what they are.

    Args:
        command: whose options they are.
        arguments: of the command line.

    Raises:
        UserError: an argument is no override, or its commas could separate the values of a sweep.
    """
    known, others = get_args_parser().parse_known_args(arguments)
    overrides = {*known.overrides, *(other for other in others if not other.startswith("-"))}
    sweeps = known.multirun or "hydra.mode=MULTIRUN" in overrides
    shows = known.help or known.hydra_help or known.cfg is not None or known.info is not None
    read = [literal(command, text, sweeps or shows) for text in arguments if text in overrides]
    return [*read, *(text for text in arguments if text not in overrides)]  # argparse wants them side by side


def readable_overrides(overrides: Iterable[str]) -> list[str]:
    """The same of overrides of training alone, which may be a sweep's. Raises `UserError` for what is none."""
    return [literal("train", text, sweeps=True) for text in overrides]


def literal(command: str, text: str, sweeps: bool) -> str:
    """One override as Hydra reads it: itself where Hydra can, else with its value quoted, and `~/` filled in.

    Args:
        command: whose option it is.
        text: ``key=value``.
        sweeps: whether several values may be meant.

    Raises:
        UserError: `text` is no override, or its commas could separate the values of a sweep.
    """
    override = parsed(text)
    key, equals, value = text.partition("=")
    if override is not None:
        for choice in _values(override):
            if f"{key}/{choice}" in GONE:
                raise UserError(GONE[f"{key}/{choice}"])
        if override.is_sweep_override() and not sweeps:
            raise UserError(f"{text}: several values are a sweep, which needs --multirun{the_comma(key, value)}")
        if override.value() is None and key == override.key_or_group and (conf_folder() / key).is_dir():
            raise UserError(f"{text}: {left_out(key, choices(key))}")  # null is no option of a group, nor is ~group
        return f"{key}={quoted(value)}" if is_text_option(command, key) and _changes(override, value) else text
    if not equals:
        raise UserError(f"{text}: expected an option, key=value, or one of Hydra's flags (see --help)")
    taken = f"{key}={quoted(os.path.expanduser(value))}"  # noqa: PTH111 - a path only if it happens to be one
    if parsed(taken) is None:
        raise UserError(f"{text}: {key!r} cannot be the name of an option (see --help)")
    if sweeps and "," in value:
        several = ",".join(quoted(part) for part in value.split(","))
        raise UserError(
            f"{text}: with --multirun commas separate the values of a sweep{the_comma(key, value)}; "
            f"for several values, type {shlex.quote(f'{key}={several}')}"
        )
    return taken


def _values(override: Override) -> list[str]:
    """Each value of a sweep over some, or the one value, as text."""
    some = isinstance(override.value(), ChoiceSweep)
    return list(override.sweep_string_iterator()) if some else [str(override.value())]


def _changes(override: Override, typed: str) -> bool:
    """Whether Hydra makes a number of what was typed, or takes spaces off its ends."""
    value = override.value()
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and value == typed.strip() != typed)


def the_comma(key: str, value: str) -> str:
    """What to type where a comma belongs to a value."""
    return f"; if this is one value, type {shlex.quote(f'{key}={quoted(value)}')}" if "," in value else ""


def parsed(text: str) -> Override | None:
    """What Hydra reads; None where it cannot."""
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None
