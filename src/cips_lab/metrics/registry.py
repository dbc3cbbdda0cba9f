"""The list of metrics, and what is looked up in it: the only place that knows which there are."""

from collections.abc import Mapping
from typing import Any

from cips_lab.metrics.feature_metrics import COVERAGE, DENSITY, FRECHET, INCEPTION_SCORE, KID, PRECISION, RECALL
from cips_lab.metrics.metric import Metric

METRICS: list[Metric] = [
    FRECHET,
    KID,
    INCEPTION_SCORE,
    PRECISION,
    RECALL,
    DENSITY,
    COVERAGE,
]


def names() -> list[str]:
    """What `metrics.names=` may hold, in the order of every record and table."""
    return [metric.name for metric in METRICS]


def called(name: str, extractor: str, manifold_extractor: str) -> Metric | None:
    """The metric of a name, or of the key that it has with these networks (``fid``); None if there is none."""
    for metric in METRICS:
        if name in (metric.name, metric.key(metric.network(extractor, manifold_extractor))):
            return metric
    return None


def of_key(key: str) -> Metric | None:
    """The metric that a record's key belongs to, whatever the network; None of a key that is no metric's value."""
    found = [metric for metric in METRICS if metric.has_key(key)]
    return max(found, key=lambda metric: len(metric.name), default=None)  # fd_inf_... before fd_...


def network_of(record: Mapping[str, Any], metric: Metric) -> str:
    """The extractor that a record's metric was computed with."""
    main = str(record.get("extractor"))
    return metric.network(main, str(record.get("manifold_extractor") or main))


def keys_of(record: Mapping[str, Any]) -> list[str]:
    """The keys of a record's metrics, in their order, without errors and counts."""
    keys = [metric.key(network_of(record, metric)) for metric in METRICS]
    return [key for key in keys if key in record]


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
    return metric is not None and metric.better == "higher"
