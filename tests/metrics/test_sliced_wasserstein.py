"""The sliced Wasserstein distance: its pyramid, the formula as loops, its error, and what each level sees."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage
from sets import spoiled, tiles
from torch import Tensor

from cips_lab.metrics import laplacian
from cips_lab.metrics.laplacian import Descriptors, descriptors, enlarged, levels_of, places_in, pyramid
from cips_lab.metrics.sliced_wasserstein import (
    DIRECTIONS,
    level_distance,
    normalised,
    random_directions,
    sliced_wasserstein,
)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.from_numpy(tiles(600).copy())


def seen(images: Tensor, batch: int = 64) -> dict[str, Tensor]:
    accumulator = Descriptors((images.shape[-2], images.shape[-1]), len(images))
    for numbers in torch.arange(len(images)).split(batch):
        accumulator.update(images[numbers], numbers)
    return accumulator.compute()


def test_levels_halve_down_to_16() -> None:
    assert levels_of(128) == [(128, 128), (64, 64), (32, 32), (16, 16)]
    assert levels_of((64, 384)) == [(64, 384), (32, 192), (16, 96)]
    assert levels_of(96) == [(96, 96), (48, 48), (24, 24)]
    assert levels_of(8) == [(8, 8)]


@pytest.mark.parametrize("size", [(64, 64), (32, 64)])
def test_levels_add_up_to_the_picture(size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    levels = pyramid(images, len(levels_of(size)))
    whole = levels[-1]
    for finer in levels[-2::-1]:
        whole = enlarged(whole) + finer
    torch.testing.assert_close(whole, images.float(), rtol=0, atol=1e-3)
    assert all(a.shape[-1] == 2 * b.shape[-1] for a, b in pairwise(levels))


def test_a_level_is_that_of_the_reference_implementation() -> None:
    """Karras et al.'s code filters with scipy.ndimage: 5 x 5 binomial weights, borders mirrored."""
    image = np.random.default_rng(0).uniform(0, 255, (32, 32)).astype(np.float32)
    weights = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]).astype(np.float32) / 256
    smaller = ndimage.convolve(image, weights, mode="mirror")[::2, ::2]
    spread = np.zeros_like(image)
    spread[::2, ::2] = smaller
    expected = image - ndimage.convolve(spread, 4 * weights, mode="mirror")
    found = pyramid(torch.from_numpy(image)[None, None], 2)
    torch.testing.assert_close(found[0][0, 0], torch.from_numpy(expected), rtol=0, atol=1e-3)
    torch.testing.assert_close(found[1][0, 0], torch.from_numpy(smaller), rtol=0, atol=1e-3)


def test_patches_lie_at_places_of_their_own_all_over_the_level() -> None:
    places = places_in(64, 128)
    assert len({tuple(place) for place in places.tolist()}) == 16
    assert places.min(0).tolist() < [16, 32]
    assert (places.max(0) <= [57, 121]).all()
    assert (places.max(0) > [40, 80]).all()
    level = torch.arange(3 * 8 * 8).view(1, 3, 8, 8).float()
    cut = descriptors(level)
    y, x = places_in(8, 8)[1]
    assert torch.equal(cut[0, 1, 2].view(7, 7), level[0, 2, y : y + 7, x : x + 7].half())


def test_it_is_the_formula_as_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 4, 3, 49, generator=generator) * scale + 1 for scale in (1.0, 2.0))

    def brought(patches: Tensor) -> np.ndarray:
        values = patches.double().numpy()
        parts = [(values[:, :, c] - values[:, :, c].mean()) / values[:, :, c].std() for c in range(3)]
        return np.stack(parts, axis=2).reshape(24, 147)

    x, y = brought(a), brought(b)
    distances = []
    for direction in random_directions(147).double().numpy():
        ours, theirs = sorted(float(p @ direction) for p in x), sorted(float(p @ direction) for p in y)
        distances.append(sum(abs(p - q) for p, q in zip(ours, theirs, strict=True)) / 24)
    assert len(distances) == DIRECTIONS
    assert level_distance(a, b)[0] == pytest.approx(sum(distances) / DIRECTIONS, rel=1e-5)


def test_a_set_and_itself_in_another_order_do_not_differ(pictures: Tensor) -> None:
    found = sliced_wasserstein(seen(pictures[:100].flip(0)), seen(pictures[:100]))
    assert found.value < 1e-4
    assert found.levels.keys() == {"32", "16"}


def test_batches_and_more_pictures_than_are_looked_at(pictures: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    real = seen(pictures[::2])
    expected = sliced_wasserstein(seen(pictures[1:101:2]), real)
    assert sliced_wasserstein(seen(pictures[1:101:2], batch=7), real) == expected
    # Of sets that differ in number as many of the larger, spread over it.
    assert sliced_wasserstein(seen(pictures[1:101:2]), {name: part[::6] for name, part in real.items()}) == expected
    monkeypatch.setattr(laplacian, "PICTURES", 50)
    assert sliced_wasserstein(seen(pictures[1:101:2]), seen(pictures[::2])) == expected


@pytest.mark.parametrize(("radius", "noise"), [(0.0, 0.0), (0.8, 0.0), (0.0, 8.0)])
def test_the_error_is_the_spread_over_draws(pictures: Tensor, radius: float, noise: float) -> None:
    real, others = seen(pictures[:100]), seen(torch.from_numpy(spoiled(pictures[100:].numpy(), radius, noise)))
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(30):
        drawn = torch.randint(500, (100,), generator=generator)
        one = sliced_wasserstein({name: part[drawn] for name, part in others.items()}, real)
        found.append((one.value, one.se))
    values, errors = torch.tensor(found).T
    assert errors.mean() == pytest.approx(float(values.std()), rel=0.3)


def test_levels_see_faults_of_their_scale(pictures: Tensor) -> None:
    real, others = pictures[::2], pictures[1::2]
    plain = sliced_wasserstein(seen(others), seen(real)).levels
    noise = sliced_wasserstein(seen(torch.from_numpy(spoiled(others.numpy(), radius=0, noise=16.0))), seen(real)).levels
    blocks = others.float().unflatten(2, (16, 2)).mean(3).unflatten(3, (16, 2)).mean(4)
    coarse = blocks.repeat_interleave(2, 2).repeat_interleave(2, 3).byte()
    low = sliced_wasserstein(seen(coarse), seen(real)).levels
    for fault, least in ((noise, 100), (low, 5)):
        assert fault["32"] > plain["32"] + least
        assert abs(fault["16"] - plain["16"]) < (fault["32"] - plain["32"]) / 3


def test_pictures_smaller_than_a_patch_are_one(pictures: Tensor) -> None:
    small, others = pictures[:60:2, :, :5, :6], pictures[1:60:2, :, :5, :6]
    assert seen(small)["6x5"].shape == (30, 2, 3, 25)
    assert sliced_wasserstein(seen(others), seen(small)).value > 0


def test_a_channel_without_any_contrast_is_no_division_by_zero() -> None:
    assert normalised(torch.full((2, 1, 3, 49), 7.0)).abs().max() == 0
