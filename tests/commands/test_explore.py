"""`python -m cips_lab.explore` as a user runs it."""

from pathlib import Path

import pytest
from sweeps import make_run
from variants import build, composed

from cips_lab.interop.native import save_generator
from conftest import Run


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_generator(build("cips"), tmp_path / "world.safetensors", composed("cips"), 2.5)
    return tmp_path / "world.safetensors"


def test_it_writes_one_page(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    result = run("explore", f"ckpt={checkpoint}", "output=pages/world.html", "title=A world")
    assert result.returncode == 0, result.stderr
    assert "pages/world.html" in result.stdout
    page = (tmp_path / "pages" / "world.html").read_text()
    assert "<h1>A world</h1>" in page
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["world.html"]
    again = run("explore", f"ckpt={checkpoint}", "output=pages/world.html", "title=A world")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "pages" / "world.html").read_text() == page  # the same bytes every time


def test_in_a_runs_folder_its_report_links_to_it(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs" / "first")
    page, report = folder / "explorer.html", folder / "report.html"
    for output, first_line in (("runs/first/explorer.html", "explorer.html"), ("runs/first/other.html", "other.html")):
        result = run("explore", f"ckpt={checkpoint}", f"output={output}")
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) == 1
        assert f"runs/first/{first_line}: " in result.stdout
    assert not report.exists()  # there was none, and none is asked for
    report.write_text("as training left it")
    result = run("explore", f"ckpt={checkpoint}", "output=runs/first/explorer.html")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[1] == "runs/first/report.html"
    assert 'href="explorer.html"' in report.read_text()
    assert page.stat().st_size > 10_000
    report.write_text("as it was")
    assert run("explore", f"ckpt={checkpoint}", "output=explorer.html").returncode == 0  # in no run's folder
    assert report.read_text() == "as it was"


def test_mistakes_are_told_before_anything_is_written(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    cases = [
        ((), "ckpt=... is missing"),
        (("ckpt=nowhere",), "nowhere"),
        ((f"ckpt={checkpoint}", "output=page.png"), ".html"),
        ((f"ckpt={checkpoint}", "output=folder.html"), "folder"),
        ((f"ckpt={checkpoint}", "width=3"), "width"),
    ]
    for overrides, said in cases:
        result = run("explore", *overrides)
        assert result.returncode == 2, (overrides, result.stderr)
        assert said in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "explorer.html").exists()
