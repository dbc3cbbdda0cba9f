"""The paper's experiments run at once with `data=stand_in`, at a size that a test can pay."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = (
    *("resolution=16", "batch_size=4", "model.width=16", "model.z_dim=16", "model.w_dim=16", "model.mapping_layers=2"),
    *("model.discriminator_channel_base=256", "model.discriminator_channel_max=16", "logger=none"),
    *("schedule.total_kimg=0.008", "schedule.evaluate_kimg=0.004", "schedule.log_kimg=0.004", "metrics.cache=null"),
    *("callbacks.samples.rows=2", "callbacks.samples.columns=2", "schedule.evaluate_samples=8"),
)


def test_an_experiment_trains_and_says_what_it_saw(run: Run, tmp_path: Path) -> None:
    result = run("train", "experiment=landscapes_panorama", "data=stand_in", "name=trial", *SMALL)
    assert result.returncode == 0, result.stderr
    assert "not evaluated: metrics are to be computed with inception, vgg16, whose weights are downloads" in (
        result.stdout + result.stderr
    )
    lines = [json.loads(line) for line in (tmp_path / "runs/trial/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["kimg"] == 0.008
    assert not any(key.startswith(("fid", "kid")) for line in lines for key in line)


@pytest.mark.slow
def test_evaluated_where_the_weights_are_here(run: Run, tmp_path: Path) -> None:
    more = ("metrics=efficientnet_lite0", "metrics.num_samples=8", "metrics.num_real=16", "metrics.kid_subset_size=8")
    result = run(
        "train", "experiment=churches_256", "data=stand_in", "name=trial", *SMALL, *more, "metrics.isc_splits=2"
    )
    assert result.returncode == 0, result.stderr
    assert "fd_efficientnet_lite0" in (tmp_path / "runs/trial/metrics.jsonl").read_text()


def test_it_is_no_folder(run: Run) -> None:
    result = run("train", "experiment=churches_256", "data=stand_in", "data.path=/my/pictures", "name=trial")
    assert result.returncode == 2
    assert "data.path" in result.stderr
