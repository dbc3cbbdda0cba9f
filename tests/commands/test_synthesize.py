"""`python -m cips_lab.synthesize`: grids, files, any resolution, any region."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from cips_lab import load_generator
from cips_lab.configuration import conf_folder
from cips_lab.errors import UserError
from cips_lab.interop.native import save_generator
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.mapping import latents_of_seeds
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.render.pictures import quantize
from cips_lab.render.scene import draw, parse_seeds, samples
from cips_lab.render.synthesis import Synthesis

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
    assert not (tmp_path / "samples.png").exists()
    region = run("synthesize", f"ckpt={path}", "seeds=0", "region=[-2,-2,2,2]")
    assert region.returncode == 2
    assert "region=[-2.0, -2.0, 2.0, 2.0]: this generator is convolutional" in region.stderr
    assert "convolutional" in run("synthesize", f"ckpt={path}", "seeds=0", "stream=true", "output=a.tif").stderr


# ------------------------------------------------------------------ generators that yield no numbers


def spoiled(weights: Path, folder: Path, how: str) -> Path:
    """A copy of the generator with one value that is none, or (overflow) finite weights with infinite pictures."""
    generator = load_generator(weights)
    state = dict(generator.named_parameters())
    with torch.no_grad():
        if how == "overflow":
            for name, parameter in state.items():
                if name.startswith("to_rgb") and name.endswith(".weight"):
                    parameter.fill_(3e38)
        else:
            state["blocks.1.second.linear.bias"][3] = float(how)
    path = folder / f"{how}.safetensors"
    options = OPTIONS | {"fourier": {"features": 16}, "embedding": {"features": 16}}
    save_generator(generator, path, {"_target_": "cips_lab.networks.cips.CIPSGenerator", **options}, kimg=1.0)
    return path


@pytest.mark.parametrize("how", ["nan", "inf", "overflow"])
@pytest.mark.parametrize(
    "place",
    [
        ["output=grid.png"],
        ["output=pictures/"],
        ["output=large.tif", "resolution=[700,1500]"],
        ["output=large.png", "stream=true", "resolution=64"],
    ],
    ids=["grid", "folder", "tiff", "streamed"],
)
def test_pictures_of_no_numbers_are_refused(
    how: str, place: list[str], run: Run, weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ckpt = spoiled(weights, tmp_path_factory.mktemp("spoiled"), how)
    result = run("synthesize", f"ckpt={ckpt}", "seeds=5", *place)
    assert result.returncode == 2, result.stderr
    assert f"ckpt={ckpt}" in result.stderr
    named = "the picture of seed 5 is not finite" if how == "overflow" else "blocks.1.second.linear.bias is not finite"
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_later_seed_without_numbers_takes_the_earlier_with_it(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OmegaConf.load(conf_folder() / "synthesize.yaml")
    config = OmegaConf.merge(config, {"ckpt": str(weights), "output": str(tmp_path / "a"), "seeds": "0-9", "batch": 3})
    synthesis = Synthesis(config)
    plain = synthesis.generator.render

    def failing(w: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        images = plain(w, *rest, **options)  # type: ignore[arg-type]
        seventh = synthesis.generator.mapping(latents_of_seeds([7], w.shape[1]))
        images[(w - seventh).abs().amax(1) < 1e-4] = float("nan")
        return images

    monkeypatch.setattr(synthesis.generator, "render", failing)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("stays")
    with pytest.raises(UserError, match=rf"^ckpt={weights}: the picture of seed 7 is not finite"):
        synthesis.run()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mine.txt"]


def test_seeds_in_words() -> None:
    for seeds, expected in (
        (3, [3]),
        ("0-2", [0, 1, 2]),
        ("1, 4 - 6", [1, 4, 5, 6]),
        ([1, "3-4", "7,9"], [1, 3, 4, 7, 9]),
    ):
        assert parse_seeds(seeds) == expected
    for wrong in ("", "a", "5-1", "1.5", [], [None], "-1"):
        with pytest.raises(UserError, match="expected a number, a range"):
            parse_seeds(wrong)


@torch.no_grad()
def test_one_drawing_for_all(weights: Path) -> None:
    """Evaluations, grids of a run and this command draw a seed alike."""
    generator = load_generator(weights)
    z = latents_of_seeds([4, 9], generator.z_dim)
    w = generator.truncate(generator.mapping(z), 0.6)
    assert torch.equal(draw(generator, z, 0.6), generator.synthesize_native(w))
    grid = image_grid(9, 11)
    assert torch.equal(draw(generator, z, 0.6, grid), generator.render(w, grid))
    (batch,) = samples(generator, [torch.tensor([4, 9])], "cpu", 0.6)
    assert torch.equal(batch, quantize(generator.synthesize_native(w)))
    (oblong,) = samples(generator, [torch.tensor([4, 9])], "cpu", 0.6, [9, 11])
    assert torch.equal(oblong, quantize(generator.render(w, grid)))


def test_style_mixing(run: Run, weights: Path, tmp_path: Path) -> None:
    """The usual grid: pictures above and on the left as they are, and each with layers of each."""
    result = run("synthesize", f"ckpt={weights}", "mix=3-4,7:layers=0-2", "output=mixed.png")
    assert result.returncode == 0, result.stderr
    side = load_generator(weights).side
    sheet = np.asarray(Image.open(tmp_path / "mixed.png"))
    assert sheet.shape == (3 * side, 2 * side, 3)
    plain = run("synthesize", f"ckpt={weights}", "seeds=[7,3,4]", "columns=1", "output=plain.png")
    assert plain.returncode == 0, plain.stderr
    alone = np.asarray(Image.open(tmp_path / "plain.png")).astype(int)
    assert (sheet[:side, :side] == 255).all()
    assert np.abs(sheet[:side, side:] - alone[:side]).max() <= 1
    assert np.abs(sheet[side:, :side] - alone[side:]).max() <= 1
    mixed = sheet[side : 2 * side, side:].astype(int)
    assert np.abs(mixed - alone[:side]).max() > 1
    assert np.abs(mixed - alone[side : 2 * side]).max() > 1
    folder = run("synthesize", f"ckpt={weights}", "mix=3,7:layers=0-2", "output=folder")
    assert folder.returncode == 0, folder.stderr
    written = np.asarray(Image.open(tmp_path / "folder" / "seed000003-000007.png"))
    assert np.abs(written - mixed).max() <= 1
    for wrong, told in [("mix=3-7", "expected SEEDS,SEEDS"), ("mix=3,7:layers=0-99", "this generator's are 0-")]:
        refused = run("synthesize", f"ckpt={weights}", wrong)
        assert refused.returncode == 2
        assert told in refused.stderr
