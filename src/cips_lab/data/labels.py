"""Classes of pictures: which there are, and of which each picture is."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cips_lab.errors import UserError
from cips_lab.files.names import printable

if TYPE_CHECKING:
    from torch import Tensor  # which a command that only reads pictures need not wait for

LABELS = "dataset.json"  # StyleGAN's: {"labels": [["00000/img00000000.png", 3], ...]}, or null where there are none


class Classes(NamedTuple):
    """Of a set of pictures."""

    names: tuple[str, ...]
    of: np.ndarray  # int64 [N], of each picture

    def shares(self) -> "Tensor":
        """How often each is, float32 [classes]; sums to 1."""
        counts = np.bincount(self.of, minlength=len(self.names))
        import torch

        return torch.from_numpy(counts / counts.sum()).float()

    def described(self) -> str:
        """For people: ``cats (120), dogs (80)``, the first ten."""
        counts = np.bincount(self.of, minlength=len(self.names)).tolist()
        shown = [f"{printable(name)} ({count:,})" for name, count in zip(self.names, counts, strict=True)]
        return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")


def classes_by_folder(files: Sequence[str]) -> Classes | None:
    """The uppermost folder of each file is its class; None where there are not two, or a file lies in none.

    Args:
        files: relative, with ``/``.
    """
    folders = [file.partition("/") for file in files]
    if not all(slash for _, slash, _ in folders):
        return None
    names = tuple(sorted({folder for folder, *_ in folders}))
    numbers = {name: number for number, name in enumerate(names)}
    if len(names) < 2:
        return None
    return Classes(names, np.array([numbers[folder] for folder, *_ in folders], dtype=np.int64))


def classes_by_list(content: bytes, files: Sequence[str], place: str) -> Classes | None:
    """What StyleGAN's `dataset.json` says of files; None where it says that there are no classes.

    Args:
        content: of the JSON file.
        files: as it names them.
        place: what messages call it.

    Raises:
        UserError: it is no such file, or says nothing of a picture.
    """
    try:
        labels = json.loads(content)["labels"]
        if labels is None:
            return None
        known = {str(name): whole(number) for name, number in labels}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"{place}: no list of classes as StyleGAN's dataset_tool.py writes it ({type(error).__name__}: "
            f'{printable(str(error))[:200]}); it looks like {{"labels": [["a.png", 0], ["b.png", 1]]}}'
        ) from None
    missing = [file for file in files if file not in known]
    if missing:
        raise UserError(
            f"{place}: says no class of {printable(missing[0])}"
            + (f" and {len(missing) - 1:,} others" if len(missing) > 1 else "")
            + "; every picture needs one"
        )
    numbers = np.array([known[file] for file in files], dtype=np.int64)
    return Classes(tuple(str(number) for number in range(int(numbers.max()) + 1)), numbers)


def whole(number: Any) -> int:
    """A class as JSON has it. Raises `ValueError` for what is none."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1_000_000:
        raise ValueError(f"{number!r} is no class")
    return number
