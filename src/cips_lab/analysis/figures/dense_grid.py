"""Figure 9: a finer grid than in training beside the native picture made larger: is there more to see?

Enlarging a picture by Lanczos or bicubic adds no frequency that it did not have. A generator that is a function of the
coordinate can: whether what it adds looks real is measured where the data set has pictures of that size.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject, lacks_grid
from cips_lab.metrics.collect import PictureSet
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.spectra import windowed_power
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.render.pictures import quantize

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FACTORS = (2, 4, 8)
DENSE, LANCZOS, BICUBIC = "dense grid", "Lanczos", "bicubic"
FILTERS = {LANCZOS: Image.Resampling.LANCZOS, BICUBIC: Image.Resampling.BICUBIC}
MOST_SAMPLES = 256  # of each way and factor that are judged
CROP = 3  # of the picture's side, one part is shown enlarged


@dataclass(frozen=True)
class Enlarged:
    """One way to a picture of more pixels.

    Attributes:
        way: `DENSE`, `LANCZOS` or `BICUBIC`.
        factor: of the side.
        image: of the study's first seed, uint8 [3, S, S].
        beyond: share of its energy at frequencies that the native picture cannot hold.
        distance: Frechet distance of whole pictures to real ones of S x S pixels; None where there are none.
        patch_distance: the same of crops of the native size, one a picture, at the same places of real ones.
    """

    way: str
    factor: int
    image: Tensor
    beyond: float
    distance: float | None
    patch_distance: float | None


def region_of(resolution: int, factor: int) -> tuple[float, float, float, float]:
    """The region whose pixels are those that an enlarged picture has: up to half a native pixel beyond the square.

    Enlarging by k puts pixel j at place (j + 1/2) / k - 1/2 among the native ones, where place p is -1 + 2 p / (R - 1).
    """
    first = 0.5 / factor - 0.5
    edge = 1 - 2 * first / (resolution - 1)
    return (-edge, -edge, edge, edge)


def enlarge(images: Tensor, factor: int, way: str) -> Tensor:
    """uint8 [B, 3, R, R] -> uint8 [B, 3, k R, k R] by Pillow's filter of that name."""
    side = images.shape[-1] * factor
    larger = [
        np.asarray(Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).resize((side, side), FILTERS[way]))
        for image in images
    ]
    return torch.from_numpy(np.stack(larger)).permute(0, 3, 1, 2)


@torch.no_grad()
def draw_larger(generator: Generator, w: Tensor, factor: int, way: str) -> Tensor:
    """Styles [B, w_dim] -> uint8 [B, 3, k R, k R]."""
    if way != DENSE:
        return enlarge(quantize(generator.synthesize_native(w)), factor, way)
    side = generator.resolution * factor
    return quantize(generator.render(w, image_grid(side, side, region_of(generator.resolution, factor), w.device)))


def beyond_native(images: Tensor, factor: int) -> float:
    """Share of the energy of uint8 [B, 3, S, S], means apart, above S / (2 k) cycles a picture in either direction."""
    values = images.double() / 127.5 - 1
    power = windowed_power(values - values.mean((2, 3), keepdim=True)).mean((0, 1))
    frequency = torch.fft.fftfreq(len(power), dtype=torch.float64, device=power.device).abs()  # of the sampling rate
    outside = torch.maximum(frequency[:, None], frequency[None, :]) > 0.5 / factor
    return float(power[outside].sum() / power.sum())


def compute(study: Study) -> list[Enlarged]:
    """The first model at 2, 4 and 8 times its resolution, in all three ways.

    Raises:
        Unsuitable: the model is convolutional.
    """
    subject = study.suited(lacks_grid)[0]
    generator = subject.generator
    w = study.styles(subject, study.seeds[:1])
    found = []
    for factor in FACTORS:
        real = study.finer(generator.resolution * factor)
        for way in (DENSE, LANCZOS, BICUBIC):
            image = draw_larger(generator, w, factor, way).cpu()
            made = partial(draw_larger, generator, factor=factor, way=way)
            whole, patches = (None, None) if real is None else judged(study, subject, real, made)
            found.append(Enlarged(way, factor, image[0], beyond_native(image, factor), whole, patches))
    return found


