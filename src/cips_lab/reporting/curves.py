"""Lines to be drawn: of one run, and of a sweep's variants with bands over their seeds."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cips_lab.metrics.constants import FLOOR
from cips_lab.metrics.feature_metrics import FRECHET_AT_INFINITY
from cips_lab.metrics.registry import distance_of, keys_of, of_key
from cips_lab.reporting.selection import common_count
from cips_lab.reporting.table import Row, Table
from cips_lab.runs.records import Job, Record

MOST_POINTS = 600  # of one line: more than a screen shows, fewer than slow it down
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        label: its name.
        points: (x, y), x rising; y is finite.
        band: (x, lowest, highest) over seeds; empty for one seed.
    """

    label: str
    points: list[Point]
    band: list[tuple[float, float, float]]

    def scaled(self, factor: float) -> "Series":
        """With x times a factor."""
        return Series(
            self.label,
            [(x * factor, y) for x, y in self.points],
            [(x * factor, low, high) for x, low, high in self.band],
        )


@dataclass(frozen=True)
class Chart:
    """A figure with one or several lines over kimg.

    Attributes:
        title, unit: what y is.
        series: the lines.
        floor: a level to compare with, or None.
        log: whether y is better seen on a logarithmic axis: positive, and over more than a factor of twenty.
        x: what x is, where it is not kimg.
    """

    title: str
    unit: str
    series: list[Series]
    floor: float | None = None
    log: bool = False
    x: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the page's script; six digits are more than a screen shows."""
        return {
            "title": self.title,
            "unit": self.unit,
            "floor": self.floor,
            "log": self.log,
            "x": self.x,
            "series": [
                {
                    "label": s.label,
                    "points": [[_short(x), _short(y)] for x, y in s.points],
                    "band": [[_short(v) for v in entry] for entry in s.band],
                }
                for s in self.series
            ],
        }


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def line(records: list[Record], name: str, label: str | None = None) -> Series:
    """One number of a run over kimg; long runs are averaged over neighbours."""
    points = [(float(r["kimg"]), float(r[name])) for r in records if isinstance(r.get(name), (int, float))]
    points = [(x, y) for x, y in points if math.isfinite(y)]
    size = -(-len(points) // MOST_POINTS) or 1
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    thinned = [(part[-1][0], statistics.fmean(y for _, y in part)) for part in parts] if size > 1 else points
    return Series(label or name, thinned, [])


# ---------------------------------------------------------------------------------------------- one run

UNITS = {"memory": "GB", "time": "seconds", "loss": "", "logits": ""}
TITLES = {
    "loss": "Losses",
    "logits": "Discriminator's logits",
    "gradient_norm": "Gradient norms",
    "memory": "Peak memory",
    "time": "Speed",
}
# A regulariser is orders of magnitude below the losses and would lie on their axis as a flat line.
APART = {"loss/r1": "R1 penalty"}


def training_charts(job: Job) -> list[Chart]:
    """A figure for each kind of number in the training lines: losses, logits, gradient norms, speed, memory, ..."""
    names = list(dict.fromkeys(name for record in job.training for name in record if name != "kimg"))
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(APART.get(name) or name.partition("/")[0], []).append(name)
    order = [*TITLES, *APART.values()]
    charts = []
    for kind in sorted(kinds, key=lambda k: (order.index(k) if k in order else len(order), k)):
        lines = [line(job.training, n, n.partition("/")[2].replace("_", " ") or n) for n in sorted(kinds[kind])]
        lines = [series for series in lines if series.points]
        if lines:
            title = TITLES.get(kind, kind.replace("_", " "))
            charts.append(Chart(title, UNITS.get(kind, ""), lines, log=_wide(lines)))
    return charts


def _wide(series: list[Series]) -> bool:
    values = [y for s in series for _, y in s.points]
    return min(values) > 0 and max(values) / min(values) > 20


def evaluation_charts(job: Job) -> list[Chart]:
    """A figure for each metric, of the evaluations with the number of samples that most have, with the floor."""
    count = common_count([job])
    records = [record for record in job.evaluations if record["num_samples"] == count]
    if not records:
        return []
    charts = []
    for name in keys_of(records[-1]):
        series = line(records, name)
        if series.points:
            charts.append(Chart(name, f"{count} samples", [series], records[-1].get(FLOOR + name)))
    return charts


def extrapolations(record: Record) -> list[Chart]:
    """Of each Frechet distance at infinity: the distances of fewer samples, and the line that was read at 1 / N = 0."""
    charts = []
    for key in keys_of(record):
        parts = {int(name.rpartition("/")[2]): float(record[name]) for name in record if name.startswith(f"{key}/")}
        if of_key(key) is not FRECHET_AT_INFINITY or len(parts) < 3:
            continue
        points = sorted((1000 / count, distance) for count, distance in parts.items())
        slope, value = statistics.linear_regression(*zip(*points, strict=True))
        end = points[-1][0]
        lines = [Series("line", [(0.0, value), (end, value + slope * end)], []), Series("distances", points, [])]
        charts.append(Chart(f"{key}, the fit", "Fr\u00e9chet distance", lines, x="1000 / samples"))
    return charts


# ---------------------------------------------------------------------------------------------- a sweep


def variant_charts(table: Table) -> list[Chart]:
    """A figure for each of the table's metrics: a line for each variant, its mean over seeds and their range.

    Only evaluations with the number of samples that most have, and moments at which all seeds of a variant have one.
    """
    jobs = [job for row in table.rows for job in row.variant.jobs]
    count = common_count(jobs)
    charts = []
    for name in table.metrics:
        lines = [across_seeds(row.variant.label, row.variant.jobs, name, count) for row in table.rows]
        lines = [series for series in lines if series.points]
        if lines:
            charts.append(Chart(name, f"{count} samples", lines, _floor(table, name, count)))
    return charts


def _floor(table: Table, name: str, count: int | None) -> float | None:
    """That of as many pictures as the curves are of; None where the table's is of others."""
    return table.floor.get(name) if count == table.conditions["num_samples"] else None


def kimg_chart(table: Table) -> Chart | None:
    """The Frechet distance of all variants against thousands of images seen; None where it was not measured."""
    return _against(table, lambda _: 1.0)


def compute_chart(table: Table) -> Chart | None:
    """The same against the FLOPs spent on training; None where nothing was counted."""
    return _against(table, lambda row: None if row.costs is None else row.costs.training_flops * 1000)


def time_chart(table: Table) -> Chart | None:
    """The same against the minutes that training took, by each variant's mean speed; None where no run says its own."""
    return _against(table, lambda row: None if row.seconds_per_kimg is None else row.seconds_per_kimg.mean / 60)


def _against(table: Table, per_kimg: Callable[[Row], float | None]) -> Chart | None:
    """The Frechet distance of the variants of which it is known how much of something a thousand images take."""
    jobs = [job for row in table.rows for job in row.variant.jobs]
    count = common_count(jobs)
    name = next((distance_of(record) for job in jobs for record in job.evaluations), None)
    if name is None:
        return None
    known = [(row.variant, factor) for row in table.rows if (factor := per_kimg(row)) is not None]
    lines = [across_seeds(variant.label, variant.jobs, name, count).scaled(factor) for variant, factor in known]
    lines = [series for series in lines if series.points]
    return Chart(name, f"{count} samples", lines, _floor(table, name, count)) if lines else None


def across_seeds(label: str, jobs: tuple[Job, ...], name: str, count: int | None) -> Series:
    """The mean of several runs at the moments that all have, and their range where there are several."""
    by_kimg: dict[float, list[float]] = {}
    for job in jobs:
        for record in job.evaluations:
            value = record.get(name)
            if record["num_samples"] == count and isinstance(value, (int, float)) and math.isfinite(value):
                by_kimg.setdefault(float(record["kimg"]), []).append(float(value))
    whole = {kimg: values for kimg, values in sorted(by_kimg.items()) if len(values) == len(jobs)}
    points = [(kimg, statistics.fmean(values)) for kimg, values in whole.items()]
    band = [(kimg, min(values), max(values)) for kimg, values in whole.items()] if len(jobs) > 1 else []
    return Series(label, points, band)
