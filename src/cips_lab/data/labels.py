"""Classes of pictures: which there are, of which each picture is, and batches that say so."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from cips_lab.errors import UserError
from cips_lab.files.names import printable

LABELS = "dataset.json"  # StyleGAN's: {"labels": [["00000/img00000000.png", 3], ...]}, or null where there are none

# Pictures uint8 [b, 3, H, W]; or these, then the windows that they were seen through, then their classes [b].
Batch = Tensor | Sequence[Tensor]
Parts = tuple[Tensor, Tensor | None, Tensor | None]  # what `parts_of` makes of it


class Classes(NamedTuple):
    """Of a set of pictures."""

    names: tuple[str, ...]
    of: np.ndarray  # int64 [N], of each picture

    def shares(self) -> Tensor:
        """How often each is, float32 [classes]; sums to 1."""
        counts = np.bincount(self.of, minlength=len(self.names))
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


class LabelledDataset(Dataset[tuple[Tensor, ...]]):
    """Items of a data set of pictures, or of windows of them, with the class behind, int64 [].

    Args:
        dataset: its items are numbered, or (number, place in the stream).
        classes: of the pictures by number. Of one that cannot be read, whose place the next one takes
            (`data.unreadable=skip`), the class stays.
    """

    def __init__(self, dataset: Dataset[Any], classes: Classes) -> None:
        self.dataset, self.classes = dataset, classes

    def __len__(self) -> int:
        return len(self.classes.of)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Tensor, ...]:
        found = self.dataset[item]
        number = item if isinstance(item, int) else item[0]
        return (*((found,) if isinstance(found, Tensor) else found), torch.tensor(int(self.classes.of[number])))


def parts_of(batch: Batch, classes: int) -> Parts:
    """Pictures, their windows, and their classes as one-hot rows [b, classes], on the pictures' device.

    Args:
        batch: as a loader gives it.
        classes: how many there are; 0: the batch says none.
    """
    parts = [batch] if isinstance(batch, Tensor) else list(batch)
    label = F.one_hot(parts.pop(), classes).float() if classes else None
    return parts[0], parts[1] if len(parts) > 1 else None, label
