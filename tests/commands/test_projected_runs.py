"""`discriminator=projected` through the commands: trained, continued, planned, and never its own judge."""

import json
from pathlib import Path

import pytest
import torch

from conftest import Run

SMALL = (
    "experiment=debug",
    "trainer=cpu",
    "logger=none",
    "discriminator=projected",
    "discriminator.input_size=32",
    "discriminator.channels=8",
    "discriminator.head_channels=8",
    "objective=hinge",
    "objective.r1_weight=0",
)


def test_a_run_is_trained_continued_and_evaluated(run: Run, tmp_path: Path) -> None:
    assert run("train", *SMALL, "name=whole").returncode == 0
    half = run("train", *SMALL, "name=x", "schedule.total_kimg=0.04")
    assert half.returncode == 0, half.stderr
    rest = run("train", *SMALL, "name=x")
    assert rest.returncode == 0, rest.stderr
    states = [
        torch.load(tmp_path / "runs" / name / "checkpoints/kimg-00000.080/training.ckpt", weights_only=True)
        for name in ("whole", "x")
    ]
    whole, continued = (state["state_dict"] for state in states)
    assert whole.keys() == continued.keys()
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
    assert any("across_scales" in name for name in whole)
    assert not any("blocks.0._" in name for name in whole)  # the frozen network is not saved

    sizes = ("data=blue_marble", "metrics=efficientnet_lite0", "metrics.num_samples=20", "metrics.num_real=20")
    names = "metrics.names=[fd]"
    fine = run("evaluate", "ckpt=runs/whole", *sizes, names, "logger=none", "trainer=cpu")
    assert fine.returncode == 0, fine.stderr
    config = tmp_path / "runs/whole/config.yaml"
    text = config.read_text(encoding="utf-8")
    assert "network: efficientnet_lite1" in text
    config.write_text(text.replace("network: efficientnet_lite1", "network: efficientnet_lite0"), encoding="utf-8")
    judged = run("evaluate", "ckpt=runs/whole", *sizes, names, "logger=none", "trainer=cpu")
    assert judged.returncode == 2
    assert "cannot be judged by it" in judged.stderr


@pytest.mark.parametrize("kind", ["projected", "vision_aided"])
def test_it_is_planned(run: Run, kind: str) -> None:
    result = run("plan", *SMALL, f"discriminator={kind}")
    assert result.returncode == 0, result.stderr


def test_beside_a_residual_one_it_is_trained_with_penalties(run: Run, tmp_path: Path) -> None:
    options = ("discriminator=vision_aided", "objective=nonsaturating", "objective.r1_weight=1", "name=x")
    result = run("train", *SMALL, *options, "objective.r1_interval=0")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in (tmp_path / "runs/x/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[-1]["loss/r1"] > 0
    state = torch.load(tmp_path / "runs/x/checkpoints/kimg-00000.080/training.ckpt", weights_only=True)["state_dict"]
    for part in ("residual.from_rgb.weight", "projected.heads.0.logit.weight"):
        assert f"discriminator.{part}" in state
    refused = run("train", *SMALL, *options, "discriminator.projected_weight=0", "name=y")
    assert refused.returncode == 2
    assert "discriminator.projected_weight must be above 0, not 0" in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("discriminator.network=efficientnet_lite0", "schedule.evaluate_kimg=0.04"), "cannot be judged by it"),
        (("discriminator.network=vgg",), "discriminator.network=vgg: unknown; choose one of efficientnet_lite0"),
        (("discriminator.weights=nowhere.pth",), "nowhere.pth: no such file"),
        (("discriminator.input_size=40",), "discriminator.input_size must be a multiple of 32, not 40"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(
    run: Run, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = run("train", *SMALL, "name=x", *options)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs/x/checkpoints").exists()
