"""The explorer's row of `make bench`: it draws what it times, and says so where there is no browser."""

import shutil
from pathlib import Path

import pytest
from browser import CHROMIUM, REQUIRED
from variants import build, composed

from benchmarks import bench
from benchmarks import explorer as module
from benchmarks.explorer import QUICKSTART, drawn, grid_of, measure, opened
from cips_lab.interop.native import save_generator

in_a_browser = pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no browser here: apt-get install chromium")


@in_a_browser
@pytest.mark.timeout(280)
def test_the_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "VIEW", 64)
    (row,) = bench.ROWS["explorer"](1)
    assert 0 < row["coarse_seconds"] <= row["seconds"]
    assert row["pixels_per_s"] == pytest.approx(64 * 64 / row["seconds"])
    assert row["speedup"] == pytest.approx(row["reference_seconds"] / row["seconds"])
    bench.show(row)
    said = capsys.readouterr().out
    assert said.startswith("explorer, 64 x 64 of quickstart, WebAssembly")
    assert "coarse after" in said
    assert "pixels/s" in said
    assert len(said.splitlines()) == 1


@in_a_browser
@pytest.mark.timeout(280)
def test_the_view_has_the_size_and_each_picture_is_drawn_anew() -> None:
    generator = module.load_generator(QUICKSTART)
    with opened(generator, 48) as page:  # type: ignore[arg-type]
        assert grid_of(page).shape == (48, 48, 2)
        before = page.evaluate("explorer.stats.computed")
        for seed in range(2):
            taken = drawn(page, seed)
            assert 0 < taken["coarse"] <= taken["full"]
        assert page.evaluate("explorer.stats.computed") - before >= 2 * 48 * 48


@in_a_browser
@pytest.mark.timeout(280)
def test_different_pictures_are_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_generator(build("cips"), tmp_path / "one.safetensors", composed("cips"), 1)
    rendered = module.rendered
    monkeypatch.setattr(module, "rendered", lambda generator, seed, grid: rendered(generator, seed + 1, grid))
    with pytest.raises(AssertionError, match="different pictures"):
        measure(32, 1, tmp_path / "one.safetensors")


def test_without_a_browser_the_row_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (row,) = bench.ROWS["explorer"](1)
    assert set(row) == {"row", "left_out"}
    bench.show(row)
    assert "left out: no Chromium here: apt-get install chromium" in capsys.readouterr().out
