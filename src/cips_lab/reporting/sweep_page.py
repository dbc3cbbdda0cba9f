"""report.html of a sweep."""

from pathlib import Path
from typing import Any

from cips_lab.errors import UserError
from cips_lab.metrics.registry import distance_of, keys_of
from cips_lab.reporting import formats, page
from cips_lab.reporting.curves import Chart, Series, across_seeds, compute_chart, variant_charts
from cips_lab.reporting.grids import Frame, frame, thinned
from cips_lab.reporting.run_page import real_frame, side_of
from cips_lab.reporting.selection import common_count
from cips_lab.reporting.table import Table, make_table
from cips_lab.reporting.variants import Variant, group
from cips_lab.runs.folder import REPORT, sample_grids
from cips_lab.runs.records import Job, read_sweeps

MOST_PANELS = 16  # variants whose samples are shown
FRAMES = 96  # pictures of all panels together


def write_sweep_page(
    folder: Path,
    output: Path | None = None,
    metrics: list[str] | None = None,
    at: str | float = "last",
    costs: bool = True,
) -> Path:
    """Make the page of a sweep, as it stands: jobs that have not finished are shown as such.

    Args:
        folder: the sweep's.
        output: the file; None: report.html in the folder.
        metrics, at, costs: see `make_table`.

    Returns:
        The file.

    Raises:
        UserError: no job is there.
    """
    jobs = read_sweeps([folder])
    path = output or folder / REPORT
    page.write(sweep_page(jobs, folder.resolve().name, path.parent, metrics, at, costs), path)
    return path


def sweep_page(
    jobs: list[Job],
    name: str,
    home: Path,
    metrics: list[str] | None = None,
    at: str | float = "last",
    costs: bool = True,
) -> str:
    """The page as text.

    Args:
        jobs: all of the sweep.
        name: the sweep's.
        home: the folder that the page will lie in, for links.
        metrics, at, costs: see `make_table`.
    """
    table, refusal = None, None
    try:
        table = make_table(jobs, at=at, metrics=metrics, with_costs=costs)
    except UserError as error:  # a sweep without a table still has curves and pictures
        refusal = str(error)
    variants = group(jobs)
    charts = variant_charts(table) if table is not None else curves_as_they_stand(variants)
    compute = compute_chart(table) if table is not None else None
    shown = charts + ([compute] if compute is not None else [])
    order = [row.variant.label for row in table.rows] if table is not None else [v.label for v in variants]
    return page.render(
        "sweep.html.j2",
        data={
            "charts": [
                chart.as_dict() | {"x": "training FLOPs" if chart is compute else "kimg", "logx": chart is compute}
                for chart in shown
            ],
            "strips": strips(table) if table is not None else [],
        },
        name=name,
        jobs=jobs,
        states=states(jobs),
        written=max(job.written for job in jobs),
        table=table,
        refusal=refusal,
        grid=formats.grid(table, short=True) if table is not None else None,
        component_names=dict(zip([formats.SHORT.get(n, n) for n in table.components], table.components, strict=True))
        if table is not None
        else {},
        remarks=formats.remarks(table) if table is not None else [],
        order=order,
        charts=charts,
        compute=len(charts) if compute is not None else None,
        samples=panels(variants),
        real=next((real for real in (real_frame(job, FRAMES) for job in jobs) if real is not None), None),
        listed=[listed(job, variants, home) for job in jobs],
        commit=next((str(job.environment["commit"]) for job in jobs if job.environment.get("commit")), None),
    )


def curves_as_they_stand(variants: list[Variant]) -> list[Chart]:
    """What can be drawn of a sweep that has no table: the Frechet distance, one figure for each extractor."""
    found: dict[tuple[str, int], list[Series]] = {}
    for variant in variants:
        count = common_count(list(variant.jobs))
        name = next((distance_of(record) for job in variant.jobs for record in job.evaluations), None)
        if name is not None and count is not None:
            series = across_seeds(variant.label, variant.jobs, name, count)
            if series.points:
                found.setdefault((name, count), []).append(series)
    return [Chart(name, f"{count} samples", lines) for (name, count), lines in found.items()]


def strips(table: Table) -> list[dict[str, Any]]:
    """For every metric: the rows' values, seed by seed, for the figure of dots."""
    return [
        {
            "title": name,
            "heading": formats.heading(name),
            "floor": table.floor.get(name),
            "rows": [
                {
                    "label": row.variant.label,
                    "values": list(row.metrics[name].values),
                    "mean": row.metrics[name].mean,
                    "std": row.metrics[name].std,
                    "mark": row.marks[name],
                }
                for row in table.rows
            ],
        }
        for name in table.metrics
    ]


def states(jobs: list[Job]) -> dict[str, int]:
    """State -> how many jobs, the good news first."""
    order = ("finished", "running", "interrupted", "unfinished", "failed")
    counts = {state: sum(job.state == state for job in jobs) for state in order}
    return {state: number for state, number in counts.items() if number}


def panels(variants: list[Variant]) -> list[tuple[str, str, list[Frame]]]:
    """(variant, job, frames) of the first seed of every variant that has samples, at moments that all of them have."""
    found: list[tuple[str, Job, dict[float, Path]]] = []
    for variant in variants:
        with_samples = (
            (job, sample_grids(job.folder)) for job in sorted(variant.jobs, key=lambda job: job.state != "finished")
        )
        first = next(((job, paths) for job, paths in with_samples if paths), None)
        if first is not None:
            found.append((variant.label, *first))
    found = found[:MOST_PANELS]
    common = sorted(set.intersection(*(set(paths) for _, _, paths in found))) if found else []
    kimgs = thinned(common, max(1, FRAMES // max(1, len(found)))) if common else []
    total = len(found) * max(1, len(kimgs)) + 1
    result = []
    for label, job, paths in found:
        moments = kimgs or [max(paths)]  # nothing in common: the newest of each
        result.append((label, job.name, [frame(paths[kimg], kimg, total, side_of(job)) for kimg in moments]))
    return result


def listed(job: Job, variants: list[Variant], home: Path) -> dict[str, Any]:
    """A job's line in the list of jobs."""
    report = job.folder / REPORT
    newest = job.evaluations[-1] if job.evaluations else None
    name = keys_of(newest)[0] if newest is not None and keys_of(newest) else None
    return {
        "job": job,
        "variant": next(v.label for v in variants if job in v.jobs),
        "link": page.link(report, home) if report.exists() else None,
        "distance": None if newest is None or name is None else float(newest[name]),
        "distance_name": name,
    }
