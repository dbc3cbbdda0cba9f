"""What a project's runs log: the names of their curves, as a configuration or a run that was evaluated tells them."""

from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from cips_lab.errors import UserError
from cips_lab.metrics import constants
from cips_lab.metrics.evaluator import OF_MANIFOLDS
from cips_lab.metrics.extractors import distance_key
from cips_lab.metrics.results import network_of, shown
from cips_lab.runs.records import evaluations

CLASSIFIERS = ("inception", "efficientnet_lite0")  # the extractors that have an Inception Score

TITLES = {
    "kid": "KID",
    "isc": "Inception Score",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
}


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
    def title(self) -> str:
        """For people."""
        if self.metric == "fid":
            return "FID"
        return TITLES.get(self.metric, f"Fréchet distance, {self.network}")

    @property
    def is_distance(self) -> bool:
        """Whether smaller is better."""
        return self.metric == "kid" or self.metric.startswith("f")


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
    names = [str(name) for name in cfg.metrics.names or constants.NAMES]
    if cfg.metrics.names is None and main not in CLASSIFIERS:
        names.remove("isc")
    final = int(cfg.metrics.num_samples)
    counts = sorted({min(int(cfg.schedule.evaluate_samples), final), final})
    keys = [distance_key(main) if name == "fd" else name for name in names]
    return [Curve(other if key in OF_MANIFOLDS else main, count, key) for count in counts for key in keys]


def curves_of_run(folder: Path) -> list[Curve]:
    """The curves of a run folder's metrics.jsonl. Raises `UserError` if it holds no evaluation."""
    found = {
        Curve(network_of(record, key), int(record["num_samples"]), key): None
        for record in evaluations(folder)
        for key in shown(record)
    }
    if not found:
        raise UserError(f"run={folder}: no evaluation in metrics.jsonl there; leave run out and give experiment=...")
    return sorted(found, key=lambda curve: curve.samples)
