"""Tiles change nothing: the same image and the same gradients as all pixels at once, in every variant."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from variants import CIPS_CASES, build_case

from cips_lab.networks import tiling
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.encoding import Inputs
from cips_lab.networks.tiling import choose_tile, synthesize_tiled, tiles_of

KEEP, RECOMPUTE = 2**40, 0


def all_at_once(generator: CIPSGenerator, w: Tensor, noise_seed: Tensor) -> Tensor:
    """The native image with one graph over all pixels and no tiles, the table read as `synthesize_native` reads it."""
    coords = generator.native_coords
    parts = [] if generator.encoding.fourier is None else [generator.encoding.fourier(coords)]
    if generator.encoding.embedding is not None:
        embedding = generator.encoding.embedding
        direct = embedding.reads_table_directly()
        parts.append(embedding.filtered() * embedding.lr_multiplier if direct else embedding(coords))
    rgb = generator.run(generator.program(w), torch.cat(parts, dim=-1), coords, noise_seed)
    return rgb.unflatten(2, generator.size)


def gradients(
    generator: CIPSGenerator, synthesise: Callable[[Tensor], Tensor], z: Tensor
) -> tuple[Tensor, list[Tensor]]:
    image = synthesise(generator.mapping(z))
    target = torch.randn(image.shape, generator=torch.Generator().manual_seed(3))
    loss = (image * target).square().mean()
    return image.detach(), list(torch.autograd.grad(loss, list(generator.parameters())))


@pytest.mark.parametrize("case", CIPS_CASES)
@pytest.mark.parametrize("budget", [KEEP, RECOMPUTE], ids=["kept", "recomputed"])
def test_gradients_of_every_parameter_are_the_untiled_ones(
    case: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "KEEP_BYTES", budget)
    generator = build_case(case).train()
    z = torch.randn(3, generator.z_dim, generator=torch.Generator().manual_seed(1))
    seeds = torch.tensor([5, 6, 7])
    image, expected = gradients(generator, lambda w: all_at_once(generator, w, seeds), z)
    pixels = len(generator.native_coords)
    for tile in (None, pixels // 4, 100 if pixels < 1000 else 3000):
        tiled, actual = gradients(generator, lambda w, t=tile: generator.synthesize_native(w, seeds, tile=t), z)  # type: ignore[misc]
        assert float((tiled - image).abs().max()) <= 1e-5 * float(image.abs().max())
        for (name, _), a, b in zip(generator.named_parameters(), actual, expected, strict=True):
            # A noise strength's gradient is one sum over all pixels with both signs: rounding shows more in it.
            tolerance = 1e-5 if b.dim() > 0 else 1e-4
            assert float((a - b).norm()) <= tolerance * float(b.norm()), (name, tile)


def test_tiles_that_are_recomputed_run_twice_and_kept_ones_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = build_case("cips").train()
    calls = 0
    run = generator.run

    def counting(*args: object) -> Tensor:
        nonlocal calls
        calls += 1
        return run(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(generator, "run", counting)
    z = torch.randn(2, generator.z_dim)
    for budget, expected in ((KEEP, 4), (RECOMPUTE, 8)):
        monkeypatch.setattr(tiling, "KEEP_BYTES", budget)
        calls = 0
        generator.synthesize_native(generator.mapping(z), tile=64).sum().backward()
        assert calls == expected


def test_an_image_without_gradients_has_no_graph() -> None:
    generator = build_case("cips")
    with torch.no_grad():
        assert not generator(torch.randn(2, generator.z_dim)).requires_grad
    w = generator.mapping(torch.randn(2, generator.z_dim))
    assert not generator.render(w, image_grid(8, 8)).requires_grad


def test_only_what_wants_a_gradient_gets_one() -> None:
    generator = build_case("cips+noise").requires_grad_(False)
    w = generator.mapping(torch.randn(2, generator.z_dim)).requires_grad_(True)
    generator.synthesize_native(w, tile=50).sum().backward()
    assert w.grad is not None
    assert all(p.grad is None for p in generator.parameters())


@pytest.mark.parametrize("case", ["cips", "cips_ne+noise", "cips_residual", "cips_sine", "unmodulated+noise"])
def test_styles_by_pixel(case: str) -> None:
    """Every pixel may have a style of its own; where all are one style, the picture is that style's."""
    generator = build_case(case)
    z = torch.randn(4, generator.z_dim, generator=torch.Generator().manual_seed(2))
    w = generator.mapping(z)
    grid = image_grid(9, 13)
    coords = grid.view(-1, 2)
    constant = w[:2, None, None, :].expand(-1, 1, len(coords), -1)
    torch.testing.assert_close(
        generator.synthesis(constant, coords), generator.synthesis(w[:2], coords), atol=1e-5, rtol=1e-4
    )
    # From style 0 on the left to style 1 on the right: each pixel is that of its own style, synthesised alone.
    share = torch.linspace(0, 1, 13).repeat(9)[:, None]
    blended = (w[0] + share * (w[1] - w[0]))[None, None]
    picture = generator.synthesis(blended, coords)
    for pixel in (0, 6, 12, 60, 116):
        alone = generator.synthesis(blended[:, 0, pixel], coords[pixel : pixel + 1])
        torch.testing.assert_close(picture[:, pixel], alone[:, 0], atol=1e-5, rtol=1e-4)
    rendered = generator.render(blended.view(1, 1, 9, 13, -1), grid, tile=20)
    torch.testing.assert_close(rendered, picture.mT.unflatten(2, (9, 13)), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"\[B, 1 or L, 9, 13, w_dim\]"):
        generator.render(blended.view(1, 1, 13, 9, -1), grid)


