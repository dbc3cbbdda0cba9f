"""The one writer of files: whole or not at all, in company, permissions of any new file, the file's name in errors."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cips_lab.data.prepared import prepared
from cips_lab.files.whole import append_line, replace_text, replacing
from cips_lab.interop.native import save_generator
from cips_lab.metrics import reference
from cips_lab.render.pictures import save_picture


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_text_is_utf8_in_a_folder_that_is_made(tmp_path: Path) -> None:
    replace_text(tmp_path / "a" / "b.txt", "Fréchet → 사진\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "Fréchet → 사진\n".encode()
    assert contents(tmp_path / "a") == ["b.txt"]


def test_a_name_that_is_no_utf8_is_written_as_its_escape(tmp_path: Path) -> None:
    replace_text(tmp_path / "text", os.fsdecode(b"caf\xe9.png"))
    append_line(tmp_path / "lines", os.fsdecode(b"caf\xe9.png"))
    assert (tmp_path / "text").read_text(encoding="utf-8") == r"caf\udce9.png"
    assert (tmp_path / "lines").read_text(encoding="utf-8") == "caf\\udce9.png\n"


def test_what_a_writer_leaves_when_it_fails_is_removed_and_the_old_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as partial:
            assert (partial.parent, partial.suffix) == (tmp_path, ".png")
            partial.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert contents(tmp_path) == ["picture.png"]


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as first:
        first.write_bytes(b"first")
        with replacing(path) as second:
            second.write_bytes(b"second")
        assert path.read_bytes() == b"second"
        assert first.read_bytes() == b"first"
    assert path.read_bytes() == b"first"
    assert contents(tmp_path) == ["file"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scratch" / "file")
    replace_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "scratch" / "file").read_text(encoding="utf-8") == "text"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(OSError, match="thing"):
        replace_text(path, "text")
    assert not path.is_file()
    assert contents(tmp_path) == ["thing"]


@pytest.mark.parametrize("name", ["x" * 300, "file/below.txt"])
def test_errors_name_the_file_that_was_asked_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"File name too long|Not a directory|File exists") as caught:
        replace_text(tmp_path / name, "text")
    assert caught.value.filename == str(tmp_path / name)
    assert contents(tmp_path) == ["file"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    replace_text(tmp_path / ("사" * 85), "text")  # 255 bytes
    assert len(contents(tmp_path)) == 1


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_permissions_are_the_umask_s_whatever_library_writes(tmp_path: Path, umask: int) -> None:
    """`safetensors` writes 0600: a colleague on a cluster could not read a generator or the statistics."""
    before = os.umask(umask)
    try:
        save_generator(torch.nn.Linear(2, 3), tmp_path / "generator.safetensors", {}, kimg=1)
        reference.write(tmp_path / "statistics.safetensors", {"mean": torch.zeros(3)}, {})
        save_picture(np.zeros((4, 4, 3), np.uint8), tmp_path / "picture.png")
        prepared(tmp_path / "tiles.npy", lambda: np.zeros(3))
        replace_text(tmp_path / "text", "text")
        replace_text(tmp_path / "text", "again")
    finally:
        os.umask(before)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert found == dict.fromkeys(found, 0o666 & ~umask)
    assert len(found) == 5


def test_a_library_that_sets_permissions_of_its_own_is_what_this_is_for(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_file({"a": torch.zeros(1)}, tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_processes_that_write_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from cips_lab.files.whole import replace_text\n"
        "for _ in range(50): replace_text(Path('file'), sys.argv[1] * 100_000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, letter], cwd=tmp_path) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "file").exists():
            assert len(set((tmp_path / "file").read_bytes())) == 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert contents(tmp_path) == ["file"]
    assert (tmp_path / "file").stat().st_size == 100_000
