"""Reading processes where the memory that they share is small, as in containers."""

import logging
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cips_lab.data import loading
from cips_lab.data.loading import PictureLoader, readers_that_fit
from cips_lab.errors import UserError

Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MB, as Docker gives."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(64_000_000, 0, 64_000_000))


@pytest.mark.usefixtures("container")
@pytest.mark.parametrize(
    ("readers", "batch", "processes", "expected"),
    [(8, 2_000_000, 1, 8), (8, 3_000_000, 1, 0), (8, 2_000_000, 2, 0), (0, 10**9, 1, 0), (1, 20_000_000, 1, 1)],
)
def test_readers_whose_batches_fit(
    readers: int, batch: int, processes: int, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert readers_that_fit(readers, batch, processes) == expected
    told = [record for record in caplog.records if "data.num_workers=0" in record.getMessage()]
    assert len(told) == (expected != readers)


def test_where_there_is_no_such_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "SHARED", Path("/nowhere"))
    assert readers_that_fit(8, 10**12) == 8


class Full(Dataset[Tensor]):
    """What a reader says whose memory is full."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        raise RuntimeError(self.words)


@pytest.mark.parametrize(
    "words",
    [
        "DataLoader worker (pid 17) is killed by signal: Bus error. It is possible that dataloader's workers are out "
        "of shared memory. Please try to raise your shared memory limit.",
        "unable to write to file </torch_17_1>: No space left on device (28)",
    ],
)
def test_full_memory_is_told_with_its_remedy(words: str) -> None:
    with pytest.raises(UserError, match=r"data\.num_workers=1.*is full; say data\.num_workers=0"):
        list(PictureLoader(Full(words), num_workers=1))


def test_other_faults_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="another fault"):
        list(PictureLoader(Full("another fault"), num_workers=0))
    assert len(list(PictureLoader([torch.zeros(1)] * 3, num_workers=0))) == 3  # type: ignore[arg-type]


LOST_READER = """
import sys, threading
from cips_lab.data.loading import end_with_the_run

def serve(error):  # as multiprocessing.resource_sharer
    try:
        raise error
    except BaseException:
        sys.excepthook(*sys.exc_info())

end_with_the_run(0)
for error in (ConnectionResetError(104, "Connection reset by peer"), BrokenPipeError(), EOFError(), OSError("a fault")):
    thread = threading.Thread(target=serve, args=[error])
    thread.start()
    thread.join()
"""


def test_a_reader_says_nothing_where_its_run_is_gone() -> None:
    ended = subprocess.run([sys.executable, "-c", LOST_READER], capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0
    assert ended.stderr.count("Traceback") == 1
    assert ended.stderr.endswith("OSError: a fault\n")
