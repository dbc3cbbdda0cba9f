"""Places that may not be written: found out before the work, and told in one message."""

import errno
import os
import sys
import tempfile
from pathlib import Path

from cips_lab.errors import UserError

# What a user's path can be at fault for. ENOENT is not among them: commands look for their inputs themselves.
FAULTS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}
)
LONGEST_NAME = 255  # bytes, on the file systems of our time
HOMES = ("~", "~/.cache", "~/.config", "~/.local/share")  # where programs keep what is theirs


def problem_of(folder: Path) -> OSError | None:
    """Why no file can be made in a folder, or the folder not, naming where; None where they can. Nothing is left there.

    Permissions alone do not tell: file systems are read-only, or belong to another machine's users.
    """
    there = folder.absolute()
    try:
        while not there.exists():
            if len(os.fsencode(there.name)) > LONGEST_NAME:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            there = there.parent
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as error:
        error.filename = str(there)
        return error


def check_output(path: Path, option: str = "output") -> None:
    """See before the work that a file, or files in a folder, can be written.

    Raises:
        UserError: they cannot.
    """
    error = problem_of(path)  # a file that is there is replaced: its folder is what must be written
    if error is not None and error.errno == errno.ENOTDIR and error.filename == str(path.absolute()):
        error = problem_of(path.parent)
    if error is not None:
        raise UserError(
            f"{option}={path}: {error.filename} cannot be written ({error.strerror}); choose another place"
        ) from error


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
        errno.EEXIST: "something else of this name is there: choose another",
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
