"""report.html of a run."""

import shlex
from pathlib import Path
from typing import Any

from cips_lab.data.inventory import read_inventory
from cips_lab.metrics.constants import FLOOR
from cips_lab.metrics.registry import higher_is_better, keys_of
from cips_lab.networks.size import sides
from cips_lab.planning.costs import Costs, costs_of
from cips_lab.planning.units import flops, parameters
from cips_lab.reporting import page
from cips_lab.reporting.analysis_page import shown_in
from cips_lab.reporting.curves import evaluation_charts, extrapolations, line, training_charts
from cips_lab.reporting.generators import generator_name, is_walkable
from cips_lab.reporting.grids import Frame, frame, thinned
from cips_lab.runs.folder import ANALYSIS, EXPLORER, REAL, REPORT, SAMPLES, checkpoint_folders, sample_grids
from cips_lab.runs.records import Job, Record, State, read_job
from cips_lab.runs.settings import flatten


def write_run_page(folder: Path, output: Path | None = None, state: State | None = None, costs: bool = True) -> Path:
    """Make the page of a run.

    Args:
        folder: the run's.
        output: the file; None: report.html in the folder.
        state: what to say of the run where it is known better than from its files.
        costs: count FLOPs, a few seconds.

    Returns:
        The file.

    Raises:
        UserError: there is no run.
    """
    job = read_job(folder)
    path = output or folder / REPORT
    page.write(run_page(job, state or job.state, costs_of(job) if costs else None, path.parent), path)
    return path


def run_page(job: Job, state: State, costs: Costs | str | None = None, home: Path | None = None) -> str:
    """The page as text.

    Args:
        job: the run.
        state: what to say of it.
        costs: its FLOPs, where they were counted.
        home: the folder that the page will lie in; None: the run's.
    """
    curves = training_charts(job)
    metrics = evaluation_charts(job)
    newest = job.evaluations[-1] if job.evaluations else None
    fits = [] if newest is None else extrapolations(newest)
    charts = [*metrics, *fits, *curves]
    ends = [0, len(metrics), len(metrics) + len(fits), len(charts)]
    return page.render(
        "run.html.j2",
        data={"charts": [chart.as_dict() for chart in charts]},
        job=job,
        state=state,
        generator=generator_name(job),
        facts=facts(job, costs),
        headlines=[] if newest is None else headlines(job, newest),
        newest=newest,
        titles=[chart.title for chart in charts],
        units=[chart.unit for chart in charts],
        metric_charts=range(*ends[0:2]),
        fit_charts=range(*ends[1:3]),
        training_charts=range(*ends[2:4]),
        frames=frames(job),
        real=real_frame(job),
        explorer=explorer_link(job, home or job.folder),
        explore=explore_command(job),
        evaluation_names=list(dict.fromkeys(name for record in job.evaluations for name in keys_of(record))),
        floor_prefix=FLOOR,
        shown=shown_in(job.folder / ANALYSIS),
        sections=sections(job.config),
        environment=flatten(job.environment),
    )


def explorer_link(job: Job, home: Path) -> str | None:
    """The address of the run's explorer.html, from a page in `home`; None where there is none now."""
    return page.link(job.folder / EXPLORER, home) if (job.folder / EXPLORER).is_file() else None


def explore_command(job: Job) -> str | None:
    """What makes explorer.html of the newest checkpoint, as it is typed where this page is made.

    None where there is no checkpoint, or the generator has no page.
    """
    if not is_walkable(job.config) or not checkpoint_folders(job.folder):
        return None
    run, here = job.folder.resolve(), Path.cwd()
    run = run.relative_to(here) if run.is_relative_to(here) else run
    return shlex.join(["python", "-m", "cips_lab.explore", f"ckpt={run}", f"output={run / EXPLORER}"])


def size_of(job: Job) -> tuple[int, int]:
    """(height, width) of one image, in pixels."""
    return sides(job.config.get("resolution") or 256)


def side_of(job: Job) -> int:
    """The longer side of one image, in pixels."""
    return max(size_of(job))


def frames(job: Job) -> list[Frame]:
    """The sample grids over kimg."""
    paths = sample_grids(job.folder)
    kept = thinned(list(paths))
    return [frame(paths[kimg], kimg, len(kept) + 1, side_of(job)) for kimg in kept]


def real_frame(job: Job, pictures: int | None = None) -> Frame | None:
    """The grid of real pictures, or None."""
    path = job.folder / SAMPLES / REAL
    shared = pictures or len(thinned(list(sample_grids(job.folder)))) + 1
    return frame(path, None, shared, side_of(job)) if path.exists() else None


def facts(job: Job, costs: Costs | str | None) -> list[tuple[str, str]]:
    """What a reader asks first, beside the metrics."""
    trainer = job.config.get("trainer") or {}
    found = [
        ("resolution", " \N{MULTIPLICATION SIGN} ".join(map(str, size_of(job)))),
        ("batch", str(job.config.get("batch_size", "unknown"))),
        ("seed", str(job.seed)),
        *read_inventory(job.folder).items(),
        ("precision", str(trainer.get("precision", "unknown"))),
    ]
    if isinstance(costs, Costs):
        found += [
            ("generator", f"{parameters(costs.generator_parameters)} parameters"),
            ("discriminator", f"{parameters(costs.discriminator_parameters)} parameters"),
            ("one image", flops(costs.synthesis_flops)),
            ("training", f"{flops(costs.training_flops * 1000)} a kimg"),
        ]
    if job.seconds_per_kimg is not None:
        found.append(("speed", f"{job.seconds_per_kimg:.3g} s a kimg (median)"))
    if job.peak_memory_gb is not None:
        found.append(("peak memory", f"{job.peak_memory_gb:.3g} GB a process"))
    return found


def headlines(job: Job, newest: Record) -> list[dict[str, Any]]:
    """The newest evaluation's metrics, each beside the floor and with its course so far."""
    comparable = [record for record in job.evaluations if record["num_samples"] == newest["num_samples"]]
    found = []
    for name in keys_of(newest):
        value, floor = float(newest[name]), newest.get(FLOOR + name)
        points = line(comparable, name).points
        moved = len({y for _, y in points}) > 1  # the best of equals is none
        best = (max if higher_is_better(name) else min)(points, key=lambda p: p[1]) if moved else None
        found.append(
            {
                "name": name,
                "value": value,
                "floor": floor,
                "reach": reach(value, floor, higher_is_better(name)),
                "points": points,
                "best": best,
            }
        )
    return found


def reach(value: float, floor: float | None, higher: bool) -> float | None:
    """How near to real pictures, from 0 to 1: value / floor where higher is better, floor / value where lower is."""
    if floor is None:
        return None
    part, whole = (value, floor) if higher else (floor, value)
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


def sections(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The configuration by its top-level groups; single values come first under ``run``."""
    alone = {name: value for name, value in config.items() if not isinstance(value, dict)}
    groups = {name: flatten(value) for name, value in config.items() if isinstance(value, dict)}
    return {"run": alone, **{name: values for name, values in groups.items() if values}}
