"""Places that may not be written or read: one message before the work, or a place to fall back on."""

import errno
from pathlib import Path

import pytest
from places import SMALL, as_user

import cips_lab
from cips_lab.errors import UserError
from cips_lab.files.places import check_output, fault_of_place, problem_of


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that may be read, not written."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    return folder


def one_message(text: str) -> str:
    """The only line that begins with "error:"; there is no traceback."""
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("error:")]
    return line


@pytest.mark.parametrize(
    ("command", "overrides"),
    [
        ("plan", ["experiment=debug", "output={closed}/plan.json"]),
        ("evaluate", ["ckpt=nothing", "output={closed}/deep/metrics.json"]),
        ("synthesize", ["ckpt=nothing", "output={closed}/pictures"]),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, closed: Path, command: str, overrides: list[str]
) -> None:
    done = as_user(tmp_path, command, *(override.format(closed=closed) for override in overrides))
    message = one_message(done.stderr)
    assert done.returncode == 2
    assert f"output={closed}" in message
    assert "Permission denied" in message
    assert list(closed.iterdir()) == []


def test_a_folder_of_runs_that_cannot_be_written(tmp_path: Path, closed: Path) -> None:
    done = as_user(tmp_path, "train", *SMALL, "name=run", f"paths.runs={closed}")
    message = one_message(done.stderr)
    assert done.returncode == 2
    assert f"{closed}/run" in message
    assert "paths.runs=" in message


def test_a_run_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "runs" / "run").mkdir(parents=True)
    (tmp_path / "runs" / "run").chmod(0o555)
    done = as_user(tmp_path, "train", *SMALL, "name=run")
    assert done.returncode == 2
    assert f"{tmp_path}/runs/run" in one_message(done.stderr)


def test_a_name_that_no_file_system_takes(tmp_path: Path) -> None:
    done = as_user(tmp_path, "train", *SMALL, f"name={'n' * 300}")
    assert done.returncode == 2
    assert "255 bytes" in one_message(done.stderr)


def test_a_run_without_a_home(tmp_path: Path) -> None:
    """W&B's logger, the default, and the cache of prepared pictures."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    place: dict[str, str | None] = {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "CIPS_LAB_CACHE": None,
        "WANDB_MODE": "",
    }
    place |= {f"WANDB_{name}": None for name in ("CACHE_DIR", "CONFIG_DIR", "DATA_DIR", "API_KEY")}
    place |= {f"XDG_{name}_HOME": None for name in ("CACHE", "CONFIG", "DATA")}
    done = as_user(tmp_path, "train", *SMALL, "logger=wandb", "name=run", environment=place)
    home.chmod(0o700)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert said.count("prepared data are kept in") == 1
    assert f"{temporary}/cips_lab-" in said
    assert "Permission denied" in said
    assert "INFO" not in "".join(line for line in said.splitlines() if "server" in line or "stream" in line)
    assert list((tmp_path / "runs" / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert list(home.iterdir()) == []


def test_what_cannot_be_written_is_found_by_trying(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "a" / "b") is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    for path, number in ((tmp_path / "file" / "x", errno.ENOTDIR), (tmp_path / ("사" * 86), errno.ENAMETOOLONG)):
        problem = problem_of(path)
        assert problem is not None
        assert problem.errno == number
    check_output(tmp_path / "file")
    check_output(tmp_path / "new" / "file.json")
    with pytest.raises(UserError, match=r"output=.*File name too long"):
        check_output(tmp_path / ("x" * 300))


def test_a_fault_of_the_program_is_none_of_a_place(tmp_path: Path) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "file"))
    assert fault_of_place(denied) is denied
    of_log = ValueError("Unable to configure handler 'file'")
    of_log.__cause__ = denied
    assert fault_of_place(of_log) is denied
    assert fault_of_place(FileNotFoundError(errno.ENOENT, "No such file", "checkpoint")) is None
    assert fault_of_place(PermissionError(errno.EACCES, "Permission denied")) is None
    package = PermissionError(errno.EACCES, "Permission denied", cips_lab.__file__)
    assert fault_of_place(package) is None
    assert fault_of_place(OSError(errno.ECONNRESET, "Connection reset", str(tmp_path))) is None
