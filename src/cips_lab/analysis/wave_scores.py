"""How wave-like sets of pictures are, beside real ones: shares above their threshold, with errors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cips_lab.analysis.study import Study
from cips_lab.metrics.waves import PERCENTILE, Waves, waves_of

RESAMPLES = 400  # of the bootstrap


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    se: float


@dataclass(frozen=True)
class Comparison:
    """Of sets of pictures with real ones.

    Attributes:
        threshold: dB, the 95th percentile of the real pictures' scores.
        shares: set -> share of its pictures above the threshold.
        ranks: set -> chance that a picture of it scores above a real one, ties half: 1/2 for no difference. No
            threshold enters it.
        differences: (set, other) -> difference of their shares, which have the threshold's error in common.
    """

    threshold: float
    shares: dict[str, Estimate]
    ranks: dict[str, Estimate]
    differences: dict[tuple[str, str], Estimate]


def scored(study: Study, batches: Iterable[Tensor], count: int) -> Waves:
    """Waves of `count` pictures of all processes, in their order, on the CPU."""

    def tables() -> Iterable[Tensor]:
        for batch in batches:
            waves = waves_of(batch.to(study.device))
            yield torch.cat([waves.score[:, None], waves.frequency, waves.corner], dim=1)

    table = study.everything(tables(), count)
    return Waves(table[:, 0].contiguous(), table[:, 1:3], table[:, 3:].long())


def dithered(waves: Waves, limit: float, resolution: int) -> float:
    """The share of pictures whose wave is above `limit` and alternates from pixel to pixel, along a row or a column.

    Args:
        waves: of pictures of `resolution` pixels a side, whose highest frequency is resolution / 2 cycles.
        limit: dB.
        resolution: pixels a side.
    """
    fastest = waves.frequency.abs().amax(dim=1) > resolution / 2 - 0.5
    return float(((waves.score > limit) & fastest).double().mean())


def rank_of(scores: Tensor, real: Tensor) -> float:
    """The chance that one of `scores` [N] lies above one of `real` [M], ties half (Mann and Whitney's U over N M)."""
    ordered = real.sort().values
    below = torch.searchsorted(ordered, scores, right=False) + torch.searchsorted(ordered, scores, right=True)
    return float(below.double().mean()) / (2 * len(real))


def compare(real: Tensor, sets: dict[str, Tensor], resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Scores of real pictures [M] and of named sets [N]; errors by resampling the pictures of all of them together."""
    draw = torch.Generator().manual_seed(seed)
    names = list(sets)

    def again(scores: Tensor) -> Tensor:
        return scores[torch.randint(len(scores), (len(scores),), generator=draw)]

    def measured(real: Tensor, sets: list[Tensor]) -> tuple[float, list[float], list[float]]:
        limit = float(torch.quantile(real, PERCENTILE / 100))
        return limit, [float((one > limit).double().mean()) for one in sets], [rank_of(one, real) for one in sets]

    limit, shares, ranks = measured(real, list(sets.values()))
    drawn = [measured(again(real), [again(one) for one in sets.values()]) for _ in range(resamples)]
    share_table = torch.tensor([row[1] for row in drawn], dtype=torch.float64).view(resamples, len(names))
    rank_table = torch.tensor([row[2] for row in drawn], dtype=torch.float64).view(resamples, len(names))

    def estimates(values: list[float], table: Tensor) -> dict[str, Estimate]:
        errors = table.std(0).tolist()
        return {name: Estimate(value, error) for name, value, error in zip(names, values, errors, strict=True)}

    differences = {}
    for i in range(len(names)):
        for j in range(i):
            error = float((share_table[:, i] - share_table[:, j]).std())
            differences[names[i], names[j]] = Estimate(shares[i] - shares[j], error)
    return Comparison(limit, estimates(shares, share_table), estimates(ranks, rank_table), differences)
