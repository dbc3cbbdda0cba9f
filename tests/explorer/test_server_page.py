"""The page that the server draws for, in a browser: what it shows, asks for, and says when nobody answers."""

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from browser import CHROMIUM, REQUIRED
from PIL import Image
from playwright.sync_api import Route
from served import Served, save_world
from walker import Walker, difference

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.render.pictures import to_uint8

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no browser here: apt-get install chromium"),
    pytest.mark.timeout(280),
]
MOST = 2  # of 255, as for the other engines
HIGH = 120  # pixels of the view, which is 460 wide
PIXELS = "**/pixels*"


@pytest.fixture(scope="module")
def walker() -> Iterator[Walker]:
    with Walker() as opened:
        yield opened


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, CIPSGenerator]]:
    folder = tmp_path_factory.mktemp("world")
    generator = save_world(folder / "world.safetensors", noise=True)
    with Served(folder / "world.safetensors", folder) as served:
        yield served, generator


@pytest.fixture
def generator(world: tuple[Served, CIPSGenerator]) -> CIPSGenerator:
    return world[1]


@pytest.fixture
def page(walker: Walker, world: tuple[Served, CIPSGenerator]) -> Iterator[str]:
    """Its address; nothing else is asked for, and nothing complained of."""
    walker.held = (*Walker.held, world[0].address)
    with walker.silent():
        yield world[0].address
    asked = {urlsplit(url).path for url in walker.requests if url.startswith("http")}
    assert asked <= {"/", "/pixels"}
    assert walker.page.locator("#notice").is_hidden()
    assert world[0].told.read_text() == ""


@pytest.fixture
def troubled_page(walker: Walker, world: tuple[Served, CIPSGenerator]) -> Iterator[str]:
    """Its address; a browser reports each request that fails by itself, and nothing else is complained of."""
    walker.complaints.clear()
    yield world[0].address
    walker.page.unroute_all()
    assert walker.complaints
    assert [said for said in walker.complaints if not said.startswith("Failed to load resource")] == []


def style(generator: CIPSGenerator, seed: int) -> torch.Tensor:
    with torch.no_grad():
        return generator.mapping(generator.mapping.latents([seed]))


def change(walker: Walker, **values: Any) -> None:
    walker.evaluate(f"explorer.state.set({values!r})")
    walker.settle()


def notice(walker: Walker) -> str:
    """What the page says, once it says something."""
    walker.page.locator("#notice").wait_for(state="visible")
    return walker.page.locator("#notice").inner_text()


def until(walker: Walker, condition: str) -> None:
    for _ in range(1000):
        if walker.evaluate(condition):
            return
        walker.page.wait_for_timeout(100)
    raise AssertionError(condition)


def computed(walker: Walker) -> int:
    return int(walker.stats()["computed"])


def test_the_view_is_drawn_by_the_server(walker: Walker, page: str, generator: CIPSGenerator) -> None:
    walker.open(page, "seed=3", 800, HIGH)
    assert walker.stats()["kind"] == "server"
    assert "PyTorch on" in walker.page.locator("#engine-name").inner_text()
    assert walker.page.locator("#engine-choice").is_hidden()
    assert difference(walker, generator, style(generator, 3)) <= MOST
    assert computed(walker) == 460 * HIGH
    assert difference(walker, generator, style(generator, 4)) > 10 * MOST  # which would be seen
    jobs = [url for url in walker.requests if "/pixels?" in url]
    walker.page.wait_for_timeout(500)
    assert [url for url in walker.requests if "/pixels?" in url] == jobs  # nothing moves, nothing is asked for
    change(walker, engine="wasm")  # as an address may say: there is nothing here to do it with
    assert walker.stats()["kind"] == "server"


