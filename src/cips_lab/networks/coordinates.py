"""Where pixels are. A coordinate is (x, y), x to the right, y down; the training image spans [-1, 1] both ways."""

from collections.abc import Sequence

import torch
from torch import Tensor


def image_grid(
    height: int,
    width: int,
    region: Sequence[float] = (-1.0, -1.0, 1.0, 1.0),
    device: torch.device | str | None = None,
    rows: slice | None = None,
) -> Tensor:
    """Coordinates of a picture's pixels, both ends of the region included.

    Args:
        height, width: pixels; at least 1 (a single row or column lies in the middle of the region).
        region: (left, top, right, bottom) in coordinates; (-1, -1, 1, 1) is the training square, a smaller region
            zooms in and a larger one looks beyond the edges.
        device: where the grid is made.
        rows: only these of the picture's rows, equal to the bit to `image_grid(...)[rows]`, which is not made.

    Returns:
        [height, width, 2] float32, or fewer rows of it, (x, y) last. With the native height and width this is the
        paper's ``linspace(-1, 1, R)`` in each direction.

    Raises:
        ValueError: the size is not positive or the region is empty.
    """
    if height < 1 or width < 1:
        raise ValueError(f"image_grid: height and width must be at least 1, not {height} and {width}")
    left, top, right, bottom = (float(edge) for edge in region)
    if not (left < right and top < bottom):
        raise ValueError(
            f"image_grid: region must be (left, top, right, bottom) with left < right and top < bottom, not {region}"
        )
    x = _axis(left, right, width, device)
    y = _axis(top, bottom, height, device)
    if rows is not None:
        y = y[rows]
    return torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1)


def _axis(start: float, stop: float, steps: int, device: torch.device | str | None) -> Tensor:
    # Rounded once, from float64: a pixel that two grids share then has the same float32 coordinate in both.
    if steps == 1:
        return torch.tensor([(start + stop) / 2], dtype=torch.float32, device=device)
    return torch.linspace(start, stop, steps, dtype=torch.float64, device="cpu").to(torch.float32).to(device)


def foveated_pixels(
    height: int,
    width: int,
    share: float,
    fixation: tuple[float, float] = (0.0, 0.0),
    std: float = 0.4,
    seed: int = 0,
) -> Tensor:
    """Which pixels an eye that looks at one place sees: a Gaussian's sample without replacement (paper, Figure 8).

    Args:
        height, width: of the picture in pixels.
        share: of the pixels, in (0, 1]; at least one is taken.
        fixation: (x, y) where the eye looks, in coordinates of the picture's own square [-1, 1].
        std: of the Gaussian, in picture sizes (the paper's authors: 0.4).
        seed: of the sample.

    Returns:
        int64 [n], numbers of pixels row by row, rising; n = share * height * width, rounded.

    Raises:
        ValueError: the share or the deviation is out of its range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"foveated_pixels: share must be above 0 and at most 1, not {share}")
    if std <= 0:
        raise ValueError(f"foveated_pixels: std must be positive, not {std}")
    away = (image_grid(height, width).double() - torch.tensor(fixation, dtype=torch.float64)) / 2  # in picture sizes
    log_density = -away.square().sum(-1).flatten() / (2 * std**2)
    # The largest of log-weights plus Gumbel noise are a weighted sample without replacement (Vieira 2014).
    uniform = torch.rand(len(log_density), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    keys = log_density - torch.log(-torch.log(uniform.clamp(1e-300, 1 - 1e-16)))
    count = max(1, round(share * len(keys)))
    return keys.topk(count).indices.sort().values
