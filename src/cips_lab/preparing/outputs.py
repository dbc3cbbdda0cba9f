"""Where prepared pictures go: StyleGAN's zip, a folder, or WebDataset's shards; each can be continued after any end.

A set is written under another name and takes its own when it is whole. What is there of it at a moment is told by a
`Position`; going back to one cuts off what came later, so that the bytes are those of a set that was never interrupted.
"""

import io
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from cips_lab.data.labels import LABELS
from cips_lab.errors import UserError

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: no set depends on when it was made
FILE_MODE = 0o644


class Entry(NamedTuple):
    """A prepared picture, as it lies in a set."""

    name: str
    start: int  # byte of the zip, or of the shard
    size: int
    checksum: int  # CRC-32
    label: int | None


class Position(NamedTuple):
    """How far a set is written."""

    shard: int
    end: int


class Output(ABC):
    """A set that is being written.

    Args:
        place: where the set will be.
        partial: an existing folder for what is not whole yet, on the same file system.
        shard_size: pictures a shard, of shards.
    """

    kind: str

    def __init__(self, place: Path, partial: Path, shard_size: int) -> None:
        self.place, self.partial, self.shard_size = place, partial, shard_size

    @abstractmethod
    def go_to(self, position: Position, count: int) -> None:
        """Cut off all that was written after a moment, at which there were `count` pictures."""

    @abstractmethod
    def add(self, name: str, content: bytes, label: int | None) -> Entry:
        """Write a picture behind the others."""

    @abstractmethod
    def sync(self) -> Position:
        """Hand what was written to the system, which keeps it whatever becomes of this process."""

    @abstractmethod
    def close(self, entries: list[Entry], labels: bytes) -> list[str]:
        """Make the set whole, still under another name. Returns the names of its files, or of the folder.

        Args:
            entries: all of its pictures.
            labels: the content of StyleGAN's `dataset.json`.
        """

    def publish(self, names: list[str]) -> list[Path]:
        """Give a set that is whole its name: again, where that was interrupted. Returns what there is now.

        Args:
            names: as `close` returned them.
        """
        if self.place.is_dir() and (self.partial / self.place.name).exists():  # empty: `check_free` saw to that
            self.place.rmdir()
        for name in names:
            if (self.partial / name).exists():
                (self.partial / name).replace(self.place.parent / name)
        return [self.place.parent / name for name in names]


class ZipOutput(Output):
    """StyleGAN's layout: PNGs in a zip, stored and not deflated, and `dataset.json`.

    The local headers and contents are written one behind the other; the table of contents, which a zip has at its end,
    is made from the entries when all are there.
    """

    kind = "zip"

    def __init__(self, place: Path, partial: Path, shard_size: int) -> None:
        super().__init__(place, partial, shard_size)
        self.body = partial / place.name
        self._file: io.BufferedRandom | None = None

    def go_to(self, position: Position, count: int) -> None:
        self.body.touch()
        self._file = self.body.open("r+b")
        self._file.truncate(position.end)
        self._file.seek(position.end)

    def add(self, name: str, content: bytes, label: int | None) -> Entry:
        assert self._file is not None
        entry = Entry(name, self._file.tell(), len(content), zlib.crc32(content), label)
        self._file.write(_info(entry).FileHeader())
        self._file.write(content)
        return entry

    def sync(self) -> Position:
        assert self._file is not None
        self._file.flush()
        return Position(0, self._file.tell())

    def close(self, entries: list[Entry], labels: bytes) -> list[str]:
        assert self._file is not None
        self._file.close()
        with zipfile.ZipFile(self.body, "a") as archive:  # "a" of a file without a table of contents begins one
            archive.infolist().extend(map(_info, entries))
            archive.writestr(_info(Entry(LABELS, 0, 0, 0, None)), labels)
        return [self.place.name]


def _info(entry: Entry) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(entry.name, EPOCH)
    info.compress_type, info.external_attr, info.create_system = zipfile.ZIP_STORED, FILE_MODE << 16, 3
    info.header_offset, info.CRC = entry.start, entry.checksum
    info.file_size = info.compress_size = entry.size
    return info