def test_pan_and_zoom(walker: Walker, page: str, generator: CIPSGenerator) -> None:
    walker.open(page, "", 800, HIGH)
    for key, new in (
        ("ArrowRight", 58 * HIGH),
        ("ArrowUp", 460 * 15),
        ("ArrowLeft", 58 * HIGH),
        ("ArrowDown", 460 * 15),
    ):
        before = computed(walker)
        walker.page.keyboard.press(key)
        walker.settle()
        assert computed(walker) - before == new, key
    walker.page.mouse.move(200, 40)  # below are the buttons
    walker.page.mouse.wheel(0, -400)
    until(walker, "explorer.state.values.span < 1.25")
    walker.settle()
    assert walker.evaluate("explorer.painter.lattice.span") == pytest.approx(1.25 * np.exp(-0.6))
    assert difference(walker, generator, style(generator, 0)) <= MOST
    change(walker, x=40.0, y=-3.0, span=60.0)
    assert difference(walker, generator, style(generator, 0)) <= MOST


@torch.no_grad()
def test_styles_and_parts(walker: Walker, page: str, generator: CIPSGenerator) -> None:
    walker.open(page, "seed=7&other=12&coarse=8")
    first, second = style(generator, 7), style(generator, 12)
    change(walker, walk=0.25)
    assert difference(walker, generator, first.lerp(second, 0.25)) <= MOST
    change(walker, walk=0, mix=4, psi=0.4)
    assert difference(walker, generator, generator.truncate(generator.mix(first, second, 4), 0.4)) <= MOST
    change(walker, seed=2**32 - 1, mix=generator.num_layers, psi=1)
    assert difference(walker, generator, style(generator, 2**32 - 1)) <= MOST
    seen = [walker.pixels().tobytes()]
    for name in ("fourier", "embedding"):
        change(walker, **{name: 0})
        seen.append(walker.pixels().tobytes())
        change(walker, **{name: 1})
    change(walker, pairs=1)
    seen.append(walker.pixels().tobytes())
    assert len(set(seen)) == 4
    change(walker, pairs=len(generator.blocks))
    assert walker.pixels().tobytes() == seen[0]


def test_a_walk_between_seeds(walker: Walker, page: str) -> None:
    walker.open(page, "coarse=8&walk=0.9")
    walker.page.locator("#play").click()
    until(walker, "explorer.state.values.seed >= 1")
    walker.page.locator("#play").click()
    walker.settle()
    values = walker.evaluate("explorer.state.values")
    assert values["other"] == values["seed"] + 1


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_fovea_computes_its_share(walker: Walker, page: str, share: float) -> None:
    walker.open(page, f"fovea={share}", 800, 256)
    stats = walker.stats()
    assert stats["computed"] == stats["wanted"] == stats["done"]
    assert stats["wanted"] / stats["pixels"] == pytest.approx(share, rel=0.04)


def test_a_png_is_drawn_by_the_server_too(walker: Walker, page: str, generator: CIPSGenerator) -> None:
    walker.open(page, "seed=6&coarse=4", 800, 240)
    walker.page.locator("#size").fill("200")
    asked = len(walker.requests)
    with walker.page.expect_download() as saved:
        walker.page.locator("#save").click()
    found = np.asarray(Image.open(io.BytesIO(Path(saved.value.path()).read_bytes())).convert("RGB"))
    assert len([url for url in walker.requests[asked:] if "/pixels?" in url]) == 4 * 2  # tiles of 64 x 64
    places = (
        "(l => [[...Array(200).keys()].map(i => l.x(i)), [...Array(104).keys()].map(j => l.y(j))])"
        "(new Lattice(explorer.model, explorer.painter.lattice.view(), 200, 104))"
    )
    xs, ys = (torch.tensor(axis, dtype=torch.float64) for axis in walker.evaluate(places))
    grid = torch.stack(torch.broadcast_tensors(xs[None, :], ys[:, None]), -1).float()
    expected = to_uint8(generator.render(style(generator, 6), grid))[0]
    assert np.abs(found.astype(int) - expected).max() <= MOST


