"""A newcomer's metric: its function, its `Metric` and one line in METRICS, and it stands wherever metrics stand."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from sets import noise_pictures
from torch import Tensor
from torchmetrics import Metric as Accumulator

from cips_lab.configuration import conf_folder
from cips_lab.data.dataset import ArrayDataset
from cips_lab.errors import UserError
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.metric import Comparison, Metric, PictureSums
from cips_lab.metrics.registry import METRICS, higher_is_better, keys_of, of_key
from cips_lab.metrics.results import curves, is_better, sentence, table
from cips_lab.processes.ranks import register_resolvers

REAL, HELD_OUT, GENERATED = (ArrayDataset(noise_pictures(n, seed)) for n, seed in ((80, 0), (50, 2), (60, 1)))


def mean_distance(pair: Comparison) -> dict[str, float]:
    difference = pair.generated.features.double().mean(0) - pair.real.features.double().mean(0)
    return {"fd_mean": float(difference.norm()), "fd_mean_se": 0.5}


class Brightness(Accumulator):
    """Sums over pictures, whatever process saw them."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: Tensor, numbers: Tensor) -> None:
        assert images.dtype == torch.uint8
        assert len(images) == len(numbers)
        self.total += images.double().mean((1, 2, 3)).sum()
        self.count += len(images)

    def compute(self) -> dict[str, Tensor]:
        return {"mean": self.total / self.count}


def closeness(pair: Comparison) -> dict[str, float]:
    return {"closeness": 1 / (1 + float(abs(pair.generated.sums["mean"] - pair.real.sums["mean"])))}


MEAN = Metric("fd_mean", "lower", "Distance of means, {network}", mean_distance, keyed_by_network=True, headline=True)
CLOSENESS = Metric(
    "closeness", "higher", "Closeness", closeness, needs=PictureSums("brightness.1", lambda size, count: Brightness())
)
KEYS = ("fd_mean_tiny", "closeness")


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    METRICS.extend([MEAN, CLOSENESS])
    yield
    del METRICS[-2:]


@pytest.fixture
def options(tiny: str, tmp_path: Path) -> dict[str, Any]:
    return {"extractor": tiny, "num_samples": 60, "kid_subset_size": 30, "cache": tmp_path, "batch_size": 16}


@pytest.fixture
def record(options: dict[str, Any]) -> dict[str, Any]:
    evaluator = Evaluator(**options)
    real = evaluator.reference(REAL)
    found = evaluator.evaluate_pictures(GENERATED, real)
    floor = evaluator.floor(evaluator.held_out(HELD_OUT), real)
    return {"kimg": 1.0, **found} | {f"floor/{k}": v for k, v in floor.items() if k in (*KEYS, "num_samples")}


def brightness(pictures: ArrayDataset) -> float:
    return float(np.mean(pictures.array.astype(float)))


def test_it_is_computed(record: dict[str, Any]) -> None:
    assert record["fd_mean_tiny"] > 0
    assert record["fd_mean_tiny_se"] == 0.5
    assert record["closeness"] == pytest.approx(1 / (1 + abs(brightness(GENERATED) - brightness(REAL))))
    assert record["floor/closeness"] == pytest.approx(1 / (1 + abs(brightness(HELD_OUT) - brightness(REAL))))


def test_it_is_chosen_by_name_or_key_and_told_where_a_name_is_wrong(options: dict[str, Any]) -> None:
    for name in ("fd_mean", "fd_mean_tiny"):
        evaluator = Evaluator(**options, names=["fd", name])
        found = evaluator.evaluate_pictures(GENERATED, evaluator.reference(REAL))
        assert keys_of(found) == ["fd_tiny", "fd_mean_tiny"]
    with pytest.raises(UserError, match=r"choose from fd, kid, .*, fd_mean, closeness, or null"):
        Evaluator(**options, names=["fd_meen"])