class FolderOutput(Output):
    """PNGs in subfolders of ten thousand, and `dataset.json` where there are classes."""

    kind = "folder"

    def __init__(self, place: Path, partial: Path, shard_size: int) -> None:
        super().__init__(place, partial, shard_size)
        self.body = partial / place.name
        self._count = 0

    def go_to(self, position: Position, count: int) -> None:
        self.body.mkdir(exist_ok=True)  # what was written after that moment is written again, under the same names
        self._count = count

    def add(self, name: str, content: bytes, label: int | None) -> Entry:
        path = self.body / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self._count += 1
        return Entry(name, 0, len(content), zlib.crc32(content), label)

    def sync(self) -> Position:
        return Position(0, self._count)

    def close(self, entries: list[Entry], labels: bytes) -> list[str]:
        if any(entry.label is not None for entry in entries):
            (self.body / LABELS).write_bytes(labels)
        return [self.place.name]


class ShardsOutput(Output):
    """WebDataset: tars of `shard_size` pictures each, in which ``00000012.png`` has its class in ``00000012.cls``.

    ``output=FOLDER/NAME.tar`` becomes ``NAME-000000.tar``, ``NAME-000001.tar`` and so on.
    """

    kind = "shards"

    def __init__(self, place: Path, partial: Path, shard_size: int) -> None:
        super().__init__(place, partial, shard_size)
        self._file: io.BufferedRandom | None = None
        self._shard, self._inside = 0, 0

    def _path(self, shard: int) -> Path:
        return self.partial / f"{self.place.stem}-{shard:06d}.tar"

    def go_to(self, position: Position, count: int) -> None:
        self._shard, self._inside = position.shard, count - position.shard * self.shard_size
        for later in self.partial.glob("*.tar"):
            if later.name > self._path(position.shard).name:
                later.unlink()
        self._open(position.end)

    def _open(self, end: int) -> None:
        path = self._path(self._shard)
        path.touch()
        self._file = path.open("r+b")
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, name: str, content: bytes, label: int | None) -> Entry:
        if self._inside == self.shard_size:
            self._end()
            self._shard, self._inside = self._shard + 1, 0
            self._open(0)
        assert self._file is not None
        key = Path(name).name.removesuffix(".png").removeprefix("img")
        start = self._write(f"{key}.png", content)
        if label is not None:
            self._write(f"{key}.cls", str(label).encode())
        self._inside += 1
        return Entry(f"{key}.png", start, len(content), zlib.crc32(content), label)

    def _write(self, name: str, content: bytes) -> int:
        assert self._file is not None
        header = tarfile.TarInfo(name)
        header.size, header.mode = len(content), FILE_MODE
        self._file.write(header.tobuf(tarfile.USTAR_FORMAT))
        start = self._file.tell()
        self._file.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
        return start

    def _end(self) -> None:
        assert self._file is not None
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.close()

    def sync(self) -> Position:
        assert self._file is not None
        self._file.flush()
        return Position(self._shard, self._file.tell())

    def close(self, entries: list[Entry], labels: bytes) -> list[str]:
        self._end()
        return [self._path(shard).name for shard in range(self._shard + 1)]


OUTPUTS: dict[str, type[Output]] = {kind.kind: kind for kind in (ZipOutput, FolderOutput, ShardsOutput)}


def kind_of_output(place: Path) -> str:
    """What an output's name asks for: ``.zip`` a zip, ``.tar`` shards, all else a folder."""
    ending = place.suffix.lower()
    if ending in (".gz", ".tgz", ".lmdb", ".mdb", ".parquet", ".7z", ".rar"):
        raise UserError(f"output={place}: {ending} is not written; give a .zip, a .tar (shards) or a folder")
    return {".zip": "zip", ".tar": "shards"}.get(ending, "folder")


def check_free(place: Path, kind: str) -> None:
    """See that nothing lies where a set will be.

    Raises:
        UserError: something does.
    """
    if kind == "folder":
        there = place.exists() and (not place.is_dir() or any(place.iterdir()))
    else:
        there = place.exists() or (kind == "shards" and any(place.parent.glob(f"{place.stem}-??????.tar")))
    if there:
        raise UserError(f"output={place}: something is there already; delete it, or choose another place")
