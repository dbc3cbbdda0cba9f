"""Figure 10: ends are their endpoints, the sphere is kept, blocks change alone, and path lengths are what they mean."""

import io
import math
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from studies import study, subject

from cips_lab.analysis.figures import interpolation
from cips_lab.analysis.figures.interpolation import (
    FRAMES,
    OF_PARTS,
    STEPS,
    WAYS,
    Interpolation,
    lerp,
    path_length,
    pictures_between,
    slerp,
    with_blocks_of,
)
from cips_lab.networks.mapping import latents_of_seeds
from cips_lab.render.pictures import quantize
from cips_lab.reporting.figures import drawing


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 999), t=st.floats(0, 1))
def test_the_sphere_is_kept(seed: int, t: float) -> None:
    a, b = normal(2, 5, seed=seed)
    place = torch.tensor([t], dtype=torch.float64)
    ends = slerp(a, b, torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert torch.equal(ends, torch.stack([a, b]))
    one, other = a / a.norm(), b / b.norm()
    on_it = slerp(one, other, place)
    assert float(on_it.norm()) == pytest.approx(1, abs=1e-12)
    # It lies between them, and as far along as t says.
    angle = math.acos(max(-1.0, min(1.0, float(one @ other))))
    assert math.acos(max(-1.0, min(1.0, float(one @ on_it)))) == pytest.approx(t * angle, abs=1e-6)
    assert math.acos(max(-1.0, min(1.0, float(other @ on_it)))) == pytest.approx((1 - t) * angle, abs=1e-6)
    # Lengths go linearly.
    assert float(slerp(a, b, place).norm()) == pytest.approx(float((1 - t) * a.norm() + t * b.norm()))


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0, -0.5])
def test_the_sphere_is_kept_between_parallel_and_opposite_directions(factor: float) -> None:
    a = normal(6)
    places = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None]
    found = slerp(a, factor * a, places)
    assert found.isfinite().all()
    lengths = ((1 - places) + places * abs(factor)) * a.norm()
    torch.testing.assert_close(found.norm(dim=1, keepdim=True), lengths)
    assert torch.equal(found[[0, -1]], torch.stack([a, factor * a]))


