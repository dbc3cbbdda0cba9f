"""Data sets of the Hugging Face hub: ``hf://user/name``, downloaded once, or streamed."""

import hashlib
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from cips_lab.data.labels import Classes
from cips_lab.data.sources.base import ImageSource, sort_out
from cips_lab.data.sources.folder import FolderSource
from cips_lab.data.sources.parquet import ENDING, Options, ParquetSource, Part, local_part, parse_query
from cips_lab.data.sources.tar import TarSource
from cips_lab.data.sources.zip import ZipSource
from cips_lab.errors import UserError
from cips_lab.files.names import printable

SCHEME = "hf:/"
ADDRESS = re.compile(
    r"hf:/+(datasets/)?(?P<owner>[^/@?\s]+)/(?P<name>[^/@?\s]+)(@(?P<revision>[^?\s]+?))?(/(?P<folder>[^?]*))?"
    r"(\?(?P<query>.*))?"
)
CONVERTED = "refs/convert/parquet"  # where the hub keeps tables that it made of other data sets
KEYS = (*Options._fields, "split", "stream")
SPLIT = "train"
EXAMPLE = "hf://user/name, hf://user/name?split=test&image=photo&label=breed, hf://user/name?stream=true"


class Found(NamedTuple):
    """A revision of a data set."""

    revision: str
    commit: str
    files: list[str]
    folder: Path | None  # where they lie, if the hub is not to be reached and they were downloaded before


class HubSource(ImageSource):
    """A data set of the hub: Parquet tables, else a zip, shards, or files of pictures.

    ``hf://user/name``, with ``@revision`` and ``/folder`` (a configuration) behind it, and options behind ``?``: split
    (train where nothing is said), image and label (columns), and ``stream=true``, which downloads nothing beforehand:
    row groups come as they are needed, and are not kept.

    What was downloaded lies in the hub's own cache (``HF_HOME``) and is used again, without a network too. Raises
    `UserError` if there is no such data set, if it is not to be reached, if the split is not one of its own, or if the
    package huggingface_hub is missing.
    """

    @classmethod
    def takes(cls, path: str) -> bool:
        return path.startswith(SCHEME)

    def __init__(self, path: str, option: str = "data.path") -> None:
        given = printable(f"{option}={path}: ")
        parts = ADDRESS.fullmatch(path)
        if parts is None:
            raise UserError(f"{given}not an address of a data set; it looks like {EXAMPLE}")
        if _folder_of(parts) and ".." in PurePosixPath(_folder_of(parts)).parts:
            raise UserError(f"{given}.. leads out of the data set")
        query = parse_query(parts["query"] or "", KEYS, given)
        self.repository = f"{parts['owner']}/{parts['name']}"
        self.remote = query.get("stream", "false") == "true"
        if query.get("stream", "false") not in ("true", "false"):
            raise UserError(f"{given}stream={query['stream']}: must be true or false")
        columns = Options(query.get("image"), query.get("label"))
        split = query.get("split")
        inside = _folder_of(parts)
        found = _reach(given, self.repository, parts["revision"])
        tables = _of_split(given, found.files, inside, split, ENDING)
        if not tables and not _others(found.files, inside) and parts["revision"] is None:
            found = _reach(given, self.repository, CONVERTED)
            tables = _of_split(given, found.files, inside, split, ENDING)
        self.commit = found.commit
        if tables and self.remote:
            self.inner: ImageSource = self._streamed(tables, columns, given)
        elif self.remote:
            raise UserError(f"{given}only Parquet tables are streamed, and it has none; leave stream=true out")
        elif tables:
            folder = _download(given, self.repository, found, tables)
            local = [local_part(folder / table) for table in tables]
            self.inner = ParquetSource.of_parts(local, self.location, columns, given)
        else:
            self.inner = self._of_files(found, inside, split, option, given)
        self.left_out = self.inner.left_out

    def _streamed(self, tables: Sequence[str], columns: Options, given: str) -> ParquetSource:
        prefix = f"datasets/{self.repository}@{self.commit}"
        try:
            from huggingface_hub import HfFileSystem

            sizes = [int(HfFileSystem().info(f"{prefix}/{table}")["size"]) for table in tables]
        except Exception as error:
            raise _unreachable(given, error) from error
        parts = [
            Part(f"hf://{prefix}/{table}", size, partial(_stream, f"{prefix}/{table}"))
            for table, size in zip(tables, sizes, strict=True)
        ]
        return ParquetSource.of_parts(parts, self.location, columns, given)

    def _of_files(self, found: Found, inside: str, split: str | None, option: str, given: str) -> ImageSource:
        kind, names = _others(found.files, inside) or ("", [])
        if not names:
            raise UserError(f"{given}neither Parquet tables nor pictures, a .zip or .tar files in it")
        if kind == ".tar":
            names = _of_split(given, found.files, inside, split, kind)
        root = _download(given, self.repository, found, names)
        if kind == ".zip":
            return ZipSource(root / names[0], option)
        if kind == ".tar":
            return TarSource("::".join(str(root / name) for name in names), option)
        return FolderSource(root / inside, option)

    def __len__(self) -> int:
        return len(self.inner)

    def name(self, index: int) -> str:
        return self.inner.name(index)

    def open(self, index: int) -> IO[bytes]:
        return self.inner.open(index)

    def read(self, index: int) -> Image.Image:
        return self.inner.read(index)

    @property
    def location(self) -> str:
        return f"hf://{self.repository}@{self.commit[:12]}"

    def classes(self) -> Classes | None:
        return self.inner.classes()

    def groups(self) -> np.ndarray | None:
        return self.inner.groups()

    def fingerprint(self) -> str:
        """From the commit, which names every byte, and what was chosen of it."""
        chosen = [self.inner.name(0), str(len(self)), str(getattr(self.inner, "image", None))]
        return hashlib.sha256("\0".join([self.repository, self.commit, *chosen]).encode()).hexdigest()

    def identity(self) -> str:
        return self.inner.identity()


