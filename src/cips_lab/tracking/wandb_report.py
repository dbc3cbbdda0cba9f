"""The ablation report in W&B: variants side by side, with the spread of their seeds, pictures and the table of runs."""

from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr
from wandb_workspaces import expr

from cips_lab.tracking.wandb_curves import Curve
from cips_lab.tracking.wandb_workspace import GENERATED, REAL, columns, filters, line

WIDE, HIGH = 24, 9  # of a panel in a report's grid of 24 columns
BANDS: dict[str, Any] = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}

TRAINING = (
    ("Loss, discriminator", "loss/discriminator"),
    ("Loss, generator", "loss/generator"),
    ("Logits, real", "logits/real"),
    ("Logits, generated", "logits/fake"),
    ("Seconds per kimg", "time/sec_per_kimg"),
    ("Peak memory, GB", "memory/peak_gb"),
)


def build_report(
    entity: str,
    project: str,
    title: str,
    curves: Sequence[Curve],
    group: str | None,
    compare: str,
    variants: Sequence[Any] | None,
) -> wr.Report:
    """Introduction, quality against kimg, final numbers, samples, training, table.

    Args:
        entity, project: where it goes.
        title: of the report.
        curves: what the runs log; not empty.
        group: only this sweep's runs.
        compare: key of the runs' config that is compared.
        variants: values of it: a run set for each; None: one run set, grouped.
    """

    def grid(*panels: Any) -> wr.PanelGrid:
        found = runsets(group, compare, variants, curves)
        return wr.PanelGrid(runsets=found, panels=arranged(panels), hide_run_sets=True)

    during, final = (pick(c.samples for c in curves) for pick in (min, max))
    plots = [c for c in curves if c.samples == during]
    bars = [c for c in curves if c.samples == final]
    return wr.Report(
        entity=entity,
        project=project,
        title=title,
        description=f"By {compare}, mean and standard deviation of the runs of each",
        width="fluid",
        blocks=[
            wr.P(text=introduction(group, compare, during, final)),
            wr.TableOfContents(),
            wr.H2(text="Quality during training"),
            grid(*(compared(c.title, c.name, compare, log=c.of.log_axis) for c in plots)),
            wr.H2(text="Final quality"),
            grid(*(bar(c, compare) for c in bars)),
            wr.H2(text="Samples"),
            grid(
                wr.MediaBrowser(title="Generated", media_keys=[GENERATED], mode="grid", grid_x_axis="run"),
                wr.MediaBrowser(title="Real", media_keys=[REAL], mode="gallery", gallery_axis="run"),
            ),
            wr.H2(text="Training"),
            grid(*(compared(title, name, compare) for title, name in TRAINING)),
            wr.H2(text="All runs"),
            wr.PanelGrid(
                runsets=runsets(group, compare, variants, curves),
                panels=arranged([wr.RunComparer(diff_only="split")]),
            ),
        ],
    )


def introduction(group: str | None, compare: str, during: int, final: int) -> str:
    """What the reader sees, in words."""
    which = "all training runs of this project" if group is None else f"the runs of the sweep {group}"
    return (
        f"This report compares {which} by {compare}. Lines are means over runs that differ in nothing else but the "
        f"seed, bands one standard deviation. During training the averaged generator is measured on {during} samples, "
        f"at the end on {final}: distances of different numbers of samples must not be compared. Made by "
        "python -m cips_lab.dashboard."
    )


def runsets(
    group: str | None, compare: str, variants: Sequence[Any] | None, curves: Sequence[Curve]
) -> list[wr.Runset]:
    """One run set, grouped; or one for each value."""
    shown: dict[str, Any] = {"pinned_columns": columns(compare, curves), "lock_columns": True}
    if variants is None:
        return [wr.Runset(name=f"By {compare}", filters=filters(group), groupby=[f"config.{compare}"], **shown)]
    return [
        wr.Runset(
            name=f"{compare} {value}",
            filters=filters(group, expr.Config(compare) == value),
            groupby=[f"config.{compare}"],
            **shown,
        )
        for value in variants
    ]


def compared(title: str, name: str, compare: str, log: bool = False) -> wr.LinePlot:
    """A curve for each group, with a band."""
    return line(title, [name], log, groupby=wr.Config(compare), **BANDS)


def bar(curve: Curve, compare: str) -> wr.BarPlot:
    """The last evaluation, as the run's summary has it."""
    return wr.BarPlot(
        title=f"{curve.title} ({curve.samples} samples)",
        metrics=[wr.SummaryMetric(f"final/{curve.metric}")],
        orientation="h",
        groupby=wr.Config(compare),
        max_bars_to_show=30,
        **BANDS,
    )


def arranged(panels: Sequence[Any]) -> list[Any]:
    """Two beside each other, a lone last one across."""
    for place, panel in enumerate(panels):
        alone = place == len(panels) - 1 and place % 2 == 0
        panel.layout = wr.Layout(
            x=(place % 2) * WIDE // 2, y=(place // 2) * HIGH, w=WIDE if alone else WIDE // 2, h=HIGH
        )
    return list(panels)
