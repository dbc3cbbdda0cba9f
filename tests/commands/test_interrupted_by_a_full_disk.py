"""A disk that is full: a small file system where one may be mounted, else (and also) a limit on the size of files."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cips_lab.runs.checkpoints import damage
from cips_lab.runs.folder import checkpoint_folders

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of 2 MB; None where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        yield None
        return
    yield folder
    subprocess.run(["umount", folder], check=True)


def train(folder: Path, cache: Path, *overrides: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """The command; no file may pass `limit` bytes."""

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    return subprocess.run(
        [sys.executable, "-m", "cips_lab.train", "experiment=debug", "schedule.keep_checkpoints=null", *overrides],
        cwd=folder,
        env=os.environ | {"CIPS_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        preexec_fn=restrict,
        timeout=800,
    )


def assert_one_clear_message(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert "Logging error" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    for part in (*parts, "no room on the disk", "give the same command again to continue"):
        assert part in errors[0]


def assert_nothing_half_written(run: Path) -> list[str]:
    folders = checkpoint_folders(run)
    assert [damage(folder) for folder in folders] == [None] * len(folders)
    assert not list(run.rglob("*partial*"))
    return [folder.name for folder in folders]


@pytest.mark.parametrize("trainer", ["cpu", "ddp_cpu"])
def test_checkpoints_fill_the_disk(tmp_path: Path, cache: Path, small_disk: Path | None, trainer: str) -> None:
    long = [f"trainer={trainer}", "schedule.total_kimg=0.4", "schedule.checkpoint_kimg=0.008"]
    if small_disk is None:  # the second checkpoint's first file is as large as the first's: none is written
        result = train(tmp_path, cache, *long, "name=x", "paths.runs=disk", limit=200_000)
    else:
        result = train(tmp_path, cache, *long, "name=x", "paths.runs=disk")
    run = tmp_path / "disk" / "x"
    assert_one_clear_message(result, f"error: {run}/checkpoints/kimg-", "it needs", "MB are free")
    kept = assert_nothing_half_written(run)
    if small_disk is not None:
        assert len(kept) >= 2
        assert f"the newest: {kept[-1]}" in result.stderr
        subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    again = train(tmp_path, cache, *long, "name=x", "paths.runs=disk")
    assert again.returncode == 0, again.stderr
    if kept:
        assert f"continuing from {kept[-1]}" in again.stdout
    whole = train(tmp_path, cache, *long, "name=whole", "schedule.checkpoint_kimg=1")
    assert whole.returncode == 0, whole.stderr
    x, y = (
        load_file(folder / "checkpoints/kimg-00000.400/generator.safetensors")
        for folder in (run, tmp_path / "runs/whole")
    )
    assert all(torch.equal(x[name], y[name]) for name in y)


def test_a_write_that_fails_though_there_seemed_to_be_room(tmp_path: Path, cache: Path) -> None:
    """As under a quota: what is free is not what may be used."""
    usual = ["trainer=cpu", "name=x"]
    first = train(tmp_path, cache, *usual, "schedule.total_kimg=0.04")
    assert first.returncode == 0, first.stderr
    result = train(tmp_path, cache, *usual, limit=100_000)
    run = tmp_path / "runs" / "x"
    assert_one_clear_message(result, f"error: {run}/checkpoints/kimg-00000.080", "the newest: kimg-00000.040")
    assert assert_nothing_half_written(run) == ["kimg-00000.040"]


@pytest.mark.parametrize(
    ("limit", "trainer", "file"), [(1500, "cpu", "config.yaml"), (7000, "ddp_cpu", "metrics.jsonl")]
)
def test_other_files_of_the_run_folder(tmp_path: Path, cache: Path, limit: int, trainer: str, file: str) -> None:
    """With two processes, the one that writes nothing ends with the other."""
    assert train(tmp_path, cache, "trainer=cpu", "name=first", "schedule.total_kimg=0.008").returncode == 0  # the cache
    endless = ["schedule.total_kimg=50", "schedule.checkpoint_kimg=100", "schedule.sample_kimg=100"]
    result = train(
        tmp_path,
        cache,
        f"trainer={trainer}",
        "name=x",
        *endless,
        "schedule.log_kimg=0.008",
        "callbacks.samples=null",
        limit=limit,
    )
    run = tmp_path / "runs" / "x"
    assert_one_clear_message(result, f"error: {run}/{file}")
    assert_nothing_half_written(run)
    if file == "metrics.jsonl":
        content = (run / file).read_text()
        assert content.endswith("}\n"), "no part of a line"
        assert 5000 < len(content) <= limit
