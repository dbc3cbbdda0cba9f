"""The evaluation of a generator, or of a folder of its pictures: what the callback and `cips_lab.evaluate` call.

    evaluator = Evaluator("inception", num_samples=50_000, device="cuda")
    real = evaluator.reference(dataset)                # from the cache where it can be
    results = evaluator.evaluate(batches, real)        # {"fid": ..., "kid": ..., ...}, the same on every process

where `batches` yields the pictures of this process's samples, uint8 [b, 3, R, R]:

    for numbers in evaluator.batches():                # [0, 1, ...] alone; rank, rank + world_size, ... of several
        yield quantize(generator(latents(numbers)))
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from cips_lab.data.dataset import Size, sides, size_name
from cips_lab.errors import UserError
from cips_lab.metrics import constants
from cips_lab.metrics.collect import Collected, PictureSet, batches_of, collect
from cips_lab.metrics.constants import Name
from cips_lab.metrics.extractors import Extractor, distance_key, load_extractor
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.inception_score import inception_score
from cips_lab.metrics.kernel import full_kernel_distance, kernel_distance
from cips_lab.metrics.manifold import manifold
from cips_lab.metrics.reference import Reference, recorded, references
from cips_lab.processes.collectives import mine

log = logging.getLogger(__name__)
Results = dict[str, float | int | str | bool]
OF_MANIFOLDS = ("precision", "recall", "density", "coverage")


class Real(NamedTuple):
    """The real pictures as both extractors see them; one and the same where there is one extractor."""

    main: Reference
    manifold: Reference


class Evaluator:
    """Extractors, what to compute from them, and how many samples; `torch.distributed` may be initialised or not.

    Args:
        extractor: of the Frechet distance, KID, the Inception Score and, by default, of the rest.
        manifold_extractor: of precision, recall, density and coverage; None: the same.
        names: what to compute; ``fd`` is the Frechet distance. None: all that the extractor can give (the Inception
            Score needs a classifier).
        num_samples: generated pictures of all processes together.
        num_real: the first so many real pictures, or all where there are fewer.
        weights, manifold_weights: files of the extractors' weights, see `load_extractor`.
        kid_subsets: None: KID over all pairs, without subsets' noise and without their spread.
        kid_subset_size: at most the number of samples.
        isc_splits, neighbours, density_neighbours: see `inception_score` and `manifold`.
        batch_size: pictures that go through an extractor at once, on each process.
        num_workers: processes that read real pictures, for each process that evaluates; 0: itself.
        cache: folder of the real pictures' statistics; None for `$CIPS_LAB_CACHE` or `~/.cache/cips_lab`.
        device: of the extractors and of what is computed from features (on the CPU with MPS, which has no float64).

    Raises:
        UserError: an option has a value that it cannot have.
    """

    def __init__(
        self,
        extractor: str = "inception",
        manifold_extractor: str | None = None,
        names: Sequence[Name] | None = None,
        num_samples: int = constants.NUM_SAMPLES,
        num_real: int = constants.NUM_SAMPLES,
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
        if names is not None:  # `fid` is what Inception's is called; another extractor's is no FID
            names = ["fd" if name == distance_key(extractor) else name for name in names]
        unknown = set(names or ()) - set(get_args(Name))
        if unknown or names == []:
            raise UserError(f"metrics.names={names}: choose from {', '.join(get_args(Name))}, or null for all")
        positive = {
            "num_samples": num_samples,
            "num_real": num_real,
            "kid_subsets": 1 if kid_subsets is None else kid_subsets,
            "kid_subset_size": kid_subset_size,
            "isc_splits": isc_splits,
            "neighbours": neighbours,
            "density_neighbours": density_neighbours,
            "batch_size": batch_size,
        }
        for option, value in positive.items():
            if value < 1:
                raise UserError(f"metrics.{option}={value}: must be at least 1")
        self.extractor = extractor
        self.manifold_extractor = manifold_extractor or extractor
        self.names = None if names is None else tuple(names)
        self.num_samples = num_samples
        self.num_real = num_real
        self.weights = weights
        self.manifold_weights = weights if self.manifold_extractor == extractor else manifold_weights
        self.kid_subsets = kid_subsets
        self.kid_subset_size = kid_subset_size
        self.isc_splits = isc_splits
        self.neighbours = neighbours
        self.density_neighbours = density_neighbours
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.cache = cache
        self.device = torch.device(device)
        self._check_count(num_samples, "metrics.num_samples")

    def to(self, device: torch.device | str) -> "Evaluator":
        """Compute there from now on."""
        self.device = torch.device(device)
        if "extractors" in self.__dict__:
            for extractor in self.extractors:
                extractor.to(self.device)
        return self

    @property
    def distance_key(self) -> str:
        """What the Frechet distance is called in results: ``fid``, or ``fd_<extractor>``."""
        return distance_key(self.extractor)

    # ------------------------------------------------------------------ what goes in

    def batches(self, num_samples: int | None = None) -> Iterator[Tensor]:
        """The numbers of this process's samples, int64 [b], b <= batch_size: each number belongs to one process."""
        yield from torch.arange(num_samples or self.num_samples)[mine()].split(self.batch_size)

    def reference(self, pictures: PictureSet) -> Real:
        """The real pictures' statistics, from the cache or computed by all processes together.

        Raises `UserError` for too few pictures, unreadable ones, and what `load_extractor` raises.
        """
        count = min(self.num_real, len(pictures))
        self._check_count(count, f"{pictures.location}: pictures")
        found = references(pictures, self.extractors, count, self.batch_size, self.num_workers, self.cache)
        return Real(found[0], found[-1])

    def recorded(self, location: str, resolution: Size) -> Real | None:
        """What the cache holds of pictures that are at `location` no longer; None if it holds nothing of them."""
        found = [recorded(location, resolution, e, self.num_real, self.cache) for e in self.extractors]
        if found[0] is None or found[-1] is None or found[0].count != found[-1].count:
            return None
        return Real(found[0], found[-1])

    @cached_property
    def extractors(self) -> list[Extractor]:
        """One network, or that of the manifolds beside it; loaded when first asked for."""
        loaded = [load_extractor(self.extractor, self.weights, self.device, "metrics.weights")]
        if not loaded[0].canonical:
            log.warning(
                f"metrics.weights={self.weights} is not the published file of {self.extractor}: "
                f"compare {loaded[0].distance_key} only with results of the same file ({loaded[0].weights_hash})"
            )
        if self.names is not None and "isc" in self.names and loaded[0].classes is None:
            raise UserError(
                f"metrics.names: isc needs a classifier, and {self.extractor} is none; "
                f"leave isc out, or choose metrics.extractor=inception"
            )
        if self.manifold_extractor != self.extractor:
            option = "metrics.manifold_weights"
            loaded.append(load_extractor(self.manifold_extractor, self.manifold_weights, self.device, option))
        return loaded

    # ------------------------------------------------------------------ what comes out

    def evaluate(self, batches: Iterable[Tensor], real: Real, num_samples: int | None = None) -> Results:
        """All metrics as one flat dict, the same on every process, which must all call it.

        Args:
            batches: uint8 [b, 3, R, R] of this process's samples in the order of `batches`, any b.
            real: from `reference`.
            num_samples: another number than the option's.

        Raises:
            UserError: too few samples for an option, or another resolution than the real pictures'.
            ValueError: the batches do not hold this process's samples exactly once.
        """
        count = self.num_samples if num_samples is None else num_samples
        self._check_count(count, "the number of generated pictures")
        with_score = self._wants("isc")
        checked = self._of_resolution(batches, real.main.resolution)
        collected = collect(checked, self.extractors, count, with_score, "Generated pictures")
        return self._results(collected[0], collected[-1], real)

    def evaluate_pictures(self, pictures: PictureSet, real: Real) -> Results:
        """As `evaluate`, of the first `num_samples` pictures of a data set, or all where there are fewer."""
        count = min(self.num_samples, len(pictures))
        self._check_count(count, f"{pictures.location}: pictures")
        return self.evaluate(batches_of(pictures, count, self.batch_size, self.num_workers), real, count)

    def floor(self, held_out: PictureSet, real: Real, num_samples: int | None = None) -> Results:
        """Real pictures that were held out, as if a generator had made them: what a perfect one would reach.

        Of the first `num_samples` pictures, or all where there are fewer; without the Inception Score. Their features
        are kept in the cache as the real ones' are. Raises `UserError` for too few pictures.
        """
        count = min(self.num_samples if num_samples is None else num_samples, len(held_out))
        self._check_count(count, f"{held_out.location}: pictures")
        found = references(held_out, self.extractors, count, self.batch_size, self.num_workers, self.cache)
        home = torch.device("cpu") if self.device.type == "mps" else self.device
        sets = [Collected(part.features.to(home), part.gaussian.to(home), None) for part in found]
        return self._results(sets[0], sets[-1], real)

    def check(self, pictures: PictureSet, num_samples: int | None = None) -> None:
        """Raise `UserError` for whatever would stop an evaluation later: missing weights, too few pictures."""
        assert self.extractors
        self._check_count(min(self.num_real, len(pictures)), f"{pictures.location}: pictures")
        self._check_count(self.num_samples if num_samples is None else num_samples, "the number of generated pictures")

    def _results(self, main: Collected, other: Collected, real: Real) -> Results:
        home = main.features.device
        real_features = real.main.features.to(home)
        results: Results = {}
        if self._wants("fd"):
            distance = frechet_distance(main.gaussian, real.main.gaussian.to(home))
            results[self.extractors[0].distance_key] = distance
        if self._wants("kid") and self.kid_subsets is None:
            results["kid"] = full_kernel_distance(main.features, real_features)
        elif self._wants("kid") and self.kid_subsets is not None:
            kid = kernel_distance(main.features, real_features, self.kid_subsets, self.kid_subset_size)
            results |= {"kid": kid.mean, "kid_std": kid.std}
        if main.logits is not None:
            score = inception_score(main.logits, self.isc_splits)
            results |= {"isc": score.mean, "isc_std": score.std}
        wanted = [name for name in OF_MANIFOLDS if self._wants(name)]
        if wanted:
            found = manifold(
                other.features, real.manifold.features.to(home), self.neighbours, self.density_neighbours
            )._asdict()
            for name in wanted:
                results |= {name: found[name].value, f"{name}_se": found[name].se}
        return results | {
            "num_samples": len(main.features),
            "num_real": real.main.count,
            "resolution": size if isinstance(size := real.main.resolution, int) else size_name(size),
            "extractor": self.extractor,
            "manifold_extractor": self.manifold_extractor,
            "weights": self.extractors[0].weights_hash,
            "canonical_weights": all(extractor.canonical for extractor in self.extractors),
        }

    def _wants(self, name: str) -> bool:
        if self.names is None:
            return name != "isc" or self.extractors[0].classes is not None
        return name in self.names

    def _check_count(self, count: int, what: str) -> None:
        """Raise `UserError` if `count` samples are too few for what is to be computed from them."""
        names = self.names or get_args(Name)
        if "kid" in names and self.kid_subsets is not None and count < self.kid_subset_size:
            raise UserError(
                f"{what}: {count} are fewer than metrics.kid_subset_size={self.kid_subset_size}; "
                f"set metrics.kid_subset_size={count} or less, or give more"
            )
        most = max(self.neighbours, self.density_neighbours)
        if set(names) & set(OF_MANIFOLDS) and count <= most:
            raise UserError(f"{what}: {count} are too few for the {most} nearest neighbours; give more")
        if "isc" in names and count < self.isc_splits:
            raise UserError(f"{what}: {count} are fewer than metrics.isc_splits={self.isc_splits}; give more")
        if count < 2:
            raise UserError(f"{what}: {count} is too few; give at least 2")

    @staticmethod
    def _of_resolution(batches: Iterable[Tensor], resolution: Size) -> Iterator[Tensor]:
        height, width = sides(resolution)
        for images in batches:
            if images.shape[-2:] != (height, width):
                raise UserError(
                    f"generated pictures of {images.shape[-1]} x {images.shape[-2]} cannot be compared with real ones "
                    f"of {width} x {height}: networks see the difference in sharpness; set resolution"
                )
            yield images
