"""Grids of coordinates, entry by entry."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cips_lab.networks.coordinates import foveated_pixels, image_grid

edge = st.floats(-4, 4, width=32)


def test_the_native_grid_is_the_papers_linspace() -> None:
    for size in (8, 16, 100, 256):
        axis = torch.linspace(-1, 1, size, dtype=torch.float64)
        grid = image_grid(size, size)
        assert grid.dtype == torch.float32
        for i in (0, 1, size // 2, size - 1):
            torch.testing.assert_close(grid[i, :, 0].double(), axis, atol=6e-8, rtol=0)  # x runs along a row
            torch.testing.assert_close(grid[:, i, 1].double(), axis, atol=6e-8, rtol=0)  # y runs down a column
        assert grid[0, 0].tolist() == [-1, -1]
        assert grid[0, -1].tolist() == [1, -1]
        assert grid[-1, 0].tolist() == [-1, 1]


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    x=st.tuples(edge, edge).filter(lambda e: e[0] < e[1]),
    y=st.tuples(edge, edge).filter(lambda e: e[0] < e[1]),
)
def test_any_region(height: int, width: int, x: tuple[float, float], y: tuple[float, float]) -> None:
    grid = image_grid(height, width, (x[0], y[0], x[1], y[1]))
    assert grid.shape == (height, width, 2)

    def place(ends: tuple[float, float], index: int, count: int) -> float:
        share = 0.5 if count == 1 else index / (count - 1)
        return ends[0] + share * (ends[1] - ends[0])

    for i in range(height):
        for j in range(width):
            assert abs(float(grid[i, j, 0]) - place(x, j, width)) <= 5e-7
            assert abs(float(grid[i, j, 1]) - place(y, i, height)) <= 5e-7
    if width > 1:
        assert float(grid[0, 0, 0]) == x[0]
        assert float(grid[0, -1, 0]) == x[1]


@pytest.mark.parametrize("every", [2, 3, 5, 7])
def test_pixels_that_two_grids_share_are_equal_to_the_bit(every: int) -> None:
    for size in (8, 16, 64, 256, 1024):
        finer = (size - 1) * every + 1
        assert torch.equal(image_grid(1, finer)[:, ::every], image_grid(1, size))
        assert torch.equal(image_grid(finer, 1)[::every], image_grid(size, 1))


@given(height=st.integers(1, 40), start=st.integers(0, 40), stop=st.integers(0, 40))
def test_rows_are_those_of_the_whole_grid_to_the_bit(height: int, start: int, stop: int) -> None:
    region = (-0.3, -1.7, 0.9, 2.1)
    whole = image_grid(height, 7, region)
    assert torch.equal(image_grid(height, 7, region, rows=slice(start, stop)), whole[start:stop])


def test_a_single_row_or_column_lies_in_the_middle() -> None:
    assert image_grid(1, 1).tolist() == [[[0, 0]]]
    assert image_grid(1, 2, (0, 2, 1, 4)).tolist() == [[[0, 3], [1, 3]]]
    assert image_grid(2, 1, (0, 2, 1, 4)).tolist() == [[[0.5, 2]], [[0.5, 4]]]


@pytest.mark.parametrize(("height", "width"), [(0, 4), (4, 0), (-1, 4)])
def test_sizes_that_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match="height and width"):
        image_grid(height, width)


@pytest.mark.parametrize(
    "region", [(1, -1, -1, 1), (-1, 1, 1, -1), (0, 0, 0, 1), (0, 0, 1, 0), (float("nan"), 0, 1, 1)]
)
def test_empty_regions_are_refused(region: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="region"):
        image_grid(4, 4, region)


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    share=st.floats(0, 1, exclude_min=True),
    fixation=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    seed=st.integers(0, 99),
)
def test_foveated_pixels_are_so_many_different_ones(
    height: int, width: int, share: float, fixation: tuple[float, float], seed: int
) -> None:
    pixels = foveated_pixels(height, width, share, fixation, seed=seed)
    assert pixels.dtype == torch.int64
    assert len(pixels) == max(1, round(share * height * width))
    assert (pixels.diff() > 0).all()  # rising, so without replacement
    assert pixels[0] >= 0
    assert pixels[-1] < height * width
    assert torch.equal(pixels, foveated_pixels(height, width, share, fixation, seed=seed))


def test_all_pixels_are_all_pixels() -> None:
    assert torch.equal(foveated_pixels(7, 5, 1.0, (0.3, 0.9)), torch.arange(35))


def frequencies(fixation: tuple[float, float], std: float, draws: int) -> torch.Tensor:
    """How often each of 16 x 16 pixels is the one that is drawn, [256]."""
    counts = torch.zeros(256, dtype=torch.float64)
    for seed in range(draws):
        counts[foveated_pixels(16, 16, 1 / 256, fixation, std, seed)] += 1
    return counts / draws


@pytest.mark.parametrize(("fixation", "std"), [((0.0, 0.0), 0.4), ((0.0, 0.0), 0.15), ((0.6, -0.4), 0.4)])
def test_the_density_of_foveated_pixels_is_the_gaussian(fixation: tuple[float, float], std: float) -> None:
    """Of one pixel a draw, whose distribution is the Gaussian's, normalised: chi squared over twelve rings."""
    draws = 4000
    x, y = image_grid(16, 16).double().unbind(-1)
    squared = ((x - fixation[0]).square() + (y - fixation[1]).square()).flatten() / 4  # in picture sizes
    expected = torch.exp(-squared / (2 * std**2))
    expected = expected / expected.sum()
    found = frequencies(fixation, std, draws)
    order = squared.argsort()
    # Rings of equal probability, so that none is nearly empty.
    ring = (expected[order].cumsum(0) * 12).long().clamp(max=11)
    wanted = torch.zeros(12, dtype=torch.float64).index_add_(0, ring, expected[order]) * draws
    got = torch.zeros(12, dtype=torch.float64).index_add_(0, ring, found[order]) * draws
    assert ((got - wanted).square() / wanted).sum() < 31.3  # the 0.1 % point of 11 degrees of freedom
    # The same pixels do not come from a deviation a fifth larger.
    other = torch.exp(-squared / (2 * (1.2 * std) ** 2))
    other = torch.zeros(12, dtype=torch.float64).index_add_(0, ring, (other / other.sum())[order]) * draws
    assert ((got - other).square() / other).sum() > 31.3


def test_a_fixation_moves_foveated_pixels_there() -> None:
    for fixation in ((0.8, 0.0), (0.0, -0.8), (-0.5, 0.5)):
        chosen = image_grid(64, 64).view(-1, 2)[foveated_pixels(64, 64, 0.1, fixation, std=0.1)]
        for place, wanted in zip(chosen.mean(0).tolist(), fixation, strict=True):
            assert abs(place - wanted) < 0.1
    a, b = (foveated_pixels(64, 64, 0.25, seed=seed) for seed in (0, 1))
    assert not torch.equal(a, b)


@pytest.mark.parametrize(("share", "std"), [(0.0, 0.4), (1.01, 0.4), (float("nan"), 0.4), (0.5, 0.0), (0.5, -1.0)])
def test_shares_and_deviations_that_are_refused(share: float, std: float) -> None:
    with pytest.raises(ValueError, match="foveated_pixels"):
        foveated_pixels(8, 8, share, std=std)
