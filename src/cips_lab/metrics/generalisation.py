"""How much nearer generated pictures are to those of the training than to held-out ones: memorisation, by KID.

Of two sets from one distribution KID, which is unbiased, says the same of any generator that knows neither. The
kernel's mean over pairs of generated pictures stands in both distances, and falls out of their difference.
"""

import torch
from torch import Tensor

from cips_lab.metrics.constants import GAP_PICTURES
from cips_lab.metrics.kernel import standard_error, sums, sums_within
from cips_lab.metrics.statistics import Estimate, spread_out


def kernel_gap(generated: Tensor, train: Tensor, held_out: Tensor) -> Estimate:
    """KID to the held-out pictures less KID to those of the training, and its standard error over all three sets.

    Features float32 [N, D], [M, D], [L, D], at least 2 each, the same on every process; of sets of more than
    `GAP_PICTURES` as many, spread over them. Copies make it large; 0 within its error is no sign of any.
    """
    x, y, z = (few(part) for part in (generated, train, held_out))
    of_train, of_held_out = nearness(y, x), nearness(z, x)
    of_generated = sums(x, y) / len(y) - sums(x, z) / len(z)
    # With K the mean kernel over pairs, KID is K(x, x) + K(y, y) - 2 K(x, y).
    value = of_held_out.mean() - of_train.mean() + of_generated.mean()
    errors = [standard_error(2 * part) for part in (of_generated, of_train, of_held_out)]
    return Estimate(float(value), sum(error**2 for error in errors) ** 0.5)


def nearness(x: Tensor, y: Tensor) -> Tensor:
    """Each one's mean kernel with the others of its own set, less that with another set: [N]."""
    return sums_within(x) / (len(x) - 1) - sums(x, y) / len(y)


def few(features: Tensor) -> Tensor:
    """Not more than `GAP_PICTURES` rows, spread over all."""
    return features[spread_out(torch.arange(len(features), device=features.device), len(features), GAP_PICTURES)]
