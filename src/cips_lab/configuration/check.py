"""A composed configuration, looked at as a whole before anything is made: all mistakes, told at once."""

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cips_lab.configuration.advice import in_lines, left_out, unknown
from cips_lab.configuration.known import choices, known_options
from cips_lab.configuration.options import COLLECTIONS, COMMANDS, GROUPS, OPTIONAL_GROUPS
from cips_lab.configuration.targets import target_mistakes
from cips_lab.configuration.values import mistake
from cips_lab.errors import UserError

# A reference to another option, also as an argument of a resolver: ${paths.data}, ${oc.select:sweep_name,null}
REFERENCE = re.compile(r"\$\{\s*(?:oc\.select:\s*)?\.*([A-Za-z_][\w.]*)\s*[,}]")


def check(command: str, config: DictConfig, imports: bool = True) -> None:
    """Refuse a configuration with an option that nothing reads, or a value of the wrong kind.

    Args:
        command: the command's name, as in `options.COMMANDS`.
        config: composed; Hydra's own part is not looked at.
        imports: also look at the options of what has a `_target_`, which imports it.

    Raises:
        UserError: names every mistake and what to type instead.
    """
    found = list(mistakes(command, config, imports))
    if found:
        raise UserError(in_lines(found))


def check_composed(command: str, config: DictConfig, imports: bool = True) -> None:
    """`check` of a configuration that holds Hydra's own part, outside of one of Hydra's jobs."""
    with known_to_hydra(config):
        check(command, config, imports)


@contextmanager
def known_to_hydra(config: DictConfig) -> Iterator[None]:
    """Within, `${hydra:...}` refers to a configuration that no job of Hydra's has begun with yet."""
    known = HydraConfig.instance()
    before = known.cfg
    known.set_config(copy.deepcopy(config))
    try:
        yield
    finally:
        known.cfg = before


def mistakes(command: str, config: DictConfig, imports: bool = True) -> Iterator[str]:
    """The lines of `check`."""
    options, groups = COMMANDS[command], GROUPS.get(command, ())
    references = set(REFERENCE.findall(OmegaConf.to_yaml(config, resolve=False)))
    yield from _unread(command, config, groups, references)
    for option, kind in options.items():
        try:
            value = OmegaConf.select(config, option, default=...)
        except OmegaConfBaseException as error:
            yield f"{option}: {str(error).splitlines()[0]}"
            continue
        if value is not ...:
            yield from mistake(option, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value, kind)
        elif OmegaConf.is_dict(OmegaConf.select(config, option.rpartition(".")[0]) if "." in option else config):
            yield f"{option} is missing, and is needed"
    sections = dict.fromkeys(option.partition(".")[0] for option in options if "." in option)
    needed = (name for name in (*groups, *sections) if name not in OPTIONAL_GROUPS.get(command, ()))
    yield from (left_out(name, choices(name)) for name in needed if not OmegaConf.is_dict(config.get(name)))
    if imports:
        yield from _built(config, groups)
    yield from _resolutions(config)


def _unread(command: str, config: DictConfig, groups: tuple[str, ...], references: set[str]) -> Iterator[str]:
    """Options outside the groups that have classes, which no code and no other option reads."""
    options = COMMANDS[command]

    def walk(node: Mapping[Any, Any], prefix: str) -> Iterator[str]:
        for key in node:
            path = f"{prefix}{key}"
            if path in options or path == "hydra" or path in groups:
                continue
            if any(path == name or path.startswith(f"{name}.") for name in references):
                continue
            holds_more = any(name.startswith(f"{path}.") for name in (*options, *references))
            if holds_more and OmegaConf.is_dict(config_at(node, key)):
                yield from walk(config_at(node, key), f"{path}.")
            elif not holds_more:
                yield unknown(path, known_options(command))

    yield from walk(config, "")


def config_at(node: Any, key: Any) -> Any:
    """A part of a configuration, unless it is only a reference."""
    return None if OmegaConf.is_interpolation(node, key) else node[key]


def _built(config: DictConfig, groups: tuple[str, ...]) -> Iterator[str]:
    """What the classes of a configuration have no parameter for."""
    for group in groups:
        part = config.get(group)
        if not OmegaConf.is_dict(part):
            continue
        members = {f"{group}.{key}": part[key] for key in part} if group in COLLECTIONS else {group: part}
        for name, member in members.items():
            if OmegaConf.is_dict(member) and "_target_" in member:
                yield from target_mistakes(member)
            elif member is not None:
                yield f"{name}: needs a _target_, the class or function that makes it"


def _resolutions(config: DictConfig) -> Iterator[str]:
    """Generator, discriminator and pictures that differ in size, where they say it."""
    if "generator" not in config:
        return
    frames = ("generator.resolution", "view.resolution", "data.resolution")
    for names, remedy in ((frames, "resolution=N"), (("discriminator.resolution", "view.size"), "view.size=N")):
        sides = {name: side for name in names if (side := OmegaConf.select(config, name)) is not None}
        if len(set(map(str, sides.values()))) > 1:
            told = ", ".join(f"{name}={side}" for name, side in sides.items())
            yield f"{told}: must be the same; set them all by {remedy}"
