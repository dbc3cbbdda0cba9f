"""Figure 8: foveated rendering: few pixels, dense where one looks, the rest filled in between them.

Only a generator whose pixels are independent can leave pixels out and save their work. Shown with its error and its
time, for saving time is the purpose. Pictures of 32 pixels a side gain nothing: filling them in takes longer than
drawing them. At 256 it pays (`make bench`).
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import lacks_grid
from cips_lab.networks.coordinates import foveated_pixels, image_grid
from cips_lab.networks.generator import Generator
from cips_lab.processes.collectives import gather_objects

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

Fixation = tuple[float, float]

SHARES = (0.05, 0.25, 0.5, 1.0)
FIXATIONS: tuple[Fixation, ...] = ((0.0, 0.0), (0.5, -0.5))
REPEATS = 3  # at least, of every time, whose median is told
SHORT_SECONDS, LONG_SECONDS = 0.1, 4.0  # what is shorter is repeated more often, what is longer not at all
ASTRAY = 1e-3  # in pixels: how far the fill may take a pixel from its place
FOVEA = 0.25  # radius, in sides of the picture, of what counts as being looked at


@dataclass(frozen=True)
class FromShare:
    """One picture from a share of its pixels.

    Attributes:
        share: of the pixels that were synthesised.
        fixation: (x, y) where the eye looks, in [-1, 1].
        pixels: the numbers of those that were synthesised, row by row, int64 [n].
        image: [3, R, R], values about [-1, 1]: synthesised at those pixels, filled in elsewhere.
        psnr: dB against the picture of all pixels, for values in [-1, 1]; infinite where there is no difference.
        psnr_looked_at: the same within `FOVEA` of the fixation.
        seconds: choosing, synthesis and filling, the median.
    """

    share: float
    fixation: Fixation
    pixels: Tensor
    image: Tensor
    psnr: float
    psnr_looked_at: float
    seconds: float


@dataclass(frozen=True)
class Foveated:
    """Of one model.

    Attributes:
        subject: its label.
        whole: the picture of all pixels, [3, R, R].
        seconds: of synthesising that.
        pictures: by fixation, then by share.
    """

    subject: str
    whole: Tensor
    seconds: float
    pictures: list[FromShare]

    def relative(self, one: FromShare) -> float:
        """The time of a picture as a share of that of synthesising all pixels."""
        return one.seconds / self.seconds


@torch.no_grad()
def render_foveated(generator: Generator, w: Tensor, grid: Tensor, pixels: Tensor) -> Tensor:
    """A picture of which only some pixels are synthesised.

    Args:
        generator: in evaluation mode.
        w: [1, w_dim].
        grid: [H, W, 2], the picture's coordinates.
        pixels: int64 [n], from `foveated_pixels`.

    Returns:
        [3, H, W] float32 on the CPU: those pixels as `render` gives them, the others by `fill`.
    """
    height, width, _ = grid.shape
    chosen = grid.view(-1, 2)[pixels.to(grid.device)]
    colours = generator.render(w, chosen[None])[0, :, 0].float().cpu()
    return fill(colours, pixels, height, width)


def fill(colours: Tensor, pixels: Tensor, height: int, width: int) -> Tensor:
    """Scattered pixels to a picture: piecewise cubic between them (Clough and Tocher 1965, as SciPy has it).

    A corner of the picture that is not given has the colour of the given pixel nearest to it, so that every pixel lies
    between some.

    Args:
        colours: [C, n] of the given pixels.
        pixels: int64 [n], their numbers row by row.
        height, width: of the picture, at least 2 each.

    Returns:
        [C, height, width] float32, equal to `colours` at those pixels.
    """
    flat = torch.empty(len(colours), height * width)
    flat[:, pixels] = colours.float()
    absent = torch.ones(height * width, dtype=torch.bool)
    absent[pixels] = False
    missing = absent.nonzero()[:, 0]
    if len(missing):
        places, values = _with_corners(_places(pixels, width), colours.T.double().numpy(), height, width)
        flat[:, missing] = torch.from_numpy(_between(places, values, _places(missing, width))).T.float()
    return flat.unflatten(1, (height, width))


def _places(pixels: Tensor, width: int) -> np.ndarray:
    """float64 [n, 2]: row and column."""
    return np.stack(np.divmod(pixels.numpy(), width), axis=-1).astype(np.float64)


def _with_corners(places: np.ndarray, values: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([[y, x] for y in (0, height - 1) for x in (0, width - 1)], dtype=np.float64)
    away = ((corners[:, None] - places[None]) ** 2).sum(-1)
    nearest, absent = away.argmin(1), away.min(1) > 0
    return np.concatenate([places, corners[absent]]), np.concatenate([values, values[nearest[absent]]])


def _between(places: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    from scipy.interpolate import CloughTocher2DInterpolator
    from scipy.spatial import Delaunay

    # Four points of a grid lie on a circle, and Qhull takes twice as long over such. So each moves a little, those on
    # the border along it: triangles that are thinner still would be hard to find.
    free = (places > 0) & (places < places.max(0))
    triangles = Delaunay(places + free * np.random.default_rng(0).uniform(-ASTRAY, ASTRAY, places.shape))
    # SciPy would ask LAPACK for each of them, whose threads make of 0.03 s a second. Should this not be its
    # attribute any more, it does so again.
    triangles._transform = barycentric(triangles.points, triangles.simplices)
    # The tolerance is of slopes, in values a pixel: far below a level of 8 bits.
    return np.asarray(CloughTocher2DInterpolator(triangles, values, tol=1e-3)(wanted))


def barycentric(points: np.ndarray, simplices: np.ndarray) -> np.ndarray:
    """What `scipy.spatial.Delaunay.transform` is in the plane, [S, 3, 2]: T^-1, and below it the last corner r.

    T^-1 (x - r) are the first two barycentric coordinates of x; NaN where a triangle has no area.
    """
    corners = points[simplices]
    ((a, b), (c, d)) = (corners[:, :2] - corners[:, 2:]).transpose(1, 2, 0)
    determinant = a * d - b * c
    determinant[np.abs(determinant) < 1e-12 * np.abs(corners).max()] = np.nan
    inverse = np.stack([np.stack([d, -c], axis=-1), np.stack([-b, a], axis=-1)], axis=1) / determinant[:, None, None]
    return np.concatenate([inverse, corners[:, 2:]], axis=1)


def compute(study: Study, fixations: Sequence[Fixation] = FIXATIONS) -> Foveated:
    """The first model's first seed from 5, 25, 50 and 100 % of its pixels.

    Args:
        study: what is given.
        fixations: places (x, y) in [-1, 1] where the eye looks.

    Raises:
        Unsuitable: every model is convolutional.
    """
    subject = study.suited(lacks_grid)[0]
    generator, side = subject.generator, subject.generator.side
    grid = image_grid(side, side, device=study.device)
    w = study.styles(subject, study.seeds[:1])
    whole = generator.render(w, grid)[0].float().cpu()

    def at_once() -> Tensor:
        with torch.no_grad():
            return generator.synthesize_native(w)[0].float().cpu()

    def from_share(share: float, fixation: Fixation) -> Tensor:
        return render_foveated(generator, w, grid, foveated_pixels(side, side, share, fixation))

    seconds, pictures = _timed(at_once)[1], []
    for fixation in fixations:
        looked_at = (image_grid(side, side) - torch.tensor(fixation)).norm(dim=-1) <= 2 * FOVEA
        for share in SHARES:
            image, taken = _timed(partial(from_share, share, fixation))
            pixels = foveated_pixels(side, side, share, fixation)
            near = psnr(image[:, looked_at], whole[:, looked_at])
            pictures.append(FromShare(share, fixation, pixels, image, psnr(image, whole), near, taken))
    return Foveated(subject.label, whole, seconds, pictures)


def psnr(image: Tensor, truth: Tensor) -> float:
    """dB, for values in [-1, 1]; infinite for equal pictures."""
    error = float((image.clamp(-1, 1) - truth.clamp(-1, 1)).double().square().mean())
    return 10 * math.log10(4 / error) if error else math.inf


def _timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What work gives, and the median of how long it takes, on all processes that of the first."""
    seconds: list[float] = []
    while sum(seconds) < SHORT_SECONDS or (len(seconds) < REPEATS and sum(seconds) < LONG_SECONDS):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return result, gather_objects(statistics.median(seconds))[0]


