"""The evaluation of a generator, or of a folder of its pictures: what the callback and `cips_lab.evaluate` call.

    evaluator = Evaluator("inception", num_samples=50_000, device="cuda")
    real = evaluator.reference(dataset)                # from the cache where it can be
    results = evaluator.evaluate(batches, real)        # {"fid": ..., "kid": ..., ...}, the same on every process

where `batches` yields the pictures of this process's samples, uint8 [b, 3, R, R]:

    for numbers in evaluator.batches():                # [0, 1, ...] alone; rank, rank + world_size, ... of several
        yield quantize(generator(latents(numbers)))
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from cips_lab.data.labels import Classes
from cips_lab.errors import UserError
from cips_lab.metrics import constants
from cips_lab.metrics.choice import CHOICES, RealChoice, chosen, labels_of
from cips_lab.metrics.collect import Collected, PictureSet, batches_of, collect, home_of, of_resolution
from cips_lab.metrics.extractors import EXTRACTORS, Extractor, load_extractor
from cips_lab.metrics.feature_metrics import FRECHET
from cips_lab.metrics.metric import Comparison, PictureSums, Side
from cips_lab.metrics.options import Limit, Options, check_counts, check_finite, check_values
from cips_lab.metrics.picture_sums import Sums, kept, on, recorded_sums, sums_there
from cips_lab.metrics.real import Real
from cips_lab.metrics.reference import Reference, recorded, references, warn_if_unwritable
from cips_lab.metrics.registry import METRICS, Chosen, called, usual_names
from cips_lab.metrics.registry import names as known_names
from cips_lab.networks.size import Size, size_name
from cips_lab.processes.collectives import mine

log = logging.getLogger(__name__)
Results = dict[str, float | int | str | bool]
GENERATED = "the number of generated pictures"


class Evaluator:
    """Extractors, what to compute from them, and how many samples; `torch.distributed` may be initialised or not.

    Args:
        extractor: of the Frechet distance, KID, the Inception Score and, by default, of the rest.
        manifold_extractor: of precision, recall, density and coverage; None: the same.
        names: what to compute, see `registry.METRICS`; ``fd`` is the Frechet distance, ``fd_dinov2`` the one of another
            network. None: the usual ones that the extractor can give (the Inception Score needs a classifier).
        num_samples: generated pictures of all processes together.
        num_real: so many real pictures, or all where there are fewer.
        real_choice: which, where there are more: ``spread`` evenly over the set, or the ``first`` (as the paper).
        weights, manifold_weights: files of the extractors' weights, see `load_extractor`.
        kid_subsets: None: KID over all pairs, without subsets' noise and without their spread.
        kid_subset_size: from 2 to the number of samples.
        isc_splits, neighbours, density_neighbours: see `inception_score` and `manifold`.
        batch_size: pictures that go through an extractor at once, on each process.
        num_workers: processes that read real pictures, for each process that evaluates; 0: itself.
        cache: folder of the real pictures' statistics; None for `$CIPS_LAB_CACHE` or `~/.cache/cips_lab`.
        device: of the extractors and of what is computed from features (on the CPU with MPS, which has no float64).

    Raises:
        UserError: options have values that they cannot have; a line for each. Whether there are pictures enough for
            them, `check` tells.
    """

    def __init__(
        self,
        extractor: str = "inception",
        manifold_extractor: str | None = None,
        names: Sequence[str] | None = None,
        num_samples: int = constants.NUM_SAMPLES,
        num_real: int = constants.NUM_SAMPLES,
        real_choice: RealChoice = constants.REAL_CHOICE,
        weights: str | Path | None = None,
        manifold_weights: str | Path | None = None,
        kid_subsets: int | None = constants.KID_SUBSETS,
        kid_subset_size: int = constants.KID_SUBSET_SIZE,
        isc_splits: int = constants.ISC_SPLITS,
        neighbours: int = constants.NEIGHBOURS,
        density_neighbours: int = constants.DENSITY_NEIGHBOURS,
        batch_size: int = 64,
        num_workers: int = 0,
        cache: str | Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.extractor = extractor
        self.manifold_extractor = manifold_extractor or extractor
        self.options = Options(kid_subsets, kid_subset_size, isc_splits, neighbours, density_neighbours)
        # None: what is asked for, if the extractor can give it. `fid` is what Inception's is called.
        asked = [called(name, self.extractor, self.manifold_extractor) for name in names or usual_names()]
        given = (self.extractor, self.manifold_extractor)  # an unknown one is told when it is loaded
        known = [one for one in asked if one is not None and (one.network in EXTRACTORS or one.network in given)]
        keyed = ", ".join(metric.name for metric in METRICS if metric.keyed_by_network)
        choice = (
            f"metrics.names={names}: choose from {', '.join(known_names())}, or null for {', '.join(usual_names())}; "
            f"{keyed} may name a network, as in fd_dinov2: one of {', '.join(EXTRACTORS)}"
        )
        ordered = [one for metric in METRICS for one in known if one.metric is metric]
        self.chosen = tuple({one.key: one for one in ordered}.values())
        self.names = None if names is None else tuple(names)
        check_values(
            [
                *([choice] if len(known) < len(asked) or names == [] else []),
                *([] if real_choice in CHOICES else [f"metrics.real_choice={real_choice}: {' or '.join(CHOICES)}"]),
            ],
            self.options,
            self._limits(self.chosen),
            num_samples=num_samples,
            num_real=num_real,
            batch_size=batch_size,
        )
        self.num_samples = num_samples
        self.num_real = num_real
        self.real_choice: RealChoice = real_choice
        self.weights = weights
        self.manifold_weights = weights if self.manifold_extractor == extractor else manifold_weights
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.cache = cache
        self.device = torch.device(device)

    def to(self, device: torch.device | str) -> "Evaluator":
        """Compute there from now on."""
        self.device = torch.device(device)
        if "extractors" in self.__dict__:
            for extractor in self.extractors:
                extractor.to(self.device)
        return self

    def key_of(self, name: str) -> str:
        """What a metric is called in results: ``fd`` is ``fid`` or ``fd_<extractor>``.

        Raises `KeyError` for what is no metric.
        """
        one = called(name, self.extractor, self.manifold_extractor)
        if one is None:
            raise KeyError(name)
        return one.key

    def computes(self, name: str) -> bool:
        """Whether a metric, by its name or its key, is among those that were asked for."""
        one = called(name, self.extractor, self.manifold_extractor)
        return one is not None and one.key in [other.key for other in self.chosen]

    # ------------------------------------------------------------------ what goes in

    def batches(self, num_samples: int | None = None) -> Iterator[Tensor]:
        """The numbers of this process's samples, int64 [b], b <= batch_size: each number belongs to one process."""
        yield from torch.arange(num_samples or self.num_samples)[mine()].split(self.batch_size)

    def reference(self, pictures: PictureSet) -> Real:
        """The real pictures' statistics, from the cache or computed by all processes together.

        Raises `UserError` for too few pictures, unreadable ones, and what `load_extractor` raises.
        """
        count = min(self.num_real, len(pictures))
        self._check_counts({f"{pictures.location}: pictures": count})
        real = self._statistics(chosen(pictures, count, self.real_choice), count)
        return real._replace(spread=self.real_choice == "spread" and count < len(pictures))

    def with_classes(self, real: Real, classes: Classes | None) -> Real:
        """The same, knowing of which class each picture is: `classes` are the whole set's."""
        if classes is None:
            return real
        return real._replace(labels=torch.from_numpy(labels_of(classes.of, real.main.count, self.real_choice)))

    def recorded(self, location: str, resolution: Size) -> Real | None:
        """What the cache holds of pictures that are at `location` no longer; None if it holds nothing of them."""
        found: dict[str, Reference] = {}
        for extractor in self.extractors:
            one = recorded(location, resolution, extractor, self.num_real, self.cache)
            if one is None or any(one.count != other.count for other in found.values()):
                return None
            found[extractor.name] = one
        count = found[self.extractor].count
        sums = recorded_sums(location, resolution, self._sums, self.extractors[0], count, self.cache)
        return (
            None if sums is None else Real(found, sums, spread=self.real_choice == "spread" and count == self.num_real)
        )

    def _statistics(self, pictures: PictureSet, count: int) -> Real:
        main = self.extractors[0]
        sums, missing = sums_there(pictures, self._sums, main, count, self.cache)
        accumulators = [one.accumulator for one in missing]
        found = references(
            pictures, self.extractors, count, self.batch_size, self.num_workers, self.cache, accumulators
        )
        by_name = {extractor.name: one for extractor, one in zip(self.extractors, found, strict=True)}
        return Real(by_name, {**sums, **kept(missing, pictures, main, count)})

    @cached_property
    def extractors(self) -> list[Extractor]:
        """The main one, that of the manifolds, and those that metrics name; each once, loaded when first asked for."""
        loaded = [load_extractor(self.extractor, self.weights, self.device, "metrics.weights")]
        if not loaded[0].canonical:
            log.warning(
                f"metrics.weights={self.weights} is not the published file of {self.extractor}: "
                f"compare {FRECHET.key(self.extractor)} only with results of the same file ({loaded[0].weights_hash})"
            )
        of_classifiers = [one.metric.name for one in self.chosen if one.metric.needs == "logits"]
        if self.names is not None and of_classifiers and loaded[0].classes is None:
            raise UserError(
                f"metrics.names: {', '.join(of_classifiers)} needs a classifier, and {self.extractor} is none; "
                f"leave {', '.join(of_classifiers)} out, or choose metrics.extractor=inception"
            )
        if self.manifold_extractor != self.extractor:
            option = "metrics.manifold_weights"
            loaded.append(load_extractor(self.manifold_extractor, self.manifold_weights, self.device, option))
        there = [extractor.name for extractor in loaded]
        others = [name for name in dict.fromkeys(one.network for one in self.chosen) if name not in there]
        by_itself = "metrics.extractor={} metrics.weights"  # how a file would be given, in messages
        return loaded + [load_extractor(name, None, self.device, by_itself.format(name)) for name in others]

    @property
    def wanted(self) -> list[Chosen]:
        """What is computed, in the order of records; without those of classifiers where the extractor is none."""
        classifies = self.extractors[0].classes is not None
        return [one for one in self.chosen if classifies or one.metric.needs != "logits"]

    @property
    def _sums(self) -> list[PictureSums]:
        needs = [one.metric.needs for one in self.chosen]
        return list({need.name: need for need in needs if isinstance(need, PictureSums)}.values())

    # ------------------------------------------------------------------ what comes out

    def evaluate(
        self,
        batches: Iterable[Tensor],
        real: Real,
        num_samples: int | None = None,
        held_out: Real | None = None,
        labels: Tensor | None = None,
    ) -> Results:
        """All metrics as one flat dict, the same on every process, which must all call it.

        Args:
            batches: uint8 [b, 3, H, W] of this process's samples in the order of `batches`, any b.
            real: from `reference`.
            num_samples: another number than the option's.
            held_out: from `held_out`; metrics that need it are left out without.
            labels: int64, the classes of all processes' samples, in their order; likewise.

        Raises:
            UserError: too few samples for an option, or another resolution than the real pictures'; a metric that is
                no number.
            ValueError: the batches do not hold this process's samples exactly once.
        """
        count = self.num_samples if num_samples is None else num_samples
        self._check_counts({GENERATED: count})
        with_logits = any(one.metric.needs == "logits" for one in self.wanted)
        checked = of_resolution(batches, real.main.resolution)
        size, home = real.main.resolution, home_of(self.device)
        accumulators = {sums.name: sums.make(size, count).to(home) for sums in self._sums}
        collected = collect(
            checked, self.extractors, count, with_logits, "Generated pictures", list(accumulators.values())
        )
        sums = {name: accumulator.compute() for name, accumulator in accumulators.items()}
        return self._results(dict(zip(real.references, collected, strict=True)), sums, real, held_out, labels)

    def evaluate_pictures(self, pictures: PictureSet, real: Real, held_out: Real | None = None) -> Results:
        """As `evaluate`, of `num_samples` pictures of a data set, or all where there are fewer."""
        count = min(self.num_samples, len(pictures))
        self._check_counts({f"{pictures.location}: pictures": count})
        seen = chosen(pictures, count, self.real_choice)
        return self.evaluate(batches_of(seen, count, self.batch_size, self.num_workers), real, count, held_out)

    def held_out(self, pictures: PictureSet, num_samples: int | None = None) -> Real:
        """As `reference`, of `num_samples` held-out pictures, or all where there are fewer."""
        count = min(self.num_samples if num_samples is None else num_samples, len(pictures))
        self._check_counts({f"{pictures.location}: held-out pictures": count})
        return self._statistics(chosen(pictures, count, self.real_choice), count)

    def floor(self, found: Real, real: Real) -> Results:
        """Held-out pictures, as if a generator had made them: what a perfect one would reach; no Inception Score."""
        home = home_of(self.device)
        seen = {
            name: Collected(one.features.to(home), one.gaussian.to(home), None)
            for name, one in found.references.items()
        }
        return self._results(seen, on(found.sums, home), real)

    def check(self, pictures: PictureSet, num_samples: int | None = None, held_out: PictureSet | None = None) -> None:
        """Raise `UserError` for whatever would stop an evaluation, or a floor, later: missing weights, few pictures.

        A cache that cannot be written is warned of.
        """
        count = self.num_samples if num_samples is None else num_samples
        generated = "metrics.num_samples" if count == self.num_samples else GENERATED
        counts = {generated: count, f"{pictures.location}: pictures": min(self.num_real, len(pictures))}
        if held_out is not None:
            counts[f"{held_out.location}: held-out pictures"] = min(count, len(held_out))
        self._check_counts(counts)
        warn_if_unwritable(self.cache)

    def _results(
        self,
        seen: Mapping[str, Collected],
        sums: Sums,
        real: Real,
        held_out: Real | None = None,
        labels: Tensor | None = None,
    ) -> Results:
        """From what the extractors, by their names, saw in the generated pictures."""
        main = seen[self.extractor]
        home = main.features.device
        results: Results = {}
        computed: dict[tuple[Callable[[Comparison], dict[str, float]], str], dict[str, float]] = {}
        for metric, network in self.wanted:
            if (metric.needs == "logits" and main.logits is None) or (metric.of_held_out and held_out is None):
                continue
            if metric.of_classes and (labels is None or real.labels is None):
                continue
            if (metric.compute, network) not in computed:
                part = seen[network]
                name = metric.needs.name if isinstance(metric.needs, PictureSums) else ""
                of = None if labels is None else labels.to(home)
                generated = Side(part.features, part.gaussian, main.logits, sums.get(name, {}), of)
                against, beside = real.side(network, name, home), held_out and held_out.side(network, name, home)
                compared = Comparison(generated, against, self.options, beside)
                computed[metric.compute, network] = metric.compute(compared)
            results |= metric.renamed(computed[metric.compute, network], network)
        check_finite(results)
        size = real.main.resolution
        return results | {
            "num_samples": len(main.features),
            "num_real": real.main.count,
            **({"real_choice": "spread"} if real.spread else {}),
            "resolution": size if isinstance(size, int) else size_name(size),
            "extractor": self.extractor,
            "manifold_extractor": self.manifold_extractor,
            "weights": self.extractors[0].weights_hash,
            **{f"weights/{extractor.name}": extractor.weights_hash for extractor in self.extractors[1:]},
            "canonical_weights": all(extractor.canonical for extractor in self.extractors),
        }

    def _limits(self, chosen: Iterable[Chosen]) -> list[Limit]:
        return [limit for one in chosen for limit in one.metric.limits(self.options)]

    def _check_counts(self, counts: Mapping[str, int]) -> None:
        """Raise `UserError` where there are too few pictures for what is to be computed from them."""
        check_counts(self.options, self._limits(self.wanted), counts)
