"""Which jobs of a sweep are one variant, what to call it, and which components its generator has."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from cips_lab.configuration import conf_folder
from cips_lab.runs.records import Job

# What may differ within a variant: the seed, names and places, how a run is watched, and how many devices share it.
INCIDENTAL = (
    "seed",
    "name",
    "paths",
    "hydra",
    "logger",
    "callbacks",
    "sweep",
    "metrics",  # compared on the evaluations themselves, which say what they were computed with
    "model",  # sizes that the networks' configurations repeat
    "data.cache",
    "data.num_workers",
    "data.hint",
    "data.test_path",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.threads",
    "trainer.compile",
    "trainer.tile",
)
Flat = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """Jobs that differ in nothing but their seed.

    Attributes:
        label: short and unlike any other's in the sweep.
        jobs: by seed.
        settings: what sets it apart, setting -> value; empty for the only variant of a sweep.
        components: see `components_of`.
    """

    label: str
    jobs: tuple[Job, ...]
    settings: Flat
    components: dict[str, bool | None]


def group(jobs: Iterable[Job]) -> list[Variant]:
    """The variants of a sweep, in the order in which they first come."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        key = repr(sorted((name, repr(value)) for name, value in settings_of(job).items()))
        groups.setdefault(key, []).append(job)
    flats = [settings_of(members[0]) for members in groups.values()]
    apart = differing(flats)
    labels = _unique([label(members[0], apart) for members in groups.values()])
    return [
        Variant(
            label=name,
            jobs=tuple(sorted(members, key=lambda job: (job.seed, job.name))),
            settings={key: flat[key] for key in apart if key in flat},
            components=components_of(members[0].config.get("generator") or {}),
        )
        for name, flat, members in zip(labels, flats, groups.values(), strict=True)
    ]


def settings_of(job: Job) -> Flat:
    """All that makes a job's result what it is, but its seed: dotted name -> value."""
    found = flatten(job.config)
    kept = {name: value for name, value in found.items() if not _is_incidental(name)}
    # Of the schedule only the length matters; the rest is how often it was looked at.
    return {k: v for k, v in kept.items() if not k.startswith("schedule.") or k == "schedule.total_kimg"}


def _is_incidental(name: str) -> bool:
    return any(name == entry or name.startswith(entry + ".") for entry in INCIDENTAL)


def flatten(settings: Any, prefix: str = "") -> Flat:
    """Nested settings to ``{"data.path": value}``."""
    if not isinstance(settings, dict) or not settings:
        return {prefix: settings} if prefix else {}
    return {
        key: value
        for name, nested in settings.items()
        for key, value in flatten(nested, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def differing(flats: list[Flat]) -> list[str]:
    """Names whose values are not the same in all; copies of `resolution` are left to it."""
    names = list(dict.fromkeys(name for flat in flats for name in flat))
    absent = object()
    apart = [n for n in names if any(flat.get(n, absent) != flats[0].get(n, absent) for flat in flats)]
    if "resolution" in apart:
        apart = [n for n in apart if not n.endswith(".resolution")]
    return apart


# ---------------------------------------------------------------------------------------------- names


def label(job: Job, apart: list[str]) -> str:
    """A variant's name: that of its generator where generators differ, then the other settings that differ."""
    generator = job.config.get("generator") or {}
    structural = [name for name in apart if name.startswith("generator.")]
    parts = []
    named = known_generator(generator)
    if structural and named is not None and any(_shapes(name) for name in structural):
        parts.append(named)
        structural = [name for name in structural if not _shapes(name) and _belongs(name, generator, apart)]
    flat = settings_of(job)
    others = [name for name in apart if not name.startswith("generator.")]
    parts += [f"{_short(name, apart)}={_value(flat[name])}" for name in (*structural, *others) if name in flat]
    return ", ".join(parts) or named or job.name


def _shapes(name: str) -> bool:
    """Whether a setting of the generator is one of those that make the paper's variants."""
    path = name.split(".")[1:]
    return path[0] in STRUCTURE or path[0] in ("fourier", "embedding")


def _belongs(name: str, generator: dict[str, Any], apart: list[str]) -> bool:
    """Whether a generator has a setting and another generator of the same class could: the baseline has its own."""
    return "generator._target_" not in apart and name.split(".")[1] in generator


def _short(name: str, apart: list[str]) -> str:
    """The last part of a name, or all of it where two would be the same."""
    last = name.rpartition(".")[2]
    return name if sum(other.rpartition(".")[2] == last for other in apart) > 1 else last


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unique(labels: list[str]) -> list[str]:
    """Number labels that come more than once."""
    seen: dict[str, int] = {}
    result = []
    for name in labels:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result


# ---------------------------------------------------------------------------------------------- components

STRUCTURE = ("_target_", "output", "blocks", "activation", "modulation")
# Table 3 of the paper, in its order; the rest is shown where variants differ in it.
TABLE3 = ("coordinate embedding", "Fourier features", "residual", "sine", "skip output")
FURTHER = ("modulation", "noise", "narrow late layers")


def components_of(generator: dict[str, Any]) -> dict[str, bool | None]:
    """Which components a resolved generator configuration has; None where the question makes no sense for it."""
    if not str(generator.get("_target_", "")).endswith("CIPSGenerator"):
        return dict.fromkeys((*TABLE3, *FURTHER))
    return {
        "coordinate embedding": generator.get("embedding") is not None,
        "Fourier features": generator.get("fourier") is not None,
        "residual": generator.get("blocks") == "residual",
        "sine": generator.get("activation") in ("sine", "siren"),
        "skip output": generator.get("output") == "skip",
        "modulation": bool(generator.get("modulation", True)),
        "noise": bool(generator.get("noise", False)),
        "narrow late layers": generator.get("widths") == "official",
    }


def shown_components(variants: list[Variant]) -> list[str]:
    """The columns of the table: the paper's, and others in which the variants differ."""
    return [
        *TABLE3,
        *(n for n in FURTHER if len({v.components[n] for v in variants if v.components[n] is not None}) > 1),
    ]


def signature(generator: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a generator one of the paper's variants, whatever its sizes."""
    fourier = generator.get("fourier")
    return (
        *(str(generator.get(name)) for name in STRUCTURE),
        None if fourier is None else (fourier.get("initialization") if isinstance(fourier, dict) else None),
        generator.get("embedding") is None,
    )


@cache
def known_generators() -> dict[tuple[Any, ...], str]:
    """signature -> name, of every file in conf/generator/."""
    folder = conf_folder() / "generator"
    return {signature(_composed(path.stem)): path.stem for path in sorted(folder.glob("*.yaml"), reverse=True)}


def known_generator(generator: dict[str, Any]) -> str | None:
    """The file in conf/generator/ that a resolved configuration came from, whatever its sizes; None if from none."""
    return known_generators().get(signature(generator))


def _composed(name: str) -> dict[str, Any]:
    """A generator's file upon those that its defaults list names; interpolations stay as they are."""
    loaded = OmegaConf.to_container(OmegaConf.load(conf_folder() / "generator" / f"{name}.yaml"), resolve=False)
    assert isinstance(loaded, dict)
    own: dict[str, Any] = {str(key): value for key, value in loaded.items()}
    result: dict[str, Any] = {}
    for base in own.pop("defaults", []):
        if base != "_self_":
            result |= _composed(str(base))
    for key, value in own.items():
        merge = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = result[key] | value if merge else value
    return result
