"""A zip from elsewhere: what its table of contents may say, and how much is read of an entry whatever it says."""

import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath

LARGEST_ENTRY = 2**30  # bytes of one encoded picture
LARGEST_RATIO = 200  # of an entry's size to what it takes in the archive; pictures are compressed already
SMALL_ENTRY = 2**24  # bytes below which the ratio does not matter: a plain bitmap compresses to nothing
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1  # of an entry's flags


def refusal(entries: list[zipfile.ZipInfo]) -> str | None:
    """Why an archive is not used, naming the entry; None if nothing speaks against it.

    Nothing is unpacked into files here; but an archive with such names was made to do harm where something is, and two
    entries of one name are read differently by different programs.
    """
    counts = Counter(entry.filename for entry in entries)
    for entry in entries:
        reason = unsafe_name(entry.filename) or suspicious_size(entry)
        if reason is None and counts[entry.filename] > 1:
            reason = f"its name is there {counts[entry.filename]} times"
        if reason is None and entry.flag_bits & ENCRYPTED:
            reason = "it is encrypted"
        if reason is not None:
            return f"entry {entry.filename!r}: {reason}"
    return None


def unsafe_name(name: str) -> str | None:
    """Why a name is refused: it leads out of the folder that it would be unpacked to, on any system."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if posix.is_absolute() or windows.root or windows.drive:
        return "its name is absolute"
    if ".." in posix.parts or ".." in windows.parts:
        return "its name leads out of the archive (..)"
    return None


def suspicious_size(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry's size is refused, by what the table of contents says."""
    if entry.file_size > LARGEST_ENTRY:
        return f"{entry.file_size} bytes, of at most {LARGEST_ENTRY}"
    if entry.file_size > SMALL_ENTRY and entry.file_size > LARGEST_RATIO * entry.compress_size:
        return f"{entry.file_size} bytes out of {entry.compress_size} compressed ones: a decompression bomb"
    return None


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """An entry's bytes, never more than its size in the table of contents.

    Raises:
        ValueError: it is packed in a way that cannot be unpacked in parts, or holds more or less than it says.
    """
    entry = archive.getinfo(name)
    if entry.compress_type not in METHODS:
        raise ValueError(f"compressed by method {entry.compress_type}; only stored and deflated entries are read")
    reason = suspicious_size(entry)
    if reason is not None:
        raise ValueError(reason)
    with archive.open(entry) as stream:
        content = stream.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise ValueError(f"{len(content)} bytes, where the archive says {entry.file_size}")
    return content


def check(path: Path) -> list[str]:
    """The names of an archive's files, in its order.

    Raises:
        OSError, zipfile.BadZipFile, ValueError: it cannot be read, or is not used; the message names the entry.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    reason = refusal(entries)
    if reason is not None:
        raise ValueError(reason)
    return [entry.filename for entry in entries if not entry.is_dir()]
