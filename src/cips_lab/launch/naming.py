"""Names of a sweep's job folders: made of what the sweep varies, so that they are the same whatever the order."""

import hashlib
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from cips_lab.runs.choices import read_overrides

UNSAFE = re.compile(r"[^\w.+-]+")  # '=' and ',' would break a path in an override such as ckpt=runs/...
LONGEST = 200  # bytes; file systems end at 255


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
    parts = parts_of({key: values[key] for key in keys}, set(hydra.runtime.choices))
    before = Path(hydra.sweep.dir) / readable(parts)
    # Of a sweep that an earlier version began, which named its folders so.
    is_there = {f"{key}={values[key]}" for key in keys} <= {plain(override) for override in read_overrides(before)}
    return before.name if is_there else joined(parts)


def name_of(values: dict[str, str], groups: set[str]) -> str:
    """A folder's name: readable, and another one for other values.

    Args:
        values: what the job has of each thing that is varied.
        groups: config groups, whose options speak for themselves.
    """
    return joined(parts_of(values, groups))


def parts_of(values: dict[str, str], groups: set[str]) -> list[tuple[str, str]]:
    """What is varied, as short as it can be, and its value."""
    shorts = [key.rpartition(".")[2] for key in values]
    parts = []
    for key, value in values.items():
        short = key.rpartition(".")[2]
        label = "" if key in groups else short if shorts.count(short) == 1 else key
        parts.append((label, value.strip("'\"")))
    return parts


def readable(parts: list[tuple[str, str]]) -> str:
    """The parts with what an override would mind replaced: not another name for every value."""
    return UNSAFE.sub("_", "-".join(label + value for label, value in parts)).strip("_")


def joined(parts: list[tuple[str, str]]) -> str:
    """A readable name, with a hash of the values where something in it was replaced, cut, or could be read twice."""
    name = readable(parts)
    exact = name == "-".join(label + value for label, value in parts)
    # A value that holds what the next part begins with: a-b, c and a, b-c.
    ambiguous = any(f"-{label}" in value for (_, value), (label, _) in pairwise(parts))
    if exact and not ambiguous and len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(repr([value for _, value in parts]).encode()).hexdigest()[:8]
    return f"{name.encode()[:LONGEST].decode(errors='ignore')}-{digest}".lstrip("-")


OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
