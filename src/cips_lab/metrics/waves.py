"""Wave-like artifacts in single pictures: a frequency that stands out among those of its own length.

The paper's Figure 12 shows waves over parts of pictures and blames the sine and the leaky ReLU; it measures nothing.
Here a picture's score is how far, in dB, its strongest frequency lies above the median of all frequencies about as
long. Edges of any direction raise whole neighbourhoods of frequencies; a wave is one place. What counts as much is
decided by real pictures: see `threshold`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cips_lab.metrics.spectra import grey, window

LOWEST = 3  # cycles a picture: longer waves are shapes
RING = 1.0  # cycles a picture: frequencies so near in length are compared
PERCENTILE = 95.0  # of real pictures' scores: what lies above is called wave-like


class Waves(NamedTuple):
    """Of each picture.

    Attributes:
        score: dB, [B].
        frequency: of the strongest, cycles a picture (to the right, down), [B, 2]; the right half-plane.
    """

    score: Tensor
    frequency: Tensor


def waves_of(images: Tensor) -> Waves:
    """Scores of uint8 [B, 3, N, N]; a picture without contrast has score 0 and frequency 0."""
    values = grey(images)
    values = values - values.mean((1, 2), keepdim=True)
    size = values.shape[-1]
    taper = window(size, values.device)
    spectrum = torch.fft.rfft2(values * taper[:, None] * taper[None, :]).abs().square()  # [B, N, N // 2 + 1]
    down = torch.fft.fftfreq(size, 1 / size, device=values.device).double()
    right = torch.arange(spectrum.shape[-1], device=values.device).double()
    length = torch.hypot(down[:, None], right[None, :]).flatten()
    kept = ((length >= LOWEST) & (length <= size / 2)).nonzero()[:, 0]
    power, length = spectrum.flatten(1)[:, kept], length[kept]
    order = length.argsort()
    power, length, kept = power[:, order], length[order], kept[order]
    first = torch.searchsorted(length, length - RING)
    last = torch.searchsorted(length, length + RING, right=True)
    median = torch.stack(
        [power[:, a:b].median(1).values for a, b in zip(first.tolist(), last.tolist(), strict=True)], dim=1
    )
    level = 10 * torch.log10(power.clamp(min=1e-12) / median.clamp(min=1e-12))
    score, place = level.max(1)
    found = kept[place]
    columns = spectrum.shape[-1]
    frequency = torch.stack([right[found % columns], down[found // columns]], dim=1)
    flat = power.sum(1) < 1e-6
    return Waves(score.masked_fill(flat, 0.0), frequency.masked_fill(flat[:, None], 0.0))


def threshold(real_scores: Tensor) -> float:
    """The score above which a picture is called wave-like: so few real ones lie above it."""
    return float(torch.quantile(real_scores.double(), PERCENTILE / 100))
