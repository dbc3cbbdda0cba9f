"""What a metric is. Whoever adds one writes a file here, and names it in `registry.METRICS`; nothing else.

    def spread(pair: Comparison) -> dict[str, float]:                 # float64 numbers, the same on every process
        import torch                                                  # inside: `tabulate` and `--help` do without it
        return {"spread": float(abs(pair.generated.features.std() - pair.real.features.std()))}

    SPREAD = Metric("spread", "lower", "Difference of spreads", spread)

It is then computed, validated and drawn with its direction everywhere. `needs` says what the function is given:
features (and their Gaussian) of the main or of the manifold network, logits of the main one, or sums over pictures. For
the last, `PictureSums` makes a `torchmetrics.Metric` (`update(images, numbers)`, `compute() -> {name: tensor}`, reduced
over processes by torchmetrics) that sees every uint8 batch of both sets; what it gives for the real pictures is cached.
An error goes beside its value as ``<name>_se`` (of the estimate) or ``<name>_std`` (a spread), parts that it is made
of as ``<name>/<part>``: these stand in records alone, not in tables. A metric whose numbers depend on the network so
much that its key must say so is `keyed_by_network`. Functions that several metrics share run once. Options are fields
of `options.Options`, with a `Limit` where the number of pictures matters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cips_lab.metrics.options import Limit, Options

if TYPE_CHECKING:
    import torchmetrics
    from torch import Tensor

    from cips_lab.metrics.statistics import Gaussian
    from cips_lab.networks.size import Size

ERRORS = ("_se", "_std")  # what a key of a metric's error ends with


@dataclass(frozen=True)
class PictureSums:
    """What is added up over the pictures of a set, beside features.

    Attributes:
        name: in the cache's file names and keys; change it when the sums change (``spectrum.1``).
        make: an accumulator on the CPU, given the pictures' size and number: a `torchmetrics.Metric` with
            ``update(images, numbers)``, uint8 [b, 3, H, W] and the samples' numbers, int64 [b], and ``compute()``, a
            dict of tensors that is the same on every process.
    """

    name: str
    make: "Callable[[Size, int], torchmetrics.Metric]"


@dataclass(frozen=True)
class Side:
    """One of the two sets, as a metric sees it; all of it is the same on every process."""

    features: "Tensor"  # float32 [N, D]
    gaussian: "Gaussian"  # of the features, float64
    logits: "Tensor | None" = None  # float32 [N, C]; of generated pictures, where the metric needs them
    sums: "Mapping[str, Tensor]" = field(default_factory=dict)  # what the metric's accumulator gave
    labels: "Tensor | None" = None  # int64 [N], the classes, where there are any


@dataclass(frozen=True)
class Comparison:
    """What a metric is computed from."""

    generated: Side
    real: Side
    options: Options
    held_out: Side | None = None  # other real pictures; there for metrics that are `of_held_out`


def no_limits(options: Options) -> Sequence[Limit]:
    """Of a metric that any two pictures are enough for."""
    return ()


@dataclass(frozen=True)
class Metric:
    """One number that says how near generated pictures are to real ones.

    Attributes:
        name: what `metrics.names=` calls it, and its key in records unless it is `keyed_by_network`.
        better: ``lower`` or ``higher``.
        title: for people; ``{network}`` stands for the extractor's name.
        compute: name -> value, and errors; see the module.
        needs: ``features`` or ``logits`` of the main extractor, ``manifold features``, or sums over pictures.
        limits: what the metric needs of options, see `Limit`.
        keyed_by_network: whether its key in records is ``<name>_<extractor>``; it can then be asked for by that key,
            and be there for several networks.
        own_keys: extractor -> key and title of its own there, as Inception's Frechet distance is FID.
        log_axis: whether dashboards draw it on a logarithmic axis.
        headline: whether dashboards' first section shows it.
        usual: whether it is computed where nothing is asked for (`metrics.names=null`).
        of_held_out: whether it needs held-out pictures beside; where there are none it is left out.
        of_classes: whether it needs the classes of both sets; where there are none it is left out.
    """

    name: str
    better: Literal["lower", "higher"]
    title: str
    compute: Callable[[Comparison], dict[str, float]]
    needs: Literal["features", "manifold features", "logits"] | PictureSums = "features"
    limits: Callable[[Options], Sequence[Limit]] = no_limits
    keyed_by_network: bool = False
    own_keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    log_axis: bool = False
    headline: bool = False
    usual: bool = True
    of_held_out: bool = False
    of_classes: bool = False

    @property
    def of_manifold(self) -> bool:
        """Whether it is computed from the second network's features, where there are two."""
        return self.needs == "manifold features"

    def network(self, extractor: str, manifold_extractor: str) -> str:
        """Which of two extractors it is computed with."""
        return manifold_extractor if self.of_manifold else extractor

    def key(self, network: str) -> str:
        """What it is called in records: ``kid``, ``fid``, ``fd_dinov2``, ..."""
        if network in self.own_keys:
            return self.own_keys[network][0]
        return f"{self.name}_{network}" if self.keyed_by_network else self.name

    def network_in(self, key: str) -> str:
        """The extractor in a key of a metric that is `keyed_by_network`."""
        own = {own_key: network for network, (own_key, _) in self.own_keys.items()}
        return own[key] if key in own else key.removeprefix(f"{self.name}_")

    def title_for(self, network: str) -> str:
        """Its title, with the network's name where that matters."""
        return self.own_keys[network][1] if network in self.own_keys else self.title.format(network=network)

    def has_key(self, key: str) -> bool:
        """Whether a record's key is that of this metric with some network; those of errors are not."""
        own = {own_key for own_key, _ in self.own_keys.values()}
        if not self.keyed_by_network:
            return key == self.name or key in own
        return key in own or (key.startswith(f"{self.name}_") and not key.endswith(ERRORS) and "/" not in key)

    def renamed(self, found: Mapping[str, float], network: str) -> dict[str, float]:
        """What `compute` gave under its name and the names of its errors and parts, as records call them."""
        key = self.key(network)
        numbers = {key + error: found[self.name + error] for error in ("", *ERRORS) if self.name + error in found}
        parts = {name for name in found if name.startswith(f"{self.name}/")}
        return numbers | {key + name.removeprefix(self.name): found[name] for name in found if name in parts}
