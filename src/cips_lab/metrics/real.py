"""The real pictures, as generated ones are compared with them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch

from cips_lab.metrics.metric import Side
from cips_lab.metrics.picture_sums import Sums
from cips_lab.metrics.reference import Reference


class Real(NamedTuple):
    """The real pictures as each of the extractors sees them, the main one first."""

    references: Mapping[str, Reference]
    sums: Sums = MappingProxyType({})
    labels: torch.Tensor | None = None  # int64, the classes of the same pictures, where they have any
    spread: bool = False  # whether they are some of a larger set, spread over it; else all, or the first

    @property
    def main(self) -> Reference:
        """As the main extractor sees them."""
        return next(iter(self.references.values()))

    def side(self, network: str, sums: str, home: torch.device) -> Side:
        """What a metric of a network, or of some sums, is given of them."""
        one = self.references[network]
        added = {name: values.to(home) for name, values in self.sums.get(sums, {}).items()}
        labels = None if self.labels is None else self.labels[: one.count].to(home)
        return Side(one.features.to(home), one.gaussian.to(home), None, added, labels)
