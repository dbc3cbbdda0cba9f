"""Planted faults: each does what it says, grows with its strength, and is seen by the metrics that are for it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sets import Projection, tiles

from benchmarks.faults import CLEAN, FAULTS, RECORDS, TABLE, Drawn, Fault, needed, read, table, worse_by
from cips_lab.data.dataset import ArrayDataset
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.extractors import EXTRACTORS, Extractor

NOTEBOOK = Path(__file__).parents[2] / "experiments" / "metric_faults"


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    real, fresh, others = np.array(tiles(400)), np.array(tiles(400, 1)), np.array(tiles(1000, 2))
    return Drawn(fresh, real, others, others.mean((1, 2, 3)) > 110)


def strongest(fault: Fault) -> float:
    return fault.strengths[-1]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_changes_pictures_more_the_stronger_it_is(fault: Fault, drawn: Drawn) -> None:
    made = [fault.plant(drawn, strength) for strength in fault.strengths]
    assert all(one.shape == drawn.fresh.shape and one.dtype == np.uint8 for one in made)
    if fault.name == "mode missing":
        changes = [-float((one.mean((1, 2, 3)) > 110).mean()) for one in made]
    elif fault.name == "copies":
        known = {picture.tobytes() for picture in drawn.reference}
        changes = [float(np.mean([picture.tobytes() in known for picture in one])) for one in made]
        assert changes == pytest.approx(fault.strengths, abs=0.01)
    else:
        changes = [float(np.abs(one.astype(int) - drawn.fresh).mean()) for one in made]
    assert changes == sorted(changes)
    assert len(set(changes)) == len(changes)


# Which of the quick metrics must see which fault at its greatest strength, of 400 satellite pictures.
EXPECTED = {
    "blur": {"swd", "spectrum_distance", "spectrum_distance_durall"},
    "noise": {"swd", "spectrum_distance", "spectrum_distance_durall"},
    "dither": {"swd", "spectrum_distance_durall"},  # a checkerboard's frequency lies outside the rings of the other
    "mode missing": {"colour", "recall"},
    "copies": {"authpct"},
    "colour cast": {"colour"},
    "grid": {"swd", "spectrum_distance"},
    "low resolution": {"swd", "spectrum_distance"},
}


def test_metrics_see_what_they_are_for(drawn: Drawn) -> None:
    EXTRACTORS["quick"] = lambda weights, option: Extractor("quick", Projection(resolution=32), 24, 7, canonical=True)
    names = ["fd", "precision", "recall", "authpct", "swd", "colour", "spectrum_distance_durall", "spectrum_distance"]
    evaluator = Evaluator("quick", names=names, num_samples=400, num_real=400)
    real = evaluator.reference(ArrayDataset(drawn.reference))

    def found(pictures: np.ndarray) -> dict[str, float]:
        return evaluator.evaluate([torch.from_numpy(np.array(pictures))], real)  # type: ignore[return-value]

    clean = found(drawn.fresh)
    for fault in FAULTS:
        faulty = found(fault.plant(drawn, strongest(fault)))
        seen = {key for key in names[2:] if worse_by(faulty, clean, key) > 2}
        assert EXPECTED[fault.name] <= seen, fault.name


def test_the_table_says_from_which_strength_on() -> None:
    def record(name: str, strength: float, kid: float, recall: float) -> dict[str, object]:
        common = {"extractor": "tiny", "manifold_extractor": "tiny", "num_samples": 100}
        return {
            "fault": name,
            "strength": strength,
            "kid": kid,
            "kid_se": 0.5,
            "recall": recall,
            "recall_se": 0.3,
            **common,
        }

    records = [record(*CLEAN, 10.0, 5.0)]
    for fault in FAULTS:
        for number, strength in enumerate(fault.strengths):
            records.append(record(fault.name, strength, 10.0 + 3 * number, 5.0 + 2 * number))
    kid, recall, planted = table(records).splitlines()[2:]
    assert kid == "| `kid` | 0.5 px | 4 levels | 4 levels | 50% of it | 30% | 5 levels | 6 levels | 0.75 of a side |"
    assert recall == "| `recall` |" + " (better) |" * 8
    assert planted.startswith("| planted | 0.25 px, 0.5 px, 1 px |")
    kid, recall = needed(records).splitlines()[2:]
    assert kid == "| `kid` |" + " 50 |" * 8  # 3 of sqrt(0.5): (3 / 4.24)^2 of 100
    assert recall == "| `recall` |" + "  |" * 8


def test_the_notebooks_tables_are_those_of_its_records_and_stand_in_the_docs() -> None:
    records = read(NOTEBOOK / RECORDS)
    assert len(records) == 1 + 3 * len(FAULTS)
    expected = f"{table(records)}\n{needed(records)}"
    assert (NOTEBOOK / TABLE).read_text(encoding="utf-8") == expected
    docs = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert table(records) in docs
    assert needed(records) in docs
    assert json.dumps(records[0])
