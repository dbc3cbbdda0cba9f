"""analysis.html: the figures that `cips_lab.analyze` left in a folder, on one page that needs no other file."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from cips_lab.reporting import page
from cips_lab.reporting.analyses import PAGE, Analysis, read_analyses

SCALE = 0.72  # of a picture's pixels on the page: sharp on screens of twice the density, and text of one size
MEDIA = {".png": "image/png", ".gif": "image/gif"}  # what a page shows; other files it hands over


@dataclass(frozen=True)
class Shown:
    """A figure as a page shows it.

    Attributes:
        analysis: see there.
        pictures: of its files those that can be seen.
        tables: its .csv as a file to save.
    """

    analysis: Analysis
    pictures: list["Embedded"]
    tables: list["Embedded"]

    @property
    def numbers(self) -> str:
        """As text, for those who want to read them."""
        return json.dumps(self.analysis.numbers, indent=2, ensure_ascii=False)


@dataclass(frozen=True)
class Embedded:
    """A file within a page; width and height on the page, in pixels, where it is a picture."""

    name: str
    uri: str
    width: int = 0
    height: int = 0


def shown_in(folder: Path) -> list[Shown]:
    """All figures that lie in a folder."""
    return [_shown(folder, analysis) for analysis in read_analyses(folder)]


def _shown(folder: Path, analysis: Analysis) -> Shown:
    files = [folder / Path(name).name for name in analysis.files]
    pictures = [_picture(file) for file in files if file.suffix in MEDIA]
    tables = [Embedded(file.name, _uri(file, "text/csv")) for file in files if file.suffix == ".csv"]
    return Shown(analysis, pictures, tables)


def _picture(file: Path) -> Embedded:
    with Image.open(file) as image:
        width, height = (round(SCALE * side) for side in image.size)
    return Embedded(file.name, _uri(file, MEDIA[file.suffix]), width, height)


def _uri(file: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def write_analysis_page(folder: Path, left_out: list[str]) -> Path:
    """Make the page of a folder of figures.

    Args:
        folder: where they lie.
        left_out: sentences on figures that could not be made.

    Returns:
        The file.
    """
    path = folder / PAGE
    page.write(analysis_page(shown_in(folder), left_out), path)
    return path


def analysis_page(shown: list[Shown], left_out: list[str]) -> str:
    """The page as text."""
    models = list(dict.fromkeys(label for one in shown for label in one.analysis.models))
    data: dict[str, Any] = {"charts": []}
    return page.render("analysis.html.j2", data=data, shown=shown, models=models, left_out=left_out)
