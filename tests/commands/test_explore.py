"""`python -m cips_lab.explore` as a user runs it."""

from pathlib import Path

import pytest
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
