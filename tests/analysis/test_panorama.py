"""Long pictures: their grids hold the native one, anchors keep their styles, and seams are told from what is around."""

import pytest
import torch
from studies import study, subject

from cips_lab.analysis.figures import panorama
from cips_lab.analysis.figures.panorama import (
    FRAMES,
    SIDE_BY_SIDE,
    SWUNG,
    TURN,
    TURN_BLENDED,
    WAYS,
    WIDE,
    WIDE_BLENDED,
    Panorama,
    seam_around,
    seam_of,
    swinging_grid,
    wide_grid,
)
from cips_lab.analysis.subject import Unsuitable
from cips_lab.networks.coordinates import image_grid
from cips_lab.render import blending
from cips_lab.render.blending import anchor_columns, blended_styles, render_blended
from cips_lab.render.pictures import quantize
from cips_lab.reporting.figures import drawing


@pytest.mark.parametrize("resolution", [8, 16, 256])
def test_grids_hold_the_native_one(resolution: int) -> None:
    native = image_grid(resolution, resolution)
    wide = wide_grid(resolution, 5)
    middle = slice(2 * resolution, 3 * resolution)
    torch.testing.assert_close(wide[:, middle], native, atol=1e-6, rtol=0)
    steps = wide[0, :, 0].diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 2 / (resolution - 1)), atol=2e-6, rtol=0)
    swung = swinging_grid(resolution, 3)
    assert torch.equal(swung[:, :resolution], native)
    assert torch.equal(swung[:, resolution : 2 * resolution], native.flip(1))
    assert swung[0, :, 0].diff().abs().max() < 2.01 / (resolution - 1)


@pytest.mark.parametrize(("anchors", "width"), [(2, 2), (2, 9), (3, 8), (6, 80), (6, 160), (7, 192)])
def test_columns_of_anchors_have_exactly_their_styles(anchors: int, width: int) -> None:
    styles = torch.randn(anchors, 7, generator=torch.Generator().manual_seed(0))
    columns = anchor_columns(anchors, width)
    assert columns[0] == 0
    assert columns[-1] == width - 1
    blended = blended_styles(styles, width)
    assert torch.equal(blended[columns], styles)


def test_styles_between_anchors_are_linear() -> None:
    styles = torch.tensor([[0.0, 10.0], [4.0, 2.0], [8.0, -2.0]])
    assert torch.equal(blended_styles(styles, 9)[:, 0], torch.arange(9.0))
    assert torch.equal(blended_styles(styles, 9)[:, 1], torch.tensor([10.0, 8, 6, 4, 2, 1, 0, -1, -2]))


def test_every_pixel_has_its_own_style(monkeypatch: pytest.MonkeyPatch) -> None:
    """Column by column it is what that column's style alone draws, in bands as at once."""
    generator = subject().generator
    grid = image_grid(6, 10, (-1.5, -1, 1.5, 1))
    styles = blended_styles(torch.randn(3, generator.w_dim, generator=torch.Generator().manual_seed(0)), 10)
    found = render_blended(generator, styles, grid)
    for column in range(10):
        alone = generator.render(styles[column : column + 1], grid[:, column : column + 1])[0]
        torch.testing.assert_close(found[..., column : column + 1], alone, atol=1e-4, rtol=1e-4)
    monkeypatch.setattr(blending, "BAND_STYLES", 2 * styles.numel())
    torch.testing.assert_close(render_blended(generator, styles, grid), found, atol=1e-5, rtol=1e-5)


def test_a_planted_seam_is_measured() -> None:
    """A ramp of 1 a column, and steps of 10 where frames of 8 columns meet."""
    columns = torch.arange(32.0) + 9 * (torch.arange(32) // 8)
    image = columns.expand(3, 5, 32)
    assert seam_of(image, 8) == pytest.approx(10)
    assert seam_of(torch.arange(32.0).expand(3, 5, 32), 8) == pytest.approx(1)
    assert seam_of((32 * torch.arange(32.0)).expand(3, 5, 32) % 256, 8) == pytest.approx((256 - 32) / 32)
    elsewhere = torch.arange(32.0) + 9 * ((torch.arange(32) + 4) // 8)
    assert seam_of(elsewhere.expand(3, 5, 32), 8) < 1


@pytest.fixture(scope="module")
def computed() -> list[Panorama]:
    return panorama.compute(study(subject("stylegan2"), subject(), subject("cips_ne"), real=False))


def test_what_is_drawn(computed: list[Panorama]) -> None:
    assert [(one.subject, one.way) for one in computed] == [(s, way) for s in ("cips", "cips_ne") for way in WAYS]
    ours = study(real=False)
    model = ours.subjects[0]
    images = {one.way: one.image.int() for one in computed if one.subject == "cips"}
    assert all(image.shape == (3, 16, 16 * FRAMES) for image in images.values())
    native = next(iter(ours.samples(model, count=3))).int()
    middle = slice(16 * (FRAMES // 2), 16 * (FRAMES // 2 + 1))
    assert (images[WIDE][..., middle] - native[0]).abs().max() <= 1
    for number in range(3):
        frame = images[SIDE_BY_SIDE][..., 16 * number : 16 * (number + 1)]
        assert (frame - native[number]).abs().max() <= 1
    # The first column is the first anchor's, wherever the coordinate runs.
    assert (images[SWUNG][..., 0] - native[0][..., 0]).abs().max() <= 1
    assert (images[WIDE_BLENDED][..., 0] - images[WIDE][..., 0]).abs().max() <= 1
    assert (images[WIDE_BLENDED][..., -1] - images[WIDE][..., -1]).abs().max() > 1


def test_what_is_told(computed: list[Panorama]) -> None:
    with drawing("test"):
        panorama.draw(computed)
    assert len(panorama.rows(computed)) == 2 * len(WAYS)
    assert set(panorama.numbers(computed)["seam"]["cips_ne"]) == set(WAYS)
    assert "cips_ne " in panorama.reading(computed)


def test_a_model_of_the_cylinder_shows_whole_turns() -> None:
    models = [subject("cips", label="plane"), subject("cips", label="around", surface="cylinder", turns=3)]
    found = panorama.compute(study(*models, real=False))
    assert [one.way for one in found] == [*WAYS, TURN, TURN_BLENDED]
    turn, blended = found[-2:]
    assert turn.image.shape == blended.image.shape == (3, 16, 45)
    frame = quantize(
        models[1].generator.render(study(models[1], real=False).styles(models[1], [0]), image_grid(16, 16))
    )
    # Three frames around, of 15 columns each: the middle of the turn is a frame's middle.
    assert (turn.image[..., 15:30].int() - frame[0, ..., :15].int()).abs().max() <= 1
    assert turn.seam < 2
    assert blended.seam < 2
    assert (turn.image[..., 0] - blended.image[..., 0]).abs().max() <= 1
    with drawing("test"):
        panorama.draw(found)
    assert "where its turn closes" in panorama.reading(found)


def test_a_planted_seam_of_a_turn_is_measured() -> None:
    ramp = torch.arange(32.0).expand(3, 5, 32)
    assert seam_around(ramp) == pytest.approx(31)
    there_and_back = torch.cat([ramp, ramp.flip(-1)], dim=-1)
    assert seam_around(there_and_back) == pytest.approx(0)


def test_unsuitable() -> None:
    with pytest.raises(Unsuitable, match="stylegan2 is convolutional"):
        panorama.compute(study(subject("stylegan2"), real=False))
