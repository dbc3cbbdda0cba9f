"""Files that are there whole or not at all, and what is said when there is no room for them."""

import errno
import hashlib
import logging
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cips_lab.errors import DiskFull

# No space left; a quota; a limit on the size of files (RLIMIT_FSIZE, or what the file system can hold).
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What libraries that are not written in Python leave of it: safetensors, and Pillow's encoders.
FULL_IN_WORDS = re.compile(rf"\bos error ({'|'.join(str(number) for number in sorted(FULL))})\b")


def flush(path: Path) -> None:
    """Force a file's or folder's content to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """A file of another name beside `path`, which takes its place when the block has written it.

    At every moment either the old content or the new one bears the name, also where several processes write it at
    once. The folder is made; permissions are those of any new file (0666 less the umask), whatever the writer sets.

    Args:
        path: the file; a link keeps its name, and what it points to is replaced.
        partial: the other name, for one who alone writes `path`: what a killed process left is then written over. None:
            a new one.

    Yields:
        An empty file with the same suffix, by which many libraries choose a format.

    Raises:
        OSError: it could not be written, and names `path`; the old content is there.
    """
    try:
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():  # a folder, or a device, which renaming would destroy
            raise FileExistsError(errno.EEXIST, "not a plain file", str(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        # A short name of its own: of two writers, the other's is not touched, and a long name leaves room.
        partial = partial or target.with_name(f".partial-{uuid.uuid4().hex[:12]}{target.suffix}")
        partial.open("wb").close()
        mode = partial.stat().st_mode & 0o777
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    try:
        yield partial
        partial.chmod(mode)
        flush(partial)
        partial.replace(target)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(partial)):  # a failed write does not say where
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        partial.unlink(missing_ok=True)


def replace_text(path: Path, text: str, partial: Path | None = None) -> None:
    """Write a text as UTF-8, as `replacing` does; a byte of a file's name that is none is written as its escape."""
    with replacing(path, partial) as file:
        file.write_bytes(text.encode("utf-8", "backslashreplace"))


def sha256_of(path: Path) -> str:
    """Of a file that need not fit into memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def append_line(path: Path, line: str) -> None:
    """Add a line to a file that grows.

    Raises:
        OSError: it could not be written; no part of it is there.
    """
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        content = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            while content:  # an unbuffered file writes as much as there is room for
                content = content[file.write(content) :]
        except OSError as error:
            file.truncate(size)
            error.filename = str(path)
            raise


def is_full(error: BaseException | None) -> bool:
    """Whether an exception says, itself or in what it was raised from, that there was no room on the disk."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in FULL) or FULL_IN_WORDS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def megabytes(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / 1e6:.3g} MB" if count < 1e9 else f"{count / 1e9:.3g} GB"


def disk_full(path: Path, needed: int | None = None, note: str = "") -> DiskFull:
    """The message for a file or folder that there is no room for.

    Args:
        path: what was to be written.
        needed: bytes, where they are known.
        note: what else to say.
    """
    folder = next(parent for parent in path.parents if parent.is_dir())
    need = f"it needs {megabytes(needed)}, and " if needed is not None else ""
    return DiskFull(
        f"{path}: no room on the disk: {need}{megabytes(shutil.disk_usage(folder).free)} are free there (a quota or a "
        f"limit on the size of files may allow less). {note}Make room, then give the same command again to continue"
    )


def check_space(path: Path, needed: int, note: str = "") -> None:
    """Raise `DiskFull` before anything is written if `needed` bytes do not fit."""
    folder = next(parent for parent in path.parents if parent.is_dir())
    if shutil.disk_usage(folder).free < needed:
        raise disk_full(path, needed, note)


def quiet_log_when_full() -> None:
    """Let log handlers drop a line that does not fit on a full disk.

    By default each such line is a traceback on standard error, in which the one message that matters would be lost.
    """
    logging.Handler.handleError = _handle_error  # type: ignore[method-assign, assignment]


_loudly = logging.Handler.handleError


def _handle_error(handler: logging.Handler, record: logging.LogRecord) -> None:
    if not is_full(sys.exc_info()[1]):
        _loudly(handler, record)


class WholeOrNone:
    """A folder that is written as `partial` and then gets its name: `begin`, write, `commit`; or `discard`.

    Args:
        final: what it is called in the end; a folder that has the name is replaced.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        self.partial = final.with_name(f".partial-{final.name}")

    def begin(self) -> None:
        """Make the empty folder `partial`."""
        self.discard()
        self.partial.mkdir(parents=True)

    def commit(self) -> None:
        """Flush to disk what was written, then rename."""
        for path in (*self.partial.iterdir(), self.partial):
            flush(path)
        if self.final.exists():  # of a run that was continued from before it
            remove_folder(self.final)
        self.partial.replace(self.final)
        flush(self.final.parent)

    def discard(self) -> None:
        """Leave nothing."""
        shutil.rmtree(self.partial, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that nobody ever sees a part of it under its name."""
    doomed = folder.with_name(f".partial-removed-{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.replace(doomed)
    shutil.rmtree(doomed)


def remove_leftovers(folder: Path) -> list[str]:
    """Remove what writers that were killed left in a folder in which nobody writes now; their names."""
    leftovers = sorted(folder.glob(".partial-*"))
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [path.name for path in leftovers]
