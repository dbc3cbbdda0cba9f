"""Pictures of more pixels than a generator was trained for: drawn on a finer grid, or native ones made larger.

Both lie over each other and over real pictures of that size: for Pillow's filters, and for whoever made the data set
smaller, pixels are squares that tile a picture. So the finer grid begins up to half a native pixel beyond the square.
"""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject
from cips_lab.metrics.collect import PictureSet
from cips_lab.metrics.statistics import Gaussian
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.render.pictures import quantize

DENSE, LANCZOS, BICUBIC = "dense grid", "Lanczos", "bicubic"
FILTERS = {LANCZOS: Image.Resampling.LANCZOS, BICUBIC: Image.Resampling.BICUBIC}
MOST_SAMPLES = 256  # of each way and size that are judged


def region_of(resolution: int, factor: int) -> tuple[float, float, float, float]:
    """The region whose pixels are those that an enlarged picture has: up to half a native pixel beyond the square.

    Enlarging by k puts pixel j at place (j + 1/2) / k - 1/2 among the native ones, where place p is -1 + 2 p / (R - 1).
    """
    first = 0.5 / factor - 0.5
    edge = 1 - 2 * first / (resolution - 1)
    return (-edge, -edge, edge, edge)


def enlarge(images: Tensor, factor: int, way: str) -> Tensor:
    """uint8 [B, 3, R, R] -> uint8 [B, 3, k R, k R], on the same device, by Pillow's filter of that name."""
    side = images.shape[-1] * factor
    larger = [
        np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((side, side), FILTERS[way]))
        for image in images.cpu()
    ]
    return torch.from_numpy(np.stack(larger)).permute(0, 3, 1, 2).to(images.device)


@torch.no_grad()
def draw_larger(generator: Generator, w: Tensor, factor: int, way: str) -> Tensor:
    """Styles [B, w_dim] -> uint8 [B, 3, k R, k R]; `way` is `DENSE`, `LANCZOS` or `BICUBIC`."""
    if way != DENSE:
        return enlarge(quantize(generator.synthesize_native(w)), factor, way)
    side = generator.side * factor
    return quantize(generator.render(w, image_grid(side, side, region_of(generator.side, factor), w.device)))


def real_at(study: Study, side: int) -> PictureSet | None:
    """Real pictures of so many pixels a side, of one kind whatever the side; None where there are none.

    A data set's finer pictures may be others than those that were trained on, so they also stand for it at native size.
    """
    finer = study.finer(side)
    native = study.real is not None and side == study.subjects[0].generator.side
    return study.real if finer is None and native else finer


def judged_count(study: Study, real: PictureSet) -> int:
    """How many pictures of each set are judged."""
    return min(MOST_SAMPLES, study.count, len(real))


def larger_samples(study: Study, subject: Subject, factor: int, way: str, count: int) -> Iterator[Tensor]:
    """This process's share of the first `count` samples, k times as large: uint8 [b, 3, k R, k R]."""
    for chosen in study.numbers(count):
        yield draw_larger(subject.generator, study.styles(subject, chosen.tolist()), factor, way)


def real_gaussian_at(study: Study, real: PictureSet, count: int) -> Gaussian:
    """Of `count` of the pictures that `real_at` gave."""
    return study.once(("real", real.resolution, count), lambda: study.gaussian(study.pictures(real, count), count))


def gaussian_at(
    study: Study, subject: Subject, factor: int, way: str, count: int, batches: Iterator[Tensor] | None = None
) -> Gaussian:
    """Of `larger_samples`, or of `batches`, which are those; once for all figures of the study."""
    made = larger_samples(study, subject, factor, way, count) if batches is None else batches
    return study.once(("larger", subject.label, factor, way, count), lambda: study.gaussian(made, count))
