"""Panoramas without a seam, styles blended around them, and styles mixed by layer."""

import pytest
import torch
from torch import Tensor
from variants import CIPS_VARIANTS, build, composed

from cips_lab.errors import UserError
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.mapping import latents_of_seeds
from cips_lab.networks.surface import Surface, surface_of, turn_grid, turn_region
from cips_lab.render.blending import blended_styles, render_blended, styles_around
from cips_lab.render.mixing import Mix, check_mix, mixed_styles, parse_mix
from cips_lab.render.pictures import quantize
from cips_lab.render.scene import around as at_angles
from cips_lab.render.scene import samples

TURNS = 3
SAMPLES = 100


def around(variant: str) -> CIPSGenerator:
    generator = build(variant, surface="cylinder", turns=TURNS)
    assert isinstance(generator, CIPSGenerator)
    return generator


def steps(images: Tensor) -> tuple[Tensor, Tensor]:
    """[B] between the last column and the first, and [B, W - 1] between neighbours: mean absolute differences."""
    closing = (images[..., 0] - images[..., -1]).abs().mean((1, 2))
    return closing, images.diff(dim=-1).abs().mean((1, 2))


@pytest.mark.parametrize("variant", CIPS_VARIANTS)
@torch.no_grad()
def test_the_last_column_and_the_first_are_neighbours(variant: str) -> None:
    """Over 100 samples of every variant; a noise of its own in every pixel would hide a seam, and is off."""
    generator = around(variant)
    period = generator.period
    assert period == 2 * TURNS
    w = generator.mapping(torch.randn(SAMPLES, generator.z_dim, generator=torch.Generator().manual_seed(0)))
    images = torch.cat([generator.render(part, turn_grid(16, 90, period)) for part in w.split(20)])
    closing, neighbours = steps(images)
    assert float(closing.mean()) <= 1.5 * float(neighbours.mean())
    assert int((closing > neighbours.amax(1)).sum()) <= SAMPLES // 10
    # Half a turn on, the old seam lies within, and the picture is the same.
    half = generator.render(w[:4], turn_grid(16, 90, period, (0.5, 1.5)))
    torch.testing.assert_close(half, images[:4].roll(-45, 3), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_a_plane_has_a_seam_there() -> None:
    """The same measure finds one where there is one."""
    generator = build("cips_ne")
    w = generator.mapping(torch.randn(SAMPLES, generator.z_dim, generator=torch.Generator().manual_seed(0)))
    closing, neighbours = steps(generator.render(w, turn_grid(16, 90, 2.0 * TURNS)))
    assert float(closing.mean()) > 3 * float(neighbours.mean())


@pytest.mark.parametrize("turn", [(0.0, 1.0), (0.25, 0.5), (-0.5, 2.0)])
def test_a_turn_is_cut_into_equal_angles(turn: tuple[float, float]) -> None:
    grid = turn_grid(4, 30, 6.0, turn, (-0.5, 1.0))
    x = grid[0, :, 0].double()
    expected = 6 * (turn[0] - 0.5 + (turn[1] - turn[0]) * torch.arange(30) / 30)
    torch.testing.assert_close(x, expected.double(), atol=1e-5, rtol=0)
    assert grid[:, 0, 1].tolist()[0] == -0.5
    assert grid[:, 0, 1].tolist()[-1] == 1.0
    assert turn_region(30, 6.0, turn, (-0.5, 1.0))[1::2] == (-0.5, 1.0)


@pytest.mark.parametrize(
    ("turn", "heights", "told"),
    [
        ((1.0, 1.0), (-1.0, 1.0), "turn must be"),
        ((0.0, 1.0), (-1.5, 1.0), "the cylinder's -1 to 1"),
        ((0.0, 1.0), (1.0, 0.0), "heights"),
    ],
)
def test_parts_of_a_turn_that_cannot_be(turn: tuple[float, float], heights: tuple[float, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        turn_grid(4, 8, 6.0, turn, heights)


def test_points_of_a_cylinder() -> None:
    """Steps are as long in space as on the plane, and a turn on is the same point."""
    surface = Surface(4)
    coords = image_grid(5, 400, (-4, -1, 4, 1))
    points = surface.points(coords)
    assert points.shape == (5, 400, 3)
    lengths = points.diff(dim=1).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 8 / 399), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(surface.points(coords + torch.tensor([8.0, 0.0])), points, atol=1e-5, rtol=0)
    assert float(surface.wrapped(coords[..., 0]).min()) >= -1
    assert float(surface.wrapped(coords[..., 0]).max()) < 7
    assert torch.equal(Surface().points(coords), coords)
    assert surface_of("plane", 6).period is None


@torch.no_grad()
def test_styles_around_close() -> None:
    anchors = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    styles = styles_around(anchors, 12)
    assert torch.equal(styles[::4], anchors)
    torch.testing.assert_close(styles[10], (anchors[2] + anchors[0]) / 2)
    jumps = torch.cat([styles.diff(dim=0), (styles[0] - styles[-1])[None]])
    torch.testing.assert_close(jumps[8:12], ((anchors[0] - anchors[2]) / 4).expand(4, -1))
    generator = around("cips")
    assert generator.period is not None
    blended = styles_around(generator.mapping(torch.randn(4, generator.z_dim)), 90)
    closing, neighbours = steps(render_blended(generator, blended, turn_grid(16, 90, generator.period))[None])
    assert float(closing) <= float(neighbours.max())


@torch.no_grad()
def test_every_column_has_its_own_style() -> None:
    generator = around("cips")
    grid = turn_grid(6, 10, 2.0 * TURNS)
    styles = blended_styles(torch.randn(3, generator.w_dim, generator=torch.Generator().manual_seed(0)), 10)
    found = render_blended(generator, styles, grid)
    for column in range(10):
        alone = generator.render(styles[column : column + 1], grid[:, column : column + 1])[0]
        torch.testing.assert_close(found[..., column : column + 1], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_all_of_the_turn_is_judged() -> None:
    """Samples that are evaluated are frames at angles that fill the turn evenly, the same whatever the batches."""
    generator = around("cips")
    batches = [torch.arange(5), torch.arange(5, 12)]
    found = torch.cat(list(samples(generator, batches, "cpu")))
    assert found.shape == (12, 3, 16, 16)
    grid = image_grid(16, 16)
    w = generator.mapping(latents_of_seeds(range(12), generator.z_dim))
    for number in (0, 7):
        angle = 2 * TURNS * ((number * (5**0.5 - 1) / 2) % 1)
        alone = generator.render(w[number : number + 1], grid + torch.tensor([angle, 0.0]))
        assert (found[number].int() - quantize(alone)[0].int()).abs().max() <= 1
    angles = at_angles(grid, torch.arange(300), 6.0)[:, 0, 0, 0] + 1
    assert torch.histc(angles, 6, 0, 6).tolist() == pytest.approx([50] * 6, abs=2)


# ------------------------------------------------------------------ mixing


def test_mixes_are_read() -> None:
    assert parse_mix("3,7:layers=0-5") == Mix([3], [7], [0, 1, 2, 3, 4, 5])
    assert parse_mix(" 0-2 , 8-9 : layers = 4 ") == Mix([0, 1, 2], [8, 9], [4])
    for wrong in ("3", "3,7", "3,7:layers=", "3,7:layers=a", "3,7,9:layers=1", "3-1,7:layers=0", "3,7:layers=5-2"):
        with pytest.raises(UserError, match="expected SEEDS,SEEDS:layers=FIRST-LAST"):
            parse_mix(wrong)
    with pytest.raises(UserError, match="this generator's are 0-6"):
        check_mix(Mix([0], [1], [5, 6, 7]), build("cips"))
    check_mix(Mix([0], [1], [5, 6]), build("cips"))


def test_each_is_mixed_with_each() -> None:
    rows, columns = torch.tensor([[1.0], [2.0]]), torch.tensor([[10.0], [20.0], [30.0]])
    styles = mixed_styles(rows, columns, Mix([0, 1], [2, 3, 4], [0, 2]), 4)
    assert styles.shape == (6, 4, 1)
    assert styles[..., 0].tolist()[:2] == [[10, 1, 10, 1], [20, 1, 20, 1]]
    assert styles[..., 0].tolist()[5] == [30, 2, 30, 2]


def test_mixing_in_training_is_an_option_of_cips_too() -> None:
    """Half of the samples get two styles, and both have gradients."""
    assert composed("cips")["mixing_probability"] == 0.0
    generator = build("cips", mixing_probability=0.5)
    z, other = torch.randn(2, 40, generator.z_dim, generator=torch.Generator().manual_seed(0))
    draws = torch.rand(40, generator=torch.Generator().manual_seed(1))
    w = generator.training_styles(z, other, draws)
    assert w.shape == (40, generator.num_layers, generator.w_dim)
    mixed = (w != w[:, :1]).any(-1).any(-1)
    assert torch.equal(mixed, draws < 0.5)
    one, two = generator.mapping(z), generator.mapping(other)
    torch.testing.assert_close(w[:, 0], one)
    torch.testing.assert_close(w[mixed, -1], two[mixed])
    other.requires_grad_(True)
    generator.synthesize_native(generator.training_styles(z, other, draws)).square().sum().backward()
    assert other.grad is not None
    assert torch.equal(other.grad.abs().sum(1) > 0, mixed)
