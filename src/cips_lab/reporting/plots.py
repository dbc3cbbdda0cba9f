"""Figures of a sweep as PNG and SVG: legible in print, told apart without colours, labelled at the lines themselves."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cips_lab.errors import UserError
from cips_lab.metrics.registry import distance_of
from cips_lab.reporting.curves import Chart, Series, compute_chart, variant_charts
from cips_lab.reporting.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Distinct to all kinds of colour vision, and at least 3 : 1 against white: Okabe and Ito's, the light hues darkened.
COLOURS = ("#0072b2", "#c44e00", "#008560", "#a8478a", "#8a6d00", "#2f8fb8", "#5b5b5b", "#6a3fb5")
STYLES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
INK, FAINT = "#23272e", "#c9ced6"


def draw(table: Table, folder: Path) -> list[Path]:
    """Write ``fd_kimg`` (the Frechet distance against images seen) and ``fd_compute`` (against FLOPs), each as PNG and
    SVG.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("agg")  # no display is needed
    except ModuleNotFoundError:
        raise UserError("plots need matplotlib: pip install 'cips-lab[report]', or plots=false") from None
    name = next((distance_of(record) for row in table.rows for record in row.variant.jobs[0].evaluations), None)
    over_kimg = next((chart for chart in variant_charts(table) if chart.title == name), None)
    over_compute = compute_chart(table)
    figures = [("fd_kimg", over_kimg, "thousands of images seen"), ("fd_compute", over_compute, "training FLOPs")]
    return [
        path
        for stem, chart, label in figures
        if chart is not None
        for path in _figure(chart, label, folder / stem, log_x=stem == "fd_compute")
    ]


def _figure(chart: Chart, x_label: str, stem: Path, log_x: bool) -> list[Path]:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "cips-lab",  # the same table makes the same file
    }
    with plt.rc_context(style):
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
        paths = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
        for path in paths:
            figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)
    return paths


def _line(axes: "Axes", series: Series, number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    style: Any = STYLES[number // len(COLOURS) % len(STYLES)]
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
