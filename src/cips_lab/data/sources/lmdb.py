"""Pictures in an LMDB database: the public CIPS and StyleGAN2 code's, and LSUN's releases."""

import hashlib
import io
import re
import subprocess
import sys
import weakref
from pathlib import Path
from typing import IO, Any

from cips_lab.data.identity import LARGEST, MOST
from cips_lab.data.sources.archive import LARGEST_ENTRY
from cips_lab.data.sources.base import ImageSource, full_path
from cips_lab.errors import UserError
from cips_lab.files.names import printable

NUMBERED = re.compile(rb"(\d{1,6})-(\d{1,12})")  # the public code's keys: resolution-number; and "length"
LENGTH = b"length"
DATA = "data.mdb"
REMEDY = "make it again, or copy it again from where it came"

# Read in a process of its own first: the library maps the file and trusts what it says of itself, so that a damaged one
# can end the process that looks at it.
LOOK = """
import sys, lmdb
with lmdb.open(sys.argv[1], subdir=sys.argv[2] == "True", readonly=True, lock=False, readahead=False) as base:
    with base.begin(buffers=True) as reading:
        stride = max(1, base.stat()["entries"] // 20000)
        for number, key in enumerate(reading.cursor().iternext(values=False)):
            if number % stride == 0:
                value = reading.get(key)
                value[:1], value[-1:]
"""


class LmdbSource(ImageSource):
    """Pictures of a database, encoded in any format that is read, by their contents.

    Two layouts. The public code's `prepare_data.py` (of CIPS as of rosinality's StyleGAN2): keys ``256-00012``, that is
    resolution and number, and ``length``; of several resolutions the largest is read. LSUN's releases: any keys, in the
    database's order.

    A database that is used is only read, and never locked. Raises `UserError` if it is missing, damaged, or empty, or
    if the package lmdb is.
    """

    @classmethod
    def takes(cls, path: str) -> bool:
        place = full_path(path)
        return (place / DATA).is_file() or (place.is_file() and place.suffix.lower() in (".mdb", ".lmdb"))

    def __init__(self, path: str | Path, option: str = "data.path") -> None:
        self.path = full_path(path)
        given = printable(f"{option}={path}: ")
        try:
            import lmdb
        except ModuleNotFoundError:
            raise UserError(f"{given}an LMDB needs the package lmdb: pip install 'cips-lab[data]'") from None
        self._base: Any = None
        looked = subprocess.run(  # a database's name may begin with a dash: it is no option, there
            [sys.executable, "-c", LOOK, str(self.path), str(self.path.is_dir())], capture_output=True, text=True
        )
        if looked.returncode < 0:
            raise UserError(f"{given}{printable(self.path)} is damaged: it cannot be read through; {REMEDY}")
        try:
            self.keys = self._pictures()
        except lmdb.Error as error:
            raise UserError(f"{given}{printable(self.path)} cannot be read as an LMDB ({error}); {REMEDY}") from error
        except ValueError as error:
            raise UserError(f"{given}{printable(self.path)} {error}") from error

    def _pictures(self) -> list[bytes]:
        """The keys of the pictures, in their order. Raises `ValueError` for what is not used."""
        base = self._opened()
        needed = (base.info()["last_pgno"] + 1) * base.stat()["psize"]
        if self._file.stat().st_size < needed:
            raise ValueError(f"is cut off: {self._file.stat().st_size:,} bytes of {needed:,}; {REMEDY}")
        with base.begin() as reading:
            keys = [bytes(key) for key in reading.cursor().iternext(values=False)]
            length = reading.get(LENGTH)
        if not keys or keys == [LENGTH]:
            raise ValueError("holds no picture")
        if length is None:
            return keys
        numbered = {key: tuple(map(int, found.groups())) for key in keys if (found := NUMBERED.fullmatch(key))}
        if not numbered:
            raise ValueError('has a "length", and no keys such as 256-00012 as the public code writes them')
        largest = max(resolution for resolution, _ in numbered.values())
        chosen = sorted((key for key in numbered if numbered[key][0] == largest), key=lambda key: numbered[key][1])
        if length != str(len(chosen)).encode():
            raise ValueError(
                f"says that it holds {length[:20]!r} pictures, and has {len(chosen)} at {largest}; {REMEDY}"
            )
        return chosen

    @property
    def _file(self) -> Path:
        return self.path / DATA if self.path.is_dir() else self.path

    def _opened(self) -> Any:
        if self._base is None:
            self._base = _open(self._file)
        return self._base

    def __len__(self) -> int:
        return len(self.keys)

    def name(self, index: int) -> str:
        return f"{self.path}/{self.keys[index].decode('utf-8', 'backslashreplace')}"

    def open(self, index: int) -> IO[bytes]:
        with self._opened().begin(buffers=True) as reading:
            content = reading.get(self.keys[index])
            if content is None:
                raise ValueError("gone since the database was listed")
            if len(content) > LARGEST_ENTRY:
                raise ValueError(f"{len(content)} bytes, of at most {LARGEST_ENTRY}")
            return io.BytesIO(bytes(content))

    @property
    def location(self) -> str:
        return printable(self.path)

    def fingerprint(self) -> str:
        """From keys and the file's size and modification time: no picture is read."""
        status = self._file.stat()
        return hashlib.sha256(b"\0".join(self.keys) + f"\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()

    def identity(self) -> str:
        """From keys and, of evenly spaced pictures, contents: of all of a set of up to some hundred megabytes."""
        digest = hashlib.sha256(b"\0".join(self.keys))
        stride = max(1, -(-self._file.stat().st_size // LARGEST), -(-len(self.keys) // MOST))
        for index in range(0, len(self.keys), stride):
            with self.open(index) as stream:
                digest.update(hashlib.sha256(stream.read()).digest())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_base": None}


# The library opens a database once in a process: sources of the same one share it. A forked process reads on through
# the parent's, which is a map of the file and, without a lock and for reading alone, nothing more.
_open_ones: weakref.WeakValueDictionary[tuple[str, int, int, int], Any] = weakref.WeakValueDictionary()


def _open(file: Path) -> Any:
    import lmdb

    status = file.stat()
    key = str(file.resolve()), status.st_ino, status.st_size, status.st_mtime_ns
    base = _open_ones.get(key)
    if base is None:
        base = lmdb.open(str(file), subdir=False, readonly=True, lock=False, readahead=False, meminit=False)
        _open_ones[key] = base
    return base
