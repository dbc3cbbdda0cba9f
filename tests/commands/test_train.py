"""`python -m cips_lab.train`: what it makes, how it continues, and what it refuses."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cips_lab import load_generator

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures of mixed sizes and kinds, nested."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for i in range(40):
        height, width = random.integers(150, 400, 2)
        smooth = random.integers(0, 255, (3, 3, 3), dtype=np.uint8)
        image = Image.fromarray(smooth).resize((int(width), int(height)), Image.Resampling.BICUBIC)
        path = folder / f"part{i % 3}" / f"picture{i}{('.png', '.jpg', '.webp')[i % 3]}"
        path.parent.mkdir(exist_ok=True)
        image.save(path)
    return folder


def test_a_run_and_all_it_leaves(run: Run, tmp_path: Path) -> None:
    result = run("train", "experiment=debug", "trainer=cpu", "name=first", "logger=all")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "runs" / "first"
    kimgs = [json.loads(line)["kimg"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert kimgs == [0.016, 0.032, 0.048, 0.064, 0.08]
    record = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert {"loss/generator", "loss/discriminator", "loss/r1", "logits/real", "time/sec_per_kimg"} <= record.keys()
    assert all(np.isfinite(value) for value in record.values())
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["kimg-00000.040", "kimg-00000.080"]
    assert sorted(p.name for p in (folder / "samples").iterdir()) == [
        "kimg-00000.040.png",
        "kimg-00000.080.png",
        "real.png",
    ]
    assert Image.open(folder / "samples" / "real.png").size == (4 * 16, 2 * 16)
    assert json.loads((folder / "environment.json").read_text())["packages"]["torch"]
    assert "resolution: 16" in (folder / "config.yaml").read_text()
    assert list((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert list((folder / "tensorboard").glob("events*"))
    assert re.search(r"kimg.*s/kimg=.*D=.*G=.*mem=", result.stderr)
    generator = load_generator(folder)
    assert generator.resolution == 16
    assert float(generator.mapping.w_mean.abs().max()) > 0


def test_the_same_command_continues_and_then_has_nothing_to_do(run: Run, tmp_path: Path) -> None:
    half = run("train", "experiment=debug", "trainer=cpu", "name=x", "schedule.total_kimg=0.04")
    assert half.returncode == 0, half.stderr
    rest = run("train", "experiment=debug", "trainer=cpu", "name=x")
    assert rest.returncode == 0, rest.stderr
    assert "continuing from kimg-00000.040" in rest.stdout
    whole = run("train", "experiment=debug", "trainer=cpu", "name=y")
    assert whole.returncode == 0, whole.stderr
    x, y = (load_file(tmp_path / "runs" / n / "checkpoints/kimg-00000.080/generator.safetensors") for n in "xy")
    assert x.keys() == y.keys()
    for name in x:
        assert (x[name] == y[name]).all(), name
    again = run("train", "experiment=debug", "trainer=cpu", "name=x")
    assert again.returncode == 0
    assert "has its 0.08 kimg already" in again.stdout


def test_training_on_a_folder_of_pictures(run: Run, pictures: Path, tmp_path: Path) -> None:
    """The paper's experiment, made small, on the CPU."""
    result = run(
        "train",
        "experiment=ffhq_256",
        f"data.path={pictures}",
        "schedule.total_kimg=0.008",
        "schedule.log_kimg=0.004",
        "batch_size=4",
        "generator.width=16",
        "discriminator.channel_base=1024",
        "callbacks.samples.rows=1",
        "callbacks.samples.columns=2",
        "logger=none",
        "name=mine",
    )
    assert result.returncode == 0, result.stderr
    assert load_generator(tmp_path / "runs" / "mine").resolution == 256


def test_cfg_job_prints_the_composed_configuration(run: Run) -> None:
    result = run("train", "experiment=ffhq_256", "--cfg", "job")
    assert result.returncode == 0
    assert "width: 512" in result.stdout
    assert "r1_weight: 10.0" in result.stdout


def test_help_teaches(run: Run) -> None:
    result = run("train", "--help")
    assert result.returncode == 0
    assert "experiment=quickstart" in result.stdout
    assert "cips_residual" in result.stdout


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment=ffhq_256"], "data.path is not set.*\n?.*https://github.com/NVlabs/ffhq-dataset"),
        (["experiment=debug", "generator=cips_x"], "Could not find 'generator/cips_x'"),
        (
            ["experiment=debug", "generator.activation=relu"],
            "generator.activation=relu: must be lrelu, sine, siren, sinrelu or silu",
        ),
        (["experiment=debug", "resolution=50"], "resolution=50: must be a power of two"),
        (["experiment=debug", "batch_size=9", "trainer=ddp_cpu"], "batch_size=9 .* does not divide among 2 processes"),
        (["experiment=debug", "batch_size=8", "micro_batch=3"], "micro_batch=3 does not divide the 8 images"),
        (["data.path={empty}", "resolution=16"], "empty"),
        (["data.path={text}", "resolution=16"], "broken.png"),
        (["data.path=/nowhere", "resolution=16"], "/nowhere"),
        (["experiment=debug", "trainer=gpu"], "no GPU"),
        (["experiment=debug", "init={text}/broken.png"], "broken.png"),
        (["experiment=debug", "objective.generator_lr=-1"], "generator_lr must be positive"),
    ],
)
def test_bad_input_is_one_clear_message(
    run: Run, tmp_path: Path, overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "broken.png").write_text("not a picture")
    filled = [o.format(empty=tmp_path / "empty", text=tmp_path / "text") if "{" in o else o for o in overrides]
    result = run("train", *filled)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert re.search(message, result.stderr, re.DOTALL), result.stderr
    assert not list(tmp_path.glob("runs/*")), "what was refused leaves no run folder"


