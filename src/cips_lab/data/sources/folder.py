"""Pictures in a folder, nested as one likes."""

import hashlib
import os
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import IO

from cips_lab.data.decode import extensions
from cips_lab.data.identity import identity
from cips_lab.data.labels import LABELS, Classes, classes_by_folder, classes_by_list
from cips_lab.data.sources.base import ImageSource, endings, files_left_out, full_path, kind_of, sort_out
from cips_lab.data.sources.foreign import what_else
from cips_lab.errors import UserError
from cips_lab.files.names import printable


class FolderSource(ImageSource):
    """Every picture below a folder, by the endings of `cips_lab.data.decode`, in the order of the relative paths.

    Hidden files and folders are skipped; links are followed.
    Raises `UserError` if `path` is missing, is no folder, cannot be listed, or holds no picture.
    """

    @classmethod
    def takes(cls, path: str) -> bool:
        return full_path(path).is_dir()

    def __init__(self, path: str | Path, option: str = "data.path") -> None:
        self.path = full_path(path)
        given = printable(f"{option}={path}: {self.path}")
        if not self.path.exists():
            raise UserError(f"{given} does not exist; give a folder of pictures")
        if not self.path.is_dir():
            raise UserError(f"{given} is not a folder; give a folder of pictures or a .zip")
        self.files, self.left_out = sort_out(_files_below(self.path, option))
        if not self.files:
            foreign = what_else(self.path, self.left_out)
            if foreign is not None:
                raise UserError(f"{given} {foreign}")
            others = files_left_out(self.left_out)
            raise UserError(
                printable(f"{option}={path}: no picture in {self.path} or its subfolders")
                + (f" ({others})" if others else "")
                + f"; give a folder that holds {endings()} files"
            )

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return str(self.path / self.files[index])

    def open(self, index: int) -> IO[bytes]:
        return (self.path / self.files[index]).open("rb")

    @property
    def location(self) -> str:
        return printable(self.path)

    def classes(self) -> Classes | None:
        """What a `dataset.json` in it says, else by the uppermost folders, where there are two."""
        listed = self.path / LABELS
        if listed.is_file():
            return classes_by_list(listed.read_bytes(), self.files, printable(listed))
        return classes_by_folder(self.files)

    def fingerprint(self) -> str:
        """From names, sizes and modification times: no picture is read, and a million take seconds."""
        digest = hashlib.sha256()
        for file in self.files:
            try:
                status = (self.path / file).stat()
            except OSError as error:
                name = printable(self.path / file)
                raise UserError(
                    f"{name}: gone since the folder was listed ({error.strerror}); put it back, or start again"
                ) from error
            digest.update(os.fsencode(file) + f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        return digest.hexdigest()

    def identity(self) -> str:
        """From names, sizes and contents, see `cips_lab.data.identity`."""
        return identity(self.path, self.files)


def files_alone(path: str, kinds: Container[str]) -> list[Path]:
    """Files of some endings that a path means, in their order: it, or all in a folder without pictures; else none.

    The walk ends at the first picture: a folder of a million of them is not listed to learn that it is one.
    """
    place = full_path(path)
    if place.is_file():
        return [place] if place.suffix.lower() in kinds else []
    found = []
    with suppress(UserError):  # a folder that cannot be listed: `FolderSource` says so
        for file in _files_below(place, ""):
            kind = kind_of(PurePath(file))
            if kind in extensions():
                return []
            if kind in kinds:
                found.append(place / file)
        return sorted(found)
    return []


def _files_below(root: Path, option: str) -> Iterator[str]:
    """Relative POSIX paths. A folder reached twice, as through a link to its parent, is entered once."""

    def refuse(error: OSError) -> None:
        raise UserError(
            printable(f"{option}: {error.filename} cannot be listed ({error.strerror})")
            + "; make it readable for this user, or move it away"
        ) from error

    entered = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=refuse):
        here = Path(folder)
        if here.resolve() in entered:
            subfolders.clear()
            continue
        entered.add(here.resolve())
        subfolders.sort()
        for file in files:
            yield (here / file).relative_to(root).as_posix()
