"""Reading files from elsewhere: no code in them is run, and memory is bounded by what they really hold.

A file of tensors is either safetensors, whose reader checks that the tensors fill the file exactly, or torch's own
format, which is a pickle in a zip: it is read with ``weights_only=True``, and before that the zip's table is looked at,
for an entry may claim, or decompress to, any size.
"""

import argparse
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cips_lab.errors import UserError

SLACK = 2**16  # bytes by which a file's tensors may pass its size: padding, shared storages of nothing
LARGEST_CODE = 2**26  # bytes of TorchScript's source code
LONGEST_CONFIG = 2**16  # characters of a network's configuration in a header


def read_torch(path: str | Path, what: str, *, mmap: bool = False) -> Any:
    """What `torch.save` wrote: containers, numbers, strings and tensors, on the CPU.

    An `argparse.Namespace` of these is read too, since many trainers keep their arguments beside the weights: it is a
    dict with a name, and making one runs none of the file's code.

    Args:
        path: the file, in torch's zip format or the older one.
        what: what it should be, for the message.
        mmap: leave tensors on disk until they are used; zip format only.

    Raises:
        UserError: it cannot be read, would run code, or claims more than it holds.
    """
    path = Path(path)
    try:
        check_archive(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = _load(path, mmap)
        check_tensors(content, path.stat().st_size)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many kinds for damaged files; each becomes one clear message
        raise UserError(f"{path}: not {what} that can be read safely ({refusal(error)})") from None
    return content


def _load(path: Path, mmap: bool) -> Any:
    """`torch.load`, which opens a file by its name only where the name can be written in UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def refusal(error: BaseException) -> str:
    """Why torch read no further, in one line, without its advice to read the file unsafely."""
    text = str(error)
    if named := re.search(r"GLOBAL ([\w.]+)", text):
        return (
            f"it holds {named[1]}, and only tensors, numbers, strings and containers of these are read: save it without"
        )
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in text or "torch.serialization" in text:
        return "it holds code or objects, or is damaged: save tensors alone, or copy it again"
    return first_line(error)


def check_archive(path: Path, *, code: bool = False) -> None:
    """Raise `ValueError` if a zip of torch's has compressed entries, or entries that together exceed the file.

    `torch.save` compresses nothing; its reader would decompress, or reserve, whatever an entry says.

    Args:
        path: the file; one in the older format, which is no zip, passes.
        code: it is TorchScript, whose source code is compressed, and is all that is.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":  # how torch.load tells a zip from the older format
            return
    size, claimed = path.stat().st_size, 0
    most = size + LARGEST_CODE if code else size
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            claimed += entry.file_size
            if (entry.compress_type != zipfile.ZIP_STORED and not code) or claimed > most:
                raise ValueError(f"its entry {entry.filename!r} claims {entry.file_size} bytes of a file of {size}")


def check_tensors(content: object, size: int) -> None:
    """Raise `ValueError` unless all tensors of nested containers are plain ones that a file of `size` bytes can hold.

    A few bytes can be a tensor of any shape: with strides of 0, sparse, or on the device ``meta``.
    """
    total, storages = 0, set()
    for tensor in tensors_of(content):
        plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided and not tensor.is_quantized
        if not plain or tensor.device.type != "cpu":
            raise ValueError("it holds a tensor of an unusual kind")
        storage = tensor.untyped_storage()
        if tensor.numel() * tensor.itemsize > storage.nbytes():
            raise ValueError(f"it holds a tensor of shape {list(tensor.shape)} over {storage.nbytes()} bytes")
        if storage.data_ptr() not in storages:
            storages.add(storage.data_ptr())
            total += tensor.numel() * tensor.itemsize
    if total > size + SLACK:
        raise ValueError(f"its tensors claim {total} bytes of a file of {size}")


def tensors_of(content: object) -> Iterator[Tensor]:
    """The tensors in nested dicts, lists, tuples and namespaces, each container once: a pickle may hold itself."""
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, (Mapping, list, tuple, set, argparse.Namespace)) and id(item) not in seen:
            seen.add(id(item))
            item = vars(item) if isinstance(item, argparse.Namespace) else item
            waiting.extend(item.values() if isinstance(item, Mapping) else item)


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and the text in its header.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            return tensors, file.metadata() or {}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path}: not a safetensors file that can be read ({first_line(error)})") from None


def parse_config(text: str) -> dict[str, Any]:
    """A network's configuration out of a header.

    Raises:
        ValueError: it is no JSON object, or no configuration could be so long or so deep.
    """
    if len(text) > LONGEST_CONFIG:
        raise ValueError(f"a configuration of {len(text)} characters")
    try:
        config = json.loads(text)
    except RecursionError:
        raise ValueError("a configuration that is nested too deep") from None
    if not isinstance(config, dict):
        raise ValueError("a configuration that is no object")
    return config


def first_line(error: BaseException) -> str:
    """What an exception says, in one line that a terminal can show; its kind where it says nothing."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    # Libraries colour their messages, and quote from files that may hold anything.
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line)
    return "".join(letter if letter.isprintable() else "?" for letter in plain)
