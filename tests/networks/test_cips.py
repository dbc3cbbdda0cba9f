"""CIPSGenerator: conditional independence in every variant, and the whole network against the paper, pixel by pixel."""

import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from variants import CIPS_CASES, RESOLUTION, build, build_case

from cips_lab.networks.cips import CIPSGenerator, official_widths
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.modulated import SILU_GAIN
from cips_lab.networks.noise import pixel_keys, pixel_noise

TOLERANCE = {"atol": 1e-5, "rtol": 0.0}
BATCH = 3
SEEDS = torch.tensor([5, 77, 123456789])  # of the noise, one for each sample
PROPERTY = settings(max_examples=6, deadline=None)  # for each of 17 generators

cases = pytest.mark.parametrize("case", CIPS_CASES)
# Scenes are made of the native pixels of resolution 16, which another resolution does not have.
native_cases = pytest.mark.parametrize("case", [c for c, (_, o) in CIPS_CASES.items() if "resolution" not in o])


class Scene:
    """A generator, styles, and the colours of some points synthesised all at once: what every test compares with."""

    def __init__(self, case: str) -> None:
        self.generator = build_case(case)
        torch.manual_seed(7)
        self.w = torch.randn(BATCH, self.generator.w_dim)
        side = torch.linspace(-1, 1, RESOLUTION)
        native = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1).reshape(-1, 2)
        self.points = torch.cat([native, torch.rand(44, 2) * 3 - 1.5])  # 256 native pixels, and others, some beyond
        with torch.no_grad():
            self.colours = self.generator.synthesis(self.w, self.points, SEEDS)
        # Tolerances are absolute: colours must be of size 1 and must differ, from pixel to pixel and sample to sample.
        assert 0.1 < float(self.colours.std(dim=1).mean()) < 30
        assert float(self.colours.std(dim=0).mean()) > 0.05


@functools.cache
def scene(case: str) -> Scene:
    return Scene(case)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5 * max(1.0, float(expected.abs().max())), rtol=0.0)


# ------------------------------------------------------------------ conditional independence


@cases
@given(data=st.data())
@PROPERTY
def test_any_pixels_in_any_order_and_number(case: str, data: st.DataObject) -> None:
    s = scene(case)
    index = data.draw(st.lists(st.integers(0, len(s.points) - 1), min_size=1, max_size=60), label="pixels")
    samples = data.draw(st.lists(st.integers(0, BATCH - 1), min_size=1, max_size=5), label="samples")
    with torch.no_grad():
        actual = s.generator.synthesis(s.w[samples], s.points[index], SEEDS[samples])
    close(actual, s.colours[samples][:, index])


@cases
@torch.no_grad()
def test_one_pixel_alone_and_all_permuted(case: str) -> None:
    s = scene(case)
    for index in (0, 17, 255, 299):
        close(s.generator.synthesis(s.w[1:2], s.points[[index]], SEEDS[1:2]), s.colours[1:2, [index]])
    order = torch.randperm(len(s.points), generator=torch.Generator().manual_seed(3))
    close(s.generator.synthesis(s.w, s.points[order], SEEDS), s.colours[:, order])


@cases
@given(data=st.data())
@PROPERTY
def test_coordinates_of_each_sample(case: str, data: st.DataObject) -> None:
    s = scene(case)
    count = data.draw(st.integers(1, 20))
    pixels = st.lists(st.integers(0, len(s.points) - 1), min_size=count, max_size=count)
    index = torch.tensor([data.draw(pixels) for _ in range(BATCH)])
    with torch.no_grad():
        actual = s.generator.synthesis(s.w, s.points[index], SEEDS)
    close(actual, s.colours[torch.arange(BATCH)[:, None], index])


@native_cases
@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_finer_grid_shares_the_native_pixels(case: str, every: int) -> None:
    s = scene(case)
    size = (RESOLUTION - 1) * every + 1
    images = s.generator.render(s.w, image_grid(size, size), noise_seed=SEEDS)
    close(images[:, :, ::every, ::every].flatten(2).transpose(1, 2), s.colours[:, : RESOLUTION**2])


