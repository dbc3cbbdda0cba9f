"""Which source a path means."""

from cips_lab.data.decode import extensions
from cips_lab.data.sources.base import ImageSource, full_path, kind_of
from cips_lab.data.sources.folder import FolderSource
from cips_lab.data.sources.foreign import what_else
from cips_lab.data.sources.hub import HubSource
from cips_lab.data.sources.lmdb import LmdbSource
from cips_lab.data.sources.parquet import ParquetSource
from cips_lab.data.sources.tar import TarSource
from cips_lab.data.sources.zip import ZipSource
from cips_lab.errors import UserError
from cips_lab.files.names import printable

# The first that takes a path reads it.
SOURCES: list[type[ImageSource]] = [HubSource, ZipSource, TarSource, LmdbSource, ParquetSource, FolderSource]
KINDS = "a folder of pictures, a .zip, .tar or .parquet file, an LMDB, or hf://user/name"


def open_source(path: str | ImageSource | None, hint: str | None = None, option: str = "data.path") -> ImageSource:
    """The source at `path`: the first of `SOURCES` that takes it; a source itself is returned as it is.

    `hint` says how to get and prepare the experiment's data set; the message for an unset or missing path ends with it.
    Raises `UserError` if `path` is None, missing, of a kind that is not read, or without a picture.
    """
    advice = f"\n{hint.strip()}" if hint else ""
    if isinstance(path, ImageSource):
        return path
    if path is None:
        raise UserError(
            f"{option} is not set; give a folder of pictures or a .zip, such as {option}=/my/pictures{advice}"
        )
    for source in SOURCES:
        if source.takes(path):
            return source(path, option)
    foreign, place = what_else(path), full_path(path)
    if foreign is not None and ("://" in path or place.exists()):
        raise UserError(printable(f"{option}={path} {foreign}{advice if '://' in path else ''}"))
    given = printable(f"{option}={path}: {place}")
    if not place.exists():
        raise UserError(f"{given} does not exist; give {KINDS}{advice}")
    if kind_of(place.relative_to(place.parent)) in extensions():
        raise UserError(f"{given} is one picture, not a folder; give the folder that holds it, or a .zip")
    raise UserError(f"{given} is not a folder; give {KINDS}")
