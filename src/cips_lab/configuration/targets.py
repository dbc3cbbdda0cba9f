"""Options of what a `_target_` names: its parameters are the list of them, their annotations what they may be."""

import inspect
from typing import Any, get_type_hints

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cips_lab.configuration.advice import unknown
from cips_lab.configuration.kinds import of_annotation
from cips_lab.configuration.values import mistake


def target_mistakes(config: DictConfig) -> list[str]:
    """What is wrong with a part of the configuration that has a `_target_`, which is imported for it.

    Values that come from elsewhere (`${...}`) are judged where they stand.

    Returns:
        A line for each mistake; none where its class checks more than names and kinds.
    """
    path = config._get_full_key(None) or "the configuration"
    name = config.get("_target_")
    try:
        target = get_object(name)
        parameters = inspect.signature(target).parameters
    except (ImportError, ValueError, TypeError, AttributeError) as error:
        return [f"{path}._target_={name}: cannot be found ({str(error).splitlines()[0]})"]
    names = [key for key, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]
    hints = annotations_of(target)
    found = []
    for key in map(str, config):
        option = f"{path}.{key}"
        if key.startswith("_"):  # Hydra's own: _target_, _partial_, ...
            continue
        if key not in names:
            if len(names) == len(parameters):
                found.append(unknown(option, [f"{path}.{other}" for other in names]))
        elif not OmegaConf.is_interpolation(config, key) and not OmegaConf.is_missing(config, key):
            found += mistake(option, plain(config, key), of_annotation(hints.get(key)))
    return found


def annotations_of(target: Any) -> dict[str, Any]:
    """Annotations of a class's constructor or of a function; none where they name what only a type checker imports."""
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except NameError:
        return {}


def plain(config: DictConfig, key: Any) -> Any:
    """A value without OmegaConf's containers; unresolved where it refers to what is not there."""
    value = config[key]
    if not OmegaConf.is_config(value):
        return value
    try:
        return OmegaConf.to_container(value, resolve=True)
    except OmegaConfBaseException:
        return OmegaConf.to_container(value, resolve=False)
