"""Names of a sweep's job folders: made of what the sweep varies, so that they are the same whatever the order."""

import re
from collections.abc import Iterable

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

UNSAFE = re.compile(r"[^\w.+-]+")  # '=' and ',' would break a path in an override such as ckpt=runs/...


def swept_keys(overrides: Iterable[Override], planned: Iterable[Override] = ()) -> list[str]:
    """What has several values, in an order that does not depend on theirs: groups, then values, then the seed.

    Args:
        overrides: of the command line; the last one of a key holds.
        planned: of the sweep's file. These keys stay in the names when the command line asks for one value only, so
            that a part of a sweep trains the jobs that the whole would.
    """
    swept = {plain(override.get_key_element()): override.is_sweep_override() for override in overrides}
    swept |= {plain(override.get_key_element()): True for override in planned if override.is_sweep_override()}
    return sorted((key for key, varies in swept.items() if varies), key=lambda key: (key == "seed", "." in key, key))


def plain(key: str) -> str:
    """A key without the signs of Hydra's grammar."""
    return key.lstrip("+~")


def job_folder(*keys: str) -> str:
    """`${job_folder:"generator","seed"}` is ``cips_ne-seed1`` for a job with generator=cips_ne and seed=1."""
    hydra = HydraConfig.get()
    if not keys:
        return f"job{hydra.job.num}"
    values = {plain(key): value for key, _, value in (override.partition("=") for override in hydra.overrides.task)}
    return name_of({key: values[key] for key in keys}, set(hydra.runtime.choices))


def name_of(values: dict[str, str], groups: set[str]) -> str:
    """A folder's name.

    Args:
        values: what the job has of each thing that is varied.
        groups: config groups, whose options speak for themselves.
    """
    shorts = [key.rpartition(".")[2] for key in values]
    parts = []
    for key, value in values.items():
        short = key.rpartition(".")[2]
        label = "" if key in groups else short if shorts.count(short) == 1 else key
        parts.append(label + value.strip("'\""))
    return UNSAFE.sub("_", "-".join(parts)).strip("_")


OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
