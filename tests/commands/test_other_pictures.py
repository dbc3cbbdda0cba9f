"""A run knows its pictures: the same ones anywhere continue it, others do not unless that is asked for."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ["experiment=debug", "data=folder", "callbacks.report=null", "callbacks.samples=null", "trainer=cpu", "name=x"]


@pytest.mark.timeout(600)
def test_pictures_are_what_they_show_not_where_they_lie(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for shade in range(9):
        Image.new("RGB", (20, 20), (20 * shade, 0, 0)).save(tmp_path / "a" / f"{shade}.bmp")
    begun = run("train", *SHORT, "data.path=a", "schedule.total_kimg=0.008")
    assert begun.returncode == 0, begun.stderr
    shutil.copytree(tmp_path / "a", tmp_path / "scratch", copy_function=shutil.copy)
    copied = run("train", *SHORT, f"data.path={tmp_path / 'scratch'}", "schedule.total_kimg=0.016")
    assert copied.returncode == 0, copied.stderr
    assert "continuing from kimg-00000.008" in copied.stdout
    Image.new("RGB", (20, 20), (1, 2, 3)).save(tmp_path / "scratch" / "3.bmp")
    other = ["data.path=scratch", "schedule.total_kimg=0.024"]
    refused = run("train", *SHORT, *other)
    assert refused.returncode == 2, refused.stdout
    assert "data.path=scratch no longer holds the pictures that the run was trained on" in refused.stderr
    assert not list((tmp_path / "runs" / "x" / "checkpoints").glob("kimg-00000.024"))
    asked_for = run("train", *SHORT, *other, "data_changed=continue")
    assert asked_for.returncode == 0, asked_for.stderr
    assert "the run goes on with these (data_changed=continue)" in asked_for.stdout
