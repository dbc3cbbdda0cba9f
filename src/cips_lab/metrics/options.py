"""What metrics leave to the user, and what the number of pictures allows: all mistakes in one message."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cips_lab.errors import UserError
from cips_lab.metrics import constants


@dataclass(frozen=True)
class Options:
    """`metrics.<field>=` of the command line; see `Evaluator`."""

    kid_subsets: int | None = constants.KID_SUBSETS
    kid_subset_size: int = constants.KID_SUBSET_SIZE
    isc_splits: int = constants.ISC_SPLITS
    neighbours: int = constants.NEIGHBOURS
    density_neighbours: int = constants.DENSITY_NEIGHBOURS


@dataclass(frozen=True)
class Limit:
    """What a metric needs of an option that depends on the number of pictures.

    Attributes:
        option: field of `Options`.
        least: its smallest value.
        spare: how many pictures there must be beyond its value.
        too_few: the complaint, after the number of pictures; ``{value}`` and ``{option}`` are filled in.
    """

    option: str
    least: int = 1
    spare: int = 0
    too_few: str = "are fewer than {option}={value}"


def check_values(mistakes: list[str], options: Options, limits: Iterable[Limit], **counts: int) -> None:
    """Refuse values that no number of pictures makes right.

    Args:
        mistakes: others that were found; they are told with these.
        options: are at least 1 each.
        limits: of the metrics that are wanted.
        counts: options that are no metric's, and must be at least 1: ``num_samples``, ``batch_size``, ...

    Raises:
        UserError: a line for each mistake.
    """
    least = dict.fromkeys(counts, 1) | {name: 1 for name, value in vars(options).items() if value is not None}
    least |= {limit.option: limit.least for limit in limits}
    values = counts | vars(options)
    wrong = [(name, values[name], bound) for name, bound in least.items() if values[name] < bound]
    found = [*mistakes, *(f"metrics.{name}={value}: must be at least {bound}" for name, value, bound in wrong)]
    if found:
        raise UserError("\n".join(found))


def check_counts(options: Options, limits: Sequence[Limit], counts: Mapping[str, int]) -> None:
    """Refuse options that there are too few pictures for.

    Args:
        options: what was asked for.
        limits: of the metrics that are wanted.
        counts: set of pictures, in words -> how many there are.

    Raises:
        UserError: a line for each mistake, and after several of them all options that mend them, to be pasted.
    """
    found: list[str] = []
    remedies: dict[str, int] = {}
    for what, count in counts.items():
        if count < 2:
            found.append(f"{what}: {count} is too few; give at least 2")
            continue
        for limit in dict.fromkeys(limits):
            value, most = getattr(options, limit.option), count - limit.spare
            if value <= most:
                continue
            complaint = limit.too_few.format(value=value, option=f"metrics.{limit.option}")
            remedy = f"set metrics.{limit.option}={most} or less, or give more"
            found.append(f"{what}: {count} {complaint}; {remedy if most >= limit.least else 'give more'}")
            if most >= limit.least:
                remedies[limit.option] = min(most, remedies.get(limit.option, most))
    if len(found) > 1 and remedies:
        found.append("all together: " + " ".join(f"metrics.{name}={value}" for name, value in remedies.items()))
    if found:
        raise UserError("\n".join(found))


def check_finite(results: Mapping[str, float | int | str | bool]) -> None:
    """Raise `UserError` for a metric that is NaN or infinite: JSON has no such numbers, and no table should."""
    wrong = [f"{key} is {value}" for key, value in results.items() if not math.isfinite(float(value))]
    if wrong:
        raise UserError(
            f"{', '.join(wrong)}: no number that could be compared; leave it out of metrics.names, or give more and "
            "other pictures"
        )
