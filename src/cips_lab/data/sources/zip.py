"""Pictures in a zip, such as StyleGAN's `dataset_tool.py` writes."""

import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import IO, Any

from cips_lab.data.labels import LABELS, Classes, classes_by_folder, classes_by_list
from cips_lab.data.sources import archive
from cips_lab.data.sources.base import ImageSource, endings, files_left_out, full_path, sort_out
from cips_lab.errors import UserError
from cips_lab.files.names import printable


class ZipSource(ImageSource):
    """The pictures of a zip, such as StyleGAN's (`00000/img00000000.png`, ...; classes in `dataset.json`).

    The archive is opened once per process: a file offset shared with a forked or unpickled copy would mix up reads.
    Source: https://github.com/NVlabs/stylegan3/blob/main/dataset_tool.py. Stored or deflated entries.
    Raises `UserError` if `path` is missing, is no zip, holds no picture, or is one that was made to do harm: see
    `cips_lab.data.sources.archive`.
    """

    @classmethod
    def takes(cls, path: str) -> bool:
        place = full_path(path)
        return place.is_file() and place.suffix.lower() == ".zip"

    def __init__(self, path: str | Path, option: str = "data.path") -> None:
        self.path = full_path(path)
        given = printable(f"{option}={path}: ")
        if not self.path.is_file():
            raise UserError(f"{given}{printable(self.path)} does not exist; give a data set's .zip")
        try:
            names = archive.check(self.path)
        except Exception as error:  # a reader of bytes that may say anything
            raise UserError(
                f"{given}{printable(self.path)} cannot be read as a zip ({error}); download or write it again"
            ) from error
        self.entries, self.left_out = sort_out(names)
        if not self.entries:
            others = files_left_out(self.left_out)
            raise UserError(
                f"{given}no picture in {printable(self.path)}{f' ({others})' if others else ''}; "
                f"give a zip of {endings()} files"
            )
        self._archive: zipfile.ZipFile | None = None
        self._process = 0

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        return f"{self.path}/{self.entries[index]}"

    def open(self, index: int) -> IO[bytes]:
        if self._archive is None or self._process != os.getpid():
            self._archive, self._process = zipfile.ZipFile(self.path), os.getpid()
        # Read whole: Pillow seeks, and seeking backwards in a deflated entry starts over.
        return io.BytesIO(archive.read_entry(self._archive, self.entries[index]))

    @property
    def location(self) -> str:
        return printable(self.path)

    def classes(self) -> Classes | None:
        """What its `dataset.json` says; where it has none, by the uppermost folders, if there are two."""
        listed = f"{self.location}/{LABELS}"
        with zipfile.ZipFile(self.path) as opened:
            if LABELS not in opened.namelist():
                return classes_by_folder(self.entries)
            try:
                content = archive.read_entry(opened, LABELS)
            except Exception as error:  # as for the table of contents
                raise UserError(f"{listed}: cannot be unpacked ({error}); write the zip again") from error
        return classes_by_list(content, self.entries, listed)

    def fingerprint(self) -> str:
        """From names, sizes and checksums in the zip's table of contents: no picture is read."""
        digest = hashlib.sha256()
        with zipfile.ZipFile(self.path) as opened:
            for entry in map(opened.getinfo, self.entries):
                digest.update(f"{entry.filename}\0{entry.file_size}\0{entry.CRC}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_archive": None}
