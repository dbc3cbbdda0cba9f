"""The pages in a real browser: what they draw, how they answer, that they ask for nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, REQUIRED, Browser
from playwright.sync_api import expect
from sweeps import FD, make_run, make_sweep

from cips_lab.reporting.run_page import write_run_page
from cips_lab.reporting.sweep_page import write_sweep_page

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no browser here: apt-get install chromium"),
    pytest.mark.timeout(280),
]
HOSTILE = """</script><script>document.title = 'broken'</script><img src=x onerror="document.title='broken'">"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all that a report can have."""
    run = make_run(tmp_path_factory.mktemp("runs") / "one", grids=True, name=HOSTILE)
    (run / "checkpoints" / "kimg-00004.000").mkdir(parents=True)
    (run / "explorer.html").touch()
    return write_run_page(run, costs=False)


@pytest.fixture(scope="module")
def sweep_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sweep = make_sweep(tmp_path_factory.mktemp("sweeps") / "all", grids=True)
    write_run_page(sweep / "0", costs=False)
    return write_sweep_page(sweep, costs=False)


@pytest.fixture(autouse=True)
def without_complaints(browser: Browser) -> Iterator[None]:
    """No exception, no error on the console, nothing asked for but the page itself and what it holds."""
    with browser.silent():
        yield
    files = {url.partition("#")[0].rpartition("/")[2] for url in browser.requests if url.startswith("file:")}
    assert files <= {"report.html", "changed.html"}


def visible_kimg(browser: Browser) -> list[float]:
    shown = "[...document.querySelectorAll('[data-frames] img')].filter(i => i.offsetParent).map(i => +i.dataset.kimg)"
    return browser.evaluate(shown)


def test_the_slider_of_a_run(browser: Browser, run_page: Path) -> None:
    browser.open(run_page)
    assert visible_kimg(browser) == [4]  # the newest
    assert browser.evaluate("document.querySelector('.player output').textContent") == "4 kimg"
    browser.press("ArrowLeft")
    assert visible_kimg(browser) == [3]
    for _ in range(5):
        browser.press("ArrowLeft")
    assert visible_kimg(browser) == [1]
    browser.evaluate("document.querySelector('.player input').focus()")
    browser.press("ArrowRight")  # the slider's own key
    assert visible_kimg(browser) == [2]
    mark = "document.querySelector('[data-chart=\"0\"] .now').getAttribute('x1')"
    before = float(browser.evaluate(mark))
    browser.press("ArrowRight")
    assert float(browser.evaluate(mark)) > before  # the same moment in the curves
    browser.evaluate("document.querySelector('.player button').click()")
    assert "Pause" in browser.evaluate("document.querySelector('.player button').textContent")
    expect(browser.page.locator(".player button")).to_contain_text("Play", timeout=30_000)
    assert visible_kimg(browser) == [4]
    rendering = "getComputedStyle(document.querySelector('[data-frames] img')).imageRendering"
    assert browser.evaluate(rendering) == "pixelated"
    browser.open(run_page, "#kimg=2.1")
    assert visible_kimg(browser) == [2]


def test_a_hostile_name_is_text(browser: Browser, run_page: Path) -> None:
    browser.open(run_page)
    assert browser.evaluate("document.querySelector('h1').textContent") == HOSTILE
    assert browser.evaluate("document.title").startswith(HOSTILE.replace("  ", " ")[:20])
    assert browser.evaluate("document.querySelectorAll('h1 img, h1 script').length") == 0


def test_no_other_script_runs(browser: Browser, run_page: Path, tmp_path: Path) -> None:
    """Even if something were let through: the page names its script by its hash."""
    page = tmp_path / "changed.html"
    page.write_text(run_page.read_text().replace("</main>", "<script>document.title = 'broken'</script></main>"))
    browser.open(page)
    assert browser.evaluate("document.title") != "broken"
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)
    browser.complaints.clear()


def test_read_out_by_pointer_and_by_keys(browser: Browser, run_page: Path) -> None:
    browser.open(run_page)
    tip = "document.querySelector('[data-chart=\"0\"] .tip')"
    assert browser.evaluate(f"{tip}.hidden")
    browser.point('[data-chart="0"] svg', right=0.99)
    assert not browser.evaluate(f"{tip}.hidden")
    assert browser.evaluate(f"{tip}.textContent") == f"4 kimg{FD}100"
    inside = "(([a, b]) => a.top > b.top && a.bottom < b.bottom && a.left > b.left && a.right < b.right)"
    boxes = f"[{tip}, {tip}.parentNode].map((e) => e.getBoundingClientRect())"
    assert browser.evaluate(f"{inside}({boxes})")
    browser.evaluate("document.querySelector('[data-chart=\"0\"] svg').focus()")
    browser.press("Home")
    assert browser.evaluate(f"{tip}.textContent") == f"1 kimg{FD}400"
    browser.press("ArrowRight")
    assert browser.evaluate(f"{tip}.textContent") == f"2 kimg{FD}200"
    browser.press("Escape")
    assert browser.evaluate(f"{tip}.hidden")