@native_cases
@given(data=st.data())
@PROPERTY
def test_a_zoomed_region_shares_its_native_pixels(case: str, data: st.DataObject) -> None:
    s = scene(case)

    def span() -> tuple[int, int, int]:
        first = data.draw(st.integers(0, RESOLUTION - 2))
        return first, data.draw(st.integers(first + 1, min(RESOLUTION - 1, first + 4))), data.draw(st.integers(1, 3))

    (left, right, every_x), (top, bottom, every_y) = span(), span()
    edges = [2 * i / (RESOLUTION - 1) - 1 for i in (left, top, right, bottom)]
    grid = image_grid((bottom - top) * every_y + 1, (right - left) * every_x + 1, edges)
    images = s.generator.render(s.w, grid, noise_seed=SEEDS)
    native = s.colours[:, : RESOLUTION**2].unflatten(1, (RESOLUTION, RESOLUTION)).permute(0, 3, 1, 2)
    close(images[:, :, ::every_y, ::every_x], native[:, :, top : bottom + 1, left : right + 1])


@cases
@given(height=st.integers(1, 7), width=st.integers(1, 7), tile=st.integers(1, 60))
@PROPERTY
def test_tiles_of_any_size(case: str, height: int, width: int, tile: int) -> None:
    s = scene(case)
    grid = image_grid(height, width, (-1.2, -0.8, 1.1, 0.9))
    with torch.no_grad():
        whole = s.generator.synthesis(s.w, grid.reshape(-1, 2), SEEDS)
    expected = torch.stack([whole[:, i] for i in range(height * width)], dim=-1).view(BATCH, 3, height, width)
    close(s.generator.render(s.w, grid, tile=tile, noise_seed=SEEDS), expected)
    close(s.generator.render(s.w, grid, noise_seed=SEEDS), expected)


@cases
@torch.no_grad()
def test_forward_is_synthesis_on_the_native_grid(case: str) -> None:
    generator = build_case(case)
    size = generator.size
    seeds = SEEDS[: 2 if max(size) < 32 else 1]
    z = torch.randn(len(seeds), generator.z_dim)
    w = generator.mapping(z)
    grid = image_grid(*size)
    images = generator(z, seeds)
    assert images.shape == (len(z), 3, *size)
    assert images.dtype == torch.float32
    colours = generator.synthesis(w, grid.view(-1, 2), seeds)
    close(images, torch.stack([colours[..., c].view(len(z), *size) for c in range(3)], dim=1))
    close(generator.render(w, grid, noise_seed=seeds), images)
    close(generator.synthesize_native(w, seeds), images)
    trained = generator.train()(z, seeds)
    if generator.encoding.embedding is not None and generator.encoding.embedding.lookup == "official":
        assert float((trained - images).abs().max()) > 1e-2  # training reads the table directly: the released quirk
        generator.encoding.embedding.lookup = "aligned"
    close(trained, generator.render(w, grid, noise_seed=seeds))


@torch.no_grad()
def test_the_noise_seed_matters_only_with_noise() -> None:
    z = torch.randn(2, 8)
    quiet, noisy = build("cips"), build("cips", noise=True)
    assert torch.equal(quiet(z, 1), quiet(z, 2))
    assert float((noisy(z, 1) - noisy(z, 2)).abs().max()) > 1e-2
    assert torch.equal(noisy(z), noisy(z, 0))
    close(noisy(z, torch.tensor([1, 2]))[1:], noisy(z[1:], 2))