def rows(data: Foveated) -> list[Row]:
    """Fixation, share of the pixels, PSNR (also of what is looked at), seconds, and their ratio to all pixels'."""
    return [
        {
            "model": data.subject,
            "fixation_x": one.fixation[0],
            "fixation_y": one.fixation[1],
            "share": one.share,
            "psnr_db": one.psnr,
            "psnr_looked_at_db": one.psnr_looked_at,
            "seconds": one.seconds,
            "relative_time": data.relative(one),
        }
        for one in data.pictures
    ]


def numbers(data: Foveated) -> Row:
    """As the rows, and the time of all pixels; an infinite PSNR is none."""
    return {"model": data.subject, "seconds_of_all_pixels": data.seconds, "pictures": rows(data)}


def reading(data: Foveated) -> str:
    """What is saved, and at what price, for the first fixation."""
    told = "; ".join(
        f"{one.share:.0%} of the pixels {data.relative(one):.0%} of the time, {one.psnr:.0f} dB"
        for one in data.pictures[: len(SHARES)]
        if one.share < 1
    )
    waste = any(one.share < 1 and data.relative(one) > 1 for one in data.pictures)
    saving = " At this size filling in can take longer than it saves." if waste else ""
    return (
        f"{data.subject} with the eye at {_named(data.pictures[0].fixation)}: {told}; what was synthesised is exact. "
        f"The time includes filling in; all {data.whole[0].numel():,} pixels take {data.seconds:.2g} s.{saving}"
    )


