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
