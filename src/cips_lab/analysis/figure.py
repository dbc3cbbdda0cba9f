"""What a figure is: data computed from a study, a drawing of them, a table, and a sentence that says what is seen.

A module of `cips_lab.analysis.figures` is a figure of `python -m cips_lab.analyze`: it has its name and defines
``FIGURE``. Its functions can be used without the command:

    data = mean_style.compute(study)   # a dataclass of arrays, with units in its docstring
    mean_style.draw(data)              # a matplotlib Figure
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cips_lab.analysis import figures as package
from cips_lab.analysis.study import Study
from cips_lab.reporting.analyses import place_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

Data = TypeVar("Data")
Row = dict[str, Any]


@dataclass(frozen=True)
class Figure(Generic[Data]):
    """One figure.

    Attributes:
        name: of the option ``figure=`` and of the files.
        title: for people.
        place: where it stands in the paper, ``Figure 7``, or the reader's question that it answers.
        compute: from a study; the same on every process, which must all call it. Raises `Unsuitable`.
        draw: called within `reporting.figures.drawing`.
        rows: the .csv, one dict of plain values a row, all with the same keys.
        numbers: the .json: what a table or a sentence would quote.
        reading: what is seen, in a sentence or two made from the numbers.
        files: further files, name -> content, such as a film.
    """

    name: str
    title: str
    place: str
    compute: Callable[[Study], Data]
    draw: Callable[[Data], "Drawing"]
    rows: Callable[[Data], list[Row]]
    numbers: Callable[[Data], Row]
    reading: Callable[[Data], str]
    files: Callable[[Data], dict[str, bytes]] = lambda data: {}


@cache
def figures() -> dict[str, Figure[Any]]:
    """Every figure by its name, in the order of the paper, the readers' questions after it."""
    found = [importlib.import_module(f"{package.__name__}.{name}").FIGURE for name in package.names()]
    return {figure.name: figure for figure in sorted(found, key=lambda figure: place_order(figure.place))}
