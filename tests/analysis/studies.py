"""Small studies of random generators and real satellite tiles, for the tests of figures."""

from typing import Any

import torch
import torch.nn.functional as F
from sets import Projection
from torch import Tensor
from variants import build

from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject
from cips_lab.data.blue_marble import load_tiles
from cips_lab.data.dataset import ArrayDataset
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.extractors import Extractor


def subject(variant: str = "cips", seed: int = 0, label: str | None = None, **options: Any) -> Subject:
    """A generator of 16 x 16 pixels with random weights; `options` are its constructor's."""
    generator = build(variant, seed, resolution=16, **options).requires_grad_(False)
    return Subject(label or variant, generator, variant=variant, kimg=0.0, seed=seed)


def tiles(count: int, side: int = 16) -> ArrayDataset:
    """Satellite tiles, the same ground at 16, 32 and 64 pixels a side."""
    return ArrayDataset(load_tiles(side, "test")[:count].copy())


class AnySize(Projection):
    """Of pictures brought to 16 x 16 pixels."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(F.adaptive_avg_pool2d(images.float(), 16))


def study(*subjects: Subject, count: int = 48, real: bool = True, quick: bool = False) -> Study:
    """Of these generators (of one CIPS without any), `count` samples, and as many tiles.

    `quick`: judged by a random projection of 24 features, where EfficientNet's seconds are not worth their while.
    """
    torch.set_num_threads(1)
    made = Study(
        list(subjects) or [subject()],
        torch.device("cpu"),
        Evaluator("efficientnet_lite0", num_samples=count, num_real=count, batch_size=16),
        real=tiles(count) if real else None,
        held_out=tiles(2 * count) if real else None,
        finer=(lambda side: tiles(count, side) if side <= 64 else None) if real else (lambda side: None),
        num_samples=count,
        seeds=(0, 1, 2),
        batch=16,
    )
    if quick:
        vars(made)["judge"] = Extractor("quick", AnySize(resolution=16), features=24, classes=7, canonical=True)
    return made
