"""Every view as a user trains it: one process and two, interrupted and not; growth; rectangles; and what is refused."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from started import weights
from torch import Tensor

from cips_lab import load_generator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.surface import turn_grid

Run = Callable[..., subprocess.CompletedProcess[str]]

TINY = ["experiment=debug", "objective.r1_interval=2", "schedule.checkpoint_kimg=0.016", "callbacks.samples=null"]
VIEWS = {
    "patch": ["view=patch", "view.size=8", "view.scale=2", "discriminator.told=where", "generator.noise=true"],
    "anyres": ["view=anyres", "discriminator.told=where_and_scale", "data=folder", "data.num_workers=1"],
    "cylinder": ["view=cylinder", "generator.surface=cylinder", "generator.turns=3", "model.mixing_probability=0.5"],
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pictures of mixed sizes, all larger than a frame."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for i in range(12):
        height, width = (int(side) for side in random.integers(20, 80, 2))
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def train(run: Run, name: str, *overrides: str) -> None:
    result = run("train", *TINY, f"name={name}", *overrides)
    assert result.returncode == 0, result.stderr


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of a weight, as a part of its tensor's size."""
    assert one.keys() == other.keys()
    pairs = [(one[name].float(), other[name].float()) for name in one]
    return max(float((a - b).norm() / a.norm().clamp(min=1e-6)) for a, b in pairs)


def trained_by_two_as_by_one(run: Run, runs: Path, *options: str) -> dict[str, Tensor]:
    """The weights of seed 0 by one process; fails where two give others.

    Rounding may turn the sign of a value at a leaky ReLU's kink, which moves some weights by 3e-3 of themselves (seen
    at one seed, in one iteration, with AVX2 kernels). So one seed of three is enough: a fault shows at each.
    """
    found: list[float] = []
    while not found or (found[-1] >= 1e-4 and len(found) < 3):
        one, two, seed = f"one_{len(found)}", f"two_{len(found)}", f"seed={len(found)}"
        train(run, one, *options, seed, "trainer=cpu")
        train(run, two, *options, seed, "trainer=ddp_cpu", "trainer.devices=2")
        found.append(difference(weights(runs / one), weights(runs / two)))
    assert found[-1] < 1e-4, found
    return weights(runs / "one_0")


