"""Training on classes through the commands: each class's pictures become its own."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[str]]

COLOURS = {"blue": (30, 40, 200), "green": (40, 180, 60), "red": (220, 40, 30)}
SMALL = (
    *("experiment=debug", "trainer=cpu", "data=folder", "data.path=pictures", "resolution=8", "model.classes=3"),
    *("batch_size=16", "objective.generator_lr=0.01", "objective.discriminator_lr=0.01", "objective.r1_weight=1"),
    *("model.mapping_lr_multiplier=1", "objective.ema_half_life_kimg=0.2", "objective.ema_rampup=null"),
    *("schedule.log_kimg=0.8", "schedule.checkpoint_kimg=8", "schedule.sample_kimg=null"),
)


def write_colours(root: Path, count: int = 20) -> None:
    draws = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(np.array(colour) + draws.normal(0, 12, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")


@pytest.mark.slow
def test_each_class_gets_its_own_pictures(run: Run, tmp_path: Path) -> None:
    write_colours(tmp_path / "pictures")
    evaluation = (
        *("schedule.evaluate_kimg=6", "schedule.evaluate_samples=60", "metrics.num_samples=60"),
        "metrics.names=[fd,intra_fd]",
    )
    trained = run("train", *SMALL, *evaluation, "name=x", "schedule.total_kimg=6")
    assert trained.returncode == 0, trained.stderr
    assert "classes 0 to 2: blue (20), green (20), red (20)" in trained.stdout + trained.stderr
    for label, colour in enumerate(COLOURS.values()):
        drawn = run("synthesize", "ckpt=runs/x", "seeds=0-7", f"class={label}", "columns=8", f"output={label}.png")
        assert drawn.returncode == 0, drawn.stderr
        mean = np.asarray(Image.open(tmp_path / f"{label}.png"), dtype=float).mean((0, 1))
        distances = [float(np.abs(mean - other).mean()) for other in COLOURS.values()]
        assert int(np.argmin(distances)) == label, (colour, mean)
    record = json.loads((tmp_path / "runs/x/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    parts = [record[f"intra_fd_efficientnet_lite0/{label}"] for label in range(3)]
    assert record["intra_fd_efficientnet_lite0"] == pytest.approx(sum(parts) / 3)

    sizes = ("data.path=pictures", "metrics=efficientnet_lite0", "metrics.num_samples=60", "metrics.names=[intra_fd]")
    again = run("evaluate", "ckpt=runs/x", *sizes, "trainer=cpu")
    assert again.returncode == 0, again.stderr
    found = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert found["intra_fd_efficientnet_lite0"] == pytest.approx(record["intra_fd_efficientnet_lite0"], rel=1e-4)

    mixed = run("synthesize", "ckpt=runs/x", "seeds=0-5", "output=own.png")  # each seed's own class
    assert mixed.returncode == 0, mixed.stderr
    wrong = run("synthesize", "ckpt=runs/x", "seeds=0", "class=3")
    assert wrong.returncode == 2
    assert "class=3: this generator has classes 0 to 2" in wrong.stderr
    planned = run("plan", *SMALL)
    assert planned.returncode == 0, planned.stderr


def test_a_list_of_classes_that_nobody_asks_for_is_not_read(run: Run, tmp_path: Path) -> None:
    """Other tools write other things there, such as attributes."""
    write_colours(tmp_path / "pictures", 4)
    (tmp_path / "pictures/dataset.json").write_text('{"labels": [["blue/0.png", [0.5, 2]]]}', encoding="utf-8")
    few = ("metrics.num_samples=8", "metrics.num_real=8", "metrics.names=[fd]")
    evaluation = ("schedule.evaluate_kimg=0.016", "schedule.evaluate_samples=8", *few)
    trained = run("train", *SMALL, "model.classes=0", *evaluation, "name=x", "schedule.total_kimg=0.016")
    assert trained.returncode == 0, trained.stderr
    evaluated = run("evaluate", "ckpt=runs/x", "data.path=pictures", "metrics=efficientnet_lite0", *few, "trainer=cpu")
    assert evaluated.returncode == 0, evaluated.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("model.classes=2",), "the pictures have 3 classes: blue (2), green (2), red (2); say model.classes=3"),
        (("data=blue_marble", "~data.path"), "have no classes; put those of each class into a folder of its own"),
        (("discriminator.classes=0",), "both are what model.classes says; set that alone"),
    ],
)
def test_what_does_not_fit_is_told_before_training(
    run: Run, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    write_colours(tmp_path / "pictures", 2)
    given = [one for one in (*SMALL, "name=x", *options) if "~" not in one]
    if "data=blue_marble" in options:
        given = [one for one in given if one not in ("data=folder", "data.path=pictures")]
    result = run("train", *given)
    assert result.returncode == 2
    assert told in result.stderr
    assert not (tmp_path / "runs/x/checkpoints").exists()