@pytest.mark.parametrize("case", ["cips", "cips_base+noise", "cips_residual", "unmodulated+noise"])
@torch.no_grad()
def test_styles_by_layer(case: str) -> None:
    """One style in all layers is that style; another one in the last layers leaves the first ones' results alone."""
    generator = build_case(case)
    w = generator.mapping(torch.randn(4, generator.z_dim, generator=torch.Generator().manual_seed(2)))
    layers, coords = generator.num_layers, image_grid(5, 7).view(-1, 2)
    picture = generator.synthesis(w[:2], coords)
    same = w[:2, None].expand(-1, layers, -1)
    torch.testing.assert_close(generator.synthesis(same, coords), picture)
    torch.testing.assert_close(
        generator.synthesis(same[:, :, None].expand(-1, -1, 35, -1), coords), picture, atol=1e-5, rtol=1e-4
    )
    rendered = generator.render(same[:, :, None, None].expand(-1, -1, 5, 7, -1), image_grid(5, 7), tile=9)
    torch.testing.assert_close(rendered, picture.mT.unflatten(2, (5, 7)), atol=1e-5, rtol=1e-4)
    if generator.first.linear.affine is None:  # the style enters once, before the first layer
        mixed = generator.mix(w[:2], w[2:], 1)
        torch.testing.assert_close(generator.synthesis(mixed, coords), picture)
        return
    mixed = generator.mix(w[:2], w[2:], 3)
    own = generator.program(w[:2]).blocks, generator.program(w[2:]).blocks
    program = generator.program(w[:2])
    by_hand = program._replace(blocks=[own[0][0], *own[1][1:]])  # layers 1 and 2, and 3 to the last
    expected = generator.run(by_hand, generator.encoding(coords), coords)
    torch.testing.assert_close(generator.synthesis(mixed, coords).mT, expected)
    assert float((expected.mT - picture).abs().max()) > 1e-2