def test_another_configuration_under_the_same_name_is_refused(run: Run) -> None:
    assert run("train", "experiment=debug", "trainer=cpu", "name=x", "schedule.total_kimg=0.04").returncode == 0
    result = run("train", "experiment=debug", "trainer=cpu", "name=x", "generator.width=8")
    assert result.returncode == 2
    assert "generator.width: 16 there, 8 asked for" in result.stderr


def test_init_starts_from_other_weights_and_refuses_another_generator(run: Run, tmp_path: Path) -> None:
    assert run("train", "experiment=debug", "trainer=cpu", "name=x", "schedule.total_kimg=0.04").returncode == 0
    short = ["experiment=debug", "trainer=cpu", "schedule.total_kimg=0.008", "init=runs/x"]
    slow = ["objective.generator_lr=1e-9", "objective.discriminator_lr=1e-9"]
    result = run("train", *short, "name=y", *slow)
    assert result.returncode == 0
    assert "the weights of both networks" in result.stderr + (tmp_path / "runs/y/train.log").read_text()
    before = load_file(tmp_path / "runs/x/checkpoints/kimg-00000.040/generator.safetensors")
    after = load_file(tmp_path / "runs/y/checkpoints/kimg-00000.008/generator.safetensors")
    for name in before:
        if name != "mapping.w_mean":
            assert (before[name] - after[name]).abs().max() < 1e-6, name
    trained, continued = (
        torch.load(tmp_path / f"runs/{run_}/training.ckpt", weights_only=True)["state_dict"]
        for run_ in ("x/checkpoints/kimg-00000.040", "y/checkpoints/kimg-00000.008")
    )
    for name in trained:
        if name.startswith("discriminator."):
            assert (trained[name] - continued[name]).abs().max() < 1e-6, name
    result = run("train", *short, "name=z", "generator.width=8", "resolution=32")
    assert result.returncode == 2
    assert "init=runs/x is another generator" in result.stderr
    assert "which cannot grow from 16 to 32: width is 16 there and 8 here" in result.stderr
    assert "width is 16 there and 8 here" in result.stderr
    assert "blocks" not in result.stderr, "what differs by its settings is not told by a parameter's name"


def test_a_sweep_gives_each_job_its_folder(run: Run, tmp_path: Path) -> None:
    result = run(
        "train",
        "--multirun",
        "experiment=debug",
        "trainer=cpu",
        "name=sweep",
        "logger=wandb",
        "schedule.total_kimg=0.016",
        "generator=cips,cips_ne",
    )
    assert result.returncode == 0, result.stderr
    first, second = (load_generator(tmp_path / "runs" / "sweep" / job) for job in ("cips", "cips_ne"))
    assert first.encoding.embedding is not None
    assert second.encoding.embedding is None
    assert len(list((tmp_path / "runs" / "sweep").glob("*/wandb/offline-run-*"))) == 2


TWO = ("trainer=ddp_cpu", "trainer.devices=2", "callbacks.samples=null", "schedule.evaluate_kimg=0.04")
SMALL = ("metrics.names=[fd]", "metrics.num_samples=8", "schedule.evaluate_samples=8")


@pytest.mark.parametrize(
    "options",
    [pytest.param(("trainer=cpu",), id="grid"), pytest.param((*TWO, *SMALL), id="evaluation", marks=pytest.mark.slow)],
)
def test_a_run_whose_weights_are_lost_fails_at_its_pictures_and_keeps_what_it_has(
    run: Run, tmp_path: Path, options: tuple[str, ...]
) -> None:
    lost = ("name=lost", "guard=off", "objective.generator_lr=1e30", "schedule.checkpoint_kimg=0.016")
    result = run("train", "experiment=debug", *lost, *options)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("error: ") == 1
    folder = tmp_path / "runs" / "lost"
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "failed"
    assert re.match(r"kimg 0.04, the averaged generator: \S+ is not finite \(NaN or infinite", status["error"])
    assert status["error"] in result.stderr
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == ["kimg-00000.016", "kimg-00000.032"]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    assert not list(folder.glob("samples/kimg-*")), "no black pictures"
    assert not (folder / "evaluations.md").exists()
    assert (folder / "report.html").is_file()
