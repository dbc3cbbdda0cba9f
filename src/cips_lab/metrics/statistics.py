"""What is kept of a set of features: its first two moments, or all of it. Gathered over processes without padding.

`Moments` and `FeatureBank` are `torchmetrics.Metric`s: usable in any Lightning module, no part of its state_dict.
"""

from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


class Gaussian(NamedTuple):
    """Mean [D] and unbiased covariance [D, D] of a number of samples, float64."""

    number: int
    mean: Tensor
    covariance: Tensor

    def to(self, device: torch.device | str) -> "Gaussian":
        """The same on another device."""
        return Gaussian(self.number, self.mean.to(device), self.covariance.to(device))


class Estimate(NamedTuple):
    """A number computed from samples, and its standard error over the generated ones, the real ones taken as given."""

    value: float
    se: float


def spread_out(numbers: Tensor, count: int, most: int) -> Tensor:
    """Which of `count` pictures are looked at where `most` are enough: every k-th, for sets lie in some order.

    Args:
        numbers: of some of the pictures, int64 [b].

    Returns:
        bool [b].
    """
    return numbers % -(-count // most) == 0


class Scatter(NamedTuple):
    """Sums that can be merged: number, int64 []; mean [D]; sum of (x - mean)(x - mean)^T [D, D], float64."""

    number: Tensor
    mean: Tensor
    scatter: Tensor

    def gaussian(self) -> Gaussian:
        """Raises `ValueError` for fewer than two samples."""
        count = int(self.number)
        if count < 2:
            raise ValueError(f"a covariance needs at least two samples, got {count}")
        return Gaussian(count, self.mean, self.scatter / (count - 1))


def scatter_of(features: Tensor) -> Scatter:
    """Scatter of features [N, D], N >= 0, any float type; the sums are float64."""
    count = torch.tensor(len(features), device=features.device)
    x = features.double()
    mean = x.sum(0) / max(len(features), 1)
    x = x - mean
    return Scatter(count, mean, x.T @ x)


def merge(a: Scatter, b: Scatter) -> Scatter:
    """Scatter of two sets together (Chan, Golub & LeVeque 1983, equation 2.1): no large squares are subtracted."""
    count = a.number + b.number
    delta = b.mean - a.mean
    weight = b.number.double() / count.clamp(min=1)
    return Scatter(
        count, a.mean + delta * weight, a.scatter + b.scatter + torch.outer(delta, delta) * (a.number * weight)
    )


def gaussian_of(features: Tensor, chunk: int = 4096) -> Gaussian:
    """Moments of features [N, D] on one process, in chunks: float64 copies of all of them are not made."""
    return reduce(merge, map(scatter_of, features.split(chunk))).gaussian()


class Moments(Metric):
    """Mean and covariance of the features of all processes. Keep it off MPS, which has no float64.

    Args:
        features: their number D.
        options: `torchmetrics.Metric`'s.
    """

    full_state_update = False
    count: Tensor
    mean: Tensor
    scatter: Tensor

    def __init__(self, features: int, **options: Any) -> None:
        super().__init__(**options)
        # No reduction: after a sync each is stacked, [processes, ...], for `merge` needs all three together.
        self.add_state("count", torch.tensor(0), dist_reduce_fx=None)
        self.add_state("mean", torch.zeros(features, dtype=torch.float64), dist_reduce_fx=None)
        self.add_state("scatter", torch.zeros(features, features, dtype=torch.float64), dist_reduce_fx=None)

    def update(self, features: Tensor) -> None:
        """Add features [B, D] of this process."""
        self.count, self.mean, self.scatter = merge(self._sums(), scatter_of(features))

    def compute(self) -> Gaussian:
        """The same on every process. Raises `ValueError` for fewer than two samples."""
        if self.mean.ndim == 1:
            return self._sums().gaussian()
        return reduce(merge, map(Scatter, self.count, self.mean, self.scatter)).gaussian()

    def _sums(self) -> Scatter:
        return Scatter(self.count, self.mean, self.scatter)


class FeatureBank(Metric):
    """All features of all processes, in the order of their samples' numbers, each sample once.

    A number that arrives twice is kept once: Lightning's own distributed sampler repeats samples where the processes'
    shares would differ in length.

    Args:
        features: their number D.
        options: `torchmetrics.Metric`'s.
    """

    full_state_update = False
    features: list[Tensor]
    numbers: list[Tensor]

    def __init__(self, features: int, **options: Any) -> None:
        super().__init__(**options)
        self.dimension = features
        self.add_state("features", [], dist_reduce_fx="cat")
        self.add_state("numbers", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, numbers: Tensor) -> None:
        """Add features [B, D] of the samples numbered `numbers`, int64 [B], counted over all processes."""
        if features.shape != (len(numbers), self.dimension):
            raise ValueError(
                f"expected features [{len(numbers)}, {self.dimension}] for {len(numbers)} numbers, "
                f"got {list(features.shape)}"
            )
        self.features.append(features.float())
        self.numbers.append(numbers.to(features.device))

    def compute(self) -> Tensor:
        """Float32 [N, D], the same on every process."""
        # A sync has already put the processes' parts together: then these are tensors, not lists of them.
        features = self.features if isinstance(self.features, Tensor) else torch.cat([*self._none(), *self.features])
        numbers = self.numbers if isinstance(self.numbers, Tensor) else torch.cat(self.numbers or [self._no_numbers()])
        numbers, order = numbers.sort(stable=True)
        first = torch.ones_like(numbers, dtype=torch.bool)
        first[1:] = numbers[1:] != numbers[:-1]
        return features[order[first]]

    def sync(self, *args: Any, **options: Any) -> None:
        """Torchmetrics' sync; a process without a sample takes part with an empty part of the right shape."""
        if not self.numbers:
            self.features, self.numbers = self._none(), [self._no_numbers()]
        super().sync(*args, **options)

    def _none(self) -> list[Tensor]:
        return [torch.empty(0, self.dimension, device=self.device)]

    def _no_numbers(self) -> Tensor:
        return torch.empty(0, dtype=torch.int64, device=self.device)
