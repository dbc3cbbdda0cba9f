"""Inception Score (Salimans et al., NeurIPS 2016): exp of the mean divergence of p(class | picture) from p(class)."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cips_lab.metrics.constants import ISC_SPLITS, RNG_SEED
from cips_lab.processes.collectives import mine, total


class Score(NamedTuple):
    """Mean and standard deviation (of the population) over splits, and the mean's standard error over pictures."""

    mean: float
    std: float
    se: float


def inception_score(logits: Tensor, splits: int = ISC_SPLITS) -> Score:
    """Score of logits [N, C] in their samples' order, the same on every process; each takes a part of the splits.

    The error is that of the delta method: what moves a split's score are its pictures' divergences, to first order.
    Shuffled and split as torch-fidelity's `isc_features_to_metric` does. In [1, C].
    Raises `ValueError` for fewer samples than splits.
    """
    count = len(logits)
    if count < splits:
        raise ValueError(f"{splits} splits need at least as many samples, got {count}")
    order = torch.from_numpy(np.random.RandomState(RNG_SEED).permutation(count)).to(logits.device)
    scores, variances = torch.zeros(2, splits, dtype=torch.float64, device=logits.device)
    for split in range(splits)[mine()]:
        log_p = logits[order[split * count // splits : (split + 1) * count // splits]].double().log_softmax(1)
        log_q = log_p.logsumexp(0) - math.log(len(log_p))  # of the mean; a class that no picture has stays finite
        divergence = (log_p.exp() * (log_p - log_q)).sum(1)
        scores[split] = divergence.mean().exp()
        variances[split] = scores[split].square() * divergence.var(correction=0) / len(divergence)
    scores, variances = total(scores), total(variances)
    return Score(float(scores.mean()), float(scores.std(correction=0)), float(variances.sum().sqrt()) / splits)
