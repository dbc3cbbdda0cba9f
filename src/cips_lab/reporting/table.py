"""The table of a sweep: a row for each variant, mean and standard deviation over its seeds."""

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from cips_lab.errors import UserError
from cips_lab.metrics.constants import FLOOR
from cips_lab.metrics.registry import higher_is_better, key_in, keys_of
from cips_lab.planning.costs import Costs, costs_of
from cips_lab.reporting.selection import OF_EVALUATIONS, check_comparable, choose
from cips_lab.reporting.variants import Variant, group, shown_components
from cips_lab.runs.records import Job, Record

Mark = Literal["best", "tied", ""]
TREATMENT = (
    "Bold: the best mean, and any that prints the same. †: not told apart from the best, for the difference of the "
    "means is below two standard errors of that difference. ±: sample standard deviation over seeds (n - 1)."
)
ONE_SEED = (
    "(±): of one seed, the standard error over its samples; another seed would differ by more, so that a difference of "
    "several such errors may still be chance."
)


@dataclass(frozen=True)
class Measure:
    """Values of several seeds.

    Attributes:
        values: one a seed.
        se: of a single value, its standard error over samples; None where it is not known, or there are several.
    """

    values: tuple[float, ...]
    se: float | None = None

    @property
    def n(self) -> int:
        """How many."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """The sample standard deviation (n - 1); None for one value."""
        return statistics.stdev(self.values) if self.n > 1 else None

    @property
    def error(self) -> float | None:
        """The mean's standard error: over seeds, or over the samples of one; None where neither is known."""
        return self.se if self.std is None else self.std / math.sqrt(self.n)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"mean": self.mean, "std": self.std, "se": self.se, "n": self.n, "values": list(self.values)}


@dataclass(frozen=True)
class Row:
    """One variant.

    Attributes:
        variant: its jobs are those that stand in the row.
        metrics: name -> over seeds.
        kimg: where its jobs were evaluated.
        seconds_per_kimg, peak_memory_gb: over seeds; None where the runs did not say.
        costs: parameters and FLOPs; None where they could not be counted.
        marks: metric -> what it is among the rows.
    """

    variant: Variant
    metrics: dict[str, Measure]
    kimg: Measure
    seconds_per_kimg: Measure | None
    peak_memory_gb: Measure | None
    costs: Costs | None
    marks: dict[str, Mark]

    @property
    def training_flops(self) -> float | None:
        """FLOPs spent until the evaluation."""
        return None if self.costs is None else self.costs.training_flops * self.kimg.mean * 1000


@dataclass(frozen=True)
class Table:
    """A sweep in numbers.

    Attributes:
        rows: in the sweep's order.
        metrics: the columns.
        components: the columns of + and -.
        conditions: what all evaluations share: samples, real pictures, extractors, weights.
        floor: metric -> value of real held-out pictures; empty where there are none.
        left_out: job -> why it is not in the table.
        notes: what a reader must know.
    """

    rows: list[Row]
    metrics: list[str]
    components: list[str]
    conditions: dict[str, Any]
    floor: dict[str, float]
    left_out: dict[str, str]
    notes: list[str]

    @property
    def shows_kimg(self) -> bool:
        """Whether rows were evaluated at different moments, so that each must say its own."""
        return len({value for row in self.rows for value in row.kimg.values}) > 1

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rows": [
                {
                    "variant": row.variant.label,
                    "settings": row.variant.settings,
                    "components": row.variant.components,
                    "jobs": [job.name for job in row.variant.jobs],
                    "seeds": [job.seed for job in row.variant.jobs],
                    "kimg": row.kimg.as_dict(),
                    "metrics": {
                        name: measure.as_dict() | {"mark": row.marks[name]} for name, measure in row.metrics.items()
                    },
                    "seconds_per_kimg": None if row.seconds_per_kimg is None else row.seconds_per_kimg.as_dict(),
                    "peak_memory_gb": None if row.peak_memory_gb is None else row.peak_memory_gb.as_dict(),
                    "costs": None if row.costs is None else asdict(row.costs),
                    "training_flops_total": row.training_flops,
                }
                for row in self.rows
            ],
            "floor": self.floor,
            "conditions": self.conditions,
            "left_out": self.left_out,
            "notes": self.notes,
        }