def test_gradients_are_independent_too() -> None:
    """The gradient of one pixel's colour, in company and alone; and tiles' gradients add up to the whole image's."""
    s = scene("cips+noise")
    parameters = list(s.generator.parameters())[4:]  # but the mapping network's, which w does not see
    target = torch.randn(BATCH, 60, 3)
    whole = (s.generator.synthesis(s.w, s.points[200:260], SEEDS) * target).sum()
    expected = torch.autograd.grad(whole, parameters)
    parts = [torch.zeros_like(p) for p in parameters]
    for tile in torch.arange(60).split(17):
        part = (s.generator.synthesis(s.w, s.points[200 + tile], SEEDS) * target[:, tile]).sum()
        for total, gradient in zip(parts, torch.autograd.grad(part, parameters), strict=True):
            total += gradient
    for total, gradient in zip(parts, expected, strict=True):
        torch.testing.assert_close(total, gradient, atol=1e-5 * max(1.0, float(gradient.abs().max())), rtol=0.0)


# ------------------------------------------------------------------ the paper's formulas, pixel by pixel


def naive_colour(g: CIPSGenerator, w: Tensor, xy: Tensor, seed: int) -> Tensor:
    """Section 3 of the paper for one style [w_dim] and one point [2] at a native pixel or beyond, in float64."""

    def p(tensor: Tensor) -> Tensor:
        return tensor.detach().double()

    def modfc(linear: Any, x: Tensor, demodulate: bool) -> Tensor:
        weight = p(linear.weight) / math.sqrt(linear.weight.shape[1])
        if linear.affine is not None:
            style = p(linear.affine.weight) @ w / math.sqrt(len(w)) + p(linear.affine.bias)
            weight = weight * style[None, :]
            if demodulate:
                weight = weight / (weight.square().sum(1, keepdim=True) + 1e-8).sqrt()
        elif linear.constant_style is not None:
            weight = weight * p(linear.constant_style)[None, :]
            weight = weight / (weight.square().sum(1, keepdim=True) + 1e-8).sqrt()
        return weight @ x

    def layer(module: Any, x: Tensor, index: int, extra: Tensor | float = 0.0) -> Tensor:
        y = modfc(module.linear, x, True)
        y = y * math.sqrt(2) if module.activation == "siren" else y
        y = y + p(module.linear.bias) + extra
        if g.noise:
            here = xy if g.period is None else torch.stack([(xy[0] + 1) % g.period - 1, xy[1]])
            y = y + p(module.noise_strength) * pixel_noise(pixel_keys(here[None], g.resolution), index, seed).double()
        if module.activation == "lrelu":
            return torch.where(y > 0, y, 0.2 * y) * math.sqrt(2)
        if module.activation == "sinrelu":
            return torch.cat([torch.where(y > 0, y, 0.2 * y)[::2], y[1::2].sin()]) * math.sqrt(2)
        if module.activation == "silu":
            return y / (1 + (-y).exp()) * SILU_GAIN
        return y.sin()

    encoding = []
    if g.encoding.fourier is not None:
        place = xy.double()
        if g.period is not None:  # on a circle as long as the turn
            angle, radius = 2 * math.pi * place[0] / g.period, g.period / (2 * math.pi)
            place = torch.stack([radius * angle.cos(), radius * angle.sin(), place[1]])
        if g.rotation is not None:
            angle = float(p(g.rotation.affine.weight) @ w.double() / math.sqrt(len(w)) + p(g.rotation.affine.bias))
            x, y = place
            place = torch.stack([x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)])
        if g.shift is not None:
            place = place + p(g.shift.affine.weight) @ w.double() / math.sqrt(len(w)) + p(g.shift.affine.bias)
        theta = p(g.encoding.fourier.weight) @ place + p(g.encoding.fourier.bias)
        encoding += [theta.sin()] if g.encoding.fourier.waves == "sine" else [theta.sin(), theta.cos()]
    if g.encoding.embedding is not None:
        table = g.encoding.embedding
        row = int(((xy[1].double() + 1) / 2 * (table.rows - 1)).round().clamp(0, table.rows - 1))
        if g.period is None:
            column = int(((xy[0].double() + 1) / 2 * (table.columns - 1)).round().clamp(0, table.columns - 1))
            found = p(table.filtered())[row * table.columns + column]
        else:
            position = float(xy[0].double() + 1) / g.period * table.columns
            first = math.floor(position + 1e-5)
            several = p(table.filtered()).view(table.rows, table.columns, -1)[row]
            share = max(0.0, position - first)
            found = several[first % table.columns] * (1 - share) + several[(first + 1) % table.columns] * share
        encoding.append(found * table.lr_multiplier)
    w = w.double()
    extra = 0.0 if g.style_input is None else p(g.style_input.weight) @ w / math.sqrt(len(w))
    x = layer(g.first, torch.cat(encoding), 0, extra)
    rgb = torch.zeros(3, dtype=torch.float64)
    for i, block in enumerate(g.blocks):
        y = layer(block.second, layer(block.first, x, 2 * i + 1), 2 * i + 2)
        if g.residual:
            skip = x if block.skip is None else p(block.skip.weight) @ x / math.sqrt(len(x))
            y = (y + skip) / math.sqrt(2)
        x = y
        if str(i) in g.to_rgb:
            rgb += modfc(g.to_rgb[str(i)], x, False) + p(g.to_rgb[str(i)].bias)
    return rgb


