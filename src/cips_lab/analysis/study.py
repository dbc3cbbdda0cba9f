"""What figures are made of: one generator or several side by side, real pictures, and how many samples to look at."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from cips_lab.analysis.subject import Subject, Unsuitable
from cips_lab.data.loading import PictureLoader
from cips_lab.metrics.choice import spread
from cips_lab.metrics.collect import Collected, PictureSet, collect
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.extractors import Extractor
from cips_lab.metrics.statistics import Gaussian
from cips_lab.processes.collectives import gather, mine
from cips_lab.render.scene import samples

T = TypeVar("T")


@dataclass
class Study:
    """Generators and real pictures, as `python -m cips_lab.analyze` opens them.

    Attributes:
        subjects: at least one; figures of one model show the first that is suited.
        device: of generators, features and spectra.
        evaluator: the judge: an extractor, and how distances are computed.
        real, held_out: pictures of the data set at the subjects' resolution, or None.
        source: where the real pictures come from, in words.
        finer: side -> such pictures with more pixels a side, or None where the data set has none.
        num_samples: pictures of each set that statistics are made of.
        seeds: of the samples that are shown.
        batch: pictures at once.
        left_out: a sentence for each subject that `suited` left out.
    """

    subjects: list[Subject]
    device: torch.device
    evaluator: Evaluator
    real: PictureSet | None = None
    held_out: PictureSet | None = None
    source: str = ""
    finer: Callable[[int], PictureSet | None] = lambda side: None
    num_samples: int = 1000
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    batch: int = 64
    left_out: list[str] = field(default_factory=list)
    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    # ------------------------------------------------------------------ what a figure needs

    def suited(self, *lacks: Callable[[Subject], str | None]) -> list[Subject]:
        """The subjects that have what a figure needs; `left_out` says of the others what they lack.

        Args:
            lacks: see `subject`.

        Raises:
            Unsuitable: none has.
        """
        kept, sentences = [], []
        for subject in self.subjects:
            lacking = next((found for lack in lacks if (found := lack(subject)) is not None), None)
            if lacking is None:
                kept.append(subject)
            else:
                sentences.append(lacking)
        if not kept:
            raise Unsuitable("; ".join(sentences))
        self.left_out += sentences
        return kept

    def with_real_pictures(self) -> PictureSet:
        """The real pictures.

        Raises:
            Unsuitable: no data set is known.
        """
        if self.real is None:
            raise Unsuitable("it compares with real pictures, and no data set is known: give data=... data.path=...")
        return self.real

    # ------------------------------------------------------------------ pictures

    @cached_property
    def count(self) -> int:
        """Pictures of each set, the same of all: as many as there are real ones, at most `num_samples`."""
        return self.num_samples if self.real is None else min(self.num_samples, len(self.real))

    def styles(self, subject: Subject, seeds: Iterable[int] | None = None) -> Tensor:
        """Styles [N, w_dim] of `seeds`, or of the study's, without truncation."""
        z = subject.generator.mapping.latents(self.seeds if seeds is None else seeds)
        with torch.no_grad():
            return subject.generator.mapping(z)

    def samples(
        self, subject: Subject, truncation: float = 1.0, resolution: int | None = None, count: int | None = None
    ) -> Iterator[Tensor]:
        """This process's share of the first `count` samples, the study's number by default: uint8 [b, 3, R, R]."""
        yield from samples(subject.generator, self.numbers(count), self.device, truncation, resolution)

    def numbers(self, count: int | None = None) -> Iterator[Tensor]:
        """This process's share of the numbers (seeds) of samples, int64 [b]."""
        yield from torch.arange(count or self.count)[mine()].split(self.batch)

    def real_pictures(self, count: int | None = None) -> Iterator[Tensor]:
        """This process's share of `count` real pictures, see `pictures`: uint8 [b, 3, R, R], on the device.

        Raises:
            Unsuitable: see `with_real_pictures`.
        """
        yield from self.pictures(self.with_real_pictures(), count or self.count)

    def pictures(self, pictures: PictureSet, count: int) -> Iterator[Tensor]:
        """This process's share of `count` of any pictures: uint8 [b, 3, H, W], on the device.

        They are spread evenly over the set: in one that is sorted the first would be all of a kind, as the first
        satellite tiles are of the Arctic.
        """
        share: Dataset[Tensor] = Subset(pictures, spread(len(pictures), count)[mine()])  # type: ignore[arg-type]
        for batch in PictureLoader(share, batch_size=self.batch):
            yield batch.to(self.device)

    def everything(self, batches: Iterable[Tensor], count: int | None = None) -> Tensor:
        """Pictures of all processes, or what is known of each, in their order, on the CPU: [N, ...]. For small sets."""
        own = torch.cat([batch.to(self.device) for batch in batches])  # accelerators exchange what lies on them
        parts = [part.cpu() for part in gather(own)]
        whole = parts[0].new_empty(count or self.count, *own.shape[1:])
        for rank, part in enumerate(parts):
            whole[rank :: len(parts)] = part
        return whole

    # ------------------------------------------------------------------ features

    @cached_property
    def judge(self) -> Extractor:
        """The network that sees, on the study's device."""
        return self.evaluator.to(self.device).extractors[0]

    def collected(self, batches: Iterable[Tensor], count: int | None = None) -> Collected:
        """The judge's features; `batches` as `samples` gives them, of `count` pictures in all."""
        (found,) = collect(batches, [self.judge], count or self.count)
        return found

    def gaussian(self, batches: Iterable[Tensor], count: int | None = None) -> Gaussian:
        """Mean and covariance of the judge's features."""
        return self.collected(batches, count).gaussian

    def collected_of(self, subject: Subject) -> Collected:
        """The judge's features of a subject's samples as they are, once for all figures of the study."""
        return self.once(("features", subject.label), lambda: self.collected(self.samples(subject)))

    @cached_property
    def real_collected(self) -> Collected:
        """The same of the real pictures."""
        return self.collected(self.real_pictures())

    def gaussian_of(self, subject: Subject) -> Gaussian:
        """Mean and covariance of `collected_of`."""
        return self.collected_of(subject).gaussian

    @property
    def real_gaussian(self) -> Gaussian:
        """Of the real pictures."""
        return self.real_collected.gaussian

    # ------------------------------------------------------------------ what several figures share

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What several figures need, computed for the first that asks; every process asks with the same keys."""
        if key not in self._known:
            self._known[key] = compute()
        found: T = self._known[key]
        return found
