"""Which jobs of a sweep are one variant, what to call it, and which components its generator has."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cips_lab.reporting.generators import generator_name
from cips_lab.runs.identity import settings_of_data, settings_of_variant
from cips_lab.runs.records import Job
from cips_lab.runs.settings import Flat

# Groups that differ in more than a number or two: a variant bears the name that it was chosen by.
PARTS = ("generator", "discriminator", "augment")
SIZES = ("width", "z_dim", "w_dim", "mapping_layers", "channel_base", "channel_max")  # that any network may have


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
    jobs = list(jobs)
    groups: dict[str, list[Job]] = {}
    settings: dict[str, Flat] = {}
    for job, flat in zip(jobs, settings_of(jobs), strict=True):
        key = repr(sorted((name, repr(value)) for name, value in flat.items()))
        groups.setdefault(key, []).append(job)
        settings[key] = flat
    flats = list(settings.values())
    apart = differing(flats)
    labels = labels_of([members[0] for members in groups.values()], flats, apart)
    return [
        Variant(
            label=name,
            jobs=tuple(sorted(members, key=lambda job: (job.seed, job.name))),
            settings={key: flat[key] for key in apart if key in flat},
            components=components_of(members[0].config.get("generator") or {}),
        )
        for name, flat, members in zip(labels, flats, groups.values(), strict=True)
    ]


def settings_of(jobs: list[Job]) -> list[Flat]:
    """All that makes each job's result what it is, but its seed: dotted name -> value."""
    found = [settings_of_variant(job.config) for job in jobs]
    for settings, pictures in zip(found, pictures_of(jobs), strict=True):
        if "data.path" in settings:
            settings["data.path"] = pictures
    return found


def pictures_of(jobs: list[Job]) -> list[str | None]:
    """Where each job's pictures lie: the same text for the same pictures, another for others.

    Their content decides where every job noted it; among runs of earlier versions, the place.
    """
    places = [settings_of_data(job.config).get("data.path") for job in jobs]
    contents = [job.inputs.pictures for job in jobs]
    if None in contents:
        return places
    first = dict(zip(reversed(contents), reversed(places), strict=True))
    shared = Counter(first.values())
    return [
        first[content] if shared[first[content]] == 1 else f"{first[content]} ({str(content)[:8]})"
        for content in contents
    ]


def differing(flats: list[Flat]) -> list[str]:
    """Names whose values are not the same in all; copies of `resolution` are left to it."""
    names = list(dict.fromkeys(name for flat in flats for name in flat))
    absent = object()
    apart = [n for n in names if any(flat.get(n, absent) != flats[0].get(n, absent) for flat in flats)]
    if "resolution" in apart:
        apart = [n for n in apart if not n.endswith(".resolution") and not is_copy(n, "resolution", flats)]
    return apart


def is_copy(name: str, of: str, flats: list[Flat]) -> bool:
    """Whether an option has the value of another everywhere."""
    return name != of and all(flat.get(name) == flat.get(of) for flat in flats)


# ---------------------------------------------------------------------------------------------- names


def labels_of(jobs: list[Job], flats: list[Flat], apart: list[str]) -> list[str]:
    """A name for each variant: those of its generator, discriminator and augmentation where they differ, then the other
    settings that differ.

    Args:
        jobs: one of each variant.
        flats: the variants' settings.
        apart: the names of those in which they differ.
    """
    told: list[list[str]] = [[] for _ in jobs]
    hidden: list[set[str]] = [set() for _ in jobs]
    for part in PARTS:
        names = [name_of(part, job) for job in jobs]
        own = [n for n in apart if n.startswith(f"{part}.")]
        if not own or len(set(names)) == 1:
            continue
        explained = explained_by(names, flats, own)
        for i, name in enumerate(names):
            if name is not None:
                told[i].append(name if part == "generator" else f"{part}={name}")
                hidden[i] |= explained | alike_in_kin(part, flats[i], flats, own)
    labels = []
    for job, flat, parts, unsaid in zip(jobs, flats, told, hidden, strict=True):
        shown = sorted(
            (n for n in apart if n in flat and n not in unsaid), key=lambda n: not n.startswith("generator.")
        )
        parts += [f"{_short(n, apart)}={_value(flat[n])}" for n in shown]
        labels.append(", ".join(parts) or generator_name(job) or job.name)
    return _unique(labels)


def name_of(part: str, job: Job) -> str | None:
    """The option of a group that a run was composed of; None of runs that did not record it."""
    return generator_name(job) if part == "generator" else job.choices.get(part)


def explained_by(names: list[str | None], flats: list[Flat], apart: list[str]) -> set[str]:
    """Settings of a part, among `apart`, that its names tell: no size, and the same wherever the name is."""
    explained = {n for n in apart if n.rpartition(".")[2] not in SIZES}
    for name in set(names):
        same = [flat for own, flat in zip(names, flats, strict=True) if own == name]
        explained -= set(differing(same))
    return explained


def alike_in_kin(part: str, flat: Flat, flats: list[Flat], apart: list[str]) -> set[str]:
    """Settings of a part, among `apart`, in which it differs from those of other classes alone: the baseline has its
    own.
    """
    target = f"{part}._target_"
    kin = [other for other in flats if other.get(target) == flat.get(target)]
    return {n for n in apart if flat.get(n) is not None and all(other.get(n) in (None, flat[n]) for other in kin)}


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
    """Columns of the table: all of the paper's where variants differ in one of them, and others in which they do."""

    def differ(name: str) -> bool:
        return len({v.components[name] for v in variants if v.components[name] is not None}) > 1

    return [*(TABLE3 if any(map(differ, TABLE3)) else ()), *filter(differ, FURTHER)]
