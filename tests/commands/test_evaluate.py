"""`python -m cips_lab.evaluate`: generators and folders, one process and two, and what it refuses."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cips_lab.data.blue_marble import load_tiles
from cips_lab.data.fitting import fit
from cips_lab.files.untrusted import read_safetensors
from cips_lab.interop.native import save_generator
from cips_lab.networks.cips import CIPSGenerator

Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("metrics=efficientnet_lite0", "metrics.num_samples=30", "metrics.kid_subset_size=15", "metrics.num_real=40")
OPTIONS = {"resolution": 16, "width": 16, "z_dim": 8, "w_dim": 8, "mapping_layers": 2, "fourier": {"features": 16}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    generator = CIPSGenerator(**OPTIONS)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("weights") / "generator.safetensors"
    save_generator(generator, path, {"_target_": "cips_lab.networks.cips.CIPSGenerator", **OPTIONS}, kimg=1.0)
    return path


@pytest.fixture
def real(tmp_path: Path) -> Path:
    folder = tmp_path / "real"
    folder.mkdir()
    for number, tile in enumerate(load_tiles(16, "train")[::20][:40]):
        Image.fromarray(tile.transpose(1, 2, 0)).save(folder / f"{number:03d}.png")
    return folder


def results(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    assert all(not isinstance(value, (dict, list)) for value in found.values())
    return found


def numbers(found: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in found.items() if isinstance(value, float)}


def test_a_generator_by_one_process_and_two_and_its_pictures(
    run: Run, weights: Path, real: Path, tmp_path: Path
) -> None:
    """Three ways to the same numbers; the second and third read no real picture, for there are none any more."""
    common = (f"data.path={real}", *SMALL)
    one = run("evaluate", f"ckpt={weights}", "output=one.json", *common)
    assert one.returncode == 0, one.stderr
    alone = results(tmp_path / "one.json")
    assert {"fd_efficientnet_lite0", "kid", "isc", "precision", "recall", "density", "coverage"} <= alone.keys()
    assert "fid" not in alone
    assert alone["num_samples"] == 30
    assert alone["num_real"] == 40
    assert alone["extractor"] == "efficientnet_lite0"
    assert f"fd_efficientnet_lite0 {alone['fd_efficientnet_lite0']:.4g}" in one.stdout
    assert "30 samples against 40 real, efficientnet_lite0" in one.stdout

    shutil.rmtree(real)
    two = run("evaluate", f"ckpt={weights}", "output=two.json", "trainer=ddp_cpu", "trainer.devices=2", *common)
    assert two.returncode == 0, two.stderr
    assert "using their statistics" in two.stdout
    assert numbers(results(tmp_path / "two.json")) == pytest.approx(numbers(alone), rel=1e-6, abs=1e-9)
    assert two.stdout.count("two.json") == 1

    made = run("synthesize", f"ckpt={weights}", "seeds=0-29", "output=pictures/")
    assert made.returncode == 0, made.stderr
    folder = run("evaluate", "samples=pictures", "output=three.json", *common)
    assert folder.returncode == 0, folder.stderr
    expected = numbers(alone)
    del expected["truncation"]
    assert numbers(results(tmp_path / "three.json")) == pytest.approx(
        expected, rel=1e-3, abs=1e-6
    )  # a pixel may differ


def test_other_resolutions_and_held_out_pictures(run: Run, weights: Path, tmp_path: Path) -> None:
    few = ("metrics.names=[fd,precision]", "metrics.num_samples=12", "metrics.num_real=20")
    finer = run("evaluate", f"ckpt={weights}", "data=blue_marble", "split=test", "resolution=32", *SMALL, *few)
    assert finer.returncode == 0, finer.stderr
    found = results(tmp_path / "metrics.json")
    assert found["resolution"] == 32
    assert found["split"] == "test"
    assert "kid" not in found
    assert "recall" not in found
    native = run("evaluate", f"ckpt={weights}", "data=blue_marble", "output=native.json", *SMALL, *few)
    assert native.returncode == 0, native.stderr
    assert results(tmp_path / "native.json")["resolution"] == 16


@pytest.mark.parametrize(("folder", "size"), [("samples", (96, 96)), ("samples", (20, 40)), ("others", (20, 40))])
def test_pictures_of_any_size_are_compared_with_real_ones_brought_to_it(
    run: Run, tmp_path: Path, folder: str, size: tuple[int, int]
) -> None:
    """Whatever made them: no network here needs a power of two. The real ones themselves have a distance of 0.

    Sizes are width and height.
    """
    for name, first in (("real", 0), ("samples", 0), ("others", 20)):
        (tmp_path / name).mkdir()
        for number, tile in enumerate(load_tiles(32, "train")[::40][first : first + 20]):
            picture = Image.fromarray(tile.transpose(1, 2, 0)).resize((120, 100))
            picture = picture if name == "real" else fit(picture, (size[1], size[0]))
            picture.save(tmp_path / name / f"{number:02d}.png")
    done = run("evaluate", f"samples={folder}", "output=found.json", "metrics.names=[fd]", "data.path=real", *SMALL)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "found.json")
    assert found["resolution"] == (96 if size == (96, 96) else "20x40")
    assert (abs(found["fd_efficientnet_lite0"]) < 1e-3) == (folder == "samples")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"generator\.safetensors: to_rgb\.0\.bias is not finite \(NaN or infinite in 1 of"),
        (3e38, r"the picture of seed 0 is not finite"),
    ],
)
def test_a_generator_of_no_numbers_is_refused(
    run: Run, weights: Path, real: Path, tmp_path: Path, value: float, message: str
) -> None:
    """They would be black pictures, with plausible metrics."""
    tensors, metadata = read_safetensors(weights)
    for layer in range(3):  # their sum is the colour: of one NaN, and of finite numbers that overflow
        tensors[f"to_rgb.{layer}.bias"].view(-1)[: 1 if math.isnan(value) else None] = value
    save_file(tensors, tmp_path / "generator.safetensors", metadata)
    done = run("evaluate", "ckpt=generator.safetensors", f"data.path={real}", *SMALL)
    assert done.returncode == 2, done.stderr
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.json"))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number in range(30):
        size = 16 if number < 20 else 24
        Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "give either ckpt=... "),
        (["ckpt={weights}", "samples=x"], "give either ckpt=... "),
        (["ckpt=/nowhere", "data=blue_marble"], "/nowhere: no such file or folder"),
        (["ckpt={weights}"], "data.path is not set"),
        (["ckpt={weights}", "data.path=/nowhere"], "/nowhere does not exist"),
        (["ckpt={weights}", "data=blue_marble", "split=val"], "split=val: must be train or test"),
        (["ckpt={weights}", "data=blue_marble", "output=x.txt"], "expected the name of a .json file"),
        (["ckpt={weights}", "data=blue_marble", "metrics.kid_subset_size=31"], "kid_subset_size=31"),
        (["ckpt={weights}", "data=blue_marble", "metrics.extractor=inceptoin"], "inceptoin: unknown; choose one of"),
        (["ckpt={weights}", "data=blue_marble", "metrics.names=[fids]"], "choose from fd, kid, isc"),
        (["ckpt={weights}", "data=blue_marble", "metrics.kid_subset_size=1"], "kid_subset_size=1: must be at least 2"),
        (
            ["samples=mixed", "data=blue_marble", "metrics.kid_subset_size=31", "metrics.isc_splits=32"],
            "all together: metrics.kid_subset_size=30 metrics.isc_splits=30\n",
        ),
        (["ckpt=/nowhere", "data=blue_marble", "output=mixed/0.png/m.json"], "mixed/0.png cannot be written"),
        (["samples=mixed", "data=blue_marble"], "24 x 24 pixels, where 16 x 16 are expected"),
        (["samples=/nowhere", "data=blue_marble"], "samples=/nowhere"),
        (["ckpt={weights}", "data=blue_marble", "trainer=gpu"], "no GPU"),
    ],
)
def test_mistakes_end_in_one_message(
    run: Run, weights: Path, mixed: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    result = run("evaluate", *SMALL, *(o.format(weights=weights) for o in overrides))
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("*.json"))


def test_weights_that_are_not_there(run: Run, weights: Path, tmp_path: Path) -> None:
    """The default is Inception; without a network one message says what to get, and where to put it."""
    result = run("evaluate", f"ckpt={weights}", "data=blue_marble", "metrics.weights=missing.pth")
    assert result.returncode == 2
    assert "missing.pth" in result.stderr
    assert "metrics.weights" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_teaches(run: Run) -> None:
    result = run("evaluate", "--help")
    assert result.returncode == 0
    assert "samples=pictures/" in result.stdout
    assert "efficientnet_lite0" in result.stdout


@pytest.mark.slow
def test_patches_of_whole_pictures_are_the_plain_distance(run: Run, real: Path, weights: Path, tmp_path: Path) -> None:
    """At scale 1; of a generator at all scales, by two processes too; and what cannot be."""
    samples = tmp_path / "samples"
    samples.mkdir()
    for number, tile in enumerate(load_tiles(16, "test")[:40]):
        Image.fromarray(tile.transpose(1, 2, 0)).save(samples / f"{number:03d}.png")
    small = ("metrics=efficientnet_lite0", "metrics.kid_subset_size=15", "metrics.names=[fd,kid,swd]")
    common = (f"samples={samples}", f"reference={real}", *small)
    plain = run("evaluate", *common, "metrics.num_samples=40", "metrics.num_real=40")
    assert plain.returncode == 0, plain.stderr
    whole = results(tmp_path / "metrics.json")
    pieces = run("evaluate", *common, "patches.count=40", "consistency=5")
    assert pieces.returncode == 0, pieces.stderr
    found = results(tmp_path / "metrics.json")
    keys = ("fd_efficientnet_lite0", "fd_efficientnet_lite0_se", "kid", "kid_se", "swd", "swd/16")
    assert [found[f"patch_{key}"] for key in keys] == [whole[key] for key in keys]
    assert not whole.keys() - {key.removeprefix("patch_") for key in found}
    assert "patch_fd_efficientnet_lite0" in pieces.stdout
    assert found["seam"] > 0

    large = tmp_path / "large"
    large.mkdir()
    for number, tile in enumerate(load_tiles(64, "train")[::400][:20]):
        Image.fromarray(tile.transpose(1, 2, 0)).save(large / f"{number:03d}.png")
    of_generator = (f"ckpt={weights}", f"reference={large}", *small, "patches.count=30", "consistency=3")
    one = run("evaluate", *of_generator, "output=one.json")
    assert one.returncode == 0, one.stderr
    two = run("evaluate", *of_generator, "output=two.json", "trainer=ddp_cpu", "trainer.devices=2")
    assert two.returncode == 0, two.stderr
    alone = results(tmp_path / "one.json")
    assert numbers(results(tmp_path / "two.json")) == pytest.approx(numbers(alone), rel=1e-6, abs=1e-9)
    assert alone["num_samples"] == alone["num_real"] == 30
    assert 0 < alone["self_ssim_2"] <= 1

    for wrong, told in {
        "resolution=32": "patches are of many sizes",
        "patches.size=65": "000.png: 64 x 64 pixels of it have a patch's proportions",
        "patches.largest=8": "patches.largest=8: smaller than a patch, 16",
    }.items():
        refused = run("evaluate", *of_generator, wrong)
        assert refused.returncode == 2
        assert told in refused.stderr
