"""Styles blended across a picture: a style for every column, between anchors that stand at equal distances."""

import torch
from torch import Tensor

from cips_lab.networks.generator import Generator
from cips_lab.networks.tiling import Tile

BAND_STYLES = 2**24  # numbers of styles of pixels at once: 64 MB


def anchor_columns(anchors: int, width: int) -> Tensor:
    """The columns where anchors stand, the first and the last at the edges: int64 [A]."""
    return torch.linspace(0, width - 1, anchors, dtype=torch.float64).round().long()


def blended_styles(anchors: Tensor, width: int) -> Tensor:
    """Styles [A, w_dim] -> a style for each column [W, w_dim], linear between anchors, and theirs where they stand."""
    columns = anchor_columns(len(anchors), width).to(anchors.device)
    place = torch.arange(width, device=anchors.device)
    left = (torch.searchsorted(columns, place, right=True) - 1).clamp(max=len(anchors) - 2)
    share = ((place - columns[left]) / (columns[left + 1] - columns[left]))[:, None]
    between = anchors[left] + share * (anchors[left + 1] - anchors[left])
    return torch.where(share == 1, anchors[left + 1], between)  # at 0 it is the left one's already


def styles_around(anchors: Tensor, width: int) -> Tensor:
    """Styles [A, w_dim] -> a style for each column [W, w_dim] of a whole turn: after the last one comes the first."""
    place = torch.arange(width, dtype=torch.float64) * (len(anchors) / width)
    left = place.long()
    share = (place - left).to(anchors)[:, None]
    return anchors[left] + share * (anchors[(left + 1) % len(anchors)] - anchors[left])


@torch.no_grad()
def render_blended(generator: Generator, styles: Tensor, grid: Tensor, tile: Tile = "auto") -> Tensor:
    """A picture with a style for each column, band by band.

    Args:
        generator: in evaluation mode.
        styles: [W, w_dim].
        grid: [H, W, 2].
        tile: as in `Generator.render`.

    Returns:
        [3, H, W].
    """
    rows = max(1, BAND_STYLES // styles.numel())
    bands = [generator.render(styles.expand(1, 1, len(band), -1, -1), band, tile)[0] for band in grid.split(rows)]
    return torch.cat(bands, dim=1)
