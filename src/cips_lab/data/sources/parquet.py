"""Pictures in Parquet tables, as the Hugging Face hub keeps data sets: one table, or a folder of its parts."""

import hashlib
import io
import json
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import parse_qsl

import numpy as np

from cips_lab.data.labels import Classes, whole
from cips_lab.data.sources.archive import LARGEST_ENTRY
from cips_lab.data.sources.base import WINDOW, ImageSource, full_path
from cips_lab.data.sources.folder import files_alone
from cips_lab.errors import UserError
from cips_lab.files.names import printable

ENDING = ".parquet"
IMAGES = ("image", "img", "images", "jpg", "png")  # what columns of pictures are called, the likeliest first
LABELS = ("label", "labels", "cls", "class")
HELD = WINDOW + 1  # row groups that a reading process keeps: those of a window, and the next one's first
LARGEST_GROUP = 2**31  # bytes of a row group's pictures
ENDS = 2**20  # bytes of a file's beginning and end that its identity is made of; at the end is its table of contents
REMEDY = "download it again, or write it again"


class Part(NamedTuple):
    """One file of a table."""

    name: str  # in messages
    size: int
    stream: Callable[[], IO[bytes]]  # opens it; picklable: every process does so for itself


def local_part(path: Path) -> Part:
    """A file on this machine."""
    return Part(str(path), path.stat().st_size, partial(_open, path))


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


class Options(NamedTuple):
    """What may stand behind a path, such as ``table.parquet?image=photo&label=breed``."""

    image: str | None = None
    label: str | None = None


