"""Which evaluation of each job stands in a table, and whether those of several jobs may stand in one."""

from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from cips_lab.errors import UserError
from cips_lab.metrics.options import Options
from cips_lab.metrics.registry import higher_is_better, key_in
from cips_lab.reporting.variants import pictures_of
from cips_lab.runs.identity import settings_of_data
from cips_lab.runs.records import Job, Record

# What an evaluation was computed with: distances that differ in any of these must not be compared.
OF_EVALUATIONS = (
    *("num_samples", "num_real", "real_choice", "resolution", "extractor", "manifold_extractor", "weights"),
)
OF_METRICS = tuple(option.name for option in fields(Options))


def common_count(jobs: list[Job]) -> int | None:
    """The number of samples that most evaluations have (the larger of two as frequent): that of the curves."""
    counts = Counter(int(record["num_samples"]) for job in jobs for record in job.evaluations)
    return max(counts, key=lambda count: (counts[count], count), default=None)


def parse_at(at: Any) -> str | float:
    """`at=` as ``last``, ``best`` or a number of kimg.

    Raises:
        UserError: it is none of these.
    """
    if at in ("last", "best"):
        return str(at)
    if isinstance(at, (int, float)) and not isinstance(at, bool) and at > 0:
        return float(at)
    raise UserError(f"at={at}: expected last, best (by the first metric), or thousands of images such as at=48")


def choose(job: Job, at: str | float, metric: str, num_samples: int | None = None) -> Record | str:
    """The evaluation of a job that stands in the table, or why there is none.

    Args:
        job: finished.
        at: ``last``; ``best``, by `metric`, among those of the same number of samples as the last; or kimg.
        metric: its name or key.
        num_samples: only evaluations of so many generated pictures.
    """
    found = [record for record in job.evaluations if num_samples is None or record["num_samples"] == num_samples]
    if not found:
        return "it was not evaluated" if num_samples is None else f"it has no evaluation of {num_samples} samples"
    if at == "last":
        return found[-1]
    if at == "best":
        among = [record for record in found if record["num_samples"] == found[-1]["num_samples"]]
        name = key_in(among[0], metric)
        among = [record for record in among if name in record]
        if not among:
            return f"none of its evaluations has {metric}"
        pick: Callable[..., Record] = max if higher_is_better(name) else min
        return pick(among, key=lambda record: float(record[name]))
    near = [record for record in found if abs(float(record["kimg"]) - float(at)) <= job.step_kimg]
    return near[-1] if near else f"it was not evaluated at {at:g} kimg"


def check_comparable(chosen: list[tuple[Job, Record]]) -> None:
    """Refuse evaluations that must not share a table.

    Raises:
        UserError: naming each thing in which they differ, and the jobs on either side.
    """
    clashes = []
    for what, of in _conditions(chosen).items():
        if len(of) > 1:
            sides = "; ".join(f"{value} in {_names(jobs)}" for value, jobs in of.items())
            clashes.append(f"  {what}: {sides}")
    if clashes:
        raise UserError(
            "these jobs cannot share a table, for their numbers cannot be compared:\n"
            + "\n".join(clashes)
            + "\nchoose some of them with jobs=[NAME,...] (patterns such as 'a/*' work), or num_samples=N, or evaluate "
            "the others again with python -m cips_lab.evaluate"
        )


def _conditions(chosen: list[tuple[Job, Record]]) -> dict[str, dict[str, list[str]]]:
    """Condition -> value -> names of the jobs."""
    found: dict[str, dict[str, list[str]]] = {}

    def note(what: str, value: Any, job: Job) -> None:
        names = found.setdefault(what, {}).setdefault(str(value), [])
        names.append(job.name)

    for job, record in chosen:
        for name in OF_EVALUATIONS:
            note(name, record.get(name), job)
        for name in OF_METRICS:
            note(f"metrics.{name}", (job.config.get("metrics") or {}).get(name), job)
    for (job, _), data in zip(chosen, data_of([job for job, _ in chosen]), strict=True):
        note("data", data, job)
    return found


def data_of(jobs: list[Job]) -> list[str]:
    """What the real pictures of each job are, in words that are the same for the same ones."""
    found = []
    for job, pictures in zip(jobs, pictures_of(jobs), strict=True):
        settings = settings_of_data(job.config)
        kind = str(settings.pop("data._target_", "")).rpartition(".")[2].removesuffix("DataModule") or "unknown"
        settings |= {"data.path": pictures} if "data.path" in settings else {}
        kept = ", ".join(f"{name.removeprefix('data.')}={value}" for name, value in sorted(settings.items()))
        found.append(f"{kind}({kept})" if kept else kind)
    return found


def _names(jobs: list[str], most: int = 6) -> str:
    more = f" and {len(jobs) - most} more" if len(jobs) > most else ""
    return f"job{'s' * (len(jobs) > 1)} {', '.join(jobs[:most])}{more}"
