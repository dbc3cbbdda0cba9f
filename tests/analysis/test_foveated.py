"""Figure 8: exact where pixels were sampled, all of it with all of them, sensible in between, and timed."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import Delaunay
from studies import study, subject

from cips_lab.analysis.figures import foveated
from cips_lab.analysis.figures.foveated import FIXATIONS, SHARES, Foveated, barycentric, fill, psnr, render_foveated
from cips_lab.analysis.subject import Unsuitable
from cips_lab.networks.coordinates import foveated_pixels, image_grid
from cips_lab.reporting.figures import drawing


@given(height=st.integers(2, 9), width=st.integers(2, 9), data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_fill_is_exact_where_pixels_are_given_and_total(height: int, width: int, data: Any) -> None:
    """Also of one pixel, of two, and of pixels that all lie in a line."""
    numbers = data.draw(st.sets(st.integers(0, height * width - 1), min_size=1))
    pixels = torch.tensor(sorted(numbers))
    colours = torch.randn(3, len(pixels), generator=torch.Generator().manual_seed(height))
    filled = fill(colours, pixels, height, width)
    assert torch.equal(filled.flatten(1)[:, pixels], colours)
    assert filled.shape == (3, height, width)
    assert filled.isfinite().all()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_fill_reproduces_a_plane_and_comes_near_to_a_curved_picture(share: float) -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 32), indexing="ij")
    pixels = foveated_pixels(24, 32, share)
    corners = torch.tensor([0, 31, 23 * 32, 24 * 32 - 1])
    pixels = torch.cat([pixels, corners]).unique()  # a plane is known at its corners: nothing is beyond
    picture = torch.stack([x, 2 * y - x, torch.sin(2 * x) * torch.cos(2 * y)])
    filled = fill(picture.flatten(1)[:, pixels], pixels, 24, 32)
    torch.testing.assert_close(filled[:2], picture[:2], atol=1e-3, rtol=0)
    coarse = picture.flatten(1)[:, pixels].mean(1)[2]
    assert (filled[2] - picture[2]).square().mean() < 0.005 * (picture[2] - coarse).square().mean()


def test_triangles_are_found_as_scipy_finds_them() -> None:
    points = np.random.default_rng(0).uniform(0, 50, (200, 2))
    triangles = Delaunay(points)
    found = barycentric(points, triangles.simplices)
    assert "_transform" in vars(triangles)  # else SciPy is asked, and it takes longer
    np.testing.assert_allclose(found, triangles.transform, rtol=1e-6, atol=1e-9)
    flat = barycentric(np.array([[0.0, 0], [1, 1], [2, 2]]), np.array([[0, 1, 2]]))
    assert np.isnan(flat[0, :2]).all()


def test_beyond_the_given_pixels_their_nearest_colours_go_on() -> None:
    filled = fill(torch.tensor([[1.0, 3.0]]), torch.tensor([2 * 5 + 1, 2 * 5 + 3]), 5, 5)[0]
    for row in (0, 4):
        assert filled[row, 0] == pytest.approx(1, abs=1e-3)
        assert filled[row, 4] == pytest.approx(3, abs=1e-3)
    assert filled.min() > 0.5  # a cubic may shoot over a little
    assert filled.max() < 3.5


@pytest.mark.parametrize(
    ("variant", "options"), [("cips", {}), ("cips_ne", {"noise": True}), ("cips", {"embedding_lookup": "official"})]
)
def test_sampled_pixels_are_those_of_the_whole_picture(variant: str, options: dict[str, Any]) -> None:
    generator = subject(variant, **options).generator
    w = torch.randn(1, generator.w_dim, generator=torch.Generator().manual_seed(0))
    grid = image_grid(16, 16)
    whole = generator.render(w, grid)[0]
    pixels = foveated_pixels(16, 16, 0.25, (0.5, -0.5))
    image = render_foveated(generator, w, grid, pixels)
    torch.testing.assert_close(image.flatten(1)[:, pixels], whole.flatten(1)[:, pixels], atol=1e-5, rtol=0)
    assert (image - whole).abs().max() > 1e-3  # the others are not
    all_pixels = foveated_pixels(16, 16, 1.0)
    torch.testing.assert_close(render_foveated(generator, w, grid, all_pixels), whole, atol=1e-6, rtol=0)


def test_few_pixels_go_through_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work that is saved: the network never sees the other pixels."""
    generator, seen = subject().pixelwise, []
    run = generator.run

    def counted(program: Any, encoding: torch.Tensor, coords: torch.Tensor, noise_seed: int = 0) -> torch.Tensor:
        seen.append(len(coords))
        return run(program, encoding, coords, noise_seed)

    monkeypatch.setattr(generator, "run", counted)
    render_foveated(generator, torch.zeros(1, generator.w_dim), image_grid(16, 16), foveated_pixels(16, 16, 0.25))
    assert sum(seen) == 64


def test_psnr() -> None:
    a = torch.zeros(3, 4, 4)
    assert psnr(a, a) == math.inf
    assert psnr(a + 0.2, a) == pytest.approx(10 * math.log10(4 / 0.04))
    assert psnr(a + 7, a + 1) == math.inf  # beyond white nothing is seen


@pytest.fixture(scope="module")
def computed() -> Foveated:
    return foveated.compute(study(subject("stylegan2"), subject("cips_ne"), subject("cips"), real=False))


def test_compute(computed: Foveated) -> None:
    assert computed.subject == "cips_ne"  # the first that is suited
    assert [(one.fixation, one.share) for one in computed.pictures] == [(f, s) for f in FIXATIONS for s in SHARES]
    for one in computed.pictures:
        assert len(one.pixels) == round(one.share * 256)
        known = one.image.flatten(1)[:, one.pixels]
        torch.testing.assert_close(known, computed.whole.flatten(1)[:, one.pixels], atol=1e-5, rtol=0)
        if one.share == 1:
            assert one.psnr > 100
    errors = [one.psnr for one in computed.pictures[:4]]
    assert errors == sorted(errors)
    assert computed.seconds > 0


def test_any_fixation() -> None:
    found = foveated.compute(study(real=False), fixations=[(-0.9, 0.9)])
    quarter = next(one for one in found.pictures if one.share == 0.25)
    rows, columns = quarter.pixels // 16, quarter.pixels % 16
    assert rows.float().mean() > 7.5 > columns.float().mean()  # to the left and below


def test_what_is_told(computed: Foveated) -> None:
    with drawing("test"):
        foveated.draw(computed)
    assert len(foveated.rows(computed)) == len(FIXATIONS) * len(SHARES)
    assert len({tuple(row) for row in foveated.rows(computed)}) == 1
    assert foveated.numbers(computed)["pictures"][1]["share"] == 0.25
    assert "25% of the pixels" in foveated.reading(computed)
    assert "100%" not in foveated.reading(computed).split("dB")[-2]


def test_unsuitable() -> None:
    with pytest.raises(Unsuitable, match="stylegan2 is convolutional"):
        foveated.compute(study(subject("stylegan2"), real=False))
