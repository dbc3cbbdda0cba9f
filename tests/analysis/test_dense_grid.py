"""Figure 9: the finer grid holds the native one, lies over what filters make, and is judged beside them."""

from typing import Any

import pytest
import torch
from studies import study, subject
from torch import Tensor

from cips_lab.analysis.enlarging import (
    BICUBIC,
    DENSE,
    LANCZOS,
    draw_larger,
    enlarge,
    gaussian_at,
    real_at,
    region_of,
)
from cips_lab.analysis.figures import dense_grid
from cips_lab.analysis.figures.dense_grid import FACTORS, WAYS, DenseGrid, beyond_native, crop_places, cropped
from cips_lab.analysis.subject import Unsuitable
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.networks.coordinates import image_grid
from cips_lab.reporting.figures import drawing


class Planted:
    """A "generator" of a known function of the coordinate."""

    resolution = side = 16

    def render(self, w: Tensor, grid: Tensor) -> Tensor:
        x, y = grid.unbind(-1)
        return torch.stack([0.8 * x, 0.8 * y, 0.3 * x - 0.4 * y])[None].expand(len(w), -1, -1, -1)

    def synthesize_native(self, w: Tensor) -> Tensor:
        return self.render(w, image_grid(16, 16))


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("variant", ["cips", "cips_ne", "cips_no_fourier", "cips_base"])
def test_a_dense_grid_that_holds_the_native_grid_reproduces_the_native_picture(variant: str, factor: int) -> None:
    generator = subject(variant).generator
    w = torch.randn(2, generator.w_dim, generator=torch.Generator().manual_seed(0))
    side = factor * 15 + 1
    dense = generator.render(w, image_grid(side, side))
    native = generator.synthesize_native(w)
    torch.testing.assert_close(dense[..., ::factor, ::factor], native, atol=1e-4, rtol=0)
    assert (dense[..., 1::factor, ::factor] - native[..., :-1, :]).abs().max() > 0.01


