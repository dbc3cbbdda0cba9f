"""`python -m cips_lab.invert`: what it writes, what it reads, and how it refuses."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cips_lab import load_generator
from cips_lab.errors import UserError
from cips_lab.files.whole import sha256_of
from cips_lab.interop.native import save_generator
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.render.inverted import Inversion, draw_inverted, load_inversion, save_inversion
from cips_lab.render.pictures import to_uint8

Run = Callable[..., subprocess.CompletedProcess[str]]
SIZES = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2}
CIPS = {"resolution": 16, "width": 16, **SIZES, "fourier": {"features": 16}, "embedding": {"features": 16}}
QUICK = ("steps=20", "candidates=16", "features=0", "edits=null")


def saved(generator: torch.nn.Module, path: Path, name: str, **options: object) -> Path:
    save_generator(generator, path, {"_target_": f"cips_lab.networks.{name}", **options}, kimg=1.0)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "generator.safetensors"
    return saved(CIPSGenerator(**CIPS), path, "cips.CIPSGenerator", **CIPS)  # type: ignore[arg-type]


@pytest.fixture
def picture(weights: Path, tmp_path: Path) -> Path:
    """Picture 5 of the generator."""
    generator = load_generator(weights)
    drawn = to_uint8(generator(generator.mapping.latents([5])))[0]
    Image.fromarray(drawn).save(tmp_path / "drawn.png")
    return tmp_path / "drawn.png"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_a_picture_is_found_and_drawn_again(run: Run, weights: Path, picture: Path, tmp_path: Path) -> None:
    result = run("invert", f"image={picture}", f"ckpt={weights}", "output=found", "steps=60", "edits=0-2")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "found"
    files = {path.name for path in folder.iterdir()}
    assert files >= {"target.png", "reconstruction.png", "comparison.png", "path.png", "edits.png"}
    assert files - {"path.mp4"} - {f"{n}.png" for n in ("target", "reconstruction", "comparison", "path", "edits")} == {
        "inversion.safetensors",
        "inversion.json",
        "curve.csv",
    }
    assert (pixels(folder / "target.png") == pixels(picture)).all()
    numbers = json.loads((folder / "inversion.json").read_text())
    error = np.square(pixels(folder / "reconstruction.png") - pixels(picture)).mean()
    assert numbers["psnr"] == pytest.approx(10 * np.log10(255**2 / error))
    assert numbers["psnr"] > 25 > numbers["mean_psnr"] + 5
    assert numbers["gain_db"] == pytest.approx(numbers["psnr"] - numbers["mean_psnr"])
    assert list(numbers["stages"]) == ["w", "layers"]
    assert numbers["feature_distance"] < numbers["mean_feature_distance"]
    assert f"{numbers['psnr']:.1f} dB" in result.stdout
    rows = list(csv.DictReader((folder / "curve.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(2 * 61))
    assert float(rows[60]["psnr"]) > float(rows[0]["psnr"])

    found = load_inversion(folder / "inversion.safetensors")
    generator = load_generator(weights)
    assert found.generator == sha256_of(weights) == numbers["generator_sha256"]
    assert found.styles.shape == (1, generator.num_layers, 8)
    assert (to_uint8(draw_inverted(generator, found))[0] == pixels(folder / "reconstruction.png")).all()
    large = draw_inverted(generator, found, resolution=[40, 30], region=(-1, -1, 0.5, 1))
    expected = generator.synthesis(found.styles, image_grid(40, 30, (-1, -1, 0.5, 1)).view(-1, 2))
    torch.testing.assert_close(large, expected.mT.unflatten(2, (40, 30)), rtol=1e-3, atol=1e-4)


def test_the_same_command_writes_the_same(run: Run, weights: Path, picture: Path, tmp_path: Path) -> None:
    for output in ("a", "b"):
        result = run("invert", f"image={picture}", f"ckpt={weights}", f"output={output}", *QUICK, "perturbation=0.1")
        assert result.returncode == 0, result.stderr
    for name in ("inversion.safetensors", "reconstruction.png", "path.png", "curve.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_several_pictures_get_a_folder_each(run: Run, weights: Path, picture: Path, tmp_path: Path) -> None:
    """One lies on its side by its EXIF, one is transparent and no square: they are read as training pictures are."""
    (tmp_path / "many").mkdir()
    photo = Image.fromarray(np.arange(24 * 16 * 3, dtype=np.uint8).reshape(24, 16, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "many" / "photo.png", exif=exif)
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(tmp_path / "many" / "clear.png")
    result = run("invert", f"image=[many,{picture},many/photo.png]", f"ckpt={weights}", "output=all", *QUICK)
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader((tmp_path / "all/inversions.csv").open()))
    assert [row["name"] for row in rows] == ["clear", "photo", "drawn", "photo-2"]
    assert (pixels(tmp_path / "all/clear/target.png") == 255).all()
    upright = np.asarray(photo.rotate(-90, expand=True))[:, 4:20]
    assert (pixels(tmp_path / "all/photo/target.png") == upright).all()
    alone = run("invert", f"image={picture}", f"ckpt={weights}", "output=alone", *QUICK)
    assert alone.returncode == 0
    own, with_others = (load_inversion(tmp_path / f / "inversion.safetensors") for f in ("alone", "all/drawn"))
    assert torch.equal(own.styles, with_others.styles)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("image=gone.png",), ("image=gone.png", "does not exist")),
        (("image=broken.png",), ("broken.png cannot be decoded", "delete or replace")),
        (("image=null",), ("image=... is missing",)),
        (("ckpt=null",), ("ckpt=... is missing",)),
        (("ckpt=gone.safetensors",), ("gone.safetensors: no such file",)),
        (("ckpt=drawn.png",), ("drawn.png",)),
        (("output=full",), ("output=full", "not empty", "overwrite=true")),
        (("output=drawn.png",), ("output=drawn.png", "is a file")),
        (("stepz=3",), ("stepz", "steps")),
        (("steps=0",), ("steps", "positive")),
        (("space=z",), ("space", "layers_noise")),
        (("space=layers_noise",), ("no noise", "choose space=layers")),
        (("class=1",), ("class=1", "no classes")),
        (("pixels=0",), ("nothing is compared",)),
        (("learning_rate=1e39",), ("learning_rate", "at most 100")),
        (("device=cuda:9",), ("device=cuda:9",)),
    ],
    ids=str,
)
def test_mistakes_are_told_in_one_message(
    run: Run, weights: Path, picture: Path, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (tmp_path / "broken.png").write_bytes(picture.read_bytes()[:60])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/kept.txt").write_text("mine")
    result = run("invert", f"image={picture}", f"ckpt={weights}", "output=new", *QUICK, *arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    lines = result.stderr.split("error: ")
    assert len(lines) == 2
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[1]
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".partial*"))
    assert (tmp_path / "full/kept.txt").read_text() == "mine"


def test_overwrite_replaces_a_folder_whole(run: Run, weights: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/kept.txt").write_text("mine")
    result = run("invert", f"image={picture}", f"ckpt={weights}", "output=full", "overwrite=true", *QUICK)
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "full/kept.txt").exists()
    assert (tmp_path / "full/inversion.json").exists()


def test_a_convolutional_generator_has_its_native_pictures(run: Run, picture: Path, tmp_path: Path) -> None:
    options = {"resolution": 16, **SIZES, "channel_base": 128, "channel_max": 16}
    generator = StyleGAN2Generator(**options)  # type: ignore[arg-type]
    saved(generator, tmp_path / "stylegan2.safetensors", "stylegan2.StyleGAN2Generator", **options)
    common = ("invert", f"image={picture}", "ckpt=stylegan2.safetensors", *QUICK)
    assert run(*common, "output=native").returncode == 0
    for argument, words in (("resolution=32", "native 16 x 16 only"), ("space=layers_noise", "convolutional")):
        refused = run(*common, argument, "output=new")
        assert refused.returncode == 2
        assert words in refused.stderr


def test_an_inversion_file_of_others_is_looked_at(weights: Path, tmp_path: Path) -> None:
    generator = load_generator(weights)
    path = tmp_path / "inversion.safetensors"
    good = Inversion(torch.randn(1, 8), torch.randn(generator.num_layers, 16, 16), 3, "abc", {"space": "w"})
    save_inversion(good, path)
    again = load_inversion(path)
    assert torch.equal(again.styles, good.styles)
    assert again.noise is not None
    assert (again.noise_seed, again.generator, again.settings) == (3, "abc", {"space": "w"})
    for styles, noise in (
        (torch.full((1, 8), torch.nan), None),
        (torch.randn(8), None),
        (torch.randn(2, 8), None),
        (torch.randn(1, 8).double(), None),
        (torch.randn(1, 8), torch.randn(3)),
    ):
        save_inversion(Inversion(styles, noise), path)
        with pytest.raises(UserError, match=r"inversion\.safetensors"):
            load_inversion(path)
    with pytest.raises(UserError, match="holds no inversion"):
        load_inversion(weights)
    for styles in (torch.randn(1, 9), torch.randn(1, 3, 8)):
        with pytest.raises(UserError, match="does not fit"):
            draw_inverted(generator, Inversion(styles))
