"""Figure 9: a finer grid than in training beside the native picture made larger: is there more to see?

Enlarging a picture by Lanczos or bicubic adds no frequency that it did not have. A generator that is a function of the
coordinate can: whether what it adds looks real is measured where the data set has pictures of that size.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cips_lab.analysis.enlarging import (
    BICUBIC,
    DENSE,
    LANCZOS,
    draw_larger,
    gaussian_at,
    judged_count,
    larger_samples,
    real_at,
    real_gaussian_at,
)
from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject, lacks_grid
from cips_lab.metrics.collect import PictureSet
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.spectra import window
from cips_lab.processes.collectives import mine
from cips_lab.render.pictures import quantize
from cips_lab.reporting.figures import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

FACTORS = (2, 4, 8)
WAYS = (BICUBIC, LANCZOS, DENSE)
CROP = 0.3  # of the picture's side: the part that is shown enlarged
REAL_SPECTRA = 16  # real pictures whose energy is looked at


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


@dataclass(frozen=True)
class DenseGrid:
    """Of one model.

    Attributes:
        subject: its label.
        native: the picture of the study's first seed, uint8 [3, R, R].
        enlarged: by factor, then in the order of `WAYS`.
        real_beyond: factor -> the mean of `beyond` over real pictures of that size, where there are some.
        count: pictures of each set that distances are of.
    """

    subject: str
    native: Tensor
    enlarged: list[Enlarged]
    real_beyond: dict[int, float]
    count: int

    def one(self, factor: int, way: str) -> Enlarged:
        """Of this factor and way."""
        return next(each for each in self.enlarged if (each.factor, each.way) == (factor, way))


def beyond_native(images: Tensor, factor: int) -> float:
    """Share of the energy of uint8 [B, 3, S, S], means apart, above S / (2 k) cycles a picture in either direction.

    Pictures are windowed, so that their edges do not count; the mean is that of single pictures' shares.
    """
    shares = []
    for image in images:
        values = image.double() / 127.5 - 1
        taper = window(image.shape[-1], image.device)
        power = (
            torch.fft.fft2((values - values.mean((1, 2), keepdim=True)) * taper[:, None] * taper).abs().square().sum(0)
        )
        frequency = torch.fft.fftfreq(
            len(power), dtype=torch.float64, device=power.device
        ).abs()  # of the sampling rate
        outside = torch.maximum(frequency[:, None], frequency[None, :]) > 0.5 / factor
        shares.append(float(power[outside].sum() / power.sum().clamp(min=1e-30)))
    return sum(shares) / len(shares)


def compute(study: Study) -> DenseGrid:
    """The first model at 2, 4 and 8 times its resolution, in all three ways.

    Raises:
        Unsuitable: every model is convolutional.
    """
    subject = study.suited(lacks_grid)[0]
    generator = subject.generator
    w = study.styles(subject, study.seeds[:1])
    with torch.no_grad():
        native = quantize(generator.synthesize_native(w))[0].cpu()
    found, real_beyond, count = [], {}, 0
    for factor in FACTORS:
        real = real_at(study, generator.side * factor)
        if real is not None:
            count = judged_count(study, real)
            some = torch.stack([real[i * len(real) // REAL_SPECTRA] for i in range(REAL_SPECTRA)])
            real_beyond[factor] = beyond_native(some, factor)
        for way in WAYS:
            image = draw_larger(generator, w, factor, way).cpu()
            distances = (None, None) if real is None else judged(study, subject, factor, way, real)
            found.append(Enlarged(way, factor, image[0], beyond_native(image, factor), *distances))
    return DenseGrid(subject.label, native, found, real_beyond, count)


def judged(study: Study, subject: Subject, factor: int, way: str, real: PictureSet) -> tuple[float, float]:
    """Frechet distances of whole pictures and of crops, to real ones of the same size."""
    count, side = judged_count(study, real), subject.generator.side
    places = crop_places(side * factor - side + 1, count)
    crops: list[Tensor] = []

    def whole() -> Iterator[Tensor]:
        """Drawn once: crops are put by on the way."""
        for images in larger_samples(study, subject, factor, way, count):
            crops.extend(cropped([images], places[sum(map(len, crops)) :], side))
            yield images

    ours = gaussian_at(study, subject, factor, way, count, whole())
    if not crops:  # another figure had drawn them
        crops.extend(cropped(larger_samples(study, subject, factor, way, count), places, side))
    real_crops = study.once(
        ("real crops", real.resolution, side, count),
        lambda: study.gaussian(cropped(study.pictures(real, count), places, side), count),
    )
    ours_crops = study.gaussian(crops, count)
    return frechet_distance(ours, real_gaussian_at(study, real, count)), frechet_distance(ours_crops, real_crops)


def crop_places(room: int, count: int) -> Tensor:
    """Upper left corners of this process's share of `count` crops, int64 [n, 2] below `room`: those of any set."""
    return torch.randint(room, (count, 2), generator=torch.Generator().manual_seed(0))[mine()]


