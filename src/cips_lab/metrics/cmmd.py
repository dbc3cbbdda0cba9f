"""CMMD (Jayasumana et al., CVPR 2024): the squared MMD with a Gaussian kernel, meant for CLIP's image embeddings.

It assumes no distribution, and its bias is small from a few hundred samples on. Constants and the biased estimator are
those of the authors' code (google-research/cmmd): embeddings of length 1, sigma 10, times 1,000.
"""

import torch.nn.functional as F
from torch import Tensor

from cips_lab.metrics.constants import CMMD_SCALE, CMMD_SIGMA
from cips_lab.metrics.kernel import influence, standard_error, sums, sums_within
from cips_lab.metrics.statistics import Estimate


def gaussian_kernel(x: Tensor, y: Tensor) -> Tensor:
    """exp(-|x - y|^2 / (2 sigma^2)) - 1 of vectors of length 1, [N, D] and [M, D]: float64 [N, M].

    The kernel is 1 to within 2 %: without the 1, which the distance does not depend on, no digits are lost.
    """
    squares = 2 - 2 * (x @ y.T).double()
    return (squares / (-2 * CMMD_SIGMA**2)).expm1()


def clip_mmd(generated: Tensor, real: Tensor) -> Estimate:
    """From embeddings [N, D] and [M, D], of any length, the same on every process; each takes a part of the tiles."""
    x, y = F.normalize(generated), F.normalize(real)
    n, m = len(x), len(y)
    within, between = sums_within(x, gaussian_kernel), sums(x, y, gaussian_kernel)
    value = within.sum() / n**2 + sums_within(y, gaussian_kernel).sum() / m**2 - 2 * between.sum() / (n * m)
    error = standard_error(influence(within, between, m))
    return Estimate(CMMD_SCALE * float(value), CMMD_SCALE * error)
