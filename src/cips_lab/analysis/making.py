"""Figures of a study, into a folder: NAME.png, NAME.csv, NAME.json, what else a figure has, and one page of all."""

import csv
import io
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Unsuitable
from cips_lab.files.whole import replace_text, replacing
from cips_lab.processes.collectives import rank
from cips_lab.reporting.analyses import Analysis, write_analysis
from cips_lab.reporting.figures import drawing, save

NEEDED_BY = "cips_lab.analyze"


def make(figure: Figure[Any], study: Study, folder: Path) -> Analysis:
    """Compute a figure, on all processes, and write it, on the first.

    Raises:
        Unsuitable: the study lacks what it needs; nothing is written.
    """
    study.left_out.clear()
    began = time.perf_counter()
    data = figure.compute(study)
    numbers = plain(figure.numbers(data))
    analysis = Analysis(
        name=figure.name,
        title=figure.title,
        place=figure.place,
        reading=figure.reading(data),
        numbers=numbers,
        models=[subject.label for subject in study.subjects],
        left_out=list(study.left_out),
        made_of=made_of(study),
        files=[f"{figure.name}.png", f"{figure.name}.csv"],
        seconds=0.0,
    )
    if rank() == 0:
        files = figure.files(data)
        analysis.files.extend(files)
        with drawing(NEEDED_BY), replacing(folder / f"{figure.name}.png") as partial:
            save(figure.draw(data), partial)
        replace_text(folder / f"{figure.name}.csv", table(figure.rows(data)))
        for name, content in files.items():
            with replacing(folder / name) as partial:
                partial.write_bytes(content)
        analysis = replace(analysis, seconds=round(time.perf_counter() - began, 1))
        write_analysis(folder, analysis)
    return analysis


def make_all(figures: list[Figure[Any]], study: Study, folder: Path) -> tuple[list[Analysis], list[Unsuitable]]:
    """Each in turn; one that the study is unsuited for is told, and the others are made.

    Raises:
        Unsuitable: it is unsuited for the only one.
    """
    made, unsuitable = [], []
    for number, figure in enumerate(figures, 1):
        if rank() == 0:
            print(f"{number}/{len(figures)} {figure.name}: {figure.title} ({figure.place})", flush=True)
        try:
            analysis = make(figure, study, folder)
        except Unsuitable as error:
            if len(figures) == 1:
                raise Unsuitable(f"figure={figure.name}: {error}") from None
            unsuitable.append(Unsuitable(f"{figure.name}: {error}"))
            if rank() == 0:
                print(f"  left out: {error}", flush=True)
            continue
        made.append(analysis)
        if rank() == 0:
            for sentence in analysis.left_out:
                print(f"  left out: {sentence}")
            print(f"  {analysis.reading} [{analysis.seconds:.0f} s]", flush=True)
    return made, unsuitable


def made_of(study: Study) -> str:
    """What a figure was computed from, in words."""
    real = "no real pictures"
    if study.real is not None:
        real = f"{study.count} real pictures of {study.source or study.real.location}"
    return f"{study.count} samples of each model, {real}; features of {study.evaluator.extractor}"


def table(rows: list[Row]) -> str:
    """The text of a .csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain(rows))
    return text.getvalue()


def plain(value: Any) -> Any:
    """With floats of seven digits, and None for those that are no number: what .json and .csv hold."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
