"""The files of the metrics' networks: where they come from, where they are kept, and what is said where they are not.

They are kept where torch.hub keeps its downloads (`$TORCH_HOME/hub/checkpoints`), and shared with other programs.
"""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cips_lab.errors import UserError
from cips_lab.files.untrusted import read_torch

TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True)
class WeightsFile:
    """A file that is public under a URL, told by the beginning of its SHA-256 where that was published."""

    file: str
    url: str
    sha256: str | None

    @property
    def kept(self) -> Path:
        """Where a download is kept."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.file

    def is_at(self, path: Path) -> bool:
        """Whether the file at `path` is this one, byte for byte; without a published digest it passes for it."""
        if self.sha256 is None:
            return True
        return hashlib.sha256(path.read_bytes()).hexdigest().startswith(self.sha256)


def locate(extractor: str, source: WeightsFile, given: str | Path | None, option: str) -> Path:
    """The file to read: the given one, else the one that is kept, else a download.

    Raises `UserError` if the given file is missing, the kept one is damaged, or the download fails.
    """
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise UserError(f"{option}={given}: {path.resolve()} does not exist; {_where(source)}")
        return path
    if not source.kept.exists():
        _download(extractor, source, option)
    elif not source.is_at(source.kept):
        raise UserError(f"{source.kept} is damaged (its SHA-256 does not begin with {source.sha256}); delete it")
    return source.kept


def _download(extractor: str, source: WeightsFile, option: str) -> None:
    source.kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        with timeout():
            # Into a temporary file that is renamed: processes that start together do not disturb each other.
            torch.hub.download_url_to_file(source.url, str(source.kept), hash_prefix=source.sha256)
    except (OSError, RuntimeError) as error:  # no network; another file than expected
        raise UserError(
            f"metrics.extractor={extractor} needs {source.file}, which could not be downloaded ({error}); "
            f"{_where(source)} and give {option}=FILE, or put it at {source.kept}"
        ) from error


def _where(source: WeightsFile) -> str:
    digest = "" if source.sha256 is None else f" (its SHA-256 begins with {source.sha256})"
    return f"get it from {source.url}{digest}"


@contextmanager
def timeout() -> Iterator[None]:
    """Downloads inside fail where the network does not answer; torch.hub's would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth file. No code in it is run.

    Raises `UserError` if it holds anything else.
    """
    state: Any = read_torch(path, "a file of weights")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no state dict (names and tensors)")
    return state


def hash_of(network: nn.Module) -> str:
    """16 hexadecimal digits that change with any weight, whatever file it came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
