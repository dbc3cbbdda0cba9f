"""Hydra's sweeps as W&B's: the same overrides, handed out by a server to agents instead of run one after another.

An agent fills ``${args_no_hyphens}`` with ``key=value`` for each parameter, which is what Hydra reads.
"""

from collections.abc import Sequence
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cips_lab.configuration import conf_folder
from cips_lab.configuration.check import check_composed
from cips_lab.configuration.overrides import readable_overrides
from cips_lab.configuration.refused import in_words
from cips_lab.errors import UserError
from cips_lab.metrics.registry import higher_is_better
from cips_lab.processes.ranks import register_resolvers

# The run's folder lies in the sweep's, as a job's of Hydra; Hydra fills this in in the agent's process.
RUN_NAME = "name={sweep}/${{oc.env:WANDB_RUN_ID}}"


def build_sweep(
    overrides: Sequence[str], method: str | None = None, metric: str | None = None, goal: str | None = None
) -> dict[str, Any]:
    """The content of a file for `wandb sweep`.

    Args:
        overrides: of ``cips_lab.train --multirun``; an option of the group ``sweep`` brings its own parameters.
        method: ``grid``, ``random`` or ``bayes``; None: grid, or random where a parameter is an interval.
        metric: entry of the runs' summary that ``bayes`` optimises.
        goal: ``minimize`` or ``maximize``; None: the direction of the sweep's option, or else the metric's own.

    Raises:
        UserError: nothing is swept, or the overrides do not compose.
    """
    given = parse(readable_overrides(overrides))
    fixed = [override for override in given if not override.is_sweep_override()]
    check_logger(given)
    config = composed([written(o) for o in fixed if o.key_or_group != "logger"])
    parameters = parse([f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()])
    swept = {o.key_or_group: o for o in (*parameters, *given) if o.is_sweep_override()}  # the command line wins
    named = {override.key_or_group for override in fixed}
    swept = {key: override for key, override in swept.items() if key not in named}
    # An option may also fix a value, e.g. `params: {seed: 0}`.
    fixed += [o for o in parameters if not o.is_sweep_override() and o.key_or_group not in named | swept.keys()]
    if not swept:
        raise UserError("nothing to sweep: give +sweep=NAME, or a key several values, e.g. seed=0,1,2")
    name = name_of(fixed, config)
    constant = [written(o) for o in fixed if o.key_or_group not in ("name", "logger", "hydra.mode")]
    described = {o.get_key_element(): parameter(o) for o in swept.values()}
    project = check(constant, list(swept.values()))
    return {
        "name": name,
        "project": project,
        "program": "cips_lab.train",  # what the web page shows; `command` is what runs
        "method": method_of(described, method, metric),
        **({"metric": {"name": metric, "goal": goal or direction(config, metric)}} if metric else {}),
        "parameters": described,
        "command": [
            *("${env}", "${interpreter}", "-m", "cips_lab.train"),
            *constant,
            "logger=wandb",
            "hydra.mode=RUN",
            RUN_NAME.format(sweep=name),
            "${args_no_hyphens}",
        ],
    }


def to_yaml(sweep: dict[str, Any]) -> str:
    """The file's text."""
    return yaml.safe_dump(sweep, sort_keys=False, width=120)


def parse(overrides: Sequence[str]) -> list[Override]:
    """Raises `UserError` for what Hydra cannot read."""
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(str(error)) from error


def composed(overrides: Sequence[str]) -> DictConfig:
    """conf/train.yaml with overrides and W&B, and Hydra's own part. Raises `UserError` where they do not compose."""
    register_resolvers()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            config = compose("train", ["logger=wandb", *overrides], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(in_words("train", error, overrides)) from error
    check_composed("train", config, imports=False)
    return config


def parameter(override: Override) -> dict[str, Any]:
    """A swept override as W&B describes a parameter. Raises `UserError` for a glob, whose values only Hydra knows."""
    if override.is_interval_sweep():
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        return distribution(interval)
    if isinstance(override.value(), Glob):
        raise UserError(f"{written(override)}: list the values, e.g. generator=cips,cips_ne")
    pairs = zip(override.sweep_iterator(Transformer.identity), override.sweep_string_iterator(), strict=True)
    # Numbers stay numbers for W&B's plots and searches; the rest is written as Hydra reads it (None would not be).
    return {"values": [value if isinstance(value, (bool, int, float)) else text for value, text in pairs]}


def distribution(interval: IntervalSweep) -> dict[str, Any]:
    """``interval(1, 10)``, ``int(interval(1, 10))``, ``tag(log, interval(1, 10))``."""
    low, high = interval.start, interval.end
    assert low is not None
    assert high is not None
    whole = all(isinstance(end, int) for end in (low, high))
    if "log" in interval.tags and whole:
        raise UserError(f"int(tag(log,interval({low},{high}))): W&B draws no such whole numbers; list the values")
    if "log" in interval.tags:
        return {"distribution": "log_uniform_values", "min": float(low), "max": float(high)}
    return {"distribution": "int_uniform" if whole else "uniform", "min": low, "max": high}


def method_of(parameters: dict[str, Any], method: str | None, metric: str | None) -> str:
    """The one asked for, if it can be."""
    endless = [name for name, described in parameters.items() if "values" not in described]
    if method == "grid" and endless:
        raise UserError(f"--method grid: {', '.join(endless)} are intervals; use random or bayes")
    if method == "bayes" and metric is None:
        raise UserError("--method bayes needs --metric, an entry of the runs' summary, e.g. final/fid")
    return method or ("random" if endless else "grid")


def direction(config: DictConfig, metric: str) -> str:
    """What an optuna option says, else where the metric is better (``final/recall``: higher); losses: minimize."""
    found = config.hydra.sweeper.get("direction")
    if found is not None and not OmegaConf.is_list(found):
        return str(getattr(found, "name", found))
    return "maximize" if higher_is_better(metric.rpartition("/")[2]) else "minimize"


def name_of(fixed: Sequence[Override], config: DictConfig) -> str:
    """``name=``, or the option of the group sweep."""
    for override in fixed:
        if override.key_or_group == "name":
            return str(override.get_value_element_as_str())
    name = config.hydra.runtime.choices.get("sweep")
    if name is None:
        raise UserError("name=... is missing: the sweep's name, and its folder below paths.runs")
    return str(name)


def check_logger(given: Sequence[Override]) -> None:
    """Agents must log to W&B: raise `UserError` if something else was asked for."""
    if any(o.key_or_group == "logger" and o.get_value_string() != "wandb" for o in given):
        raise UserError("runs of a W&B sweep log to W&B: leave logger= out")


def written(override: Override) -> str:
    """As it was given."""
    return str(override.input_line)


def check(constant: list[str], swept: list[Override]) -> str:
    """Compose each text that a parameter can be, with the first values of the others; numbers go by their first.

    Returns:
        The W&B project.

    Raises:
        UserError: an option or a key that is not there.
    """
    tried = [values_to_try(override) for override in swept]
    first = [values[0] for values in tried]
    config = composed([*constant, *first])
    for place, values in enumerate(tried):
        for value in values[1:]:
            composed([*constant, *first[:place], value, *first[place + 1 :]])
    return str(config.logger.wandb.project)


def values_to_try(override: Override) -> list[str]:
    """Overrides with one value each."""
    key = override.get_key_element()
    described = parameter(override)
    if "values" not in described:
        return [f"{key}={described['min']}"]
    values = described["values"]
    return [f"{key}={value}" for i, value in enumerate(values) if i == 0 or isinstance(value, str)]
