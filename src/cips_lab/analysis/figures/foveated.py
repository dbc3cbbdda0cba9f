"""Figure 8: foveated rendering: few pixels, dense where one looks, the rest filled in between them.

Only a generator whose pixels are independent can leave pixels out and save their work. Shown with its error and its
time, for saving time is the purpose.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import lacks_grid
from cips_lab.errors import UserError
from cips_lab.networks.coordinates import foveated_pixels, image_grid
from cips_lab.networks.generator import Generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SHARES = (0.05, 0.25, 0.5, 1.0)
REPEATS = 3  # of every time, whose median is told


@dataclass(frozen=True)
class Foveated:
    """One picture from a share of its pixels.

    Attributes:
        share: of the pixels that were synthesised.
        pixels: their numbers, int64 [n].
        image: [3, H, W], values about [-1, 1]: exact at those pixels, filled in elsewhere.
        psnr: dB against the picture of all pixels, for values in [-1, 1]; infinite where there is no difference.
        seconds: synthesis and filling, the median.
        relative: `seconds` as a share of synthesising all pixels.
    """

    share: float
    pixels: Tensor
    image: Tensor
    psnr: float
    seconds: float
    relative: float


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
    """Scattered pixels to a picture: piecewise cubic between them (Clough and Tocher), the nearest beyond them.

    Args:
        colours: [C, n] of the given pixels.
        pixels: int64 [n], their numbers row by row.
        height, width: of the picture.

    Returns:
        [C, height, width] float32, equal to `colours` at those pixels.
    """
    flat = torch.empty(len(colours), height * width)
    flat[:, pixels] = colours
    known = torch.zeros(height * width, dtype=torch.bool)
    known[pixels] = True
    missing = (~known).nonzero()[:, 0]
    if len(missing):
        places = np.stack(np.divmod(pixels.numpy(), width), axis=-1).astype(np.float64)
        wanted = np.stack(np.divmod(missing.numpy(), width), axis=-1).astype(np.float64)
        flat[:, missing] = torch.from_numpy(_between(places, colours.T.double().numpy(), wanted)).T.float()
    return flat.unflatten(1, (height, width))


def _between(places: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    try:
        from scipy.interpolate import CloughTocher2DInterpolator, NearestNDInterpolator
        from scipy.spatial import QhullError
    except ModuleNotFoundError:
        raise UserError("foveated fills pictures with SciPy's interpolation: pip install 'cips-lab[report]'") from None
    nearest = NearestNDInterpolator(places, values)
    try:
        found = CloughTocher2DInterpolator(places, values)(wanted)
    except QhullError:  # fewer than three pixels, or all in a line
        return np.asarray(nearest(wanted))
    outside = np.isnan(found[:, 0])
    if outside.any():
        found[outside] = nearest(wanted[outside])
    return np.asarray(found)


def compute(study: Study, fixation: tuple[float, float] = (0.0, 0.0)) -> list[Foveated]:
    """The first model's first seed from 5, 25, 50 and 100 % of its pixels.

    Raises:
        Unsuitable: the model is convolutional.
    """
    subject = study.suited(lacks_grid)[0]
    generator = subject.generator
    side = generator.resolution
    grid = image_grid(side, side, device=study.device)
    w = study.styles(subject, study.seeds[:1])
    whole, whole_seconds = _timed(lambda: generator.render(w, grid)[0].float().cpu())
    found = []
    for share in SHARES:
        pixels = foveated_pixels(side, side, share, fixation)
        image, seconds = _timed(partial(render_foveated, generator, w, grid, pixels))
        error = float((image - whole).square().mean())
        psnr = float("inf") if error == 0 else 10 * np.log10(4 / error)
        found.append(Foveated(share, pixels, image, psnr, seconds, seconds / whole_seconds))
    return found


def _timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What work gives, and the median of how long it takes."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return result, statistics.median(seconds)


def rows(data: list[Foveated]) -> list[Row]:
    """share (of the pixels), psnr_db, seconds, relative (to the time of all pixels)."""
    return [
        {"share": one.share, "psnr_db": one.psnr, "seconds": one.seconds, "relative_time": one.relative} for one in data
    ]


def numbers(data: list[Foveated]) -> Row:
    """By share."""
    return {f"{one.share:g}": {"psnr_db": _finite(one.psnr), "relative_time": one.relative} for one in data}


def reading(data: list[Foveated]) -> str:
    """What is saved, and at what price."""
    told = "; ".join(f"{one.share:.0%}: {one.relative:.0%} of the time, {one.psnr:.1f} dB" for one in data[:-1])
    return f"Pixels synthesised, the rest filled in: {told}. Times count the filling in."


def draw(data: list[Foveated]) -> "Drawing":
    """The sampling pattern above, the picture below."""
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, len(data), figsize=(2.3 * len(data), 5.0), constrained_layout=True)
    for (above, below), one in zip(grid.T, data, strict=True):
        height, width = one.image.shape[1:]
        pattern = np.zeros(height * width)
        pattern[one.pixels.numpy()] = 1
        above.imshow(pattern.reshape(height, width), cmap="gray", interpolation="nearest", vmin=0, vmax=1)
        above.set_title(f"{one.share:.0%} of the pixels")
        below.imshow(((one.image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy(), interpolation="nearest")
        error = "exact" if one.psnr == float("inf") else f"{one.psnr:.1f} dB"
        below.set_xlabel(f"{error}, {one.relative:.0%} of the time", fontsize=8.5)
        for axes in (above, below):
            axes.set_xticks([])
            axes.set_yticks([])
    return figure


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


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