def make_table(
    jobs: list[Job],
    at: str | float = "last",
    metrics: list[str] | None = None,
    patterns: list[str] | None = None,
    num_samples: int | None = None,
    with_costs: bool = True,
) -> Table:
    """Group the finished jobs of a sweep into variants and summarise them.

    Args:
        jobs: of one sweep or several.
        at, num_samples: see `selection.choose`.
        metrics: names of columns, ``fd`` for the Frechet distance; None: all.
        patterns: only the jobs whose names match one; None: all.
        with_costs: count parameters and FLOPs, a few seconds for each variant.

    Raises:
        UserError: no job can stand in the table, or their numbers must not be compared.
    """
    chosen, left_out = _choose(_matching(jobs, patterns), at, (metrics or ["fd"])[0], num_samples)
    if not chosen:
        reasons = "\n".join(f"  {name}: {why}" for name, why in left_out.items())
        raise UserError(f"no job can stand in the table:\n{reasons}")
    check_comparable(chosen)
    records = {job.name: record for job, record in chosen}
    names = _columns([record for _, record in chosen], metrics)
    variants = group(job for job, _ in chosen)
    notes: list[str] = []
    rows = [_row(variant, records, names, with_costs, notes) for variant in variants]
    _mark(rows, names)
    of_one_seed = [measure for row in rows for measure in row.metrics.values() if measure.n == 1]
    if any(measure.se is not None for measure in of_one_seed):
        notes.append(ONE_SEED)
    if any(measure.se is None for measure in of_one_seed):
        notes.append("A row of one seed has no spread: a difference to it may be chance.")
    kimgs = {value for row in rows for value in row.kimg.values}
    if len(kimgs) > 1 and at != "best":
        notes.append(f"The evaluations are of different moments, {min(kimgs):g} to {max(kimgs):g} kimg.")
    floor = _floor([record for _, record in chosen], names, notes)
    first = chosen[0][1]
    # Records of before there was a choice have none.
    known = [name for name in OF_EVALUATIONS if name != "real_choice" or name in first]
    conditions = {name: first.get(name) for name in known} | {"at": at}
    return Table(rows, names, shown_components(variants), conditions, floor, left_out, notes)


def _matching(jobs: list[Job], patterns: list[str] | None) -> list[Job]:
    if patterns is None:
        return jobs
    for pattern in patterns:
        if not any(fnmatchcase(job.name, pattern) for job in jobs):
            known = ", ".join(job.name for job in jobs)
            raise UserError(f"jobs={pattern}: no job is called so; there are {known}")
    return [job for job in jobs if any(fnmatchcase(job.name, pattern) for pattern in patterns)]


def _choose(
    jobs: list[Job], at: str | float, metric: str, num_samples: int | None
) -> tuple[list[tuple[Job, Record]], dict[str, str]]:
    """The evaluations of finished jobs, and why the other jobs have none."""
    chosen, left_out = [], {}
    for job in jobs:
        if job.state != "finished":
            left_out[job.name] = f"{job.state}, at {job.kimg:g} of {job.total_kimg:g} kimg{_reason(job)}"
            continue
        found = choose(job, at, metric, num_samples)
        if isinstance(found, str):
            left_out[job.name] = found
        else:
            chosen.append((job, found))
    return chosen, left_out


def _reason(job: Job) -> str:
    """What a job said when it failed, in one line."""
    error = " ".join(str(job.status.get("error") or "").split())
    return f": {error[:200]}" if error and job.state == "failed" else ""


def _columns(records: list[Record], wanted: list[str] | None) -> list[str]:
    """Names of the columns, those that all evaluations have."""
    shared = [name for name in keys_of(records[0]) if all(name in record for record in records)]
    if wanted is None:
        return shared
    names = [key_in(records[0], name) for name in wanted]
    for name, asked in zip(names, wanted, strict=True):
        if name not in shared:
            raise UserError(
                f"metrics.names: {asked} is not in all evaluations, which have {', '.join(shared) or 'none in common'}"
                "; fd stands for the Frechet distance"
            )
    return list(dict.fromkeys(names))


