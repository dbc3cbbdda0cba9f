"""Figures of a sweep as PNG and SVG: legible in print, told apart without colours, labelled at the lines themselves."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cips_lab.metrics.registry import distance_of
from cips_lab.reporting.curves import Chart, Series, compute_chart, variant_charts
from cips_lab.reporting.figures import COLOURS, FAINT, INK, STYLES, drawing, save
from cips_lab.reporting.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(table: Table, folder: Path) -> list[Path]:
    """Write ``fd_kimg`` (the Frechet distance against images seen) and ``fd_compute`` (against FLOPs), each as PNG and
    SVG.

    Raises:
        UserError: matplotlib is not installed.
    """
    name = next((distance_of(record) for row in table.rows for record in row.variant.jobs[0].evaluations), None)
    over_kimg = next((chart for chart in variant_charts(table) if chart.title == name), None)
    over_compute = compute_chart(table)
    figures = [("fd_kimg", over_kimg, "thousands of images seen"), ("fd_compute", over_compute, "training FLOPs")]
    with drawing("plots=true (plots=false does without)"):
        return [
            path
            for stem, chart, label in figures
            if chart is not None
            for path in _figure(chart, label, folder / stem, log_x=stem == "fd_compute")
        ]


def _figure(chart: Chart, x_label: str, stem: Path, log_x: bool) -> list[Path]:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure, axes = plt.subplots(figsize=(7.2, 4.2), constrained_layout=True)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for number, series in enumerate(chart.series):
        _line(axes, series, number)
    values = [y for series in chart.series for _, y in series.points]
    if min(values) > 0 and max(values) / min(values) > 8:
        axes.set_yscale("log")
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(EngFormatter("FLOP"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    if chart.floor is not None:
        axes.axhline(chart.floor, color=INK, linewidth=1, linestyle=(0, (2, 2)))
        axes.annotate(
            f"floor (real, held out) {chart.floor:.3g}",
            (0.01, chart.floor),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8.5,
        )
    axes.set_xlabel(x_label)
    axes.set_ylabel(f"{chart.title} ({chart.unit})")
    _label_ends(figure, axes, chart.series)
    return [save(figure, stem.with_suffix(suffix)) for suffix in (".png", ".svg")]


def _line(axes: "Axes", series: Series, number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    style = STYLES[number // len(COLOURS) % len(STYLES)]
    xs, ys = zip(*series.points, strict=True)
    axes.plot(xs, ys, color=colour, linestyle=style, linewidth=1.8, marker="o", markersize=3)
    if series.band:
        x, low, high = zip(*series.band, strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _label_ends(figure: Any, axes: "Axes", lines: list[Series]) -> None:
    """A line's name at its last point, moved up or down so that no two overlap."""
    axes.margins(x=0.02)
    figure.draw_without_rendering()  # the axes' final limits, in pixels
    height = 13 * figure.dpi / 72
    order = sorted(range(len(lines)), key=lambda i: axes.transData.transform(lines[i].points[-1])[1])
    lowest = -float("inf")
    for i in order:
        y = axes.transData.transform(lines[i].points[-1])[1]
        place = max(y, lowest + height)
        lowest = place
        axes.annotate(
            lines[i].label,
            lines[i].points[-1],
            xytext=(7, (place - y) * 72 / figure.dpi),
            textcoords="offset points",
            color=COLOURS[i % len(COLOURS)],
            va="center",
            fontsize=9.5,
            fontweight="bold",
            annotation_clip=False,
        )
