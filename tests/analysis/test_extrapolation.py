"""Outside the training square: patches lie where they are said to, and are judged from the inside out."""

import pytest
import torch
from studies import study, subject
from torch import Tensor

from cips_lab.analysis.figures import extrapolation
from cips_lab.analysis.figures.extrapolation import (
    PLACES,
    REACHES,
    Extrapolation,
    cut,
    lattice,
    patch_grid,
    patches,
    real_patches,
    ring,
)
from cips_lab.analysis.subject import Unsuitable
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.networks.coordinates import image_grid
from cips_lab.render.pictures import quantize
from cips_lab.reporting.figures import drawing


@pytest.mark.parametrize("resolution", [8, 16, 32, 256])
@pytest.mark.parametrize("reach", REACHES)
def test_patches_of_a_ring_reach_so_far_and_no_farther(resolution: int, reach: float) -> None:
    side = resolution // 2
    corners = ring(resolution, reach)
    assert len(set(corners)) == PLACES
    beyond = [max(-x, -y, x + side - resolution, y + side - resolution) for x, y in corners]
    assert beyond == [round(reach * resolution)] * PLACES
    middle = resolution // 4
    turned = {(middle - (y - middle), x) for x, y in corners}
    assert turned == set(corners)  # no side of the square is preferred
    if reach >= 0.5:  # none of its pixels is one of the picture's
        assert not any(-side < x < resolution and -side < y < resolution for x, y in corners)


@pytest.mark.parametrize("resolution", [8, 16, 256])
def test_patches_of_the_inside_are_all_over_it(resolution: int) -> None:
    corners = lattice(resolution)
    assert len(set(corners)) == PLACES
    assert min(min(corner) for corner in corners) == 0
    assert max(max(corner) for corner in corners) == resolution // 2


def test_a_patch_inside_is_a_part_of_the_native_picture() -> None:
    generator = subject().generator
    w = torch.randn(20, generator.w_dim, generator=torch.Generator().manual_seed(0))
    numbers = torch.arange(3, 23)
    native = quantize(generator.synthesize_native(w))
    found = patches(generator, w, numbers, lattice(16)).int()
    assert (found - cut(native, numbers, lattice(16)).int()).abs().max() <= 1
    naive = torch.stack([native[i, :, y : y + 8, x : x + 8] for i, (x, y) in enumerate(lattice(16)[3:])])
    assert torch.equal(cut(native, numbers, lattice(16))[:13], naive)


def test_a_patch_outside_goes_on_where_the_picture_ends() -> None:
    """The lattice of native pixels goes on: patches are parts of one larger picture."""
    assert torch.allclose(patch_grid(16, (16, -8))[0, 0], torch.tensor([1 + 2 / 15, -1 - 16 / 15]))
    assert torch.allclose(patch_grid(16, (0, 0)), image_grid(16, 16)[:8, :8])
    step = 2 / 15
    large = image_grid(48, 48, (-1 - 16 * step, -1 - 16 * step, 1 + 16 * step, 1 + 16 * step))
    for x, y in ring(16, 0.75):
        torch.testing.assert_close(patch_grid(16, (x, y)), large[16 + y : 24 + y, 16 + x : 24 + x], atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def computed() -> list[Extrapolation]:
    ours = study(subject(), subject("stylegan2"), subject("cips_ne"), count=40, quick=True)
    return extrapolation.compute(ours)


def test_distances_are_those_of_the_patches(computed: list[Extrapolation]) -> None:
    assert [one.subject for one in computed] == ["cips", "cips_ne"]
    assert all(tuple(one.rings) == REACHES for one in computed)
    ours = study(count=40, quick=True)
    model = ours.subjects[0]
    pictures = torch.stack([ours.with_real_pictures()[i] for i in range(40)])
    real = cut(pictures, torch.arange(40), lattice(16))
    assert torch.equal(torch.cat(list(real_patches(ours, 16, 40))), real)

    def distance(images: Tensor) -> float:
        return frechet_distance(ours.gaussian(images.split(16)), ours.gaussian(real.split(16)))

    w = ours.styles(model, range(40))
    assert computed[0].inside == pytest.approx(distance(patches(model.generator, w, torch.arange(40), lattice(16))))
    for reach in (0.0, 0.75):
        found = patches(model.generator, w, torch.arange(40), ring(16, reach))
        assert computed[0].rings[reach] == pytest.approx(distance(found), rel=1e-3)


def test_the_training_square_is_in_the_middle(computed: list[Extrapolation]) -> None:
    """At the region's own grid, not at native places."""
    generator = subject().generator
    model = study().subjects[0]
    w = study().styles(model)
    grid = image_grid(32, 32, (-2, -2, 2, 2))
    assert torch.equal(computed[0].images, quantize(generator.render(w, grid)))
    assert grid[8:24, 8:24].abs().max() < 1.04


def test_what_is_told(computed: list[Extrapolation]) -> None:
    with drawing("test"):
        extrapolation.draw(computed)
        extrapolation.draw(computed[:1])
    assert len(extrapolation.rows(computed)) == 2 * (1 + len(REACHES))
    assert extrapolation.numbers(computed)["distance"]["cips_ne"].keys() == {"inside", "0", "0.25", "0.5", "0.75", "1"}
    assert "side to 40 real ones" in extrapolation.reading(computed)


def test_without_real_pictures_and_without_a_grid() -> None:
    data = extrapolation.compute(study(real=False))
    assert data[0].rings == {}
    assert "nothing to measure" in extrapolation.reading(data)
    with drawing("test"):
        extrapolation.draw(data)
    with pytest.raises(Unsuitable, match="stylegan2 is convolutional"):
        extrapolation.compute(study(subject("stylegan2")))