@pytest.mark.parametrize(
    "view", [pytest.param(view, marks=pytest.mark.slow if view != "patch" else ()) for view in VIEWS]
)
def test_on_two_processes_and_interrupted(run: Run, tmp_path: Path, pictures: Path, view: str) -> None:
    options = [*VIEWS[view], f"data.path={pictures}"] if "data=folder" in VIEWS[view] else VIEWS[view]
    runs = tmp_path / "runs"
    whole = trained_by_two_as_by_one(run, runs, *options, "schedule.total_kimg=0.032")
    train(run, "parts", *options, "trainer=cpu", "schedule.total_kimg=0.016")
    begun = weights(runs / "parts")
    train(run, "parts", *options, "trainer=cpu", "schedule.total_kimg=0.032")
    parts = weights(runs / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert difference(whole, begun) > 1e-2  # it has moved since


def test_a_run_grows_from_another(run: Run, tmp_path: Path) -> None:
    train(run, "small", "trainer=cpu", "resolution=8", "schedule.total_kimg=0.016")
    large = ["resolution=16", "init=runs/small", "view.fade_kimg=0.032"]
    result = run("train", *TINY, "name=large", *large, "trainer=cpu", "schedule.total_kimg=0.016")
    assert result.returncode == 0, result.stderr
    assert "the generator grows from 8 to 16" in result.stdout
    assert "both networks grow; the discriminator within 0.032 kimg" in result.stdout
    train(run, "large", *large, "trainer=cpu", "schedule.total_kimg=0.032")
    runs = tmp_path / "runs"
    continued, whole = weights(runs / "large"), trained_by_two_as_by_one(run, runs, *large, "schedule.total_kimg=0.032")
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
    assert load_generator(runs / "large").resolution == 16
    refused = run("train", *TINY, "name=wide", *large, "trainer=cpu", "model.width=24")
    assert refused.returncode == 2
    assert "another generator, which cannot grow from 8 to 16: width is 16 there and 24 here" in refused.stderr
    assert not (runs / "wide").exists()


def test_rectangles(run: Run, tmp_path: Path, pictures: Path) -> None:
    options = ["resolution=[16,32]", "data=folder", f"data.path={pictures}", "trainer=cpu", "data.num_workers=0"]
    result = run(
        *("train", *TINY[:-1], "name=wide", *options, "schedule.total_kimg=0.016", "schedule.evaluate_kimg=0.016"),
        *("schedule.evaluate_samples=12", "metrics.num_samples=12", "metrics.num_real=12", "metrics.kid_subset_size=6"),
    )
    assert result.returncode == 0, result.stderr
    assert "16 x 32 pixels" in result.stdout
    folder = tmp_path / "runs" / "wide"
    assert Image.open(folder / "samples" / "real.png").size == (4 * 32, 2 * 16)
    assert Image.open(next((folder / "samples").glob("kimg-*.png"))).size == (4 * 32, 2 * 16)
    assert "32x16" in (folder / "metrics.jsonl").read_text() or "32x16" in (folder / "evaluations.jsonl").read_text()
    generator = load_generator(folder)
    assert generator.size == (16, 32)
    assert generator(torch.randn(2, generator.z_dim)).shape == (2, 3, 16, 32)
    drawn = run("synthesize", "ckpt=runs/wide", "seeds=0-3", "output=grid.png")
    assert drawn.returncode == 0, drawn.stderr
    assert Image.open(tmp_path / "grid.png").size == (64, 32)
    planned = run("plan", *TINY[:-1], "name=p", "resolution=[16,32]", "view=patch", "view.size=8", "trainer=cpu")
    assert planned.returncode == 0, planned.stderr
    assert "16 x 32 pixels, of which 8 x 8 are shown" in planned.stdout
    convolutional = run("train", *TINY, "name=c", *options, "generator=stylegan2", "schedule.total_kimg=0.016")
    assert convolutional.returncode == 0, convolutional.stderr


def test_a_frame_of_the_panorama_is_what_training_shows(run: Run, tmp_path: Path) -> None:
    options = [*TINY[:-1], *VIEWS["cylinder"], "trainer=cpu", "schedule.total_kimg=0.016"]
    trained = run("train", "name=around", *options)
    assert trained.returncode == 0, trained.stderr
    generator = load_generator(tmp_path / "runs" / "around")
    assert generator.surface == "cylinder"
    assert generator.period == 6
    sheet = Image.open(next((tmp_path / "runs" / "around" / "samples").glob("kimg-*.png")))
    assert sheet.size == (45, 2 * 16)  # two turns, one below the other
    w = generator.mapping(torch.randn(2, generator.z_dim))
    turn = generator.render(w, turn_grid(16, 45, 6.0))  # native pixels are 2 / 15 apart, 45 of them around
    first = image_grid(16, 16)
    for column in (0, 7, 40):
        moved = first + torch.tensor([-2.0 + column * 2 / 15, 0.0])
        frame = turn.roll(-column, 3)[..., :16]
        torch.testing.assert_close(generator.synthesize_at(w, moved), frame, atol=1e-4, rtol=1e-4)
    for name, options, size in [
        ("turn", ["turn=[0,1]", "seeds=0-1", "columns=1"], (45, 2 * 16)),
        ("blended", ["turn=[0,1]", "seeds=0-3", "blend=true", "resolution=[24,80]"], (80, 24)),
        ("part", ["turn=[0.25,0.5]", "heights=[-0.5,0.5]", "seeds=1", "resolution=[8,30]"], (30, 8)),
    ]:
        drawn = run("synthesize", "ckpt=runs/around", f"output={name}.png", *options)
        assert drawn.returncode == 0, drawn.stderr
        assert Image.open(tmp_path / f"{name}.png").size == size
    pixels = np.asarray(Image.open(tmp_path / "turn.png")).astype(int)
    assert np.abs(pixels[:, 0] - pixels[:, -1]).mean() <= 2 * np.abs(np.diff(pixels, axis=1)).mean() + 1
    for options, told in [
        (["region=[-1,-2,1,1]"], "reaches off the cylinder's height, which is from -1 to 1"),
        (["turn=[0,1]", "heights=[-1,2]"], "heights must be [top,bottom] within the cylinder's -1 to 1"),
        (["turn=[1,0]"], "turn=[1,0]: must be [from,to] with from < to"),
        (["blend=true", "seeds=1"], "blend=true: blends the styles of two or more seeds"),
    ]:
        refused = run("synthesize", "ckpt=runs/around", "output=no.png", *options)
        assert refused.returncode == 2
        assert told in refused.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["view=patch", "view.size=32"], "view.size=32 is larger than the picture (resolution=16)"),
        (["view=patch", "view.size=8", "generator=stylegan2"], "this generator is convolutional"),
        (["view=cylinder"], "set generator.surface=cylinder"),
        (["generator.surface=cylinder"], "generator.surface=cylinder needs view=cylinder"),
        (["resolution=[16,34]"], "resolution=[16,34]: must be a power of two of at least 8"),
        (
            ["resolution=8192", "model.embedding_features=4096", "data=folder"],
            "encoding.embedding.table alone is 67108864 x",
        ),
        (["resolution=[16,32]"], "resolution=[16,32]: data=blue_marble has square pictures"),
        (["view=anyres", "view.largest=8"], "view.largest=8 is smaller than resolution=16"),
    ],
)
def test_what_cannot_be_trained_is_told_in_a_sentence(
    run: Run, tmp_path: Path, pictures: Path, options: list[str], told: str
) -> None:
    place = [f"data.path={pictures}"] if "data=folder" in options else []
    result = run("train", *TINY, "trainer=cpu", "name=bad", *options, *place)
    assert result.returncode == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs" / "bad").exists()


def test_a_small_picture_is_named(run: Run, tmp_path: Path, pictures: Path) -> None:
    small = tmp_path / "pictures"
    small.mkdir()
    for path in pictures.iterdir():
        Image.open(path).save(small / path.name)
    Image.new("RGB", (40, 12)).save(small / "low.png")
    result = run("train", *TINY, "trainer=cpu", "name=bad", "view=anyres", "data=folder", f"data.path={small}")
    assert result.returncode == 2
    assert "low.png: 12 x 12 pixels of it have the frame's proportions" in result.stderr
    assert not (tmp_path / "runs" / "bad").exists()  # before anything began
