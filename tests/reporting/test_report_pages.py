"""The pages as text: whole, self-contained, escaped, small. What they do is tested in a browser beside."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sweeps import FD, make_run, make_sweep

from cips_lab.reporting import grids, page
from cips_lab.reporting.curves import (
    MOST_POINTS,
    across_seeds,
    evaluation_charts,
    extrapolations,
    line,
    training_charts,
)
from cips_lab.reporting.grids import BUDGET, frame, thinned
from cips_lab.reporting.run_page import reach, run_page, write_run_page
from cips_lab.reporting.sweep_page import write_sweep_page
from cips_lab.runs.records import read_job, read_sweeps

HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(1)>"&'{{ 7 * 7 }}"""
VOID = {"meta", "link", "img", "input", "br", "wbr"}


class Page(HTMLParser):
    """Tags, attributes, text; complains of what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID and not (self.open and self.open[-1] == "svg"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str) -> str:
        return "".join(text for inside, text in self.texts if inside == tag)


def data_of(parsed: Page) -> dict[str, Any]:
    (script,) = [text for inside, text in parsed.texts if inside == "script" and text.startswith("{")]
    return json.loads(script)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs") / "one", grids=True)
    (folder / "environment.json").write_text(json.dumps({"commit": "abc123", "packages": {"torch": "2.9"}}))
    (folder / "overrides.yaml").write_text("- experiment=quickstart\n")
    return folder


def test_a_run(run: Path) -> None:
    parsed = Page(write_run_page(run).read_text())
    assert parsed.text("h1") == "test"
    assert "Run · quickstart · cips" in parsed.text("p")
    assert {"class": "pill finished"} in parsed.all("span")
    assert "abc123" in parsed.text("b")
    assert "parameters" in parsed.text("dd")  # counted
    data = data_of(parsed)
    titles = [chart["title"] for chart in data["charts"]]
    assert titles == [FD, "kid", "precision", "Losses", "Discriminator's logits", "Peak memory", "Speed", "R1 penalty"]
    assert data["charts"][0]["series"][0]["points"] == [[1, 400], [2, 200], [3, 133.333], [4, 100]]
    assert data["charts"][0]["floor"] == 10
    shown = [a for a in parsed.all("img") if "hidden" not in a]
    assert [a["alt"] for a in shown] == ["Grid of generated pictures after 4 kimg", "Grid of real pictures"]
    assert len(parsed.all("img")) == 5
    assert "quickstart" in parsed.text("p")
    assert "packages.torch" in parsed.text("dt")
    assert "generator_lr" in parsed.text("dt")
    assert not list(run.glob(".report*"))


@pytest.mark.parametrize("which", ["run", "sweep"])
def test_it_loads_nothing(run: Path, tmp_path: Path, which: str) -> None:
    """No address but data: ones, and one script that the policy names by its hash."""
    sweep = make_sweep(tmp_path / "sweep", grids=True)
    text = (write_run_page(run, costs=False) if which == "run" else write_sweep_page(sweep, costs=False)).read_text()
    parsed = Page(text)
    addresses = [a[name] or "" for _, a in parsed.tags for name in ("src", "href", "srcset", "action") if name in a]
    assert addresses
    assert all(re.match("data:|#", address) for address in addresses)
    assert "@import" not in text
    assert "url(" not in text
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (policy,) = [a["content"] or "" for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_all_text_of_a_users_is_escaped(tmp_path: Path) -> None:
    """A run's name, its settings, its environment, its extractor, the names of its numbers, a job's folder."""
    sweep = tmp_path / "a <b>sweep"
    folder = make_run(
        sweep / "<i>job", name=HOSTILE, changes={"extractor": HOSTILE, f"fd_{HOSTILE}": 1.0, FD: 5.0}, grids=True
    )
    config = json.loads((folder / "config.yaml").read_text())
    config["generator"][HOSTILE] = HOSTILE
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "environment.json").write_text(json.dumps({"commit": HOSTILE, HOSTILE: HOSTILE}))
    (folder / "overrides.yaml").write_text(json.dumps([f"experiment={HOSTILE}"]))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kimg": 4, f"loss/{HOSTILE}": 1.0, f"{HOSTILE}/x": 2.0}) + "\n")
    make_run(sweep / "plain", "generator=siren", changes={"extractor": HOSTILE})
    for text in (write_run_page(folder, costs=False).read_text(), write_sweep_page(sweep, costs=False).read_text()):
        parsed = Page(text)
        assert len(parsed.all("script")) == 2
        assert all(a.get("src", "").startswith("data:image/webp") for a in parsed.all("img"))  # type: ignore[union-attr]
        assert not [name for _, a in parsed.tags for name in a if name.startswith("on")]
        assert not parsed.all("i") or all(a.get("aria-hidden") for a in parsed.all("i"))
        assert "49" not in parsed.text("h1")  # names are no templates
        assert data_of(parsed)["charts"]
    assert Page((folder / "report.html").read_text()).text("h1") == HOSTILE


def test_every_state_of_a_run_has_a_page(tmp_path: Path) -> None:
    started = make_run(tmp_path / "started", reached=0)
    trial = make_run(tmp_path / "trial", total=2, every=8, reached=1)
    bare = make_run(tmp_path / "bare")  # no grids, no environment
    for folder in (started, trial, bare):
        parsed = Page(write_run_page(folder, costs=False).read_text())
        assert parsed.all("img") == []
    assert "running" in Page(write_run_page(bare, state="running", costs=False).read_text()).text("span")
    odd = make_run(tmp_path / "odd", changes={"kid": float("nan")})  # JSON has none
    data = data_of(Page(write_run_page(odd, costs=False).read_text()))
    assert [chart["title"] for chart in data["charts"]][:2] == [FD, "precision"]


def test_a_sweep(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", grids=True)
    make_run(sweep / "4", "generator=siren", reached=2, grids=True)
    write_run_page(sweep / "1", costs=False)
    parsed = Page(write_sweep_page(sweep, costs=False).read_text())
    assert parsed.text("h1") == "sweep"
    assert "4 finished" in parsed.text("span")
    assert "1 unfinished" in parsed.text("span")
    assert "Left out: job 4 (unfinished, at 2 of 4 kimg)." in parsed.text("p")
    assert [a["href"] for a in parsed.all("a") if (a["href"] or "").endswith(".html")] == ["1/report.html"]
    assert [a["class"] for a in parsed.all("td") if a.get("class") == "best"] == ["best", "best"]  # FD and KID
    data = data_of(parsed)
    assert [s["label"] for s in data["charts"][0]["series"]] == ["cips", "cips_ne"]
    assert data["charts"][0]["series"][0]["points"][-1] == [4, 105]
    assert data["charts"][0]["series"][0]["band"][-1] == [4, 100, 110]
    assert data["strips"][0]["rows"][1]["values"] == [200, 220]
    # Grids at the moments that all variants have: 1 and 2 kimg.
    kimgs = [a["data-kimg"] for a in parsed.all("img") if "data-kimg" in a]
    assert kimgs == ["1.0", "2.0"] * 3
    elsewhere = Page(write_sweep_page(sweep, tmp_path / "pages" / "all.html", costs=False).read_text())
    assert "../sweep/1/report.html" in [a["href"] for a in elsewhere.all("a")]


def test_a_sweep_that_cannot_be_tabulated_has_a_page(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep")
    make_run(sweep / "4", "generator=siren", changes={"num_samples": 50})
    parsed = Page(write_sweep_page(sweep, costs=False).read_text())
    assert "num_samples: 100 in jobs 0, 1, 2, 3; 50 in job 4" in parsed.text("p")
    charts = data_of(parsed)["charts"]
    assert [(chart["unit"], len(chart["series"])) for chart in charts] == [("100 samples", 2), ("50 samples", 1)]
    begun = make_run(tmp_path / "begun" / "0", reached=0).parent
    assert "no job can stand in the table" in Page(write_sweep_page(begun, costs=False).read_text()).text("p")


# ------------------------------------------------------------------ pictures


def test_small_grids_are_kept_pixel_by_pixel(run: Path) -> None:
    path = run / "samples" / "real.png"
    made = frame(path, None, pictures=10, side=32)
    decoded = Image.open(io.BytesIO(base64.b64decode(made.uri.partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(decoded.convert("RGB")), np.asarray(Image.open(path)))
    assert made.pixelated
    assert not frame(path, None, pictures=10, side=256).pixelated


def test_a_long_run_with_large_noise_stays_below_ten_megabytes(tmp_path: Path) -> None:
    """2048 x 2048 pixels of noise, the worst that can be compressed, many times."""
    folder = make_run(tmp_path / "one", "resolution=256", total=130, every=10)
    (folder / "samples").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "samples" / "real.png", compress_level=0)
    for kimg in range(1, 131):  # links: the same picture, encoded anew for each name
        (folder / "samples" / f"kimg-{kimg:09.3f}.png").hardlink_to(folder / "samples" / "real.png")
    kept = thinned([float(k) for k in range(1, 131)])
    assert len(kept) <= grids.MOST_FRAMES + 1
    one = frame(folder / "samples" / "real.png", None, len(kept) + 1, side=256)
    assert len(one.uri) * (len(kept) + 1) < 4 / 3 * BUDGET + 100 * (len(kept) + 1)
    assert one.width == 2048


def test_frames_that_stay_are_those_of_before() -> None:
    """While a run goes on most of what was encoded is used again; the newest is always there."""
    for count in range(1, 300):
        kimgs = [float(k) for k in range(1, count + 1)]
        kept = thinned(kimgs, most=20)
        assert kept[-1] == count
        assert kept == sorted(set(kept))
        assert len(kept) <= 21
        if count <= 20:
            assert kept == kimgs
        later = thinned([*kimgs, count + 1.0], most=20)
        assert len(set(kept[:-1]) - set(later)) <= 11  # when the stride doubles, half go
    assert thinned([]) == []


# ------------------------------------------------------------------ curves


def test_long_runs_are_averaged() -> None:
    records = [{"kimg": k / 10, "x": float(k % 2)} for k in range(1, 25_001)]
    points = line(records, "x").points
    assert len(points) <= MOST_POINTS
    assert points[-1][0] == 2500
    assert all(0.4 < y < 0.6 for _, y in points)


def test_charts_of_a_run_take_what_there_is(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "one", changes={"num_samples": lambda kimg: 100 if kimg < 4 else 1000})
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kimg": 4, "gradient_norm/generator": 2.0, "new_kind/of": 1.0}) + "\n")
    job = read_job(folder)
    titles = [chart.title for chart in training_charts(job)]
    assert "Gradient norms" in titles
    assert "new kind" in titles
    (distance, *_) = evaluation_charts(job)
    assert [x for x, _ in distance.series[0].points] == [1, 2, 3]  # of 100 samples; that of 1000 is another curve's


def test_a_mean_over_seeds_needs_all_of_them(tmp_path: Path) -> None:
    make_run(tmp_path / "0", fd=100)
    make_run(tmp_path / "1", fd=300, seed=1, every=2)
    jobs = tuple(read_sweeps([tmp_path]))
    series = across_seeds("x", jobs, FD, 100)
    assert series.points == [(2, 400), (4, 200)]
    assert series.band == [(2, 200, 600), (4, 100, 300)]
    assert across_seeds("x", jobs[:1], FD, 100).band == []
    assert series.scaled(10).points == [(20, 400), (40, 200)]


def test_nearness() -> None:
    assert reach(20, 10, higher=False) == 0.5
    assert reach(0.35, 0.7, higher=True) == 0.5
    assert reach(5, 10, higher=False) == 1  # better than the floor, which has its own noise
    assert reach(0, 0, higher=True) is None
    assert reach(-0.001, 0.01, higher=False) is None  # KID is unbiased and may be below zero
    assert reach(1, None, higher=True) is None


def test_sparks_fill_their_box() -> None:
    assert page.spark([(0, 5), (1, 10)]) == "M0.0 28.0L100.0 2.0"
    assert page.spark([(0, 5)]) == ""
    assert page.spark([(0, 5), (1, 5)]) == "M0.0 28.0L100.0 28.0"


def test_a_page_is_the_same_twice(run: Path) -> None:
    job = read_job(run)
    assert run_page(job, "finished") == run_page(job, "finished")


def test_a_distance_at_infinity_is_shown_with_its_fit(tmp_path: Path) -> None:
    parts = {f"fd_inf_tiny/{count}": 20.0 + 3000 / count for count in (100, 200, 500, 1000)}
    folder = make_run(
        tmp_path / "one", changes={"fd_inf_tiny": 20.0, "fd_inf_tiny_se": 0.1, "swd": 1.0, "swd/32": 1.0, **parts}
    )
    (fit,) = (chart.as_dict() for chart in extrapolations(read_job(folder).evaluations[-1]))
    assert (fit["title"], fit["x"]) == ("fd_inf_tiny, the fit", "1000 / samples")
    line, distances = (series["points"] for series in fit["series"])
    assert line == [[0.0, 20.0], [10.0, 50.0]]
    assert distances == [[1.0, 23.0], [2.0, 26.0], [5.0, 35.0], [10.0, 50.0]]
    write_run_page(folder, costs=False)
    assert "1000 / samples" in (folder / "report.html").read_text(encoding="utf-8")
