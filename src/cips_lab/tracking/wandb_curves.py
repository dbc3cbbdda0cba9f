"""What a project's runs log: the names of their curves, as a configuration or a run that was evaluated tells them."""

from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from cips_lab.errors import UserError
from cips_lab.metrics.extractors import CLASSIFIERS
from cips_lab.metrics.metric import Metric
from cips_lab.metrics.registry import METRICS, called, keys_of, network_of_key, of_key, usual_names
from cips_lab.runs.records import evaluations

EXPLORER = "samples/explorer"  # the explorer's page, beside samples/generated


class Curve(NamedTuple):
    """A metric of one network and one number of samples."""

    network: str
    samples: int
    metric: str  # its key in metrics.json: fid, fd_<extractor>, kid, ...

    @property
    def section(self) -> str:
        """``<extractor>-<samples>``."""
        return f"{self.network}-{self.samples}"

    @property
    def name(self) -> str:
        """As runs log it."""
        return f"{self.section}/{self.metric}"

    @property
    def floor(self) -> str:
        """The same of held-out real pictures."""
        return f"{self.section}/floor {self.metric}"

    @property
    def of(self) -> Metric:
        """Title, direction and looks."""
        metric = of_key(self.metric)
        assert metric is not None, self.metric
        return metric

    @property
    def title(self) -> str:
        """For people."""
        return self.of.title_for(self.network)


def curves_of(cfg: DictConfig) -> list[Curve]:
    """The curves of a composed ``conf/dashboard.yaml``: of its run, else of its metrics and schedule.

    Ordered by the number of samples: first those of the evaluations during a run, then the final ones.

    Raises:
        UserError: the run has no evaluation.
    """
    if cfg.run is not None:
        return curves_of_run(Path(str(cfg.run)).expanduser())
    main = str(cfg.metrics.extractor)
    other = str(cfg.metrics.manifold_extractor or main)
    found = [called(str(name), main, other) for name in cfg.metrics.names or usual_names()]
    chosen = [one for metric in METRICS for one in found if one is not None and one.metric is metric]
    if cfg.metrics.names is None:
        chosen = [one for one in chosen if one.metric.needs != "logits" or main in CLASSIFIERS]
    final = int(cfg.metrics.num_samples)
    counts = sorted({min(int(cfg.schedule.evaluate_samples), final), final})
    return [Curve(one.network, count, one.key) for count in counts for one in chosen]


def curves_of_run(folder: Path) -> list[Curve]:
    """The curves of a run folder's metrics.jsonl. Raises `UserError` if it holds no evaluation."""
    found = {
        Curve(network_of_key(record, key), int(record["num_samples"]), key): None
        for record in evaluations(folder)
        for key in keys_of(record)
    }
    if not found:
        raise UserError(f"run={folder}: no evaluation in metrics.jsonl there; leave run out and give experiment=...")
    return sorted(found, key=lambda curve: curve.samples)
