"""The names of all options that a command has, for advice."""

import functools

from omegaconf import DictConfig, OmegaConf

from cips_lab.configuration import conf_folder
from cips_lab.configuration.options import COMMANDS, GROUPS


def choices(group: str) -> list[str]:
    """The options of a group of conf/."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


@functools.cache
def known_options(command: str) -> tuple[str, ...]:
    """Names with dots: those of the table, and those in the files of the command's groups."""
    names = dict.fromkeys(COMMANDS[command])
    for group in GROUPS.get(command, ()):
        for path in sorted((conf_folder() / group).glob("*.yaml")):
            part = OmegaConf.load(path)
            assert isinstance(part, DictConfig)
            names |= dict.fromkeys(f"{group}.{name}" for name in leaves(part))
    return tuple(names)


def leaves(part: DictConfig) -> list[str]:
    """``["a", "b.c"]`` of ``{a: 1, b: {c: 2}}``; without what is Hydra's."""
    found: list[str] = []
    for key in map(str, part):
        if key.startswith("_") or key == "defaults":
            continue
        nested = None if OmegaConf.is_interpolation(part, key) else part[key]
        found += [f"{key}.{name}" for name in leaves(nested)] if isinstance(nested, DictConfig) else [key]
    return found
