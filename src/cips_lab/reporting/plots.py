"""Figures of a sweep as PNG and SVG: legible in print, told apart without colours, labelled at the lines themselves."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cips_lab.reporting.curves import Chart, Series, compute_chart, kimg_chart, time_chart
from cips_lab.reporting.figures import COLOURS, FAINT, INK, STYLES, drawing, save
from cips_lab.reporting.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL_WIDTH = 36  # letters: longer labels are broken, so that the axes keep their place


def draw(table: Table, folder: Path) -> list[Path]:
    """Write ``fd_kimg`` (the Frechet distance against images seen), ``fd_time`` (against minutes) and ``fd_compute``
    (against FLOPs), each as PNG and SVG.

    Raises:
        UserError: matplotlib is not installed.
    """
    figures = [
        ("fd_kimg", kimg_chart(table), "thousands of images seen"),
        ("fd_time", time_chart(table), "minutes of training"),
        ("fd_compute", compute_chart(table), "training FLOPs"),
    ]
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
    """A line's name right of the axes at the height of its last point, or as near as those of others allow."""
    axes.margins(x=0.02)
    labels = [textwrap.fill(series.label, LABEL_WIDTH) for series in lines]
    size = 9.5 if max(map(len, labels)) <= LABEL_WIDTH else 8
    drawn = [
        axes.annotate(
            label,
            series.points[-1],
            xytext=(1.02, 0.5),
            textcoords="axes fraction",
            color=COLOURS[i % len(COLOURS)],
            va="center",
            fontsize=size,
            fontweight="bold",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": COLOURS[i % len(COLOURS)],
                "linewidth": 0.5,
                "alpha": 0.5,
                "relpos": (0, 0.5),
            },
        )
        for i, (label, series) in enumerate(zip(labels, lines, strict=True))
    ]
    figure.draw_without_rendering()  # the axes' final limits, in pixels
    frame = axes.get_window_extent()
    heights = [(label.count("\n") + 1) * 1.3 * size * figure.dpi / 72 / frame.height for label in labels]
    wanted = [(axes.transData.transform(series.points[-1])[1] - frame.y0) / frame.height for series in lines]
    for text, place in zip(drawn, spread_out(wanted, heights), strict=True):
        text.set_position((1.02, place))


def spread_out(wanted: list[float], heights: list[float]) -> list[float]:
    """Places near those that are wanted, in the same order, at which things of these heights do not overlap; between 0
    and 1 where there is room.
    """
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    places = list(wanted)
    free = 0.0  # above all so far
    for i in order:
        places[i] = max(wanted[i], free + heights[i] / 2)
        free = places[i] + heights[i] / 2
    free = max(1.0, sum(heights))
    for i in reversed(order):
        places[i] = min(places[i], free - heights[i] / 2)
        free = places[i] - heights[i] / 2
    return places