def test_curves_lie_where_their_numbers_are(browser: Browser, run_page: Path) -> None:
    """400, 200, 133, 100 at 1, 2, 3, 4 kimg: equal steps across, and 3 : 1 between the drops."""
    browser.open(run_page)
    path = browser.evaluate("document.querySelector('[data-chart=\"0\"] .curve').getAttribute('d')")
    points = [tuple(map(float, pair.split())) for pair in path.removeprefix("M").split("L")]
    assert len(points) == 4
    assert points[1][0] - points[0][0] == pytest.approx(points[3][0] - points[2][0])
    drops = [points[i + 1][1] - points[i][1] for i in range(3)]
    assert drops[0] / drops[1] == pytest.approx(200 / (200 - 400 / 3), rel=1e-3)
    browser.evaluate("document.querySelector('[data-chart=\"0\"] button').click()")  # a logarithmic axis
    path = browser.evaluate("document.querySelector('[data-chart=\"0\"] .curve').getAttribute('d')")
    heights = [float(pair.split()[1]) for pair in path.removeprefix("M").split("L")]
    assert heights[1] - heights[0] == pytest.approx(heights[3] - heights[1], rel=1e-3)  # 400, 200 and 200, 100


def test_light_and_dark(browser: Browser, run_page: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    browser.open(run_page)
    light = browser.evaluate(colour)
    browser.evaluate("document.getElementById('theme').click()")
    dark = browser.evaluate(colour)
    assert light != dark
    browser.open(run_page)
    assert browser.evaluate(colour) == dark  # it was remembered
    browser.evaluate("localStorage.clear()")
    browser.open(run_page, scheme="dark")
    assert browser.evaluate(colour) == dark
    browser.evaluate("document.getElementById('theme').click()")
    assert browser.evaluate(colour) == light
    browser.evaluate("localStorage.clear()")


CONTRAST = """
(() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const e of document.querySelectorAll("main *, header *, footer *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility()) continue;
    const style = getComputedStyle(e), ink = parse(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))].sort((p, q) => q - p);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) poor.push(`${contrast.toFixed(2)} ${e.outerHTML.slice(0, 80)}`);
  }
  return poor;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["run_page", "sweep_page"])
def test_all_text_has_contrast(browser: Browser, request: pytest.FixtureRequest, which: str, scheme: str) -> None:
    """At least 4.5 : 1 (WCAG 2.2, level AA), in figures too."""
    browser.open(request.getfixturevalue(which), scheme=scheme)
    assert browser.evaluate("document.querySelectorAll('.chart text').length") > 20
    assert browser.evaluate("document.querySelectorAll('#explorer .walk, #explorer code').length") == 2 * (
        which == "run_page"
    )
    assert browser.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [360, 800, 1600])
@pytest.mark.parametrize("which", ["run_page", "sweep_page"])
def test_nothing_sticks_out(browser: Browser, request: pytest.FixtureRequest, which: str, width: int) -> None:
    browser.open(request.getfixturevalue(which), width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_controls_and_pictures_are_named(browser: Browser, run_page: Path, sweep_page: Path) -> None:
    nameless = """
    [...document.querySelectorAll('button, input, img, svg[role=img], meter, progress')]
      .filter((e) => !(e.getAttribute('aria-label') || e.getAttribute('alt') || e.textContent.trim()))
      .map((e) => e.outerHTML.slice(0, 99))
    """
    for page in (run_page, sweep_page):
        browser.open(page)
        assert browser.evaluate(nameless) == []
        doubled = (
            "[...document.querySelectorAll('[id]')].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)"
        )
        assert browser.evaluate(doubled) == []


def test_the_configuration_can_be_searched(browser: Browser, run_page: Path) -> None:
    browser.open(run_page)
    search = "(() => {{ const f = document.getElementById('find'); f.value = '{}'; f.oninput(); }})()"
    rows = """
    [...document.querySelectorAll('#configuration dl > div')]
      .filter((row) => row.checkVisibility()).map((row) => row.textContent)
    """
    assert browser.evaluate(rows) == []  # closed at first
    browser.evaluate(search.format("objective lr"))
    assert sorted(row.split()[0] for row in browser.evaluate(rows)) == ["discriminator_lr", "generator_lr"]
    browser.evaluate(search.format("no such thing"))
    assert browser.evaluate(rows) == []
    assert not browser.evaluate("document.getElementById('none').hidden")


def test_a_sweep(browser: Browser, sweep_page: Path) -> None:
    browser.open(sweep_page)
    ends = "[...document.querySelectorAll('#panel0 text.end')].map((t) => t.textContent)"
    assert sorted(browser.evaluate(ends)) == ["cips", "cips_ne"]
    assert browser.evaluate("document.querySelectorAll('#panel0 .band').length") == 2
    assert browser.evaluate("document.querySelectorAll('[data-strip=\"0\"] .seed').length") == 4
    assert visible_kimg(browser) == [4, 4]
    browser.press("ArrowLeft")
    assert visible_kimg(browser) == [4, 4]  # the grids are not on the screen
    browser.point(".viewer")
    browser.press("ArrowLeft")
    assert visible_kimg(browser) == [3, 3]  # all variants together
    browser.evaluate("document.getElementById('tab1').click()")
    shown = "[...document.querySelectorAll('[role=tabpanel]')].filter((p) => p.offsetParent).map((p) => p.id)"
    assert browser.evaluate(shown) == ["panel1"]
    assert browser.evaluate("document.querySelector('#panel1 svg').getBoundingClientRect().width") > 800
    assert browser.evaluate("document.querySelector('#jobs a').getAttribute('href')") == "0/report.html"


def test_it_prints(browser: Browser, run_page: Path) -> None:
    browser.open(run_page, scheme="dark")
    document = browser.page.pdf(print_background=True)
    assert document.startswith(b"%PDF")
    assert len(document) > 30_000
    browser.page.emulate_media(media="print", color_scheme="dark")
    assert browser.evaluate("getComputedStyle(document.body).color") == "rgb(28, 33, 40)"  # ink, whatever the screen
    browser.page.emulate_media(media="screen")