def test_a_line_ends_exactly() -> None:
    a, b = normal(2, 1, 300).float() * 1e3
    places = torch.tensor([0.0, 0.5, 1.0])[:, None]
    found = lerp(a, b, places)
    assert torch.equal(found[0], a[0])
    assert torch.equal(found[2], b[0])
    torch.testing.assert_close(found[1], (a[0] + b[0]) / 2, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("variant", ["cips", "cips_base", "cips_residual", "stylegan2"])
@pytest.mark.parametrize("way", WAYS)
def test_ends_of_every_way_are_the_two_pictures(variant: str, way: str) -> None:
    generator = subject(variant).generator
    a, b = latents_of_seeds((3, 4), generator.z_dim).split(1)
    found = pictures_between(generator, way, a, b, torch.tensor([0.0, 0.4, 1.0])).int()
    ends = quantize(generator(torch.cat([a, b]))).int()
    assert (found[0] - ends[0]).abs().max() <= 1
    if way not in OF_PARTS:
        assert (found[2] - ends[1]).abs().max() <= 1
    assert (found[1] - found[0]).abs().max() > 1
    assert (found[1] - found[2]).abs().max() > 1


@pytest.mark.parametrize("variant", ["cips", "cips_base", "cips_residual", "stylegan2"])
def test_thirds_of_the_blocks_are_all_of_them(variant: str) -> None:
    """One third from another style changes the picture; each from the style itself does not."""
    generator = subject(variant).generator
    first, second = generator.mapping(latents_of_seeds((0, 1, 2, 3), generator.z_dim)).split(2)
    own = generator.synthesize_native(first)
    mixed = [with_blocks_of(generator, first, second, part) for part in range(3)]
    for part, images in enumerate(mixed):
        torch.testing.assert_close(with_blocks_of(generator, first, first, part), own, atol=1e-4, rtol=1e-4)
        assert (images - own).abs().amax((1, 2, 3)).min() > 1e-3
    assert all((mixed[i] - mixed[j]).abs().max() > 1e-3 for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("epsilon", [0.01, 0.3])
def test_the_path_length_of_a_linear_mapping_is_its_closed_form(epsilon: float) -> None:
    """|M (b - a)|^2, whatever the step; over random ends its mean is 2 |M|^2 (Frobenius)."""
    matrix = normal(7, 3)
    a, b = normal(2, 4000, 7, seed=1)

    def features(numbers: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return lerp(a[numbers], b[numbers], t[:, None]) @ matrix

    found = path_length(features, 4000, epsilon, 64, "cpu")
    assert found == pytest.approx(float(((b - a) @ matrix).square().sum(1).mean()), rel=1e-4)
    assert found == pytest.approx(2 * float(matrix.square().sum()), rel=0.05)


def test_the_path_length_on_the_sphere_is_the_angle_squared() -> None:
    a, b = (v / v.norm(dim=1, keepdim=True) for v in normal(2, 50, 6))
    found = path_length(lambda i, t: slerp(a[i], b[i], t[:, None].double()), 50, 0.02, 16, "cpu")
    chords = 2 * (0.02 * torch.arccos((a * b).sum(1)) / 2).sin()
    assert found == pytest.approx(float((chords / 0.02).square().mean()), rel=1e-4)


def test_the_path_length_of_a_model_is_the_naive_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpolation, "PATHS", 5)
    ours = study(real=False, quick=True)
    model = ours.subjects[0]
    places = torch.rand(5, generator=torch.Generator().manual_seed(0)) * (1 - interpolation.EPSILON)
    summed = 0.0
    for path, t in enumerate(places):
        a, b = ours.styles(model, (2 * path, 2 * path + 1))
        steps = torch.stack([a + t * (b - a), a + (t + interpolation.EPSILON) * (b - a)])
        seen = ours.judge(quantize(model.generator.synthesize_native(steps))).features
        summed += float((seen[1] - seen[0]).square().sum())
    expected = summed / 5 / interpolation.EPSILON**2
    assert interpolation.path_length_of(ours, model, interpolation.LINEAR_W) == pytest.approx(expected, rel=1e-3)


@pytest.fixture(scope="module")
def computed() -> list[Interpolation]:
    return interpolation.compute(study(subject(), subject("stylegan2"), real=False, quick=True))


def test_compute(computed: list[Interpolation]) -> None:
    assert [one.subject for one in computed] == ["cips", "stylegan2"]
    for one in computed:
        assert one.seeds == (0, 1)
        assert tuple(one.lines) == tuple(one.path_length) == WAYS
        assert all(images.shape == (STEPS, 3, 16, 16) for images in one.lines.values())
        assert all(value > 0 for value in one.path_length.values())
        assert one.film.shape == (FRAMES, 3, 16, 16)
        assert torch.equal(one.film[0], one.lines[interpolation.LINEAR_W][0])
        # There, and back the same way; and no frame is far from the next.
        assert (one.film[1:].int() - one.film[1:].flip(0).int()).abs().max() <= 1
        assert (one.film[FRAMES // 2].int() - one.lines[interpolation.LINEAR_W][-1].int()).abs().max() <= 1
        steps = (one.film.int() - one.film.roll(1, 0).int()).abs().float().mean((1, 2, 3))
        whole = (one.film[0].int() - one.film[FRAMES // 2].int()).abs().float().mean()
        assert steps.max() < 0.25 * whole


def test_what_is_told(computed: list[Interpolation]) -> None:
    with drawing("test"):
        interpolation.draw(computed)
    assert len(interpolation.rows(computed)) == 2 * len(WAYS)
    assert interpolation.numbers(computed)["path_length"]["stylegan2"].keys() == set(WAYS)
    assert "of the middle" in interpolation.reading(computed)


def test_the_films(computed: list[Interpolation], monkeypatch: pytest.MonkeyPatch) -> None:
    av: Any = pytest.importorskip("av")
    found = interpolation.files(computed)
    assert set(found) == {"interpolation.gif", "interpolation.mp4"}
    assert len(found["interpolation.gif"]) < 1_500_000
    picture = Image.open(io.BytesIO(found["interpolation.gif"]))
    assert picture.size[0] == 2 * 128
    assert 0.8 * FRAMES <= picture.n_frames <= FRAMES  # type: ignore[attr-defined]
    with av.open(io.BytesIO(found["interpolation.mp4"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    assert "MP4" not in interpolation.reading(computed)
    monkeypatch.setitem(sys.modules, "av", None)
    assert set(interpolation.files(computed)) == {"interpolation.gif"}
    assert "pip install 'cips-lab[video]'" in interpolation.reading(computed)
