"""Pictures in tar archives that are not compressed: one, or WebDataset's shards."""

import hashlib
import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from cips_lab.data.identity import LARGEST, MOST
from cips_lab.data.labels import Classes, classes_by_folder, whole
from cips_lab.data.sources.archive import LARGEST_ENTRY, unsafe_name
from cips_lab.data.sources.base import ImageSource, endings, files_left_out, full_path, sort_out
from cips_lab.errors import UserError
from cips_lab.files.names import printable

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")  # WebDataset's: set-{000000..000041}.tar
MOST_SHARDS = 1_000_000
CLASS = ".cls"  # WebDataset's ending of a class beside its picture
LONGEST_CLASS = 32  # bytes


class Member(NamedTuple):
    """A file in an archive: it is read from there without going through the archive."""

    shard: int  # of `TarSource.shards`
    name: str
    start: int  # byte of the archive
    size: int


class TarSource(ImageSource):
    """The pictures of a ``.tar``, or of all shards of a WebDataset: shard by shard, in each by name.

    A path is an archive, a folder that holds archives and no pictures beside them, or a range of archives in
    WebDataset's notation, ``set-{000000..000041}.tar``; or several of these, of as many disks, joined by ``::``.
    Classes: of the ``.cls`` file beside each picture (``00012.png``, ``00012.cls``), else by the uppermost folders.

    Headers are read once, in the beginning; a picture then is a seek away. Nothing is unpacked. Raises `UserError` if
    an archive is missing, damaged, compressed, or was made to do harm where it is unpacked, or if there is no picture.
    """

    @classmethod
    def takes(cls, path: str) -> bool:
        return "://" not in path and bool(shards_of(path) or (RANGE.search(path) and path.lower().endswith(".tar")))

    def __init__(self, path: str | Path, option: str = "data.path") -> None:
        self.given = str(path)
        self.shards = shards_of(self.given)
        given = printable(f"{option}={path}: ")
        if not self.shards:
            raise UserError(f"{given}no such .tar; give an archive, a folder of them, or set-{{000000..000041}}.tar")
        members: list[Member] = []
        for number, shard in enumerate(self.shards):
            try:
                members += list(_members(number, shard))
            except Exception as error:  # a reader of bytes that may say anything
                raise UserError(f"{given}{printable(shard)} cannot be read as a tar ({_why(error)})") from error
        self.pictures, self.left_out = _sort_out(members)
        if not self.pictures:
            others = files_left_out(self.left_out)
            raise UserError(
                f"{given}no picture in it{f' ({others})' if others else ''}; give a tar of {endings()} files"
            )
        self._written = {(m.shard, m.name.removesuffix(CLASS)): m for m in members if m.name.endswith(CLASS)}

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        return f"{self.shards[self.pictures[index].shard]}/{self.pictures[index].name}"

    def open(self, index: int) -> IO[bytes]:
        return io.BytesIO(self._read(self.pictures[index]))

    def _read(self, member: Member) -> bytes:
        # Opened for each: nothing is shared with a forked process, and a system's cache of names makes it cheap.
        with self.shards[member.shard].open("rb") as file:
            file.seek(member.start)
            content = file.read(member.size)
        if len(content) != member.size:
            raise ValueError(f"{len(content)} bytes, where the archive said {member.size}")
        return content

    @property
    def location(self) -> str:
        return "::".join(printable(full_path(part)) for part in self.given.split("::"))

    def classes(self) -> Classes | None:
        """What the ``.cls`` files say; where there are none, by the uppermost folders, if there are two."""
        if not self._written:
            return classes_by_folder([picture.name for picture in self.pictures])
        numbers = [self._class_of(picture) for picture in self.pictures]
        return Classes(tuple(str(n) for n in range(max(numbers) + 1)), np.array(numbers, dtype=np.int64))

    def _class_of(self, picture: Member) -> int:
        place = printable(f"{self.shards[picture.shard]}/{picture.name}")
        member = self._written.get((picture.shard, _key(picture.name)))
        if member is None:
            raise UserError(f"{place}: has no {CLASS} file beside it, as others have; every picture needs a class")
        try:
            if member.size > LONGEST_CLASS:
                raise ValueError("too long")
            return whole(int(self._read(member)))
        except ValueError as error:
            raise UserError(f"{place}: its {CLASS} file holds no class ({error}); it is a number such as 3") from None

    def fingerprint(self) -> str:
        """From names, places and sizes, and the archives' sizes and modification times: no picture is read."""
        digest = self._names()
        for shard in self.shards:
            status = shard.stat()
            digest.update(f"{status.st_size}\0{status.st_mtime_ns}\0".encode())
        return digest.hexdigest()

    def identity(self) -> str:
        """From names, sizes and, as `cips_lab.data.identity` does, contents: of evenly spaced ones in a large set."""
        digest = self._names()
        total = sum(picture.size for picture in self.pictures)
        for picture in self.pictures[:: max(1, -(-total // LARGEST), -(-len(self.pictures) // MOST))]:
            digest.update(hashlib.sha256(self._read(picture)).digest())
        return digest.hexdigest()

    def _names(self) -> "hashlib._Hash":
        digest = hashlib.sha256()
        for shard, name, start, size in self.pictures:
            digest.update(f"{shard}\0{name}\0{start}\0{size}\0".encode("utf-8", "surrogateescape"))
        return digest


def shards_of(path: str) -> list[Path]:
    """The archives that a path means, in their order; none where it means something else, or one is missing.

    A folder that holds pictures or other folders beside its archives is a folder of pictures.
    """
    if "::" in path:
        found_in = [shards_of(part) for part in path.split("::")]
        return [shard for shards in found_in for shard in shards] if all(found_in) else []
    place = full_path(path)
    if place.is_file():
        return [place] if place.suffix.lower() == ".tar" else []
    if place.is_dir():
        inside = sorted(entry for entry in place.iterdir() if not entry.name.startswith("."))
        tars = [entry for entry in inside if entry.suffix.lower() == ".tar" and entry.is_file()]
        if not tars:  # before every file is looked at
            return []
        pictures, _ = sort_out(entry.name for entry in inside if entry.is_file())
        return [] if pictures or any(entry.is_dir() for entry in inside) else tars
    found = RANGE.search(place.name)
    if found is None:
        return []
    first, last = map(int, found.groups())
    if last - first >= MOST_SHARDS:
        return []
    names = [
        f"{place.name[: found.start()]}{n:0{len(found[1])}}{place.name[found.end() :]}" for n in range(first, last + 1)
    ]
    paths = [place.parent / name for name in names]
    return paths if all(path.is_file() for path in paths) else []


def _members(number: int, shard: Path) -> Iterator[Member]:
    """The plain files of an archive, as its headers say.

    Raises:
        tarfile.TarError, OSError, ValueError: it cannot be read, or is not used; the message names the entry.
    """
    length = shard.stat().st_size
    names = Counter[str]()
    with tarfile.open(shard, "r:") as archive:
        for entry in archive:
            reason = unsafe_name(entry.name)
            names[entry.name] += 1
            if reason is None and entry.isreg():
                if entry.size > LARGEST_ENTRY:
                    reason = f"{entry.size} bytes, of at most {LARGEST_ENTRY}"
                elif entry.offset_data + entry.size > length or entry.issparse():
                    reason = "it is not whole in the archive"
                elif names[entry.name] > 1:
                    reason = "its name is there twice"
            if reason is not None:
                raise ValueError(f"entry {entry.name!r}: {reason}")
            if entry.isreg():
                yield Member(number, entry.name, entry.offset_data, entry.size)


def _sort_out(members: list[Member]) -> tuple[list[Member], Counter[str]]:
    """Pictures, by shard and name, and how many files of which kind are none; classes belong to their pictures."""
    known, left_out = set[str](), Counter[str]()
    shards: dict[int, list[str]] = {}
    for member in members:
        if not member.name.endswith(CLASS):
            shards.setdefault(member.shard, []).append(member.name)
    kept: set[tuple[int, str]] = set()
    for shard, names in shards.items():
        pictures, others = sort_out(names)
        kept.update((shard, name) for name in pictures)
        known.update(pictures)
        left_out.update(others)
    return sorted((m for m in members if (m.shard, m.name) in kept), key=lambda m: (m.shard, m.name)), left_out


def _key(name: str) -> str:
    """A sample's name in WebDataset: all before the first dot of the file's own name."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _why(error: Exception) -> str:
    if isinstance(error, tarfile.ReadError):
        return f"{error}; a compressed one must be unpacked first, such as by gunzip, and a damaged one fetched again"
    return f"{error or type(error).__name__}; make it again"