@pytest.mark.parametrize("factor", [1, 2, 3, 8])
def test_the_region_is_where_pillow_puts_pixels(factor: int) -> None:
    """Pixel j of an enlarged picture is the middle of its k-th part of a native pixel."""
    grid = image_grid(16 * factor, 16 * factor, region_of(16, factor))
    places = (torch.arange(16 * factor) + 0.5) / factor - 0.5
    torch.testing.assert_close(grid[0, :, 0], -1 + 2 * places / 15, atol=1e-6, rtol=0)
    torch.testing.assert_close(grid[:, 0, 1], -1 + 2 * places / 15, atol=1e-6, rtol=0)
    # The mean of a native pixel's parts is that pixel: what makes a data set smaller does this.
    parts = grid.unflatten(0, (16, factor)).unflatten(2, (16, factor)).mean((1, 3))
    torch.testing.assert_close(parts, image_grid(16, 16), atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("way", [BICUBIC, LANCZOS])
def test_a_ramp_is_the_same_in_every_way(way: str, factor: int) -> None:
    """A linear function of the coordinate, which the filters reproduce away from the edges (Lanczos nearly)."""
    dense, enlarged = (
        draw_larger(Planted(), torch.zeros(1, 4), factor, which).int()  # type: ignore[arg-type]
        for which in (DENSE, way)
    )
    assert dense.shape == (1, 3, 16 * factor, 16 * factor)
    inner = slice(3 * factor, -3 * factor)
    assert (dense - enlarged)[..., inner, inner].abs().max() <= (1 if way == BICUBIC else 2)
    assert (dense - enlarged.roll(1, -1))[..., inner, inner].float().abs().mean() > 1  # one pixel off is seen


def test_enlarging_is_each_picture_by_itself() -> None:
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(enlarge(images, 1, LANCZOS), images)
    assert torch.equal(enlarge(images, 2, BICUBIC)[1:2], enlarge(images[1:2], 2, BICUBIC))


def wave(cycles: int, side: int = 64) -> Tensor:
    phase = 2 * torch.pi * cycles * torch.arange(side, dtype=torch.float64) / side
    return (127.5 + 100 * torch.sin(phase)).round().byte().expand(1, 3, side, side)


def test_energy_beyond_the_native_picture() -> None:
    """64 pixels from 32 hold up to 32 cycles, of which 16 are native; from 16, 8 are."""
    assert beyond_native(wave(10), 2) < 0.01
    assert beyond_native(wave(22), 2) > 0.99
    assert beyond_native(wave(22).mT, 2) > 0.99
    assert beyond_native(wave(10), 4) > 0.8
    assert beyond_native(torch.cat([wave(10), wave(22)]), 2) == pytest.approx(0.5, abs=0.01)
    assert beyond_native(torch.full((1, 3, 16, 16), 77, dtype=torch.uint8), 2) < 1e-6


def test_what_filters_make_has_nothing_beyond() -> None:
    noise = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert beyond_native(enlarge(noise, 4, LANCZOS), 4) < 0.05
    assert beyond_native(enlarge(noise, 4, BICUBIC), 4) < 0.1
    assert beyond_native(noise.repeat_interleave(4, 2).repeat_interleave(4, 3), 4) > 0.2  # as squares it would have


def test_crops_are_at_the_same_places_of_every_set() -> None:
    places = crop_places(17, 10)
    assert places.min() >= 0
    assert places.max() <= 16
    assert len(places.unique(dim=0)) > 5
    images = torch.stack([torch.arange(32) + 32 * torch.arange(32)[:, None]] * 3).expand(10, 3, 32, 32)
    whole = torch.cat(list(cropped([images], places, 16)))
    parts = torch.cat(list(cropped(images.split(3), places, 16)))
    assert torch.equal(whole, parts)
    assert torch.equal(whole[:, 0, 0, 0], places[:, 0] * 32 + places[:, 1])


def test_the_part_that_is_shown_is_the_busiest() -> None:
    image = torch.full((3, 40, 40), 90.0)
    image[:, 22:34, 5:17] += 50 * torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    top, left, size = dense_grid.busiest(image)
    assert size == 12 / 40
    assert abs(top * 40 - 22) <= 1
    assert abs(left * 40 - 5) <= 1


@pytest.fixture(scope="module")
def computed() -> tuple[Any, DenseGrid]:
    ours = study(subject("stylegan2"), subject(), subject("cips_ne"), count=20, quick=True)
    return ours, dense_grid.compute(ours)


def test_distances_are_those_of_the_sets_drawn_apart(computed: tuple[Any, DenseGrid]) -> None:
    """Naively: draw again, crop again, and compare."""
    ours, data = computed
    one, model = data.one(2, DENSE), ours.subjects[1]
    real = torch.stack([real_at(ours, 32)[i] for i in range(20)])  # type: ignore[index]
    made = draw_larger(model.generator, ours.styles(model, range(20)), 2, DENSE)
    theirs, mine = (ours.gaussian(images.split(16), 20) for images in (real, made))
    assert one.distance == pytest.approx(frechet_distance(mine, theirs), rel=1e-4)
    corners = crop_places(17, 20).tolist()
    theirs, mine = (
        ours.gaussian(
            torch.stack([x[:, i : i + 16, j : j + 16] for x, (i, j) in zip(images, corners, strict=True)]).split(16), 20
        )
        for images in (real, made)
    )
    assert one.patch_distance == pytest.approx(frechet_distance(mine, theirs), rel=1e-4)
    assert one.patch_distance != pytest.approx(one.distance, rel=1e-3)


def test_another_figure_may_have_drawn_the_same(computed: tuple[Any, DenseGrid]) -> None:
    ours = study(subject(), count=12, quick=True)
    gaussian_at(ours, ours.subjects[0], 2, LANCZOS, 12)
    fresh = study(subject(), count=12, quick=True)
    found, again = (
        dense_grid.judged(each, each.subjects[0], 2, LANCZOS, real_at(each, 32))  # type: ignore[arg-type]
        for each in (ours, fresh)
    )
    assert found == pytest.approx(again, rel=1e-6)


def test_what_is_told(computed: tuple[Any, DenseGrid]) -> None:
    _, data = computed
    assert data.subject == "cips"
    assert data.native.shape == (3, 16, 16)
    for factor in FACTORS:
        for way in WAYS:
            assert data.one(factor, way).image.shape == (3, 16 * factor, 16 * factor)
            assert (data.one(factor, way).distance is None) == (factor == 8)  # tiles go to 64
    assert set(data.real_beyond) == {2, 4}
    with drawing("test"):
        dense_grid.draw(data)
    assert len(dense_grid.rows(data)) == 9
    assert dense_grid.numbers(data)["count"] == 20
    assert "Distance to 20 real pictures of that size (of crops): 2 x: bicubic" in dense_grid.reading(data)
    assert "8 x: bicubic" not in dense_grid.reading(data)


def test_without_real_pictures_and_without_a_grid() -> None:
    data = dense_grid.compute(study(real=False))
    assert all(one.distance is None for one in data.enlarged)
    assert "no real pictures" in dense_grid.reading(data)
    with drawing("test"):
        dense_grid.draw(data)
    with pytest.raises(Unsuitable, match="stylegan2 is convolutional"):
        dense_grid.compute(study(subject("stylegan2"), real=False))
