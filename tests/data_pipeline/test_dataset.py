import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import random_picture
from PIL import Image

from cips_lab.data.dataset import ArrayDataset, FixedSizeDataset, ImageDataset, check_resolution, to_device_range
from cips_lab.data.fitting import fit
from cips_lab.data.sources import FolderSource
from cips_lab.errors import UserError


def lanczos_matrix(size: int, target: int) -> np.ndarray:
    """[target, size]: row i holds the weights of output i: sinc(x) sinc(x / 3), widened by the scale when shrinking."""
    scale = size / target
    widen = max(scale, 1.0)
    distance = (np.arange(size)[None] + 0.5 - (np.arange(target)[:, None] + 0.5) * scale) / widen
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    return weights / weights.sum(axis=1, keepdims=True)


def by_the_formula(crop: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture [H, W, 3] resized: Pillow filters rows first and rounds to 8 bits in between."""
    rows = np.einsum("ix,yxc->yic", lanczos_matrix(crop.shape[1], width), crop).round().clip(0, 255)
    return np.einsum("iy,yxc->ixc", lanczos_matrix(crop.shape[0], height), rows).round().clip(0, 255)


@settings(deadline=None, max_examples=30)
@given(width=st.integers(5, 60), height=st.integers(5, 60), log=st.integers(3, 5), seed=st.integers(0, 9))
def test_a_square_is_the_centre_crop_resized_by_the_lanczos_formula(
    width: int, height: int, log: int, seed: int
) -> None:
    picture = random_picture(width, height, seed)
    side, resolution = min(width, height), 2**log
    left, top = (width - side) // 2, (height - side) // 2
    crop = np.asarray(picture).astype(float)[top : top + side, left : left + side]
    expected = by_the_formula(crop, resolution, resolution)
    assert np.abs(np.asarray(fit(picture, resolution)) - expected).max() <= 2


@pytest.mark.parametrize(
    ("shape", "size", "box"),  # (width, height), (height, width), (left, top, right, bottom)
    [
        ((60, 40), (10, 20), (0, 5, 60, 35)),
        ((60, 20), (10, 20), (10, 0, 50, 20)),
        ((40, 60), (30, 10), (10, 0, 30, 60)),
        ((40, 60), 96, (0, 10, 40, 50)),
    ],
)
def test_a_rectangle_is_the_largest_centred_part_of_its_proportions(
    shape: tuple[int, int], size: int | tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    picture = random_picture(*shape, seed=3)
    height, width = (size, size) if isinstance(size, int) else size
    found = np.asarray(fit(picture, size))
    assert found.shape == (height, width, 3)
    crop = np.asarray(picture).astype(float)[box[1] : box[3], box[0] : box[2]]
    # Pillow chooses which of the two passes is first, and rounds and clips in between.
    columns_first = by_the_formula(crop.transpose(1, 0, 2), width, height).transpose(1, 0, 2)
    assert min(np.abs(found - e).max() for e in (by_the_formula(crop, height, width), columns_first)) <= 2


def test_pictures_at_another_size_come_from_their_originals(tmp_path: Path) -> None:
    random_picture(50, 30, seed=1).save(tmp_path / "a.png")
    dataset = ImageDataset(FolderSource(tmp_path), 8)
    wide = dataset.resized((12, 20))
    assert torch.equal(
        wide[0], torch.from_numpy(np.array(fit(random_picture(50, 30, seed=1), (12, 20)))).permute(2, 0, 1)
    )
    assert len({dataset.fingerprint(), wide.fingerprint(), dataset.resized((20, 12)).fingerprint()}) == 3
    array = ArrayDataset(np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16), dtype=np.uint8))
    assert torch.equal(array.resized(16)[1], array[1])
    assert array.resized((8, 16))[0].shape == (3, 8, 16)
    assert array.resized((8, 16)).fingerprint() != array.resized((16, 8)).fingerprint()


def test_samples_of_any_one_size_are_taken_as_they_are(tmp_path: Path) -> None:
    pictures = [random_picture(48, 24, seed) for seed in range(2)]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    dataset = FixedSizeDataset(FolderSource(tmp_path))
    assert dataset.resolution == (24, 48)
    np.testing.assert_array_equal(dataset[1].permute(1, 2, 0), pictures[1])
    random_picture(24, 48, seed=2).save(tmp_path / "2.png")
    with pytest.raises(UserError, match=r"2\.png: 24 x 48 pixels, where 48 x 24 are expected"):
        FixedSizeDataset(FolderSource(tmp_path))[2]


def test_a_picture_of_the_right_size_is_untouched(tmp_path: Path) -> None:
    picture = random_picture(16, 16, seed=5)
    picture.save(tmp_path / "a.png")
    item = ImageDataset(FolderSource(tmp_path), 16)[0]
    assert item.dtype == torch.uint8
    assert item.shape == (3, 16, 16)
    assert item.is_contiguous()
    np.testing.assert_array_equal(item.permute(1, 2, 0), picture)


def test_mixed_sizes_and_modes_give_one_shape(tmp_path: Path) -> None:
    for index, mode in enumerate(["RGB", "RGBA", "L", "LA", "P", "1"]):
        random_picture(20 + 7 * index, 50 - 5 * index, index, "RGBA").convert(mode).save(tmp_path / f"{index}.png")
    dataset = ImageDataset(FolderSource(tmp_path), 8)
    assert [tuple(dataset[index].shape) for index in range(len(dataset))] == [(3, 8, 8)] * 6


@pytest.mark.parametrize("resolution", [8, 64, 1024])
def test_powers_of_two_are_accepted(resolution: int) -> None:
    check_resolution(resolution)


@pytest.mark.parametrize(("resolution", "first", "second"), [(100, 64, 128), (4, 8, 16), (0, 8, 16), (-8, 8, 16)])
def test_other_resolutions_name_the_option_and_the_remedy(resolution: int, first: int, second: int) -> None:
    pattern = rf"resolution={resolution}:.*resolution={first} or resolution={second}$"
    with pytest.raises(UserError, match=pattern):
        check_resolution(resolution)


def test_array_items_are_copies() -> None:
    array = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    array.setflags(write=False)
    dataset = ArrayDataset(array)
    assert len(dataset) == 2
    assert dataset.resolution == 4
    item = dataset[1]
    np.testing.assert_array_equal(item, array[1])
    item.zero_()
    assert array[1].any()


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3, 4, 4)), np.zeros((2, 4, 4, 3), np.uint8), np.zeros((3, 4, 4), np.uint8)]
)
def test_arrays_of_another_layout_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=re.escape(str(list(array.shape)))):
        ArrayDataset(array)


def test_device_range_is_the_formula_and_mirrors_the_chosen_samples() -> None:
    images = torch.randint(0, 256, (6, 3, 4, 5), dtype=torch.uint8)
    mask = torch.tensor([True, False, True, True, False, False])
    result = to_device_range(images, mask)
    assert result.dtype == torch.float32
    for image, flip, value in zip(images, mask, result, strict=True):
        pixels = image.double() / 127.5 - 1
        torch.testing.assert_close(value.double(), pixels[..., [4, 3, 2, 1, 0]] if flip else pixels)


def test_device_range_reaches_both_ends() -> None:
    ends = torch.tensor([0, 255], dtype=torch.uint8).expand(1, 3, 1, 2)
    assert to_device_range(ends, torch.tensor([False]))[0, 0, 0].tolist() == [-1.0, 1.0]


def test_the_picture_is_not_turned(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0, 7] = (1, 2, 3)  # top right
    Image.fromarray(pixels).save(tmp_path / "corner.png")
    item = ImageDataset(FolderSource(tmp_path), 8)[0]
    assert item[:, 0, 7].tolist() == [1, 2, 3]
    assert item.sum() == 6
