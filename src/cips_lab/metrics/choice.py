"""Which pictures of a set are looked at where not all are.

Spread evenly over the set: files are often sorted, by class, by place, by date, and the first would be all of a kind.
As the first 2,000 of the quickstart's 9,091 tiles are of the north: against them as many real tiles of the whole world
have a Frechet distance of 53, and against 2,000 that are spread one of 12.
"""

from typing import Literal

import numpy as np
from torch import Tensor

from cips_lab.metrics.collect import PictureSet
from cips_lab.networks.size import Size

RealChoice = Literal["spread", "first"]
CHOICES = ("spread", "first")


def spread(size: int, count: int) -> list[int]:
    """Places of `count` pictures, spread evenly over a set of `size`; all of them where it has fewer."""
    count = min(count, size)
    return [number * size // count for number in range(count)]


class Spread:
    """A set's `count` pictures, see `spread`, as a set; `count` is below the set's own number."""

    resolution: Size

    def __init__(self, pictures: PictureSet, count: int) -> None:
        self.pictures, self.resolution = pictures, pictures.resolution
        self.places = spread(len(pictures), count)

    @property
    def location(self) -> str:
        return self.pictures.location

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Tensor:
        return self.pictures[self.places[index]]

    def fingerprint(self) -> str:
        """Of the set and the choice: features of the first so many are others."""
        return f"{self.pictures.fingerprint()} {len(self)} spread"


def chosen(pictures: PictureSet, count: int, choice: RealChoice) -> PictureSet:
    """The set of which the first `count` pictures are those that are looked at."""
    return pictures if choice == "first" or count >= len(pictures) else Spread(pictures, count)


def labels_of(labels: np.ndarray, count: int, choice: RealChoice) -> np.ndarray:
    """Of each of a set's pictures [N] -> of those that are looked at [count]."""
    return labels[:count] if choice == "first" else labels[spread(len(labels), count)]
