"""What a source of pictures is: numbered pictures, each with a name and the bytes of a file.

Decoding is `cips_lab.data.decode`'s, cropping and resizing the data set's (`cips_lab.data.dataset`).
"""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import IO, TypeVar

import numpy as np
from PIL import Image

from cips_lab.data.decode import check, decode, extensions, reason
from cips_lab.data.labels import Classes
from cips_lab.errors import UserError
from cips_lab.files.names import printable

T = TypeVar("T")
HIDDEN = "hidden"
NO_ENDING = "no ending"
WINDOW = 8  # groups whose pictures are mixed, of a source that is read in groups


class ImageSource(ABC):
    """A numbered collection of pictures of any size, in an order that is the same each time.

    A kind of source that `data.path` can name is a class of this in a module of its own, and a line in
    `cips_lab.data.sources.choose.SOURCES`. One is also taken as it is: ``ImageDataModule("mine", MySource(...), 256)``.

    Pictures are read by several processes. A source is pickled to those that are spawned, so all its attributes must
    be picklable; and is copied with those that are forked, which share what was open: a file's offset or a connection
    that two of them use mixes up what they read. So `open` opens what it needs in each process for itself, and what
    it keeps open is not pickled. `ZipSource` shows both.

    Args:
        path: what the user gave, of which `takes` is true.
        option: the option that it came from, for messages.

    Attributes:
        left_out: how many files of which kind are there and are not taken, such as ``{".txt": 3}``.
        remote: whether pictures come over a network as they are asked for, so that looking at all would cost hours.

    Raises:
        UserError: it cannot be used; the message names the option, the path and the remedy.
    """

    left_out: Mapping[str, int] = MappingProxyType({})
    remote: bool = False

    @classmethod
    @abstractmethod
    def takes(cls, path: str) -> bool:
        """Whether a path that exists, or an address of any kind, is one of this kind of source."""

    @abstractmethod
    def __init__(self, path: str, option: str = "data.path") -> None: ...

    @abstractmethod
    def __len__(self) -> int:
        """The number of pictures, at least 1."""

    @abstractmethod
    def name(self, index: int) -> str:
        """The picture's full name."""

    @abstractmethod
    def open(self, index: int) -> IO[bytes]:
        """The encoded picture as a seekable binary stream, which the caller closes."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the collection is, as a full path or a name."""

    def classes(self) -> Classes | None:
        """Of which class each picture is; None where the collection does not say.

        Raises:
            UserError: what it says cannot be read.
        """
        return None

    def groups(self) -> np.ndarray | None:
        """Lengths, int64, of stretches of pictures that are cheap to read together and dear to read one by one.

        Training pictures then come in an order that reads each stretch once an epoch, see
        `cips_lab.data.sampler.InfiniteSampler`. None: any order costs the same.
        """
        return None

    def fingerprint(self) -> str:
        """Hexadecimal digits that change when any picture or their order changes; here from every byte."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            with self.open(index) as stream:
                digest.update(hashlib.sha256(stream.read()).digest())
        return digest.hexdigest()

    def identity(self) -> str:
        """Hexadecimal digits that are the same for the same pictures, wherever they lie and however they came there."""
        return self.fingerprint()

    def read(self, index: int) -> Image.Image:
        """Decode picture `index` in [0, len) to RGB at its own size, see `cips_lab.data.decode.decode`.

        Raises:
            UserError: it cannot be read or decoded; the message names the file, the reason and the remedy.
        """
        return self._with(index, decode)

    def verify(self, index: int) -> list[str]:
        """What `read` does, without decoding the pixels; returns Pillow's warnings of the picture's metadata.

        Raises:
            UserError: as `read`.
        """
        return self._with(index, check)

    def _with(self, index: int, use: Callable[[IO[bytes]], T]) -> T:
        stream = None
        # Whatever it is: files and decoders of foreign formats raise what their authors thought of, and what not.
        try:
            stream = self.open(index)
            return use(stream)
        except UserError:
            raise
        except Exception as error:
            why = reason(error, stream)
            raise UserError(printable(f"{self.name(index)} cannot be decoded {why}")) from error
        finally:
            if stream is not None:
                stream.close()


def sort_out(names: Iterable[str]) -> tuple[list[str], Counter[str]]:
    """Which of a collection's files are pictures by their names, sorted, and how many of which kind are not.

    Hidden files and those in hidden folders are none (`.ipynb_checkpoints` and `__MACOSX` hold copies of pictures).
    """
    pictures, left_out = [], Counter[str]()
    for name in names:
        kind = kind_of(PurePath(name))
        if kind in extensions():
            pictures.append(name)
        else:
            left_out[kind] += 1
    return sorted(pictures), left_out


def kind_of(relative: PurePath) -> str:
    """A file's ending, small, with its dot; or what it is instead of one."""
    if any(part.startswith(".") or part == "__MACOSX" for part in relative.parts):
        return HIDDEN
    return relative.suffix.lower() or NO_ENDING


def endings() -> str:
    """Those of pictures, for messages."""
    return " ".join(sorted(extensions()))


def files_left_out(left_out: Mapping[str, int]) -> str:
    """``30 files left out: 20 .txt, 9 .csv, 1 hidden``, the most first; "" where there is none."""
    if not left_out:
        return ""
    total = sum(left_out.values())
    kinds = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))[:10]
    rest = total - sum(count for _, count in kinds)
    parts = [f"{count:,} {printable(kind)}" for kind, count in kinds] + ([f"{rest:,} others"] if rest else [])
    return f"{total:,} file{'s' if total > 1 else ''} left out: {', '.join(parts)}"


def full_path(path: str | Path) -> Path:
    """A path as the user typed it, from the root of the file system on."""
    return Path(path).expanduser().resolve()
