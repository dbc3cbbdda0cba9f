"""The list of metrics, and what is looked up in it: the only place that knows which there are."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from cips_lab.metrics.feature_metrics import (
    AUTHPCT,
    CMMD,
    COVERAGE,
    DENSITY,
    FRECHET,
    FRECHET_AT_INFINITY,
    INCEPTION_SCORE,
    INTRA_FRECHET,
    KID,
    PRECISION,
    RECALL,
    TRAIN_GAP,
)
from cips_lab.metrics.metric import ERRORS, Metric
from cips_lab.metrics.pixel_metrics import COLOUR, SPECTRUM_DISTANCE, SPECTRUM_DISTANCE_DURALL, SWD

PATCHES = "patch_"  # what keys begin with where patches were compared
# What `evaluate consistency=` measures of pictures without any real one (`render.consistency`), and which is better.
OF_ITSELF = {"self_ssim_2": "higher", "self_ssim_4": "higher", "seam": "lower"}

METRICS: list[Metric] = [
    FRECHET,
    KID,
    INCEPTION_SCORE,
    PRECISION,
    RECALL,
    DENSITY,
    COVERAGE,
    SWD,
    COLOUR,
    SPECTRUM_DISTANCE_DURALL,
    SPECTRUM_DISTANCE,
    FRECHET_AT_INFINITY,
    INTRA_FRECHET,
    AUTHPCT,
    TRAIN_GAP,
    CMMD,
]


def usual_names() -> list[str]:
    """What is computed where nothing is asked for, as far as the extractor can give it."""
    return [metric.name for metric in METRICS if metric.usual]


class Chosen(NamedTuple):
    """A metric and the extractor that it is computed with."""

    metric: Metric
    network: str

    @property
    def key(self) -> str:
        """What it is called in records."""
        return self.metric.key(self.network)


def names() -> list[str]:
    """What `metrics.names=` may hold, in the order of every record and table."""
    return [metric.name for metric in METRICS]


def called(name: str, extractor: str, manifold_extractor: str) -> Chosen | None:
    """The metric of a name, with its network of these two, or of a key, with the key's (``fid``, ``fd_dinov2``).

    None if there is none. Whether there is such a network is not looked at.
    """
    named = next((metric for metric in METRICS if metric.name == name), None)
    if named is not None:
        return Chosen(named, named.network(extractor, manifold_extractor))
    metric = of_key(name)
    return None if metric is None or name.startswith(PATCHES) else Chosen(metric, metric.network_in(name))


def of_patches(results: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation of patches: the keys of metrics, of their errors and of their parts say so."""

    def belongs(key: str) -> bool:
        whole, ends = key.partition("/")[0], ("", *ERRORS)
        return any(of_key(whole.removesuffix(end)) is not None for end in ends)

    return {PATCHES + key if belongs(key) else key: value for key, value in results.items()}


def of_key(key: str) -> Metric | None:
    """The metric that a record's key belongs to, whatever the network; None of a key that is no metric's value."""
    found = [metric for metric in METRICS if metric.has_key(key.removeprefix(PATCHES))]
    return max(found, key=lambda metric: len(metric.name), default=None)  # fd_inf_... before fd_...


def network_of(record: Mapping[str, Any], metric: Metric) -> str:
    """The extractor that a metric is computed with in a record, unless its key says another."""
    main = str(record.get("extractor"))
    return metric.network(main, str(record.get("manifold_extractor") or main))


def network_of_key(record: Mapping[str, Any], key: str) -> str:
    """The extractor that a record's number was computed with; of what needs none, the record's own."""
    metric = of_key(key)
    if metric is None:
        return str(record.get("extractor"))
    return metric.network_in(key.removeprefix(PATCHES)) if metric.keyed_by_network else network_of(record, metric)


def keys_of(record: Mapping[str, Any]) -> list[str]:
    """The keys of a record's metrics, in their order, without errors and counts."""
    found = [(key, of_key(key)) for key in record]
    return [key for metric in METRICS for key, of in found if of is metric] + [
        key for key in OF_ITSELF if key in record
    ]


def key_in(record: Mapping[str, Any], name: str) -> str:
    """The key under which a record would hold a metric that is asked for by its name or its key."""
    named = next((metric for metric in METRICS if metric.name == name), None)
    return name if named is None else named.key(network_of(record, named))


def distance_of(record: Mapping[str, Any]) -> str | None:
    """The key of a record's Frechet distance, ``fid`` or ``fd_<extractor>``; None where it has none."""
    key = FRECHET.key(network_of(record, FRECHET))
    return key if key in record else None


def higher_is_better(key: str) -> bool:
    """Of a record's key."""
    metric = of_key(key)
    return (OF_ITSELF.get(key) if metric is None else metric.better) == "higher"
