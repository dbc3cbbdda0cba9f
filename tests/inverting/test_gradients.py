"""Gradients of what a picture is found by: by tiles as in one pass, through the resize, and of noise."""

import math

import pytest
import torch
from torch import Tensor
from variants import CIPS_VARIANTS, build

from cips_lab.errors import UserError
from cips_lab.inverting.descent import Schedule, State, descend
from cips_lab.inverting.objective import Objective, Terms, feature_network, resized
from cips_lab.inverting.search import unlike_noise
from cips_lab.inverting.space import space_of
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.render.given_noise import draw_with_noise, drawn_noise
from cips_lab.render.inverted import draw_styles


def gradient(generator: CIPSGenerator, w: Tensor, target: Tensor, tile: int | None, grid: Tensor | None) -> Tensor:
    styles = w.clone().requires_grad_()
    image = draw_styles(generator, styles, grid, tile=tile)
    (found,) = torch.autograd.grad((image - target).square().mean(), styles)
    return found


@pytest.mark.parametrize("variant", CIPS_VARIANTS)
@pytest.mark.parametrize("size", [None, (20, 12)], ids=["native", "20x12"])
def test_by_tiles_as_in_one_pass(variant: str, size: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Styles by layer, each tile's graph made again; against one ordinary graph over all pixels."""
    monkeypatch.setattr("cips_lab.networks.tiling.KEEP_BYTES", 0)
    generator = build(variant).eval().requires_grad_(False)
    assert isinstance(generator, CIPSGenerator)
    grid = None if size is None else image_grid(*size)
    w = generator.mapping(torch.randn(1, generator.z_dim)).repeat(1, generator.num_layers, 1)
    w = w.view(1, generator.num_layers, -1) + 0.1 * torch.randn(1, generator.num_layers, generator.w_dim)
    target = torch.rand(1, 3, *(size or generator.size)) * 2 - 1
    styles = w.clone().requires_grad_()
    at_once = generator.synthesize_at_once(styles, coords=grid)
    (expected,) = torch.autograd.grad((at_once - target).square().mean(), styles)
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(gradient(generator, w, target, 37, grid), expected, rtol=1e-3, atol=1e-6)


def noisy(**options: object) -> CIPSGenerator:
    torch.manual_seed(0)
    sizes = {"resolution": 16, "width": 16, "z_dim": 8, "w_dim": 8, "mapping_layers": 2}
    generator = CIPSGenerator(**(sizes | options), noise=True)  # type: ignore[arg-type]
    for name, parameter in generator.named_parameters():
        if "noise_strength" in name:
            parameter.data.fill_(0.3)
    return generator.eval().requires_grad_(False)


@pytest.mark.parametrize(
    "options",
    [{}, {"blocks": "residual"}, {"modulation": False}, {"activation": "sinrelu"}, {"surface": "cylinder"}],
    ids=str,
)
def test_chosen_noise_is_drawn_noise_where_it_is_the_same(options: dict[str, object]) -> None:
    generator = noisy(**options)
    w = generator.mapping(torch.randn(1, 8))
    maps = drawn_noise(generator, 7)
    torch.testing.assert_close(
        draw_with_noise(generator, w, maps), generator.synthesize_native(w, 7), rtol=1e-4, atol=1e-4
    )
    assert float((draw_with_noise(generator, w, maps) - generator.synthesize_native(w, 8)).abs().max()) > 0.1


def test_noise_has_its_gradient_by_tiles_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cips_lab.networks.tiling.KEEP_BYTES", 0)
    generator = noisy()
    w = generator.mapping(torch.randn(1, 8))
    grid = image_grid(20, 12)
    found = []
    for tile in (None, 17):
        maps = drawn_noise(generator, 0).requires_grad_()
        found += torch.autograd.grad(draw_with_noise(generator, w, maps, grid, tile).square().sum(), maps)
    assert float(found[0].abs().max()) > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 5), (7, 3), (16, 18)], ids=str)
def test_the_resize_has_the_gradient_of_its_numbers(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, 8, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resized(x, size), image)


def test_the_resize_is_antialiased() -> None:
    """Stripes of one pixel become grey at half the size; taking every other pixel would keep one colour."""
    stripes = torch.tensor([1.0, -1.0]).repeat(16).expand(1, 3, 32, 32)
    assert float(resized(stripes, (16, 16))[..., 2:-2].abs().max()) < 1e-6


