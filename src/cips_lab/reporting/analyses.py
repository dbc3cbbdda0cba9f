"""What `cips_lab.analyze` leaves in a folder: a picture, a table and a record of each figure, for pages and W&B."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cips_lab.files.whole import replace_text

PAGE = "analysis.html"


@dataclass(frozen=True)
class Analysis:
    """A figure that was made, as NAME.json holds it.

    Attributes:
        name, title, place: see `cips_lab.analysis.figure.Figure`.
        reading: what is seen, in words.
        numbers: nested, plain values.
        models: the labels of the generators that it shows.
        left_out: a sentence for each that it could not show.
        made_of: what it was computed from, in words: samples, real pictures, the judge.
        files: beside NAME.json, the picture first.
        seconds: how long it took.
    """

    name: str
    title: str
    place: str
    reading: str
    numbers: dict[str, Any]
    models: list[str]
    left_out: list[str]
    made_of: str
    files: list[str]
    seconds: float


def write_analysis(folder: Path, analysis: Analysis) -> Path:
    """NAME.json."""
    path = folder / f"{analysis.name}.json"
    replace_text(path, json.dumps(asdict(analysis), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def read_analyses(folder: Path) -> list[Analysis]:
    """All that lie in a folder, in the order of the paper; what is no record, or lacks its files, is passed over."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            analysis = Analysis(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        if analysis.name == path.stem and all((folder / Path(name).name).is_file() for name in analysis.files):
            found.append(analysis)
    return sorted(found, key=lambda analysis: place_order(analysis.place))


def place_order(place: str) -> tuple[float, str]:
    """Sorts ``Figure 7`` by its number, and readers' questions after all figures."""
    words = place.split()
    number = words[1].rstrip(",;:") if len(words) > 1 and words[0] in ("Figure", "Figures") else ""
    return (float(number), place) if number.isdigit() else (float("inf"), place)
