"""What the page's engines compute beside `render` of torch: every generator, inside and beyond the square, around."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import CHROMIUM, REQUIRED
from variants import CIPS_CASES, CIPS_VARIANTS, build, build_case
from walker import Walker, difference, save_page

from benchmarks.explorer import QUICKSTART
from cips_lab import load_generator
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.mapping import classes_of_seeds, latents_of_seeds

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no browser here: apt-get install chromium"),
    pytest.mark.timeout(280),
]
MOST = 2  # of 255: weights are stored in half precision
ENGINES = ("webgpu", "wasm", "javascript")
INSIDE, BEYOND = {"x": 0.1, "y": 0.2, "span": 0.8}, {"x": 1.3, "y": -0.4, "span": 2.6}
# Each variant with noise differs from `cips+noise` in what other cases look at.
RARE = {f"{name}+noise" for name in CIPS_VARIANTS if name != "cips"}
CASES = [pytest.param(case, marks=pytest.mark.slow if case in RARE else ()) for case in CIPS_CASES]


@pytest.fixture(scope="module")
def walker() -> Iterator[Walker]:
    with Walker() as opened:
        yield opened


@pytest.fixture(autouse=True)
def without_complaints(walker: Walker) -> Iterator[None]:
    with walker.silent():
        yield


def style(generator: CIPSGenerator, seed: int, psi: float = 1.0, label: int | None = None) -> torch.Tensor:
    return generator.truncate(generator.mapping(generator.mapping.latents([seed], label)), psi)


def change(walker: Walker, **values: Any) -> None:
    walker.evaluate(f"explorer.state.set({values!r})")
    walker.settle()


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_every_generator_by_every_engine(walker: Walker, tmp_path: Path, case: str) -> None:
    generator = build_case(case)
    w = style(generator, 3, 0.7)
    places = [INSIDE, BEYOND]
    if generator.period is not None:  # behind the cylinder's back, where x wraps
        places.append({"x": generator.period / 2, "y": 0.0, "span": 1.0})
    walker.open(save_page(generator, tmp_path / "page.html"), "seed=3&psi=0.7&coarse=8&engine=webgpu")
    for engine in ENGINES:  # WebGPU must be there: that it is not is a failure, and not a reason to skip
        change(walker, engine=engine)
        assert walker.stats()["kind"] == engine
        for place in places:
            change(walker, **place)
            assert difference(walker, generator, w) <= MOST, (engine, place)
        assert walker.stats()["kind"] == engine  # still: it has not been given up on the way


@torch.no_grad()
def test_sizes_that_fill_no_vector(walker: Walker, tmp_path: Path) -> None:
    generator = build(
        "cips",
        width=19,
        activation="sinrelu",
        noise=True,
        fourier={"features": 13, "waves": "pairs"},
        embedding={"features": 6},
        blocks="residual",
        z_dim=17,
        w_dim=5,
    )
    w = style(generator, 2)
    walker.open(save_page(generator, tmp_path / "page.html"), "seed=2&coarse=8&engine=webgpu")
    for engine in ENGINES:
        change(walker, engine=engine)
        assert difference(walker, generator, w) <= MOST, engine
        assert walker.stats()["kind"] == engine


@torch.no_grad()
def test_a_difference_would_be_seen(walker: Walker, tmp_path: Path) -> None:
    generator = build("cips")
    walker.open(save_page(generator, tmp_path / "page.html"), "seed=3&coarse=8&engine=wasm")
    assert difference(walker, generator, style(generator, 4)) > 10 * MOST


@torch.no_grad()
@pytest.mark.parametrize("engine", ["wasm", "webgpu"])
def test_styles(walker: Walker, tmp_path: Path, engine: str) -> None:
    generator = build("cips")
    first, second = style(generator, 7), style(generator, 12)
    walker.open(save_page(generator, tmp_path / "page.html"), f"seed=7&other=12&coarse=8&engine={engine}")
    change(walker, walk=0.25)
    assert difference(walker, generator, first.lerp(second, 0.25)) <= MOST
    change(walker, walk=0, mix=4)
    assert difference(walker, generator, generator.mix(first, second, 4)) <= MOST
    change(walker, mix=0, psi=0.4)
    assert difference(walker, generator, generator.truncate(second, 0.4)) <= MOST
    change(walker, psi=1.5, walk=0.5, mix=2)
    expected = generator.truncate(generator.mix(first.lerp(second, 0.5), second, 2), 1.5)
    assert difference(walker, generator, expected) <= MOST
    assert walker.stats()["kind"] == engine


@torch.no_grad()
def test_parts_switched_off_and_first_pairs(walker: Walker, tmp_path: Path) -> None:
    generator = build("cips")
    w = style(generator, 0)
    walker.open(save_page(generator, tmp_path / "page.html"), "fourier=0&coarse=8&engine=wasm")
    features = generator.encoding.parts()[0].features
    weight = generator.first.linear.weight

    def without(part: slice) -> int:
        """The difference where those inputs of the first layer are zero, which leave demodulation as it was."""
        encode = generator.encoding.encode

        def silenced(*given: Any) -> torch.Tensor:
            encoding = encode(*given).clone()
            encoding[..., part] = 0
            return encoding

        generator.encoding.encode = silenced  # type: ignore[method-assign]
        try:
            return difference(walker, generator, w)
        finally:
            generator.encoding.encode = encode  # type: ignore[method-assign]

    assert weight.shape[1] > features
    assert without(slice(0, features)) <= MOST
    change(walker, fourier=1, embedding=0)
    assert without(slice(features, None)) <= MOST
    change(walker, embedding=1, pairs=1)
    for name in list(generator.to_rgb)[1:]:
        del generator.to_rgb[name]
    # The last pair's colours are always read: with those of the first alone, the run ends without it.
    generator.blocks = generator.blocks[:1]
    generator.num_layers = 3
    assert difference(walker, generator, w) <= MOST


@torch.no_grad()
def test_the_quickstart(walker: Walker, tmp_path: Path) -> None:
    generator = load_generator(QUICKSTART)
    assert isinstance(generator, CIPSGenerator)
    page = save_page(generator, tmp_path / "page.html")
    assert page.stat().st_size < 3e6
    for engine in ("webgpu", "wasm"):
        walker.open(page, f"seed=3&coarse=8&engine={engine}&span=1.6")
        assert difference(walker, generator, style(generator, 3)) <= MOST
        assert walker.stats()["kind"] == engine


@torch.no_grad()
def test_classes(walker: Walker, tmp_path: Path) -> None:
    generator = build("cips", classes=3)
    generator.mapping.class_shares.copy_(torch.tensor([0.2, 0.5, 0.3]))
    walker.open(save_page(generator, tmp_path / "page.html"), "seed=5&coarse=8&engine=wasm")
    assert difference(walker, generator, style(generator, 5)) <= MOST
    for label in range(3):
        change(walker, label=label)
        assert difference(walker, generator, style(generator, 5, label=label)) <= MOST
    seeds = list(range(200))
    found = walker.evaluate(
        f"{seeds}.map(seed => classOf(seed, explorer.model.tensor('mapping.shares'), explorer.model.class_stream))"
    )
    assert found == classes_of_seeds(seeds, generator.mapping.class_shares).tolist()


@pytest.mark.parametrize("z_dim", [1, 2, 7, 15, 16, 17, 31, 64, 100, 512])
def test_seeds_are_those_of_torch(walker: Walker, tmp_path: Path, z_dim: int) -> None:
    if not walker.page.url.startswith("file:"):
        walker.open(save_page(build("cips"), tmp_path / "page.html"), "coarse=8&engine=wasm")
    for seed in (0, 1, 42, 2**31, 2**32 - 1):
        found = torch.tensor(walker.evaluate(f"Array.from(latentOf({seed}, {z_dim}))"))
        torch.testing.assert_close(found, latents_of_seeds([seed], z_dim)[0], rtol=1e-5, atol=2e-6)


def test_far_inside_places_are_still_told_apart(walker: Walker, tmp_path: Path) -> None:
    generator = build("siren")  # its frequencies are high
    walker.open(save_page(generator, tmp_path / "page.html"), f"x=0.9&y=0.1&span={2**-24}&coarse=8&engine=wasm")
    xs, sines = walker.evaluate(
        "(xs => [Array.from(xs), Array.from(wavesOf(explorer.model.grid, xs, false).sine)])"
        "(explorer.painter.places(0, 1, 58, 'x'))"
    )
    assert len(set(np.float32(xs))) < len(xs) / 2 < len(set(xs)) == len(xs)  # single precision has fewer places
    frequencies = generator.encoding.fourier.weight.detach().numpy().astype(np.float64)[:, 0]
    np.testing.assert_allclose(np.reshape(sines, (len(xs), -1)), np.sin(np.outer(xs, frequencies)), atol=1e-7)
