"""Places that may not be written: found out before the work, and told in one message."""

import errno
import os
import sys
import tempfile
from pathlib import Path

from cips_lab.errors import UserError

# What a user's path can be at fault for. ENOENT is not among them: commands look for their inputs themselves.
FAULTS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
)
HOMES = ("~", "~/.cache", "~/.config", "~/.local/share")  # where programs keep what is theirs


def problem_of(folder: Path) -> OSError | None:
    """Why no file can be made in a folder, or the folder itself not; None where they can. It tries, and leaves nothing.

    Permissions alone do not tell: file systems are read-only, or belong to another machine's users.
    """
    try:
        there = folder.absolute()
        while not there.exists():
            if len(os.fsencode(there.name)) > 255:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(there))
            there = there.parent
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as error:
        return error


def check_output(path: Path, option: str = "output") -> None:
    """See before the work that a file, or files in a folder, can be written.

    Raises:
        UserError: they cannot.
    """
    try:
        folder = path if path.is_dir() else path.parent
        error = problem_of(folder) or (problem_of(path) if len(os.fsencode(path.name)) > 255 else None)
    except OSError as caught:
        error = caught
    if error is not None:
        raise UserError(f"{option}={path}: cannot be written ({error.strerror}); choose another place") from error


def fault_of_place(error: BaseException) -> OSError | None:
    """The error, or what it was raised from, where a path of the user's is at fault; None for faults of a program."""
    for one in (error, error.__cause__):
        if isinstance(one, OSError) and one.errno in FAULTS and isinstance(one.filename, (str, bytes)):
            path = str(Path(os.fsdecode(one.filename)).absolute())
            ours = (sys.prefix, str(Path(__file__).parents[1]))
            return None if path.startswith(tuple(f"{folder}{os.sep}" for folder in ours)) else one
    return None


def told(error: OSError) -> str:
    """A fault of a place as a message, with what to do."""
    remedy = {
        errno.ENAMETOOLONG: "a name has at most 255 bytes: choose a shorter one",
        errno.ENOTDIR: "a part of this path is a file: choose another",
        errno.EISDIR: "this is a folder: give a file",
    }.get(error.errno or 0, "choose a place that is yours (name=, paths.runs=, output=), or change its permissions")
    return f"{os.fsdecode(error.filename)}: {error.strerror}; {remedy}"


def home_is_closed() -> bool:
    """Whether this user has no home folder that can be written: in containers, in jobs of another user's."""
    try:
        return any(problem_of(Path(place).expanduser()) is not None for place in HOMES)
    except RuntimeError:  # no home at all
        return True


def own_temporary_folder() -> Path:
    """A folder of this user's in the system's temporary one, the same for all their processes.

    Raises:
        UserError: somebody else made a folder of that name.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir()) / f"cips_lab-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
        raise UserError(f"{folder} is somebody else's: set paths.cache (or CIPS_LAB_CACHE) to a folder of yours")
    return folder