def cropped(batches: Iterable[Tensor], places: Tensor, side: int) -> Iterator[Tensor]:
    """One crop of each picture, at the places in turn: [b, 3, S, S] -> [b, 3, side, side]."""
    corners = iter(places.tolist())
    for images in batches:
        yield torch.stack([x[:, i : i + side, j : j + side] for x, (i, j) in zip(images, corners, strict=False)])


def rows(data: DenseGrid) -> list[Row]:
    """way, factor, beyond (share of the energy), that of real pictures, distance, patch_distance."""
    return [
        {
            "model": data.subject,
            "factor": one.factor,
            "way": one.way,
            "beyond": one.beyond,
            "real_beyond": data.real_beyond.get(one.factor),
            "distance": one.distance,
            "patch_distance": one.patch_distance,
        }
        for one in data.enlarged
    ]


def numbers(data: DenseGrid) -> Row:
    """As the rows, and how many pictures distances are of."""
    return {"model": data.subject, "count": data.count, "enlarged": rows(data)}


def reading(data: DenseGrid) -> str:
    """What the dense grid adds, and whether it is nearer to real."""
    added = ", ".join(
        f"{data.one(factor, DENSE).beyond:.2%} at {factor} x"
        + (f" (real pictures {data.real_beyond[factor]:.2%})" if factor in data.real_beyond else "")
        for factor in FACTORS
    )
    text = f"{data.subject}: of the dense grid's energy, the native picture could not hold {added}."
    told = [
        f"{factor} x: " + ", ".join(f"{way} {_distances(data.one(factor, way))}" for way in WAYS)
        for factor in FACTORS
        if data.one(factor, DENSE).distance is not None
    ]
    if not told:
        return text + " There are no real pictures of these sizes to compare with."
    return text + f" Distance to {data.count} real pictures of that size (of crops): {'; '.join(told)}."


def _distances(one: Enlarged) -> str:
    return "" if one.distance is None else f"{one.distance:.1f} ({one.patch_distance:.1f})"


def draw(data: DenseGrid) -> "Drawing":
    """The native picture and that of the finest grid, and for each factor a part of them in the three ways."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    side, finest = data.native.shape[-1], max(FACTORS)
    top, left_edge, size = busiest(data.native)
    figure = plt.figure(figsize=(10.2, 2.45 * len(FACTORS) + 0.5), constrained_layout=True)
    parts: Any = figure.subfigures(1, 2, width_ratios=[1.25, 3])
    left, right = parts
    wholes = (("native", data.native), (DENSE, data.one(finest, DENSE).image))
    for axes, (name, image) in zip(left.subplots(2, 1), wholes, strict=True):
        pixels = image.shape[-1]
        _show(axes, image)
        axes.set_title(f"{data.subject}, {name}: {pixels} x {pixels}", fontsize=10)
        corner = (left_edge * pixels - 0.5, top * pixels - 0.5)
        for width, colour in ((3, "white"), (1.2, INK)):
            axes.add_patch(Rectangle(corner, size * pixels, size * pixels, fill=False, ec=colour, lw=width))
    grid = right.subplots(len(FACTORS), len(WAYS))
    for line, factor in zip(grid, FACTORS, strict=True):
        line[0].set_ylabel(f"{factor} x: {side * factor} x {side * factor}")
        for axes, way in zip(line, WAYS, strict=True):
            one = data.one(factor, way)
            y, x, length = (round(part * side) * factor for part in (top, left_edge, size))
            _show(axes, one.image[:, y : y + length, x : x + length])
            if one.distance is not None:
                axes.set_xlabel(f"distance {one.distance:.1f}, crops {one.patch_distance:.1f}", fontsize=8.5)
    for axes, way in zip(grid[0], WAYS, strict=True):
        axes.set_title(f"the frame's part, {way}")
    return figure


def busiest(image: Tensor) -> tuple[float, float, float]:
    """The part of [3, R, R] where neighbouring pixels differ most: its upper and left edge and its side, as shares."""
    side = image.shape[-1]
    size = max(2, round(CROP * side))
    values = image.float().mean(0)
    steps = torch.zeros_like(values)
    steps[1:] += values.diff(dim=0).square()
    steps[:, 1:] += values.diff(dim=1).square()
    means = F.avg_pool2d(steps[None, None], size, stride=1)[0, 0]
    top, left = divmod(int(means.argmax()), means.shape[1])
    return top / side, left / side, size / side


def _show(axes: "Axes", image: Tensor) -> None:
    axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


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
