"""Batches of pictures that say of which class each is."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from cips_lab.data.labels import Classes

# Pictures uint8 [b, 3, H, W]; or these, then the windows that they were seen through, then their classes [b].
Batch = Tensor | Sequence[Tensor]
Parts = tuple[Tensor, Tensor | None, Tensor | None]  # what `parts_of` makes of it


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
