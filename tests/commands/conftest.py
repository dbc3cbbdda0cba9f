"""Commands as a user runs them, in folders of their own."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from forked import Python

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(python: Python, tmp_path: Path, cache: Path) -> Run:
    """run("train", "experiment=debug", ...) -> the finished process; works in tmp_path, outside the repository."""

    def call(command: str, *overrides: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"CIPS_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        return python("-m", f"cips_lab.{command}", *overrides, cwd=cwd or tmp_path, env=environment)

    return call