@pytest.mark.parametrize("case", [case for case in CIPS_CASES if case != "official_lookup"])
def test_every_variant_is_its_formula(case: str) -> None:
    s = scene(case)
    grid = image_grid(*s.generator.size)
    points = torch.stack([grid[0, 0], grid[2, 7], grid[-1, 3], torch.tensor([-1 - 4 / 15, 1.25])])
    with torch.no_grad():
        actual = s.generator.synthesis(s.w, points, SEEDS)
    for sample in range(BATCH):
        for i, xy in enumerate(points):
            expected = naive_colour(s.generator, s.w[sample], xy, int(SEEDS[sample]))
            torch.testing.assert_close(actual[sample, i].double(), expected, atol=2e-5, rtol=2e-5)


@cases
def test_gradients_reach_every_parameter(case: str) -> None:
    generator = build_case(case).train()
    generator(torch.randn(4, generator.z_dim), torch.arange(4)).square().mean().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name
        assert bool(parameter.grad.isfinite().all()), name


def test_no_two_layers_share_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    indices: list[int] = []

    def recording(keys: Tensor, layer: int, seed: int | Tensor) -> Tensor:
        indices.append(layer)
        return pixel_noise(keys, layer, seed)

    monkeypatch.setattr("cips_lab.networks.modulated.pixel_noise", recording)
    generator = build("cips", noise=True)
    generator.synthesis(torch.randn(1, generator.w_dim), torch.rand(3, 2))
    assert indices == list(range(7))


# ------------------------------------------------------------------ sizes, options, truncation, regions


def parameters_at_256(**options: Any) -> int:
    with torch.device("meta"):
        generator = CIPSGenerator(256, fourier={"features": 512}, embedding={"features": 512}, **options)
    return sum(p.numel() for p in generator.parameters())


def test_parameter_counts_at_256() -> None:
    assert parameters_at_256(widths="official", noise=True) == 44_317_092
    assert parameters_at_256(widths="official", noise=True, blocks="residual", output="last") == 43_027_858
    assert abs(parameters_at_256(widths="constant") - 45.9e6) < 0.05e6