def test_what_is_no_longer_wanted_is_given_up(walker: Walker, page: str, generator: CIPSGenerator) -> None:
    walker.open(page, "seed=0&coarse=8")
    failed: list[str] = []
    walker.page.on("requestfailed", lambda request: failed.append(request.url))

    def hold(route: Route) -> None:  # for ever, what is asked for of the first style
        if "seed=1&" not in route.request.url:
            route.continue_()

    walker.page.route(PIXELS, hold)
    walker.evaluate("explorer.state.set({ seed: 1 })")
    until(walker, "explorer.painter.running === 2")  # as many as are asked for at once
    assert not walker.stats()["idle"]
    change(walker, seed=2)
    assert difference(walker, generator, style(generator, 2)) <= MOST
    assert len(failed) == 2
    assert all("seed=1&" in url for url in failed)
    walker.page.unroute_all()


def test_a_busy_server_is_asked_again(walker: Walker, troubled_page: str, generator: CIPSGenerator) -> None:
    walker.open(troubled_page, "coarse=8")
    busy = iter([True] * 6)

    def answer(route: Route) -> None:
        if next(busy, False):
            route.fulfill(status=503, body="too many are waiting; ask again", headers={"Retry-After": "1"})
        else:
            route.continue_()

    walker.page.route(PIXELS, answer)
    change(walker, seed=5)
    assert next(busy, None) is None
    assert difference(walker, generator, style(generator, 5)) <= MOST
    assert walker.page.locator("#notice").is_hidden()


def test_another_generators_page_is_told(walker: Walker, troubled_page: str, generator: CIPSGenerator) -> None:
    walker.open(troubled_page, "coarse=8")
    walker.evaluate("void (explorer.engine.key = 'that of another')")
    change(walker, seed=1)
    assert "load the page again" in notice(walker)
    walker.open(troubled_page, "coarse=8&seed=1")
    assert difference(walker, generator, style(generator, 1)) <= MOST


def test_coming_back_to_the_page_tries_again(walker: Walker, troubled_page: str, generator: CIPSGenerator) -> None:
    walker.open(troubled_page, "coarse=2")
    asked: list[str] = []
    walker.page.route(PIXELS, lambda route: (asked.append(route.request.url), route.abort()))
    change(walker, seed=1)
    assert "does not answer" in notice(walker)
    assert len(asked) <= 2 * 4  # not once for each tile of the view
    walker.page.unroute_all()
    walker.page.wait_for_timeout(300)
    assert walker.stats()["done"] == 0
    walker.evaluate("dispatchEvent(new Event('focus'))")
    walker.settle()
    assert difference(walker, generator, style(generator, 1)) <= MOST
    assert walker.page.locator("#notice").is_hidden()
    before = computed(walker)
    walker.evaluate("dispatchEvent(new Event('focus'))")
    walker.settle()
    assert computed(walker) == before


def test_a_picture_that_nobody_draws_is_told(walker: Walker, troubled_page: str) -> None:
    walker.open(troubled_page, "coarse=8")
    walker.page.route(PIXELS, lambda route: route.abort())
    walker.page.locator("#save").click()
    assert "No picture: the server does not answer" in notice(walker)
    assert walker.page.locator("#save").is_enabled()


def test_a_server_that_comes_back(walker: Walker, tmp_path: Path) -> None:
    generator = save_world(tmp_path / "world.safetensors")
    with Served(tmp_path / "world.safetensors", tmp_path) as served:
        walker.open(served.address, "coarse=8")
        served.end(signal.SIGTERM)
    walker.complaints.clear()
    change(walker, seed=4)
    assert "does not answer; start it again" in notice(walker)
    with Served(tmp_path / "world.safetensors", tmp_path, port=served.port) as served:
        change(walker, seed=5)
        assert difference(walker, generator, style(generator, 5)) <= MOST
        assert walker.page.locator("#notice").is_hidden()
    assert [said for said in walker.complaints if not said.startswith("Failed to load resource")] == []
