"""How much oftener the real picture nearest to a sample is one of the training than one that was held out: copying.

To a generator that knows neither set, training and held-out pictures are exchangeable: the nearest of all of them is a
held-out one as often as they are many. This holds for bad samples as for good ones, so that the gap tells copies from
faults, which AuthPct does not. A two-sample test by nearest neighbours, after Schilling 1986 and Meehan et al. 2020.
"""

import torch
from torch import Tensor

from cips_lab.metrics.authenticity import nearest
from cips_lab.metrics.neighbours import Points
from cips_lab.metrics.statistics import Estimate


def training_gap(generated: Tensor, train: Tensor, held_out: Tensor) -> Estimate:
    """The share of samples that are nearest to a training picture beyond chance, of all that could be: 1 for copies.

    With shares p of such samples and q of training pictures among the real ones it is (p - q) / (1 - q). Its error is
    that of the permutation test, exact where the gap is 0: over which real pictures are called held out, with as many
    samples nearest to each as there are.

    Args:
        generated, train, held_out: features float32 [N, D], [M, D], [L, D], the same on every process.
    """
    real = torch.cat([train, held_out.to(train)])
    centre = (generated.mean(0).double() + real.mean(0).double()) / 2
    _, places = nearest(Points(generated, centre), Points(real, centre))
    times = torch.bincount(places, minlength=len(real)).double()
    chance = len(held_out) / len(real)
    share = float(times[len(train) :].sum()) / len(generated)
    spread = (len(held_out) * (1 - chance)) ** 0.5 * float(times.std()) / len(generated)
    return Estimate(1 - share / chance, spread / chance)