def test_what_is_summed_over_real_pictures_is_read_from_the_cache(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = Evaluator(**options, names=["closeness"])
    expected = evaluator.evaluate_pictures(GENERATED, evaluator.reference(REAL))
    assert evaluator.recorded("memory", 8) is not None
    monkeypatch.setattr(ArrayDataset, "__getitem__", lambda *arguments: pytest.fail("a real picture was read"))
    again = evaluator.reference(REAL)
    monkeypatch.undo()
    assert evaluator.evaluate_pictures(GENERATED, again) == expected
    assert len(list((options["cache"] / "metrics").glob("sums-brightness.1_tiny_8_80_*.safetensors"))) == 1


def test_it_stands_in_the_words_of_a_record(record: dict[str, Any]) -> None:
    for key in KEYS:
        assert f"{key} {record[key]:.4g}" in sentence(record)
        assert curves(record)[f"tiny-60/{key}"] == record[key]
        assert curves(record)[f"tiny-50/floor {key}"] == record[f"floor/{key}"]
        head, _, row, floor = (line.split("|") for line in table([record]).splitlines()[2:6])
        column = [cell.strip() for cell in head].index(key)
        assert (row[column].strip(), floor[column].strip()) == (f"{record[key]:.4f}", f"{record[f'floor/{key}']:.4f}")
    before = {key: value for key, value in record.items() if not key.startswith(("fd_mean", "floor/", "closeness"))}
    assert "closeness" in table([before, record])  # a run that goes on with a newer list of metrics
    for key, sign in zip(KEYS, (-1, 1), strict=True):
        assert is_better(record | {key: record[key] + sign * 0.01}, key, record)
        assert not is_better(record | {key: record[key] - sign * 0.01}, key, record)


def test_keys_are_told_apart() -> None:
    assert of_key("fd_mean_tiny") is MEAN
    assert of_key("fd_tiny") is not MEAN
    assert of_key("fd_mean_tiny_se") is None
    assert not higher_is_better("fd_mean_tiny")
    assert higher_is_better("closeness")


def test_it_stands_in_tables_and_pages(record: dict[str, Any], tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "reporting"))
    from sweeps import make_sweep

    from cips_lab.reporting import formats
    from cips_lab.reporting.run_page import run_page
    from cips_lab.reporting.sweep_page import sweep_page
    from cips_lab.reporting.table import make_table
    from cips_lab.runs.records import read_sweeps

    sweep = make_sweep(tmp_path / "sweep", changes={k: v for k, v in record.items() if k != "kimg"}, every=2)
    jobs = read_sweeps([sweep])
    made = make_table(jobs, with_costs=False)
    heads = formats.grid(made)[0]
    assert "fd_mean_tiny ↓" in heads
    assert "closeness ↑" in heads
    assert make_table(jobs, metrics=["fd_mean"], with_costs=False).metrics == ["fd_mean_tiny"]
    for page in (sweep_page(jobs, "sweep", tmp_path, costs=False), run_page(jobs[0], "finished")):
        for key in KEYS:
            assert f'"title": "{key}"' in page or f'"title":"{key}"' in page, key


def test_it_stands_in_wandb_with_its_direction() -> None:
    pytest.importorskip("wandb_workspaces")
    register_resolvers()
    from cips_lab.tracking.dashboard import as_json, report, workspace
    from cips_lab.tracking.wandb_curves import curves_of
    from cips_lab.tracking.wandb_run import summary_of
    from cips_lab.tracking.wandb_sweep import build_sweep

    assert summary_of("tiny-60/fd_mean_tiny") == "min,last"
    assert summary_of("tiny-60/closeness") == "max,last"
    sweep = build_sweep(["name=a", "experiment=quickstart", "seed=0,1"], "bayes", "final/closeness")
    assert sweep["metric"]["goal"] == "maximize"
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("dashboard", ["experiment=quickstart"])
    found = curves_of(cfg)
    titles = {curve.title for curve in found}
    assert {"Distance of means, efficientnet_lite0", "Closeness"} <= titles
    for made in (workspace(cfg, "me", found), report(cfg, "me", found)):
        text = str(as_json(made))
        assert "/fd_mean_efficientnet_lite0" in text
        assert "/closeness" in text


def test_it_stands_in_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from cips_lab import evaluate

    monkeypatch.setattr(sys, "argv", ["evaluate", "--help"])
    evaluate.main()
    said = " ".join(capsys.readouterr().out.split())
    usual = (
        "fd, kid, isc, precision, recall, density, coverage, swd, colour, spectrum_distance_durall, spectrum_distance"
    )
    on_demand = "fd_inf, intra_fd, authpct, train_gap, cmmd"
    assert f"of {usual}, {on_demand}, fd_mean, closeness; null: {usual}, fd_mean, closeness" in said


def test_the_list_needs_no_torch() -> None:
    """Help, tables and pages read it."""
    code = "import sys; from cips_lab.metrics.registry import names; names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
