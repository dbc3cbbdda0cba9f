"""The page as a person uses it: mouse, wheel, fingers, keys, sliders, the address; and what is computed meanwhile."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM, REQUIRED
from PIL import Image
from variants import build
from walker import Walker, difference, save_page

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.render.pictures import to_uint8

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no browser here: apt-get install chromium"),
    pytest.mark.timeout(280),
]
# From now on, whatever lets the page work later is counted.
COUNT_CALLS = """() => {
  window.asked = 0;
  const counted = (owner, name) => {
    const own = owner[name];
    owner[name] = function (...given) { window.asked++; return own.apply(this, given); };
  };
  counted(window, "requestAnimationFrame");
  counted(window, "setTimeout");
  counted(window, "setInterval");
  counted(Worker.prototype, "postMessage");
}"""
CHANGE_OFTEN = """async () => {
  for (let seed = 1; seed < 12; seed++) {
    explorer.state.set({ seed });
    if (seed % 3 === 0) await new Promise(requestAnimationFrame);
  }
}"""
PHONE = {"width": 390, "height": 740}


@pytest.fixture(scope="module")
def walker() -> Iterator[Walker]:
    with Walker() as opened:
        yield opened


@pytest.fixture(scope="module")
def generator() -> CIPSGenerator:
    generator = build("cips")
    assert isinstance(generator, CIPSGenerator)
    return generator


@pytest.fixture(scope="module")
def page(generator: CIPSGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_page(generator, tmp_path_factory.mktemp("page") / "explorer.html", "A <world> & more")


@pytest.fixture(autouse=True)
def without_complaints(walker: Walker) -> Iterator[None]:
    """No exception, no error on the console, nothing asked for but the page itself and what it holds."""
    with walker.silent():
        yield
    files = {url.partition("#")[0].rpartition("/")[2] for url in walker.requests if url.startswith("file:")}
    assert files <= {"explorer.html"}


def open_view(walker: Walker, page: Path, fragment: str = "", high: int = 120) -> None:
    """A view of 460 x `high` pixels beside the panel, drawn by WebAssembly."""
    walker.open(page, f"engine=wasm&{fragment}", 800, high)


def view(walker: Walker) -> dict[str, float]:
    return dict(walker.evaluate("explorer.painter.lattice.view()"))


def computed(walker: Walker) -> int:
    return int(walker.stats()["computed"])


def test_each_pixel_of_the_view_is_computed_once(walker: Walker, page: Path, generator: CIPSGenerator) -> None:
    open_view(walker, page, "", 300)
    assert walker.pixels().shape == (300, 460, 4)
    assert computed(walker) == 460 * 300
    walker.page.mouse.move(300, 120)
    walker.page.mouse.down()
    walker.page.mouse.move(260, 130)  # the world moves with the pointer
    walker.page.mouse.up()
    walker.settle()
    assert view(walker)["x"] > 0 > view(walker)["y"]
    assert computed(walker) == 460 * 300 + (460 * 300 - 420 * 290)
    with torch.no_grad():
        assert difference(walker, generator, generator.mapping(generator.mapping.latents([0]))) <= 2


def test_a_pan_by_keys_computes_the_new_stripe_alone(walker: Walker, page: Path, generator: CIPSGenerator) -> None:
    open_view(walker, page)
    for key, new in (("ArrowRight", 58 * 120), ("ArrowUp", 460 * 15), ("ArrowLeft", 58 * 120), ("ArrowDown", 460 * 15)):
        before = computed(walker)
        walker.page.keyboard.press(key)
        walker.settle()
        assert computed(walker) - before == new, key
    assert view(walker) == pytest.approx({"x": 0, "y": 0, "span": 1.25}, abs=1e-9)
    with torch.no_grad():
        assert difference(walker, generator, generator.mapping(generator.mapping.latents([0]))) <= 2


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_the_fovea_computes_its_share(walker: Walker, page: Path, share: float) -> None:
    open_view(walker, page, f"fovea={share}", 256)
    stats = walker.stats()
    assert stats["computed"] == stats["wanted"] == stats["done"]
    assert stats["wanted"] / stats["pixels"] == pytest.approx(share, rel=0.04)
    assert f"{100 * stats['wanted'] / stats['pixels']:.1f} %" in walker.page.locator("#amount").inner_text()
    shown = walker.evaluate(
        "Array.from(explorer.painter.context.getImageData(0, 0, 460, 256).data).filter((_, i) => i % 4 === 3)"
    )
    assert set(shown) == {255}  # what is not computed is filled in


def test_the_fovea_follows_the_pointer(walker: Walker, page: Path) -> None:
    open_view(walker, page, "fovea=0.25", 360)
    known = (
        "((x, y) => [...Array(81).keys()].filter(i =>"
        " explorer.painter.states[(y - 4 + Math.floor(i / 9)) * 460 + x - 4 + i % 9] === 2).length)"
    )
    assert walker.evaluate(f"{known}(380, 60)") < 60
    before = computed(walker)
    walker.page.mouse.move(380, 60)
    walker.settle()
    assert walker.evaluate(f"{known}(380, 60)") == 81  # all pixels where one looks
    assert 0 < computed(walker) - before < 0.25 * 460 * 360  # what both have is computed once
    assert walker.stats()["wanted"] == pytest.approx(0.25 * 460 * 360, rel=0.05)


def test_the_wheel_zooms_about_the_pointer(walker: Walker, page: Path, generator: CIPSGenerator) -> None:
    open_view(walker, page, "", 300)
    at = "(l => [l.x(l.left + 300), l.y(l.top + 90)])(explorer.painter.lattice)"
    place = walker.evaluate(at)
    walker.page.mouse.move(300, 90)
    walker.page.mouse.wheel(0, -400)
    walker.settle()
    assert view(walker)["span"] == pytest.approx(1.25 * np.exp(-0.6))
    assert walker.evaluate(at) == pytest.approx(place)
    walker.page.mouse.wheel(0, 400)
    walker.settle()
    assert view(walker) == pytest.approx({"x": 0, "y": 0, "span": 1.25}, abs=1e-9)
    walker.page.mouse.dblclick(300, 90)
    walker.settle()
    assert view(walker)["span"] == pytest.approx(0.625)
    with torch.no_grad():
        assert difference(walker, generator, generator.mapping(generator.mapping.latents([0]))) <= 2


def test_two_fingers_zoom(walker: Walker, page: Path) -> None:
    walker.open(page, "engine=wasm&coarse=4", **PHONE)
    touch = walker.page.context.new_cdp_session(walker.page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = view(walker)["span"]
    fingers("touchStart", (150, 200), (250, 200))
    for apart in (60, 80, 100):
        fingers("touchMove", (200 - apart, 200), (200 + apart, 200))
    fingers("touchEnd")
    walker.settle()
    assert view(walker)["span"] == pytest.approx(before / 2, rel=0.05)
    x = view(walker)["x"]
    fingers("touchStart", (200, 200))
    fingers("touchMove", (140, 200))
    fingers("touchEnd")
    walker.settle()
    assert view(walker)["x"] > x


def test_keys_and_sliders(walker: Walker, page: Path, generator: CIPSGenerator) -> None:
    open_view(walker, page, "coarse=4")
    for key in ("n", "n", "n", "p"):
        walker.page.keyboard.press(key)
    assert walker.page.locator("#seed").input_value() == "2"
    walker.page.keyboard.press("+")
    assert view(walker)["span"] == pytest.approx(1)
    walker.page.keyboard.press("-")
    walker.page.keyboard.press("-")
    walker.page.keyboard.press("0")
    assert view(walker)["span"] == 1.25
    walker.page.locator("#psi").focus()
    for _ in range(30):
        walker.page.keyboard.press("ArrowLeft")  # the slider's own key: the view stays where it is
    assert walker.page.locator("output[data-of=psi]").inner_text() == "0.70"
    walker.settle()
    assert view(walker)["x"] == 0
    with torch.no_grad():
        w = generator.truncate(generator.mapping(generator.mapping.latents([2])), 0.7)
        assert difference(walker, generator, w) <= 2
    walker.page.keyboard.press("Tab")
    assert walker.evaluate("document.activeElement.dataset.of") == "other"
    walker.page.locator("#seed").fill("77")
    walker.page.keyboard.press("Enter")
    walker.settle()
    with torch.no_grad():
        w = generator.truncate(generator.mapping(generator.mapping.latents([77])), 0.7)
        assert difference(walker, generator, w) <= 2
    walker.evaluate("document.activeElement.blur()")
    walker.page.keyboard.press("f")
    assert walker.evaluate("explorer.state.values.fovea") == 0.5
    assert walker.page.locator("[data-set=fovea][data-value='0.5']").get_attribute("aria-pressed") == "true"


def test_the_address_holds_the_view(walker: Walker, page: Path) -> None:
    open_view(walker, page, "coarse=4")
    walker.page.keyboard.press("ArrowRight")
    walker.page.mouse.move(400, 30)
    walker.page.mouse.wheel(0, -300)
    walker.page.locator("#mix").focus()
    walker.page.keyboard.press("ArrowLeft")
    walker.page.locator("[data-set=embedding]").click()
    walker.settle()
    walker.page.wait_for_timeout(400)
    before, pixels, address = walker.evaluate("explorer.state.values"), walker.pixels(), walker.page.url
    assert "mix=" in address
    walker.page.reload()
    walker.evaluate("explorer.ready")
    walker.settle()
    assert walker.evaluate("explorer.state.values") == before
    np.testing.assert_array_equal(walker.pixels(), pixels)
    walker.evaluate("location.hash = 'seed=4&span=nonsense&x=Infinity&fovea=-3&psi=99&engine=drop'")  # typed by hand
    walker.page.wait_for_timeout(100)
    walker.settle()
    values = walker.evaluate("explorer.state.values")
    expected = {"seed": 4, "span": 1.25, "x": 0, "fovea": 0.01, "psi": 1.5, "engine": "auto", "embedding": 1}
    assert {name: values[name] for name in expected} == expected


def test_nothing_runs_when_nothing_moves(walker: Walker, page: Path) -> None:
    open_view(walker, page)
    walker.page.wait_for_timeout(400)
    walker.page.evaluate(COUNT_CALLS)
    before = walker.stats()
    walker.page.wait_for_timeout(600)
    assert walker.evaluate("window.asked") == 0
    after = walker.stats()
    assert (after["computed"], after["pictures"]) == (before["computed"], before["pictures"])
    walker.page.keyboard.press("ArrowRight")
    walker.settle()
    assert walker.evaluate("window.asked") > 0  # the counter counts


def test_the_last_of_many_changes_is_what_is_drawn(walker: Walker, page: Path, generator: CIPSGenerator) -> None:
    for engine in ("wasm", "webgpu"):
        walker.open(page, f"engine={engine}&coarse=2", 800, 200)
        walker.page.evaluate(CHANGE_OFTEN)
        walker.settle()
        with torch.no_grad():
            assert difference(walker, generator, generator.mapping(generator.mapping.latents([11]))) <= 2
        assert walker.stats()["kind"] == engine


def test_a_lost_graphics_card_is_told_and_gone_on_without(walker: Walker, page: Path, generator: CIPSGenerator) -> None:
    walker.open(page, "engine=webgpu&coarse=8")
    assert walker.stats()["kind"] == "webgpu"
    walker.evaluate("explorer.state.set({ seed: 9 })")
    walker.evaluate("void explorer.engine.onlost('a test')")
    walker.settle()
    walker.page.wait_for_timeout(200)
    walker.settle()
    assert walker.stats()["kind"] == "wasm"
    assert "a test" in walker.page.locator("#notice").inner_text()
    with torch.no_grad():
        assert difference(walker, generator, generator.mapping(generator.mapping.latents([9]))) <= 2


def test_a_walk_between_seeds(walker: Walker, page: Path) -> None:
    open_view(walker, page, "coarse=4&walk=0.9")
    walker.page.locator("#play").click()
    for _ in range(200):
        walker.page.wait_for_timeout(100)
        if walker.evaluate("explorer.state.values.seed") >= 1:
            break
    walker.page.locator("#play").click()
    walker.settle()
    values = walker.evaluate("explorer.state.values")
    assert values["other"] == values["seed"] + 1
    walker.page.wait_for_timeout(200)
    assert walker.evaluate("explorer.state.values") == values  # it has stopped


def test_a_png_of_the_view(walker: Walker, page: Path, generator: CIPSGenerator) -> None:
    open_view(walker, page, "seed=6&coarse=4&x=0.2", 240)
    walker.page.locator("#size").fill("200")
    with walker.page.expect_download() as saved:
        walker.page.locator("#save").click()
    assert saved.value.suggested_filename == "A_world_more_seed6_200x104.png"
    found = np.asarray(Image.open(io.BytesIO(Path(saved.value.path()).read_bytes())).convert("RGB"))
    places = (
        "(l => [[...Array(200).keys()].map(i => l.x(i)), [...Array(104).keys()].map(j => l.y(j))])"
        "(new Lattice(explorer.model, explorer.painter.lattice.view(), 200, 104))"
    )
    xs, ys = (torch.tensor(axis, dtype=torch.float64) for axis in walker.evaluate(places))
    grid = torch.stack(torch.broadcast_tensors(xs[None, :], ys[:, None]), -1).float()
    assert (xs[0] + xs[-1]) / 2 == pytest.approx(0.2)
    with torch.no_grad():
        expected = to_uint8(generator.render(generator.mapping(generator.mapping.latents([6])), grid))[0]
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_around_the_cylinder(walker: Walker, tmp_path: Path) -> None:
    cylinder = build("cips", surface="cylinder", turns=3)
    file = save_page(cylinder, tmp_path / "explorer.html")
    open_view(walker, file, "coarse=4")
    first = walker.pixels()
    width = walker.evaluate("explorer.painter.lattice.width")
    turn = walker.evaluate("6 / explorer.painter.lattice.sx")
    walker.evaluate(f"explorer.state.set({{x: explorer.state.values.x + {turn} * explorer.painter.lattice.sx}})")
    walker.settle()
    assert np.abs(walker.pixels().astype(int) - first).max() <= 1  # once around is the same place
    for _ in range(int(2 * turn / round(width / 8))):
        walker.page.keyboard.press("ArrowRight")
    walker.settle()
    assert -3 <= view(walker)["x"] <= 3
    with torch.no_grad():
        assert difference(walker, cylinder, cylinder.mapping(cylinder.mapping.latents([0]))) <= 2


def test_a_narrow_phone_and_both_themes(walker: Walker, page: Path) -> None:
    for scheme in ("light", "dark"):
        walker.open(page, "engine=wasm&coarse=4", **PHONE, scheme=scheme)
        assert walker.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert walker.evaluate("document.getElementById('stage').getBoundingClientRect().height > innerHeight / 2")
    walker.open(page, "engine=wasm&coarse=4", 900, 300, scheme="light")
    ground = "getComputedStyle(document.querySelector('aside')).backgroundColor"
    light = walker.evaluate(ground)
    walker.page.locator("#theme").click()
    assert walker.evaluate(ground) != light
    assert walker.page.locator("#theme").inner_text() == "Light"
    walker.page.locator("#theme").click()


def test_every_control_explains_itself(walker: Walker, page: Path) -> None:
    open_view(walker, page, "coarse=8")
    controls = "[...document.querySelectorAll('button, input, select')]"
    untold = f"{controls}.filter(c => !c.title && !c.closest('label')?.title).map(c => c.outerHTML)"
    assert walker.evaluate(untold) == []
    unnamed = (
        f"{controls}.filter(c => !c.textContent.trim() && !c.labels?.length && !c.ariaLabel).map(c => c.outerHTML)"
    )
    assert walker.evaluate(unnamed) == []
    assert walker.page.locator("h1").inner_text() == "A <world> & more"
    assert json.loads(walker.page.locator("#header").text_content() or "")["title"] == "A <world> & more"
