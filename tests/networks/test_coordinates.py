"""Grids of coordinates, entry by entry."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cips_lab.networks.coordinates import image_grid

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
