"""Windows of pictures and of a generator's plane: the same places, every scale, nothing enlarged."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from variants import build

from cips_lab.data.blue_marble import load_tiles
from cips_lab.data.dataset import ArrayDataset, ImageDataset
from cips_lab.data.fitting import fit
from cips_lab.data.sources import FolderSource
from cips_lab.data.windows import picture_of
from cips_lab.errors import UserError
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.mapping import latents_of_seeds
from cips_lab.render.patches import Patches, patch_size
from cips_lab.render.pictures import quantize
from cips_lab.render.scene import samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """Ten pictures of several sizes and proportions."""
    path = tmp_path_factory.mktemp("pictures")
    for number, tile in enumerate(load_tiles(64, "train")[::500][:10]):
        Image.fromarray(tile.transpose(1, 2, 0)).crop((0, 0, 64, 40 + number)).save(path / f"{number}.png")
    return ImageDataset(FolderSource(path), 16)


def test_scales_are_even_by_octaves_and_nothing_is_enlarged(folder: ImageDataset) -> None:
    patches = Patches.chosen(folder, 3000, 16)
    times = torch.tensor([window.columns / 16 for window in patches.windows])
    assert times.min() >= 1
    for number, window in enumerate(patches.windows):
        width, height = folder.dimensions(picture_of(number, 3000, 10))
        assert window.columns == window.rows <= min(width, height)
        assert 0 <= window.left <= window.columns - 16
        assert 0 <= window.top <= window.rows - 16
    first = torch.log2(times[:: len(folder)]) / np.log2(40 / 16)  # of one picture
    assert torch.histc(first, 4, 0, 1).tolist() == pytest.approx([75] * 4, abs=25)
    assert Patches.chosen(folder, 3000, 16).windows == patches.windows


def test_a_patch_is_cut_from_the_picture_at_its_scale(folder: ImageDataset) -> None:
    patches = Patches.chosen(folder, 30, 16)
    shown = patches.of(folder)
    for number in (0, 7, 25):
        left, top, _, columns, rows = patches.windows[number]
        whole = np.asarray(fit(folder.picture(number % 10), (rows, columns)))
        expected = whole[top : top + 16, left : left + 16].transpose(2, 0, 1)
        difference = np.abs(shown[number].numpy().astype(int) - expected)
        assert difference.mean() < 1.0  # Pillow rounds a whole row before it resizes columns


@torch.no_grad()
def test_a_generator_is_seen_at_the_same_places(folder: ImageDataset) -> None:
    generator = build("cips")
    patches = Patches.chosen(folder, 12, 16)
    numbers = torch.tensor([1, 4, 11])
    found = torch.cat(list(samples(generator, numbers.split(2), "cpu", places=patches.places)))
    for index, number in enumerate(numbers.tolist()):
        left, top, _, columns, rows = patches.windows[number]
        w = generator.mapping(latents_of_seeds([number], generator.z_dim))
        whole = quantize(generator.render(w, image_grid(rows, columns)))[0]
        expected = whole[:, top : top + 16, left : left + 16].int()
        assert (found[index].int() - expected).abs().max() <= 1


@torch.no_grad()
def test_patches_of_a_cylinder_lie_all_around(folder: ImageDataset) -> None:
    generator = build("cips", surface="cylinder", turns=3)
    patches = Patches.chosen(folder, 4, 16, largest=16)
    numbers = torch.arange(4)
    found = torch.cat(list(samples(generator, [numbers], "cpu", places=patches.places)))
    frames = torch.cat(list(samples(generator, [numbers], "cpu")))
    assert (found.int() - frames.int()).abs().max() <= 1


def test_pictures_are_spread_where_there_are_more_than_patches() -> None:
    assert [picture_of(k, 4, 100) for k in range(4)] == [0, 25, 50, 75]
    assert Counter(picture_of(k, 25, 10) for k in range(25)) == {k: 3 if k < 5 else 2 for k in range(10)}
    array = ArrayDataset(np.arange(100, dtype=np.uint8)[:, None, None, None].repeat(3, 1).repeat(16, 2).repeat(16, 3))
    shown = Patches.chosen(array, 4, 16).of(array)
    assert [int(shown[k][0, 0, 0]) for k in range(4)] == [0, 25, 50, 75]


def test_their_fingerprint_is_of_pictures_and_windows(folder: ImageDataset) -> None:
    several = [
        Patches.chosen(folder, *options).of(folder) for options in [(20, 16), (20, 16), (21, 16), (20, 8), (20, 16, 24)]
    ]
    prints = [one.fingerprint() for one in several]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


def test_small_pictures_are_named(folder: ImageDataset) -> None:
    with pytest.raises(UserError, match=r"0\.png: 40 x 40 pixels of it have a patch's proportions"):
        Patches.chosen(folder, 20, 41)


def test_sizes_of_patches() -> None:
    assert patch_size(None, 64, 64) == 64
    assert patch_size(32, (64, 128), (64, 128)) == (16, 32)
    assert patch_size(None, 200, None) == 200
    assert patch_size(None, (1024, 2048), None) == (128, 256)
    with pytest.raises(UserError, match="larger than the samples"):
        patch_size(300, 200, None)


def test_damaged_headers_are_told_as_damaged_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png"):
        Patches.chosen(ImageDataset(FolderSource(tmp_path), 16), 3, 16)