def judged(study: Study, subject: Subject, real: PictureSet, made: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """Frechet distances of whole pictures and of crops, to real ones of the same size."""
    count = min(MOST_SAMPLES, study.count, len(real))
    distances = []
    for side in (None, subject.generator.resolution):
        ours = study.gaussian(_cropped(_batches(study, subject, made, count), side), count)
        theirs = study.gaussian(_cropped(study.pictures(real, count), side), count)
        distances.append(frechet_distance(ours, theirs))
    return distances[0], distances[1]


def _batches(study: Study, subject: Subject, made: Callable[[Tensor], Tensor], count: int) -> Iterator[Tensor]:
    for chosen in study.numbers(count):
        yield made(study.styles(subject, chosen.tolist()))


def _cropped(batches: Iterator[Tensor], side: int | None) -> Iterator[Tensor]:
    """Of each picture one crop; number i of every set at the same place."""
    places = torch.Generator().manual_seed(0)
    for images in batches:
        if side is None:
            yield images
            continue
        room = images.shape[-1] - side + 1
        corners = torch.randint(room, (len(images), 2), generator=places).tolist()
        yield torch.stack([x[:, i : i + side, j : j + side] for x, (i, j) in zip(images, corners, strict=True)])


def rows(data: list[Enlarged]) -> list[Row]:
    """way, factor, beyond (share of the energy), distance, patch_distance."""
    return [
        {
            "way": one.way,
            "factor": one.factor,
            "beyond": one.beyond,
            "distance": one.distance,
            "patch_distance": one.patch_distance,
        }
        for one in data
    ]


def numbers(data: list[Enlarged]) -> Row:
    """By way and factor."""
    return {f"{one.way}, {one.factor} x": row for one, row in zip(data, rows(data), strict=True)}


def reading(data: list[Enlarged]) -> str:
    """What the dense grid adds, and whether it is nearer to real."""
    added = ", ".join(f"{one.factor} x: {one.beyond:.1%}" for one in data if one.way == DENSE)
    text = f"Energy of the dense grid beyond what the native picture can hold: {added}."
    for factor in FACTORS:
        judged_ones = [one for one in data if one.factor == factor and one.distance is not None]
        if judged_ones:
            listed = ", ".join(f"{one.way} {one.distance:.1f} (crops {one.patch_distance:.1f})" for one in judged_ones)
            text += f" Distance to real pictures at {factor} x: {listed}."
    return text


def draw(data: list[Enlarged]) -> "Drawing":
    """A row for each factor: the three ways whole, and the same crop of each."""
    import matplotlib.pyplot as plt

    ways = (DENSE, LANCZOS, BICUBIC)
    figure, grid = plt.subplots(len(FACTORS), 2 * len(ways), figsize=(12, 2.2 * len(FACTORS)), constrained_layout=True)
    for line, factor in zip(grid, FACTORS, strict=True):
        for number, way in enumerate(ways):
            one = next(e for e in data if (e.way, e.factor) == (way, factor))
            picture = one.image.permute(1, 2, 0).numpy()
            side = len(picture)
            start, size = side // CROP, side // CROP
            line[number].imshow(picture, interpolation="nearest")
            line[number].set_title(f"{way}, {factor} x", fontsize=9)
            line[len(ways) + number].imshow(
                picture[start : start + size, start : start + size], interpolation="nearest"
            )
            line[len(ways) + number].set_title(f"{way}, the middle", fontsize=9)
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
    return figure


FIGURE = Figure(
    name="dense_grid",
    title="A finer grid beside an enlarged picture",
    place="Figure 9",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
