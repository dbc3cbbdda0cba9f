"""The W&B workspace: what one wants to see of a project's runs, section by section, against kimg."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from cips_lab.metrics.feature_metrics import FRECHET
from cips_lab.tracking.wandb_curves import EXPLORER, Curve

X = "kimg"
TRAINING = {  # section -> title, curves and whether the axis is logarithmic, for each plot
    "Losses": [
        ("Discriminator", ["loss/discriminator"], False),
        ("Generator", ["loss/generator"], False),
        ("R1 penalty", ["loss/r1"], True),
    ],
    "Logits and gradient norms": [
        ("Logits of real and generated pictures", ["logits/real", "logits/fake"], False),
        ("Gradient norm, generator", ["gradient_norm/generator"], True),
        ("Gradient norm, discriminator", ["gradient_norm/discriminator"], True),
    ],
    "Throughput and memory": [
        ("Seconds per kimg", ["time/sec_per_kimg"], True),
        ("Peak memory, GB", ["memory/peak_gb"], False),
    ],
}
GENERATED, REAL = "samples/generated", "samples/real"


def build_workspace(
    entity: str, project: str, title: str, curves: Sequence[Curve], group: str | None, explored: bool = False
) -> ws.Workspace:
    """Overview, samples, training, and a section for each network and number of samples.

    Args:
        entity, project: where it goes.
        title: of the saved view.
        curves: what the runs log; not empty.
        group: only this sweep's runs.
        explored: whether the runs log the explorer's page, which has a section then.
    """
    sections = [
        ws.Section(name="Overview", panels=overview(curves), is_open=True, pinned=True),
        ws.Section(
            name="Samples",
            panels=[media(GENERATED, "Generated, the same latents throughout"), media(REAL, "Real")],
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=2, rows=1),
        ),
    ]
    if explored:
        sections.append(
            ws.Section(
                name="Explorer",
                panels=[media(EXPLORER, "A world to walk in")],
                is_open=True,
                layout_settings=ws.SectionLayoutSettings(columns=1, rows=1),
            )
        )
    sections += [
        ws.Section(name=name, panels=[line(title, names, log) for title, names, log in plots], is_open=True)
        for name, plots in TRAINING.items()
    ]
    sections += [
        ws.Section(name=name, panels=[line(c.title, [c.name, c.floor], False) for c in of_section])
        for name, of_section in groupby(sorted(curves, key=lambda c: (c.samples, c.network)), lambda c: c.section)
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=title,
        sections=sections,
        auto_generate_panels=False,
        settings=ws.WorkspaceSettings(x_axis=X, max_runs=50, tooltip_number_of_runs="all_runs"),
        runset_settings=ws.RunsetSettings(
            filters=filters(group),
            order=[best_first(curves)],
            pinned_columns=["run:displayName", *columns("variant", curves)[:4]],
        ),
    )


def overview(curves: Sequence[Curve]) -> list[Any]:
    """The headlines of the evaluations during a run (distance, KID, precision, recall), and the best distance."""
    during = min(curve.samples for curve in curves)
    wanted = [c for c in curves if c.samples == during and c.of.headline]
    distance = next((curve for curve in wanted if curve.of is FRECHET), None)
    panels: list[Any] = [line(f"{c.title} ({c.samples} samples)", [c.name], c.of.log_axis) for c in wanted]
    if distance is not None:
        best = wr.SummaryMetric(f"best/{distance.metric}")
        panels.append(wr.ScalarChart(title=f"Best {distance.title}", metric=best, groupby_aggfunc="min"))
    return panels


def line(title: str, names: Sequence[str], log: bool, **options: Any) -> wr.LinePlot:
    """A plot against kimg; `options`: more of `wandb_workspaces.reports.v2.LinePlot`, which refuses unknown ones."""
    return wr.LinePlot(title=title, x=X, y=list(names), log_y=log or None, title_x="kimg", **options)


def media(name: str, title: str) -> wr.MediaBrowser:
    """Pictures, or pages, with a slider over the images seen, which are the runs' steps."""
    return wr.MediaBrowser(title=title, media_keys=[name], num_columns=1, mode="gallery", gallery_axis="step")


def filters(group: str | None, *more: expr.FilterExpr) -> expr.And:
    """Training runs, of one sweep where it is named: evaluations are runs of their own."""
    of_group = [] if group is None else [expr.Metric("Group") == group]
    return expr.And(expr.Metric("JobType") == "train", *of_group, *more)


def best_first(curves: Sequence[Curve]) -> expr.Ordering:
    """The run with the best distance (without one: with the best of the first metric) at its end first."""
    by = next((curve for curve in curves if curve.of is FRECHET), curves[0])
    return expr.Ordering(expr.Summary(f"final/{by.metric}"), ascending=by.of.better == "lower")


def columns(compare: str, curves: Sequence[Curve]) -> list[str]:
    """Columns of a table of runs: what is compared, the seed, the final metrics, time and memory."""
    first, *rest = compare.split(".")
    compared = ".".join([f"config:{first}", "value", *rest])
    final = [f"summary:final/{metric}" for metric in dict.fromkeys(curve.metric for curve in curves)]
    found = [compared, "config:seed.value", *final, "summary:time/sec_per_kimg.mean", "summary:memory/peak_gb.max"]
    return list(dict.fromkeys(found))
