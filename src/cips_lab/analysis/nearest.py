"""Nearest real pictures, as they are or mirrored, and how suspicious it is that they are so near."""

from typing import NamedTuple

import torch
from torch import Tensor

ROWS = 512  # points whose distances to all others are formed at once
SPARE = 8  # candidates beyond those asked for, whose distances are computed again without cancellation


class Nearest(NamedTuple):
    """Of each sample.

    Attributes:
        places: of its nearest real pictures, nearest first, int64 [N, k]. mirrored: whether in a mirror, bool [N, k].
        ratios: its distance to the nearest, over that one's distance to its own nearest other, float64 [N]. A copy has
            0, and a picture that is as new as the real ones are to each other about 1.
    """

    places: Tensor
    mirrored: Tensor
    ratios: Tensor


def nearest_of(points: Tensor, others: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances, float64, and places of the nearest of others [M, D] to points [N, D], nearest first: [N, count].

    Candidates are found by one product a block, whose cancellation hides small distances, and measured again.
    """
    kept = min(count + SPARE, len(others))
    distances, places = [], []
    for block in points.split(ROWS):
        found = torch.cdist(block, others).topk(kept, largest=False).indices
        exact = torch.stack([(block.double() - others[place].double()).norm(dim=1) for place in found.T], dim=1)
        order = exact.argsort(dim=1, stable=True)[:, :count]
        distances.append(exact.gather(1, order))
        places.append(found.gather(1, order))
    return torch.cat(distances), torch.cat(places)


def neighbours_of(generated: Tensor, real: Tensor, mirrored: Tensor, count: int) -> Nearest:
    """From points of samples [N, D], of real pictures [M, D], and of the same mirrored [M, D].

    Neither itself nor its own mirror image is a real picture's neighbour, nor is an identical one: sets hold a few
    pictures twice, and their distance of 0 says nothing of how near different ones are.

    Args:
        count: k, at most M.
    """
    both = torch.cat([real, mirrored])
    distance, found = nearest_of(generated, both, 2 * count)
    # A picture and its mirror image are one: of two equal places the farther goes to the end.
    same = (found % len(real))[:, :, None] == (found % len(real))[:, None, :]
    order = same.tril(-1).any(2).int().argsort(dim=1, stable=True)[:, :count]
    distance, found = distance.gather(1, order), found.gather(1, order)
    places = found % len(real)
    anchors, back = places[:, 0].unique(return_inverse=True)
    own, neighbour = nearest_of(real[anchors], both, min(2 * SPARE, len(both)))
    other = (neighbour % len(real) != anchors[:, None]) & (own > 1e-6 * own.amax(1, keepdim=True))
    own = own.masked_fill(~other, torch.inf).amin(1)
    own = torch.where(own.isfinite(), own, own.new_tensor(1e-12))
    return Nearest(places.cpu(), (found >= len(real)).cpu(), (distance[:, 0] / own[back]).cpu())
