"""`python -m cips_lab.synthesize`: grids, files, any resolution, any region."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cips_lab import load_generator
from cips_lab.interop.native import save_generator
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.stylegan2 import StyleGAN2Generator

Run = Callable[..., subprocess.CompletedProcess[str]]
OPTIONS = {"resolution": 16, "width": 16, "z_dim": 8, "w_dim": 8, "mapping_layers": 2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    options = OPTIONS | {"fourier": {"features": 16}, "embedding": {"features": 16}}
    generator = CIPSGenerator(**options)  # type: ignore[arg-type]
    generator.mapping.w_mean.normal_()
    path = tmp_path_factory.mktemp("weights") / "generator.safetensors"
    save_generator(generator, path, {"_target_": "cips_lab.networks.cips.CIPSGenerator", **options}, kimg=1.0)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_a_grid_holds_the_pictures_of_its_seeds(run: Run, weights: Path, tmp_path: Path) -> None:
    result = run(
        "synthesize", f"ckpt={weights}", "seeds=0-4", "columns=2", "output=grid.png", "truncation=0.5", "batch=2"
    )
    assert result.returncode == 0, result.stderr
    grid = pixels(tmp_path / "grid.png")
    assert grid.shape == (3 * 16, 2 * 16, 3)
    generator = load_generator(weights)
    z = torch.randn(8, generator=torch.Generator().manual_seed(3))[None]
    image = generator.render(generator.truncate(generator.mapping(z), 0.5), image_grid(16, 16))
    expected = ((image[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(int)
    assert np.abs(grid[16:32, 16:32] - expected).max() <= 1  # seed 3: second row, second column
    assert (grid[32:, 16:] == 255).all()  # the empty place


def test_a_folder_gets_one_file_a_seed(run: Run, weights: Path, tmp_path: Path) -> None:
    result = run("synthesize", f"ckpt={weights}", "seeds=[7,2]", "output=pictures/", "resolution=[20,30]")
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["seed000002.png", "seed000007.png"]
    assert pixels(tmp_path / "pictures" / "seed000002.png").shape == (20, 30, 3)


def test_a_region_is_that_part_of_a_larger_picture(run: Run, weights: Path, tmp_path: Path) -> None:
    base = ("synthesize", f"ckpt={weights}", "seeds=1")
    assert run(*base, "resolution=31", "region=[-1.5,-1.5,1.5,1.5]", "output=large.png").returncode == 0
    # Pixels 5 to 25 of 31 over [-1.5, 1.5] lie at -1.0, -0.9, ..., 1.0.
    assert run(*base, "resolution=21", "output=small.png").returncode == 0
    large, small = pixels(tmp_path / "large.png"), pixels(tmp_path / "small.png")
    assert np.abs(large[5:26, 5:26] - small).max() <= 1
    assert small.std() > 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "ckpt=... is missing"),
        (["ckpt=/nowhere"], "/nowhere: no such file or folder"),
        (["ckpt={weights}", "seeds=5-1"], "seeds=5-1: expected"),
        (["ckpt={weights}", "resolution=0.5"], "resolution=0.5: must be a positive number"),
        (["ckpt={weights}", "region=[1,1,0,0]"], "region"),
        (["ckpt={weights}", "output=picture.xyz"], "picture.xyz: not a picture format"),
        (["ckpt={weights}", "device=cuda:99"], "device=cuda:99"),
    ],
)
def test_bad_input_is_one_clear_message(run: Run, weights: Path, overrides: list[str], message: str) -> None:
    result = run("synthesize", *[o.format(weights=weights) for o in overrides])
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_convolutional_generator_says_that_it_has_one_grid(run: Run, tmp_path: Path) -> None:
    options = {"resolution": 16, "z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 8}
    path = tmp_path / "generator.safetensors"
    config = {"_target_": "cips_lab.networks.stylegan2.StyleGAN2Generator", **options}
    save_generator(StyleGAN2Generator(**options), path, config, kimg=0.0)  # type: ignore[arg-type]
    assert run("synthesize", f"ckpt={path}", "seeds=0-3", "output=grid.png").returncode == 0
    result = run("synthesize", f"ckpt={path}", "seeds=0", "resolution=32")
    assert result.returncode == 2
    assert "native" in result.stderr