@pytest.mark.parametrize(
    "case", ["cips+noise", "cips_ne", "cips_lowpass", "slow_table", "cylinder+noise", "rectangle+noise"]
)
@pytest.mark.parametrize("budget", [KEEP, RECOMPUTE], ids=["kept", "recomputed"])
@pytest.mark.parametrize("shared", [False, True], ids=["by sample", "shared"])
def test_gradients_at_coordinates_of_each_sample(
    case: str, budget: int, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of patches anywhere: the image and every gradient of one ordinary graph, the table's sparse one too."""
    monkeypatch.setattr(tiling, "KEEP_BYTES", budget)
    generator = build_case(case).train()
    z = torch.randn(3, generator.z_dim, generator=torch.Generator().manual_seed(1))
    seeds = torch.tensor([5, 6, 7])
    coords = torch.rand(3, 6, 9, 2, generator=torch.Generator().manual_seed(4)) * 2.2 - 1.1
    coords = coords[0] if shared else coords
    image, expected = gradients(generator, lambda w: generator.synthesize_at_once(w, seeds, coords), z)
    for tile in (None, 17, "auto"):
        tiled, actual = gradients(generator, lambda w, t=tile: generator.synthesize_at(w, coords, seeds, tile=t), z)  # type: ignore[misc]
        assert float((tiled - image).abs().max()) <= 1e-5 * float(image.abs().max())
        for (name, _), a, b in zip(generator.named_parameters(), actual, expected, strict=True):
            assert not a.is_sparse
            tolerance = 1e-5 if b.dim() > 0 else 1e-4
            assert float((a - b).norm()) <= tolerance * float(b.norm()), (name, tile)


def test_shared_coordinates_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = build_case("cips")
    shapes = []
    encode = generator.encoding.encode

    def recording(coords: Tensor, inputs: list[Inputs]) -> Tensor:
        shapes.append(tuple(coords.shape))
        return encode(coords, inputs)

    monkeypatch.setattr(generator.encoding, "encode", recording)
    w = generator.mapping(torch.randn(3, generator.z_dim))
    grid = image_grid(4, 5)
    generator.synthesize_at(w, grid, tile=None)
    generator.synthesize_at(w, grid.expand(3, -1, -1, -1), tile=None)
    assert shapes == [(20, 2), (3, 20, 2)]


def test_styles_by_pixel_have_gradients() -> None:
    generator = build_case("cips")
    coords = image_grid(3, 5).view(-1, 2)
    w = generator.mapping(torch.randn(2, generator.z_dim))
    by_pixel = w[:, None, None].expand(-1, 1, 15, -1).detach().clone().requires_grad_(True)
    target = torch.randn(2, 15, 3)
    (generator.synthesis(by_pixel, coords) * target).sum().backward()
    one = w.detach().clone().requires_grad_(True)
    (generator.synthesis(one, coords) * target).sum().backward()
    assert by_pixel.grad is not None
    assert one.grad is not None
    torch.testing.assert_close(by_pixel.grad.sum((1, 2)), one.grad, atol=1e-4, rtol=1e-4)


def test_wrong_styles_are_refused() -> None:
    generator = build_case("cips")
    coords = image_grid(3, 3).view(-1, 2)
    layers, size = generator.num_layers, generator.w_dim
    for shape in [(2, layers + 1, size), (2, size + 1), (2, 2, 9, size), (2, 1, 8, size), (2, 1, 3, 3, size)]:
        with pytest.raises(ValueError, match="styles must be"):
            generator.synthesis(torch.randn(shape), coords)


@given(pixels=st.integers(1, 500), tile=st.integers(1, 600))
def test_tiles_cover_every_pixel_once(pixels: int, tile: int) -> None:
    covered = [i for rows in tiles_of(pixels, tile) for i in range(pixels)[rows]]
    assert covered == list(range(pixels))


@settings(deadline=None)
@given(pixels=st.integers(1, 40), tile=st.integers(1, 50), keep=st.booleans())
def test_any_pixelwise_function(pixels: int, tile: int, keep: bool) -> None:
    """The engine knows nothing of CIPS: y = tanh(rows @ shared), against autograd's own gradient."""
    random = torch.Generator().manual_seed(pixels)
    shared = torch.randn(4, 3, generator=random, requires_grad=True)
    rows = torch.randn(pixels, 4, generator=random, requires_grad=True)
    target = torch.randn(2, 3, pixels, generator=random)

    def function(shared: tiling.Tensors, by_row: tiling.Tensors, here: slice) -> Tensor:
        assert shared[0] is not None
        assert by_row[1] is not None
        assert by_row[0] is None
        return torch.tanh(by_row[1] @ shared[0]).t().expand(2, -1, -1)

    out = synthesize_tiled(function, [shared], [None, rows], pixels, tile, graph_bytes=0 if keep else 2**60)
    actual = torch.autograd.grad((out * target).sum(), [shared, rows])
    expected = torch.autograd.grad((torch.tanh(rows @ shared).t() * target).sum(), [shared, rows])
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_the_choice_of_a_tile() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_tile(None, 1000, 4, 512, cpu) == 1000
    assert choose_tile(300, 1000, 4, 512, cpu) == 300
    assert choose_tile(3000, 1000, 4, 512, cpu) == 1000
    small, large = (choose_tile("auto", 2**20, 4, width, cpu) for width in (512, 64))
    assert 64 <= small < large <= 2**20
    assert choose_tile("auto", 2**20, 8, 512, cpu) <= choose_tile("auto", 2**20, 1, 512, cpu)
    assert choose_tile("auto", 100, 1, 512, cpu) == 100
    poor, rich = (choose_tile("auto", 2**20, 4, 512, cuda, free_bytes=b * 10**9) for b in (1, 40))
    assert poor < rich


def test_bf16_autocast_reaches_the_recomputed_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = build_case("cips").train()
    seen: list[torch.dtype] = []
    run = generator.run

    def spying(program: object, encoding: Tensor, *rest: object) -> Tensor:
        seen.append((encoding[:1] @ torch.zeros(encoding.shape[1], 1)).dtype)
        return run(program, encoding, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(generator, "run", spying)
    monkeypatch.setattr(tiling, "KEEP_BYTES", RECOMPUTE)
    with torch.autocast("cpu", torch.bfloat16):
        image = generator.synthesize_native(generator.mapping(torch.randn(2, generator.z_dim)), tile=128)
    image.sum().backward()  # outside, as a trainer does
    assert seen == [torch.bfloat16] * 4
    assert image.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in generator.parameters() if p.grad is not None)


@pytest.mark.parametrize("budget", [KEEP, RECOMPUTE], ids=["kept", "recomputed"])
def test_tiles_are_halved_where_memory_runs_out(
    budget: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A device that holds graphs of 20 pixels in all, and 40 pixels without one."""
    monkeypatch.setattr(tiling, "KEEP_BYTES", budget)
    shared, rows = torch.randn(4, 3, requires_grad=True), torch.randn(100, 4, requires_grad=True)
    phase, held = "forward", 0

    def function(weights: tiling.Tensors, by_row: tiling.Tensors, here: slice) -> Tensor:
        nonlocal held
        assert weights[0] is not None
        assert by_row[0] is not None
        graph = torch.is_grad_enabled()
        pixels = here.stop - here.start
        held = pixels + (held if phase == "forward" and here.start > 0 else 0)  # the backward pass frees as it goes
        if held > 20 if graph else pixels > 40:
            raise torch.OutOfMemoryError("out of memory")
        return torch.tanh(by_row[0] @ weights[0]).t()[None]

    out = synthesize_tiled(function, [shared], [rows], 100, 100, graph_bytes=1, may_shrink=True)
    phase = "backward"
    actual = torch.autograd.grad(out.square().sum(), [shared, rows])
    expected = torch.autograd.grad(torch.tanh(rows @ shared).square().sum(), [shared, rows])
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert "tiles of 50 pixels" in caplog.text
    assert "tiles of 13 pixels" in caplog.text
    assert ("instead of kept" in caplog.text) == (budget == KEEP)
    with pytest.raises(torch.OutOfMemoryError):  # a size that was asked for is not changed behind one's back
        synthesize_tiled(function, [shared], [rows], 100, 100).sum().backward()
