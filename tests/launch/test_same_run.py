"""What continues a run, and what is refused: by settings and by content."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cips_lab.data.identity import LARGEST, MOST
from cips_lab.data.sources import open_source
from cips_lab.errors import UserError
from cips_lab.launch.same_run import is_same_and_done, refuse_another_run
from cips_lab.runs.inputs import Inputs, write_inputs


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("a.bmp", "b.bmp", "more/c.bmp"):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / name)
    return folder


def settings(path: Path | str, **others: Any) -> dict[str, Any]:
    return {"seed": 0, "data": {"path": str(path)}, "trainer": {"precision": "32-true", "tf32": False}} | others


def begun(folder: Path, path: Path, inputs: Inputs | None = None, **others: Any) -> Path:
    """A run folder."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(settings(path, **others)))
    write_inputs(folder, inputs or Inputs(pictures=identity(path)))
    return folder


def identity(path: Path | str) -> str:
    return open_source(str(path)).identity()


def test_the_same_pictures_at_another_place_continue_a_run(tmp_path: Path, pictures: Path) -> None:
    run = begun(tmp_path / "run", pictures)
    copy, link = tmp_path / "copy", tmp_path / "link"
    shutil.copytree(pictures, copy, copy_function=shutil.copy)  # with times of its own
    link.symlink_to(pictures)
    os.utime(pictures / "a.bmp", (1, 1))
    for path in (copy, link, pictures, os.path.relpath(pictures)):
        refuse_another_run(run, settings(path), True, Inputs(pictures=identity(path)))
        assert is_same_and_done(run, settings(path), lambda path=path: identity(path))


def add(folder: Path) -> None:
    shutil.copy(folder / "a.bmp", folder / "d.bmp")


def remove(folder: Path) -> None:
    (folder / "b.bmp").unlink()


def rename(folder: Path) -> None:
    (folder / "b.bmp").rename(folder / "z.bmp")


def change_a_pixel(folder: Path) -> None:
    """Neither size nor, put back, time tell of it."""
    path = folder / "more" / "c.bmp"
    times, content = path.stat().st_mtime_ns, bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times, times))


@pytest.mark.parametrize("change", [add, remove, rename, change_a_pixel])
def test_other_pictures_at_the_same_place_are_refused(
    tmp_path: Path, pictures: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    run = begun(tmp_path / "run", pictures)
    change(pictures)
    now = Inputs(pictures=identity(pictures))
    assert not is_same_and_done(run, settings(pictures), lambda: now.pictures)
    with pytest.raises(UserError, match="no longer holds the pictures that the run was trained on") as error:
        refuse_another_run(run, settings(pictures), True, now)
    assert f"data.path={pictures}" in str(error.value)
    assert "data_changed=continue" in str(error.value)
    with caplog.at_level(logging.WARNING):
        refuse_another_run(run, settings(pictures), True, now, changed="continue")
    assert "the run goes on with these" in caplog.text


def test_pictures_at_another_place_that_are_others_are_refused(tmp_path: Path, pictures: Path) -> None:
    run = begun(tmp_path / "run", pictures)
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    change_a_pixel(other)
    with pytest.raises(UserError, match="holds other pictures than the run's"):
        refuse_another_run(run, settings(other), True, Inputs(pictures=identity(other)))


def test_of_runs_that_noted_no_content_the_place_decides(tmp_path: Path, pictures: Path) -> None:
    run = begun(tmp_path / "run", pictures, Inputs())
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    refuse_another_run(run, settings(os.path.relpath(pictures)), True, Inputs(pictures=identity(pictures)))
    with pytest.raises(UserError, match=r"another configuration.*\n  data.path: "):
        refuse_another_run(run, settings(copy), True, Inputs(pictures=identity(copy)))
    refuse_another_run(run, settings(copy), True, Inputs(pictures=identity(copy)), changed="continue")


def test_weights_to_start_from_are_the_same_by_place_or_by_content(tmp_path: Path, pictures: Path) -> None:
    content = identity(pictures)
    run = begun(tmp_path / "run", pictures, Inputs(pictures=content, init="a" * 64), init="/one.pt")
    refuse_another_run(run, settings(pictures, init="/copy.pt"), True, Inputs(content, "a" * 64))
    refuse_another_run(run, settings(pictures, init="/one.pt"), True, Inputs(content, "b" * 64))  # a run that went on
    with pytest.raises(UserError, match=r"  init: /one\.pt there, /other\.pt asked for"):
        refuse_another_run(run, settings(pictures, init="/other.pt"), True, Inputs(content, "b" * 64))


@pytest.mark.parametrize(("name", "value"), [("precision", "bf16-mixed"), ("tf32", True)])
def test_another_precision_is_another_run(tmp_path: Path, pictures: Path, name: str, value: Any) -> None:
    run = begun(tmp_path / "run", pictures)
    asked = settings(pictures)
    asked["trainer"][name] = value
    assert not is_same_and_done(run, asked, lambda: identity(pictures))
    with pytest.raises(UserError, match=f"  trainer.{name}: "):
        refuse_another_run(run, asked, True, Inputs(identity(pictures)))


def test_what_is_read_of_a_large_set_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file's name and size, the content of some."""
    from cips_lab.data import identity as module

    sizes = [10] * (3 * MOST)
    files = [f"{i:06}.png" for i in range(len(sizes))]
    read: list[Path] = []

    class Stat:
        st_size = LARGEST // (2 * MOST)

    monkeypatch.setattr(Path, "stat", lambda *_, **__: Stat)
    monkeypatch.setattr(module, "sha256_of", lambda path: read.append(path) or "")
    first = module.identity(tmp_path, files)
    assert MOST / 2 < len(read) <= MOST
    assert len(read) * Stat.st_size <= LARGEST
    assert module.identity(tmp_path, files[:-1]) != first