def _row(variant: Variant, records: dict[str, Record], names: list[str], with_costs: bool, notes: list[str]) -> Row:
    of_jobs = [records[job.name] for job in variant.jobs]

    def measured(value: Callable[[Job], float | None]) -> Measure | None:
        values = tuple(v for v in map(value, variant.jobs) if v is not None)
        return Measure(values) if values else None

    costs = costs_of(variant.jobs[0]) if with_costs else None
    if isinstance(costs, str):
        notes.append(f"{variant.label}: {costs}")
        costs = None
    seeds = [job.seed for job in variant.jobs]
    if len(set(seeds)) < len(seeds):
        names_of_jobs = ", ".join(job.name for job in variant.jobs)
        notes.append(f"{variant.label}: a seed comes more than once (jobs {names_of_jobs}); its spread is too small.")
    return Row(
        variant=variant,
        metrics={name: _measure(of_jobs, name) for name in names},
        kimg=Measure(tuple(float(record["kimg"]) for record in of_jobs)),
        seconds_per_kimg=measured(lambda job: job.seconds_per_kimg),
        peak_memory_gb=measured(lambda job: job.peak_memory_gb),
        costs=costs,
        marks={},
    )


def _measure(records: list[Record], name: str) -> Measure:
    """Of one variant; runs of older versions know fewer errors."""
    error = records[0].get(f"{name}_se") if len(records) == 1 else None
    return Measure(tuple(float(record[name]) for record in records), None if error is None else float(error))


def _mark(rows: list[Row], names: list[str]) -> None:
    """Say for every metric which rows are best and which cannot be told from the best; nothing where all are alike."""
    for name in names:
        for row, found in zip(rows, marks_of(name, [row.metrics[name] for row in rows]), strict=True):
            row.marks[name] = found


def marks_of(name: str, measures: list[Measure]) -> list[Mark]:
    """What each of a metric's measures is among them; nothing where all are alike."""
    sign = -1 if higher_is_better(name) else 1
    usable = [measure for measure in measures if math.isfinite(measure.mean)]
    best = min(usable, key=lambda measure: sign * measure.mean, default=None)
    marks: list[Mark] = ["" if best is None else mark(measure, best) for measure in measures]
    return ["" for _ in marks] if all(found == "best" for found in marks) else marks


def mark(measure: Measure, best: Measure) -> Mark:
    """What a measure is beside the best."""
    if number(measure.mean) == number(best.mean):
        return "best"
    if measure.error is None or best.error is None:
        return ""
    error = math.hypot(measure.error, best.error)
    return "tied" if abs(measure.mean - best.mean) <= 2 * error else ""


def _floor(records: list[Record], names: list[str], notes: list[str]) -> dict[str, float]:
    """Real held-out pictures in place of generated ones: what a perfect generator would reach."""
    found: dict[str, float] = {}
    for name in names:
        values = [float(record[FLOOR + name]) for record in records if FLOOR + name in record]
        if values:
            found[name] = statistics.fmean(values)
    counts = {int(record[FLOOR + "num_samples"]) for record in records if FLOOR + "num_samples" in record}
    if found and counts != {int(records[0]["num_samples"])}:
        listed = ", ".join(map(str, sorted(counts)))
        notes.append(f"The floor is of {listed} held-out pictures, not of {records[0]['num_samples']}: not comparable.")
    return found


def number(value: float) -> str:
    """Four significant digits, as every printed table shows them; no exponent for the sizes that metrics have."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}" if digits <= 8 else f"{value:.3e}"


def with_spread(mean: float, deviation: float | None) -> str:
    """``117.6 ± 6.1``: to two digits of the deviation, no more than the mean has of its own; for None the mean."""
    own = number(mean)
    if deviation is None:
        return own
    digits = len(own.partition(".")[2]) if "e" not in own else 0
    if deviation:
        digits = max(0, min(digits, 1 - math.floor(math.log10(deviation))))
    shown = f"{deviation:.{digits}f}"
    if deviation and not float(shown):  # smaller than any digit that the mean shows
        shown = f"{deviation:.1g}"
    return f"{own if 'e' in own else f'{mean:.{digits}f}'} ± {shown}"