def _named(fixation: Fixation) -> str:
    return "the middle" if fixation == (0, 0) else f"({fixation[0]:g}, {fixation[1]:g})"


def draw(data: Foveated) -> "Drawing":
    """For each fixation the patterns, the pictures, and their differences from the whole picture."""
    import matplotlib.pyplot as plt

    fixations = list(dict.fromkeys(one.fixation for one in data.pictures))
    figure = plt.figure(figsize=(6.4 * len(fixations) + 0.3, 5.9), constrained_layout=True)
    figure.suptitle(f"{data.subject}: one picture from a share of its pixels", fontsize=12)
    largest = max(float((one.image - data.whole).abs().max()) for one in data.pictures)
    for part, fixation in zip(figure.subfigures(1, len(fixations), squeeze=False)[0], fixations, strict=True):
        part.suptitle(f"the eye at {_named(fixation)}, +", fontsize=10)
        grid = part.subplots(3, len(SHARES))
        for column, one in enumerate(one for one in data.pictures if one.fixation == fixation):
            _draw_column(grid[:, column], data, one, largest)
        for axes, text in zip(grid[:, 0], ("synthesised", "filled in", "error"), strict=True):
            axes.set_ylabel(text)
    return figure


def _draw_column(lines: np.ndarray, data: Foveated, one: FromShare, largest: float) -> None:
    side = one.image.shape[1]
    pattern, picture, error = lines
    sampled = np.zeros(side * side)
    sampled[one.pixels.numpy()] = 1
    pattern.imshow(sampled.reshape(side, side), cmap="gray", interpolation="nearest", vmin=0, vmax=1)
    x, y = ((place + 1) / 2 * (side - 1) for place in one.fixation)
    pattern.plot(x, y, marker="+", markersize=11, markeredgewidth=3.5, color="white")
    pattern.plot(x, y, marker="+", markersize=10, markeredgewidth=1.6, color="#d40000")
    pattern.set_title(f"{one.share:.0%} of the pixels", fontsize=9)
    picture.imshow(((one.image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy(), interpolation="nearest")
    picture.set_xlabel(f"{data.relative(one):.0%} of the time", fontsize=9)
    difference = (one.image - data.whole).abs().mean(0)
    error.imshow(difference.numpy(), cmap="magma", interpolation="nearest", vmin=0, vmax=max(largest / 2, 1e-6))
    exact = one.psnr == math.inf
    error.set_xlabel("none" if exact else f"{one.psnr:.1f} dB,\n{one.psnr_looked_at:.1f} dB near +", fontsize=9)
    for axes in lines:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["top", "right"]].set_visible(True)


FIGURE = Figure(
    name="foveated",
    title="Foveated rendering",
    place="Figure 8",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