class ParquetSource(ImageSource):
    """The pictures of a column of encoded files: binary, or Hugging Face's ``{bytes, path}``.

    A path is a table, or a folder that holds tables and no pictures beside them. Which column: ``?image=`` behind the
    path; else the only one there is, or the one with a usual name. Classes are whole numbers or words in ``?label=``,
    else in a column with a usual name.

    A table is read by row groups, of which a process keeps the last few; `groups` has the order of training pictures
    follow them. Raises `UserError` if a table is missing or damaged, if no column has pictures, or without pyarrow.
    """

    @classmethod
    def takes(cls, path: str) -> bool:
        return "://" not in path and bool(tables_of(split_options(path)[0]))

    def __init__(self, path: str | Path, option: str = "data.path") -> None:
        place, options = parse_options(str(path), option)
        tables = tables_of(place)
        if not tables:
            raise UserError(printable(f"{option}={path}: no such table; give a {ENDING} file or a folder of them"))
        self.parts = [local_part(table) for table in tables]
        self.place, self._given = printable(full_path(place)), printable(f"{option}={path}: ")
        self._begin(options)

    @classmethod
    def of_parts(cls, parts: Sequence[Part], place: str, options: Options, given: str) -> "ParquetSource":
        """A source of files that lie anywhere.

        Args:
            parts: the table's.
            place: its `location`.
            options: which columns.
            given: what messages begin with.
        """
        source = cls.__new__(cls)
        source.parts, source.place, source._given = list(parts), place, given
        source._begin(options)
        return source

    def _begin(self, options: Options) -> None:
        try:
            import pyarrow  # noqa: F401
        except ModuleNotFoundError:
            raise UserError(
                f"{self._given}a Parquet table needs the package pyarrow: pip install 'cips-lab[data]'"
            ) from None
        self._forget()
        self.left_out = Counter()
        places: list[tuple[int, int, int]] = []  # part, row group, rows
        for number, part in enumerate(self.parts):
            table = self._guarded(part, partial(self._table, number))
            if number == 0:
                self._schema = table.schema_arrow
                self.image = self._image_column(options)
                self.label = self._label_column(options)
            elif not self._schema.equals(table.schema_arrow, check_metadata=False):
                raise UserError(f"{self._given}{printable(part.name)} has other columns than {self.parts[0].name}")
            groups = [table.metadata.row_group(group) for group in range(table.metadata.num_row_groups)]
            places += [(number, group, found.num_rows) for group, found in enumerate(groups) if found.num_rows]
        self._places = np.array(places, dtype=np.int64).reshape(-1, 3)
        self._ends = np.cumsum(self._places[:, 2])
        if not len(self):
            raise UserError(f"{self._given}the table has no rows")

    def _guarded(self, part: Part, use: Callable[[], Any]) -> Any:
        try:
            return use()
        except UserError:
            raise
        except Exception as error:  # a reader of bytes that may say anything
            raise UserError(
                f"{self._given}{printable(part.name)} cannot be read as a Parquet table "
                f"({printable(str(error).splitlines()[0] if str(error) else type(error).__name__)}); {REMEDY}"
            ) from error

    def _image_column(self, options: Options) -> str:
        found = [field.name for field in self._schema if _holds_files(field.type)]
        if options.image is not None:
            if options.image not in found:
                asked = printable(options.image)
                raise UserError(f"{self._given}no column {asked!r} of encoded pictures; there is {_listed(found)}")
            return options.image
        usual = [name for name in IMAGES if name in found]
        if not found or (len(found) > 1 and not usual):
            raise UserError(
                f"{self._given}which column has the pictures? say ?image=NAME behind the path; of encoded files there "
                f"is {_listed(found)}"
            )
        return usual[0] if usual else found[0]

    def _label_column(self, options: Options) -> str | None:
        names = [field.name for field in self._schema if _holds_classes(field.type)]
        if options.label is not None and options.label not in names:
            asked = printable(options.label)
            raise UserError(f"{self._given}no column {asked!r} of whole numbers or words; there is {_listed(names)}")
        return options.label or next((name for name in LABELS if name in names), None)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def groups(self) -> np.ndarray:
        return self._places[:, 2].copy()

    def name(self, index: int) -> str:
        part = int(self._places[self._where(index)[0], 0])
        earlier = int(self._places[self._places[:, 0] < part, 2].sum())
        return f"{self.parts[part].name}/row {index - earlier}"

    def open(self, index: int) -> IO[bytes]:
        place, row = self._where(index)
        value = self._group(place)[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            where = value.get("path") if isinstance(value, dict) else None
            raise ValueError(f"not in the table but at {where}" if where else "no picture in this row")
        if len(content) > LARGEST_ENTRY:
            raise ValueError(f"{len(content)} bytes, of at most {LARGEST_ENTRY}")
        return io.BytesIO(content)

    def _where(self, index: int) -> tuple[int, int]:
        """The row group, of `_places`, and the row in it."""
        place = int(np.searchsorted(self._ends, index, side="right"))
        return place, index - int(self._ends[place] - self._places[place, 2])

    def _group(self, place: int) -> Any:
        """The pictures of a row group; every process reads it for itself."""
        if self._process != os.getpid():
            self._forget()
        if place in self._held:
            self._held.move_to_end(place)
            return self._held[place]
        part, group, _ = map(int, self._places[place])
        table = self._table(part)
        size = table.metadata.row_group(group).total_byte_size
        if size > LARGEST_GROUP:
            raise ValueError(f"in a row group of {size:,} bytes, of at most {LARGEST_GROUP:,}; write smaller ones")
        column = table.read_row_group(group, columns=[self.image]).column(self.image)
        while len(self._held) >= HELD:
            self._held.popitem(last=False)
        self._held[place] = column
        return column

    def _table(self, part: int) -> Any:
        from pyarrow.parquet import ParquetFile

        if self._process != os.getpid():
            self._forget()
        if part not in self._tables:
            while len(self._tables) >= HELD:  # a table may have more parts than a process may have files
                self._tables.pop(next(iter(self._tables)))
            self._tables[part] = ParquetFile(self.parts[part].stream())
        return self._tables[part]

    def _forget(self) -> None:
        self._tables: dict[int, Any] = {}
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._process = os.getpid()

    @property
    def location(self) -> str:
        return self.place

    def classes(self) -> Classes | None:
        if self.label is None:
            return None
        values: list[Any] = []
        for number, part in enumerate(self.parts):
            values += self._guarded(part, partial(self._labels, number))
        if any(isinstance(value, str) for value in values):
            names = tuple(sorted({str(value) for value in values}))
            numbers = {name: number for number, name in enumerate(names)}
            return Classes(names, np.array([numbers[str(value)] for value in values], dtype=np.int64))
        try:
            found = np.array([whole(value) for value in values], dtype=np.int64)
        except ValueError as error:  # -1: the hub's way to say that there is none
            raise UserError(
                f"{self._given}column {self.label}: {error}; say another column, ?label=NAME, or use no classes "
                "(model.classes=0; of prepare, labels=false)"
            ) from None
        names = _class_names(self._schema.metadata, self.label)
        if len(names) <= int(found.max()):
            names = tuple(str(number) for number in range(int(found.max()) + 1))
        return Classes(names, found)

    def _labels(self, part: int) -> list[Any]:
        values: list[Any] = self._table(part).read(columns=[self.label]).column(self.label).to_pylist()
        return values

    def fingerprint(self) -> str:
        return self.identity()

    def identity(self) -> str:
        """From sizes, columns and the ends of every file: of a table of any size within seconds."""
        digest = hashlib.sha256(f"{self.image}\0{self.label}\0".encode("utf-8", "surrogateescape"))
        for part in self.parts:
            with part.stream() as stream:
                digest.update(f"{part.size}\0".encode())
                digest.update(hashlib.sha256(stream.read(ENDS)).digest())
                stream.seek(max(0, part.size - ENDS))
                digest.update(hashlib.sha256(stream.read(ENDS)).digest())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tables": {}, "_held": OrderedDict(), "_process": 0}


def tables_of(place: str) -> list[Path]:
    """The tables that a path means, in their order; none where it means something else."""
    return files_alone(place, (ENDING,))


def split_options(path: str) -> tuple[str, str]:
    """A path and what stands behind its ``?``, which a file's name may hold too."""
    if full_path(path).exists():
        return path, ""
    place, _, query = path.partition("?")
    return place, query


def parse_options(path: str, option: str) -> tuple[str, Options]:
    """A path, and which columns are asked for behind it.

    Raises:
        UserError: something else is.
    """
    place, query = split_options(path)
    return place, Options(**parse_query(query, Options._fields, f"{option}={path}: "))


def parse_query(query: str, known: Sequence[str], given: str) -> dict[str, str]:
    """``a=1&b=2``. Raises `UserError` for other names than the known ones."""
    try:
        pairs = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
    except ValueError:
        pairs = {query: ""}
    for name, value in pairs.items():
        if name not in known or not value:
            choices = ", ".join(f"{choice}=..." for choice in known)
            raise UserError(printable(f"{given}behind ? there may be {choices} (joined by &), not {name}={value}"))
    return pairs


def _holds_files(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_files(field.type) for field in kind)
    return types.is_binary(kind) or types.is_large_binary(kind)


def _holds_classes(kind: Any) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...]:
    """Those that Hugging Face writes into a table's schema; empty where there are none."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()


def _listed(names: Sequence[str]) -> str:
    return printable(", ".join(names)) if names else "none"
