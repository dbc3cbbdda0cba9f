"""Pictures to features, each process its share, on every process all of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset
from torchmetrics import Metric
from tqdm import tqdm

from cips_lab.data.loading import PictureLoader
from cips_lab.errors import UserError
from cips_lab.metrics.extractors import Extractor
from cips_lab.metrics.statistics import FeatureBank, Gaussian, Moments
from cips_lab.networks.size import Size, sides
from cips_lab.processes.collectives import mine, rank, total


class PictureSet(Protocol):
    """Real pictures: a data set of this package, or one with these members."""

    resolution: Size

    @property
    def location(self) -> str:
        """Where they are."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tensor:
        """uint8 [3, H, W]."""
        ...

    def fingerprint(self) -> str:
        """Digits that change with any picture."""
        ...


class Collected(NamedTuple):
    """Of all samples, in their order, the same on every process."""

    features: Tensor  # float32 [N, D]
    gaussian: Gaussian
    logits: Tensor | None  # float32 [N, C], where they were asked for


def batches_of(pictures: PictureSet, count: int, batch_size: int, num_workers: int = 0) -> Iterator[Tensor]:
    """This process's share of the first `count` pictures: uint8 [b, 3, H, W], b <= batch_size.

    Raises `UserError` for a picture that cannot be read.
    """
    share: Dataset[Tensor] = Subset(pictures, range(count)[mine()])  # type: ignore[arg-type]
    yield from PictureLoader(share, batch_size=batch_size, num_workers=num_workers)


def collect(
    batches: Iterable[Tensor],
    extractors: Sequence[Extractor],
    count: int,
    logits: bool = False,
    title: str = "Features",
    accumulators: Sequence[Metric] = (),
) -> list[Collected]:
    """Features by each of the extractors, from one pass over the pictures.

    Args:
        batches: uint8 [b, 3, H, W] of this process's samples, number rank, rank + world_size, ... of `count`, in order.
        extractors: on one device; there may be none where there are accumulators.
        count: samples of all processes together.
        logits: whether to keep those of the first extractor.
        title: of the progress bar.
        accumulators: are updated with every batch and its samples' numbers.

    Raises:
        ValueError: the batches do not hold this process's samples exactly once; on every process.
        UserError: a picture cannot be read or made; on every process.
    """
    device = (extractors or accumulators)[0].device
    home = home_of(device)
    moments = [Moments(extractor.features).to(home) for extractor in extractors]
    banks = [FeatureBank(extractor.features).to(home) for extractor in extractors]
    classes = FeatureBank((extractors[0].classes or 0) if extractors else 0).to(home)
    for images, numbers in numbered(batches, count, device, title):
        for extractor, moment, bank in zip(extractors, moments, banks, strict=True):
            extracted = extractor(images)
            features = extracted.features.to(home)
            moment.update(features)
            bank.update(features, numbers)
            if logits and extractor is extractors[0]:
                classes.update(extracted.logits.to(home), numbers)
        for accumulator in accumulators:
            accumulator.update(images.to(home), numbers)
    return [
        Collected(bank.compute(), moment.compute(), classes.compute() if logits and number == 0 else None)
        for number, (bank, moment) in enumerate(zip(banks, moments, strict=True))
    ]


def home_of(device: torch.device) -> torch.device:
    """Where features are kept and compared: MPS has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def numbered(
    batches: Iterable[Tensor], count: int, device: torch.device, title: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each batch on `device`, with its samples' numbers, int64 [b]; a progress bar on rank 0.

    Raises as `collect`: after the last batch all processes agree that each has its share.
    """
    numbers = torch.arange(count, device=home_of(device))[mine()]
    seen, failure = 0, None
    # disable=None: no bar in a log file; delay: none for what takes a moment.
    with tqdm(
        total=len(numbers), desc=title, unit=" pictures", delay=2, leave=None, disable=None if rank() == 0 else True
    ) as bar:
        try:
            for images in batches:
                seen += len(images)
                if seen > len(numbers):
                    break
                yield images.to(device, non_blocking=True), numbers[seen - len(images) : seen]
                bar.update(len(images))
        except UserError as error:
            failure = error
    # Before the exchange: a process that raised alone would leave the others waiting.
    wrong = torch.tensor([failure is not None, seen != len(numbers)], device=numbers.device).int()
    failed, short = total(wrong).tolist()
    if failure is not None:
        raise failure
    if failed:
        raise UserError("another process has a picture that it cannot evaluate; its message names it")
    if short:
        raise ValueError(f"process {rank()} was given {seen} pictures; its share of {count} is {len(numbers)}")


def of_resolution(batches: Iterable[Tensor], resolution: Size) -> Iterator[Tensor]:
    """The same batches; raises `UserError` at the first of another size than the real pictures'."""
    height, width = sides(resolution)
    for images in batches:
        if images.shape[-2:] != (height, width):
            raise UserError(
                f"generated pictures of {images.shape[-1]} x {images.shape[-2]} cannot be compared with real ones "
                f"of {width} x {height}: networks see the difference in sharpness; set resolution"
            )
        yield images