def test_official_widths() -> None:
    assert official_widths(512, 9, "plain") == [512, 512, 512, 512, 512, 256, 128, 64, 32]
    assert official_widths(512, 9, "residual") == [512, 512, 512, 512, 512, 256, 128, 128, 64]
    assert official_widths(512, 3, "plain") == [512] * 3
    assert official_widths(4, 9, "plain")[-1] == 1
    with pytest.raises(ValueError, match=r"widths.*constant for 2048"):
        official_widths(512, 10, "plain")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"resolution": 4}, "resolution"),
        ({"resolution": 18}, "resolution"),
        ({"resolution": [64, 72]}, "resolution"),
        ({"surface": "sphere"}, "surface"),
        ({"surface": "cylinder", "turns": 0}, "turns"),
        ({"embedding": {"features": 2, "frames": 1}}, r"embedding\.frames must be a cylinder's"),
        ({"surface": "cylinder", "turns": 3, "embedding": {"features": 2, "frames": 4}}, r"frames must be 1 to 3"),
        ({"resolution": 0}, "resolution"),
        ({"resolution": -16}, "resolution"),
        ({"resolution": 2048, "widths": "official"}, "widths"),
        ({"widths": "narrow"}, "widths"),
        ({"output": "first"}, "output"),
        ({"blocks": "dense"}, "blocks"),
        ({"activation": "relu"}, "activation"),
        ({"embedding_lookup": "nearest"}, "embedding_lookup"),
        ({"fourier": {"features": 8, "initialization": "normal"}}, r"fourier\.initialization"),
        ({"fourier": None, "embedding": None}, "Fourier features, a coordinate embedding"),
    ],
)
def test_invalid_options_are_named(options: dict[str, Any], named: str) -> None:
    small = {"resolution": 8, "width": 8, "fourier": {"features": 8}, "embedding": {"features": 2}}
    with pytest.raises(ValueError, match=named), torch.device("meta"):
        CIPSGenerator(**{**small, **options})


@pytest.mark.parametrize("shape", [(4, 3), (4,), (2, 4, 2), (1, 3, 4, 2)])
def test_coordinates_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[P, 2\] or \[3, P, 2\]"):
        build("cips").synthesis(torch.zeros(3, 12), torch.zeros(shape))


@torch.no_grad()
def test_truncation() -> None:
    generator = build("cips")
    w, mean = torch.randn(5, 12), generator.mapping.w_mean
    assert float(mean.abs().min()) > 0
    torch.testing.assert_close(generator.truncate(w, 0.0), mean.expand(5, -1), **TOLERANCE)
    torch.testing.assert_close(generator.truncate(w, 0.5), (w + mean) / 2, **TOLERANCE)
    torch.testing.assert_close(generator.truncate(w, 1.0), w, **TOLERANCE)
    layered = torch.randn(5, 3, 12)
    torch.testing.assert_close(generator.truncate(layered, 0.5), (layered + mean) / 2, **TOLERANCE)


@cases
@torch.no_grad()
def test_beyond_the_training_square(case: str) -> None:
    s = scene(case)
    grid = image_grid(9, 12, (-40, -3, 40, 500))
    assert bool(s.generator.render(s.w, grid, noise_seed=SEEDS).isfinite().all())
    if s.generator.encoding.embedding is not None:
        embedding = s.generator.encoding.embedding
        around = s.generator.period is not None  # x goes on for ever, and y does not
        inside = torch.stack([grid[..., 0] if around else grid[..., 0].clamp(-1, 1), grid[..., 1].clamp(-1, 1)], dim=-1)
        assert torch.equal(embedding(grid), embedding(inside))


@torch.no_grad()
def test_the_picture_is_not_transposed() -> None:
    """A generator that sees x alone paints columns; one that sees y alone paints rows. Also on grids not square."""
    generator = build("cips_ne")
    w = torch.randn(2, 12)
    generator.encoding.fourier.weight[:, 1] = 0
    columns = generator.render(w, image_grid(5, 9))
    assert columns.shape == (2, 3, 5, 9)
    assert float(columns.std(dim=2).max()) < 1e-5 < float(columns.std(dim=3).min())
    left = generator.synthesis(w, torch.tensor([[-1.0, 0.3]]))
    close(columns[:, :, 2, 0], left[:, 0])
    generator.encoding.fourier.weight.copy_(generator.encoding.fourier.weight.flip(1))
    rows = generator.render(w, image_grid(9, 5))
    assert rows.shape == (2, 3, 9, 5)
    close(rows, columns.transpose(2, 3))
