"""What Hydra refuses, in words of this program: its own advice is to add what nothing would read."""

import re
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException

from cips_lab.configuration import primary_file
from cips_lab.configuration.advice import GONE, in_lines, unknown
from cips_lab.configuration.check import known_to_hydra, mistakes
from cips_lab.configuration.known import known_options

NO_OPTION = re.compile(r"Could not override '(.+)'\.")


def in_words(command: str, error: Exception, arguments: Sequence[str]) -> str:
    """A mistake in a command's arguments that Hydra or OmegaConf found, with what to type instead.

    Args:
        command: and primary configuration.
        error: what was raised.
        arguments: of the command line, as Hydra reads them.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return GONE.get(error.missing_cfg_file) or str(error).partition("\nConfig search path:")[0] + a_path(error)
    if isinstance(error, HydraException) and NO_OPTION.match(str(error)):
        given = get_args_parser().parse_args(list(arguments))
        return in_lines(all_mistakes(command, given.overrides, given.config_dir))
    cause = error.__cause__ if isinstance(error, ConfigCompositionException) else None
    return "\n".join(filter(None, (str(error), str(cause or ""))))


def a_path(error: MissingConfigException) -> str:
    """What to say where a path was given for a group: data=/my/pictures."""
    group, _, option = str(error.missing_cfg_file).partition("/")
    return f"\nfor pictures of your own, type data.path={option}" if group == "data" and "/" in option else ""


def all_mistakes(command: str, overrides: Sequence[str], searched: str | None) -> list[str]:
    """What is wrong with a command line in which an option is not there, that option among it.

    Hydra names the first such option, and would add it with a `++`; so each is added, until the rest can be looked at.

    Args:
        command: and primary configuration.
        overrides: as Hydra reads them; those of a sweep are left out, for its jobs look at them.
        searched: the folder of `--config-dir`.
    """
    parsed = [o for o in OverridesParser.create().parse_overrides(list(overrides)) if not o.is_sweep_override()]
    keys = {str(o.input_line): o.key_or_group for o in parsed}
    extra = [] if searched is None else [f"hydra.searchpath=[file://{Path(searched).resolve()}]"]
    refused: list[str] = []
    while True:
        given = [f"++{line}" if key in refused else line for line, key in keys.items()]
        try:
            with initialize_config_dir(str(primary_file(command).parent), version_base="1.3"):
                config = compose(command, [*given, *extra], return_hydra_config=True)
        except HydraException as error:
            found = NO_OPTION.match(str(error))
            if found is None or found[1] in refused:  # wrong in another way, which comes when this is mended
                return [unknown(key, known_options(command)) for key in refused]
            refused.append(found[1])
            continue
        with known_to_hydra(config):
            return list(mistakes(command, config))