def test_features_have_the_gradient_of_their_distance() -> None:
    torch.manual_seed(0)
    target, image = (torch.rand(1, 3, 32, 32, dtype=torch.float64) for _ in range(2))
    stages, size = feature_network((32, 32))
    objective = Objective(target, (0.0, 1.0), (stages.double(), size))
    assert float(objective(target).features) < 1e-9
    direction = torch.randn_like(image)
    at = image.clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective(at).loss, at)
    step = 1e-6
    ends = [float(objective.measure(image + sign * step * direction).loss) for sign in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((slope * direction).sum()), rel=1e-3)


def test_coordinates_make_the_styles_standard_normal() -> None:
    torch.manual_seed(0)
    w = torch.randn(5000, 6) * torch.logspace(-1, 0.5, 6) @ torch.linalg.qr(torch.randn(6, 6)).Q + torch.arange(6.0)
    space = space_of(w)
    u = space.coordinates(w)
    torch.testing.assert_close(torch.cov(u.T), torch.eye(6), atol=0.02, rtol=0)
    torch.testing.assert_close(space.style(u), w, atol=1e-3, rtol=1e-3)
    flat = space_of(torch.cat([w, torch.zeros(5000, 1)], dim=1))  # a direction in which nothing varies
    assert flat.root.isfinite().all()
    assert flat.style(flat.coordinates(w.new_ones(1, 7))).isclose(torch.ones(1, 7), atol=1e-3).all()


def test_the_schedule_is_the_projectors() -> None:
    """Karras et al. 2020, Appendix D: up over the first 5 %, down along a cosine over the last 25 %."""
    schedule = Schedule(1000, 0.1, perturbation=0.05)
    assert schedule.rate(0) == pytest.approx(0.1 / 50)
    assert schedule.rate(400) == pytest.approx(0.1)
    assert schedule.rate(875) == pytest.approx(0.05)
    assert schedule.rate(999) == pytest.approx(0.1 * (0.5 - 0.5 * math.cos(math.pi * 0.004)))
    assert schedule.noise(0) == 0
    assert schedule.noise(375) == pytest.approx(0.05 / 4)
    assert schedule.noise(750) == 0


def test_a_descent_keeps_its_best_state() -> None:
    """With a rate that throws it about, what is returned is the lowest of all that were seen, never above the start."""
    target = torch.zeros(1, 3, 2, 2)
    objective = Objective(target, (1.0, 0.0), None)
    seen: list[State] = []

    def draw(u: Tensor) -> Tensor:
        return u.view(1, 3, 1, 1) * torch.ones(1, 3, 2, 2)

    start = torch.full((1, 3), 0.05)
    best = descend([start], draw, objective, Schedule(20, 5.0), seen.append)
    assert len(seen) == 21
    assert best.loss == min(state.loss for state in seen) <= float(objective(draw(start)).loss)
    assert max(state.loss for state in seen) > 1
    assert isinstance(best.terms, Terms)


def test_numbers_that_are_none_are_told() -> None:
    objective = Objective(torch.zeros(1, 3, 2, 2), (1.0, 0.0), None)
    pictures = iter([1.0, 1.0, torch.inf])

    def draw(u: Tensor) -> Tensor:
        return u.sum() * torch.full((1, 3, 2, 2), next(pictures))

    with pytest.raises(UserError, match=r"not finite after 2 steps.*learning_rate=0\.1"):
        descend([torch.ones(1, 3)], draw, objective, Schedule(20, 0.1), lambda state: None)


def test_what_shows_the_same_is_the_same() -> None:
    """Brighter than white counts for nothing where the target is white, and has its gradient where it is not."""
    target = torch.tensor([1.0, -1.0, 0.5]).view(1, 3, 1, 1)
    objective = Objective(target, (1.0, 0.0), None)
    assert float(objective(torch.tensor([1.5, -3.0, 0.5]).view(1, 3, 1, 1)).pixels) == 0
    image = torch.tensor([0.5, 1.5, 1.5]).view(1, 3, 1, 1).requires_grad_()
    terms = objective(image)
    (slope,) = torch.autograd.grad(terms.pixels, image)
    assert float(terms.pixels.detach()) == pytest.approx((0.25 + 6.25 + 1) / 3)
    torch.testing.assert_close(slope.flatten(), torch.tensor([-1.0, 5.0, 2.0]) / 3)


def test_white_noise_is_like_noise() -> None:
    torch.manual_seed(0)
    white = float(unlike_noise(torch.randn(1, 64, 64)))
    smooth = torch.nn.functional.interpolate(torch.randn(1, 1, 16, 16), (64, 64), mode="bilinear")[0]
    assert white < 0.2
    assert float(unlike_noise(smooth / smooth.std())) > 5
    assert float(unlike_noise(2 * torch.randn(1, 64, 64))) > 5
