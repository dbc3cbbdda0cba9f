"""How figures look: colours that everybody can tell apart, fonts, saving."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cips_lab.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinct to all kinds of colour vision, and at least 3 : 1 against white: Okabe and Ito's, the light hues darkened.
COLOURS = ("#0072b2", "#c44e00", "#008560", "#a8478a", "#8a6d00", "#2f8fb8", "#5b5b5b", "#6a3fb5")
STYLES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
INK, FAINT = "#23272e", "#c9ced6"
DPI = 160

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "cips-lab",  # the same data make the same file
}


@contextmanager
def drawing(needed_by: str) -> Iterator[None]:
    """Matplotlib in our style, without a display.

    Args:
        needed_by: what is drawn, and how to go without, for the message.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt
    except ModuleNotFoundError:
        raise UserError(f"{needed_by} needs matplotlib: pip install 'cips-lab[report]'") from None
    with plt.rc_context(STYLE):
        yield


def show(axes: "Axes", image: Any) -> None:
    """A picture, pixel by pixel and without ticks.

    Args:
        axes: where.
        image: [3, H, W] on the CPU, values about [-1, 1].
    """
    values = (np.asarray(image, dtype=np.float32).clip(-1, 1) + 1) / 2
    axes.imshow(values.transpose(1, 2, 0), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure as its suffix says, the same bytes for the same data; and close it."""
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=DPI, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
    return path