def _stream(path: str) -> IO[bytes]:
    from huggingface_hub import HfFileSystem

    stream: IO[bytes] = HfFileSystem().open(path, "rb")
    return stream


def _folder_of(parts: re.Match[str]) -> str:
    return (parts["folder"] or "").strip("/")


def _below(name: str, folder: str) -> str:
    return name.removeprefix(f"{folder}/") if folder else name


def _reach(given: str, repository: str, revision: str | None) -> Found:
    """A revision's files, by the hub; by what was downloaded of it where the hub is not to be reached."""
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ModuleNotFoundError:
        raise UserError(f"{given}the hub needs the package huggingface_hub: pip install 'cips-lab[data]'") from None
    revision = revision or "main"
    try:
        info = HfApi().dataset_info(repository, revision=revision)
    except (HfHubHTTPError, HFValidationError) as error:
        raise _unreachable(given, error) from error
    except Exception as error:
        try:
            place = snapshot_download(repository, repo_type="dataset", revision=revision, local_files_only=True)
        except Exception as missing:
            place = getattr(missing, "snapshot_path", "")  # other files than ours may be what is missing
        if not place:
            raise _unreachable(given, error) from error
        folder = Path(place)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        if not all(_is_whole(files, file) for file in files):
            raise _unreachable(given, error) from error
        return Found(revision, folder.name, files, folder)
    return Found(revision, str(info.sha), sorted(file.rfilename for file in info.siblings or []), None)


def _is_whole(files: Sequence[str], file: str) -> bool:
    """Whether all of ``train-00000-of-00002.parquet``'s parts are there: a download may have been interrupted."""
    part = re.fullmatch(r"(.*-)(\d+)(-of-(\d+).*)", file)
    if part is None:
        return True
    beginning, _, end, count = part.groups()
    there = [other for other in files if other.startswith(beginning) and f"-of-{count}" in other]
    return len(there) == int(count) or not end.endswith(ENDING)


def _download(given: str, repository: str, found: Found, files: Sequence[str]) -> Path:
    if found.folder is not None:
        return found.folder
    from huggingface_hub import snapshot_download

    try:
        patterns = [re.sub(r"([\[*?])", r"[\1]", file) for file in files]  # names, not patterns of names
        folder = snapshot_download(repository, repo_type="dataset", revision=found.revision, allow_patterns=patterns)
    except Exception as error:
        raise _unreachable(given, error) from error
    return Path(folder)


def _unreachable(given: str, error: Exception) -> UserError:
    """What the hub's client raises, in one sentence with a remedy."""
    from huggingface_hub import errors

    first = printable(next(iter(str(error).splitlines()), "") or type(error).__name__)
    if isinstance(error, errors.GatedRepoError):
        return UserError(f"{given}its owner wants to be asked: open it in a browser, agree, and run hf auth login")
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"{given}it has no such revision; leave @... out, or look it up on the hub")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(f"{given}no such data set on the hub, or a private one (then run hf auth login)")
    return UserError(
        f"{given}the hub is not to be reached ({first}); try again, or download it elsewhere "
        "(hf download --repo-type dataset OWNER/NAME --local-dir pictures) and give the folder"
    )


def _of_split(given: str, files: Sequence[str], folder: str, split: str | None, ending: str) -> list[str]:
    """The files of an ending that a split consists of. None where there are none at all.

    Raises:
        UserError: there are, of other splits or of several configurations.
    """
    inside = [file for file in files if file.endswith(ending) and (not folder or _is_below(file, folder))]
    if not inside:
        return []
    by_split: dict[str, list[str]] = {}
    for file in inside:
        by_split.setdefault(_split_of(_below(file, folder)), []).append(file)
    wanted = split or (SPLIT if SPLIT in by_split else next(iter(by_split)) if len(by_split) == 1 else SPLIT)
    if wanted not in by_split:
        raise UserError(
            printable(f"{given}no split {wanted!r}; there is {', '.join(sorted(by_split))}: say ?split=...")
        )
    chosen = by_split[wanted]
    folders = sorted({str(PurePosixPath(_below(file, folder)).parent) for file in chosen})
    configurations = sorted({name.split("/")[0] for name in folders})
    if len(configurations) > 1:
        raise UserError(
            printable(
                f"{given}it has several configurations ({', '.join(configurations)}); say which, as in "
                f"hf://user/name/{configurations[0]}"
            )
        )
    return chosen


def _split_of(file: str) -> str:
    """``data/train-00000-of-00002.parquet``, ``default/train/0000.parquet``, ``train.parquet`` -> ``train``."""
    path = PurePosixPath(file)
    stem = re.split(r"-\d+|\.", path.name)[0]
    return path.parent.name if stem.isdigit() or not stem else stem


def _is_below(file: str, folder: str) -> bool:
    return file == folder or file.startswith(f"{folder}/")


def _others(files: Sequence[str], folder: str) -> tuple[str, list[str]] | None:
    """Of a data set without tables: its pictures, its tars, or its only zip; which kind, and their names."""
    inside = [file for file in files if not folder or _is_below(file, folder)]
    pictures, _ = sort_out(inside)
    if pictures:
        return "pictures", pictures
    for ending in (".tar", ".zip"):
        found = [file for file in inside if file.lower().endswith(ending)]
        if found and (ending == ".tar" or len(found) == 1):
            return ending, found
    return None
