"""A few numbers of each picture of a set, for metrics that need no network: colours and spectra.

Spectra are of at most `PICTURES` pictures, spread over the set: they cost as much time as a network on a GPU.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from cips_lab.metrics.spectra import PADDING, durall_profiles, window
from cips_lab.metrics.statistics import FeatureBank, spread_out
from cips_lab.networks.size import Size, sides

PICTURES = 1000  # as Durall et al. take
MIDDLE = 127.5  # subtracted before a spectrum: near any set's mean, so that no digits are lost
AT_ONCE = 2**20  # values of pictures that are transformed together


class PerPicture(Metric):
    """``compute()`` gives ``values``, float32 [N, columns] in the order of the pictures, and the constants.

    Args:
        count: pictures of the set.
        most: that are looked at.
        columns: numbers of a picture.
        numbers_of: uint8 [b, 3, H, W] -> [b, columns].
        constants: what else is needed to read the values.
        options: `torchmetrics.Metric`'s.
    """

    full_state_update = False

    def __init__(
        self,
        count: int,
        most: int,
        columns: int,
        numbers_of: Callable[[Tensor], Tensor],
        constants: Mapping[str, Tensor] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.bank = FeatureBank(columns)  # gathered over processes by itself
        self.count, self.most = count, most
        self.numbers_of = numbers_of
        self.constants = dict(constants or {})

    def update(self, images: Tensor, numbers: Tensor) -> None:
        """Add uint8 [b, 3, H, W] with the pictures' numbers, int64 [b], counted over all processes."""
        wanted = spread_out(numbers, self.count, self.most).nonzero()[:, 0]
        for part in wanted.split(max(1, AT_ONCE // images.shape[1:].numel())):
            if len(part):
                self.bank.update(self.numbers_of(images[part]), numbers[part])

    def compute(self) -> dict[str, Tensor]:
        """The same on every process."""
        return {"values": self.bank.compute(), **self.constants}


def colour_moments(images: Tensor) -> Tensor:
    """Means and standard deviations of red, green and blue over a picture, in levels: [B, 3, H, W] -> [B, 6]."""
    values = images.double().flatten(2)
    return torch.cat([values.mean(2), values.std(2, correction=0)], dim=1)


def power_curves(images: Tensor) -> Tensor:
    """What each picture's power spectrum is for any mean that it is whitened by: [B, 3, H, W] -> [B, 2 K + 1].

    StyleGAN3's recipe subtracts the real set's mean m before the window w, and |F(w (x - m))|^2 = |F(w x)|^2 -
    2 m Re(F(w x) F(w)*) + m^2 |F(w)|^2: K rings of the first term, K of the second's second factor, and the picture's
    mean; all of x - `MIDDLE`. In float32, whose rounding lies 120 dB below the strongest frequency.
    """
    values = images.float() - MIDDLE
    taper = taper_of(sides_of(images), images.device).float()
    transformed, flat = padded_transform(values * taper), padded_transform(taper)
    squares = half_rings((transformed.real.square() + transformed.imag.square()).mean(1), images.shape[-1])
    products = half_rings((transformed * flat.conj()).real.mean(1), images.shape[-1])
    return torch.cat([squares, products, values.mean((1, 2, 3))[:, None]], dim=1)


def power_of_window(size: Size) -> Tensor:
    """The third term: K rings of |F(w)|^2, float64."""
    taper = taper_of(sides(size), "cpu")
    return half_rings(padded_transform(taper).abs().square()[None], taper.shape[1])[0].double()


def padded_transform(values: Tensor) -> Tensor:
    """The half of a real map's Fourier transform that tells all of it: [..., H, W] -> [..., 4 H, 2 W + 1]."""
    height, width = values.shape[-2:]
    return torch.fft.rfft2(values, s=(PADDING * height, PADDING * width))


def half_rings(halves: Tensor, width: int) -> Tensor:
    """`spectra.power_profiles` of maps whose other half is the same: [B, 4 H, 2 W + 1] -> [B, K], float64."""
    height = halves.shape[-2] // PADDING
    rows = torch.fft.fftfreq(PADDING * height, 1 / height, device=halves.device)[:, None]
    columns = torch.fft.rfftfreq(PADDING * width, 1 / width, device=halves.device)[None, :]
    rings = (torch.hypot(rows, columns) + 0.5).long().flatten()
    # The columns 0 and 2 W stand for themselves, the others for two.
    times = torch.full(halves.shape[-2:], 2.0, device=halves.device, dtype=torch.float64)
    times[:, [0, -1]] = 1.0
    sums = torch.zeros(len(halves), int(rings.max()) + 1, device=halves.device, dtype=torch.float64)
    sums.index_add_(1, rings, (halves * times).flatten(1))
    kept = min(height, width) // 2 + 1
    return (sums / torch.bincount(rings, times.flatten()))[:, :kept]


def taper_of(size: tuple[int, int], device: torch.device | str) -> Tensor:
    """The window of a picture of height and width: float64 [H, W]."""
    height, width = size
    return window(height, device)[:, None] * window(width, device)[None, :]


def sides_of(images: Tensor) -> tuple[int, int]:
    """Height and width."""
    return images.shape[-2], images.shape[-1]


def colours(count: int) -> PerPicture:
    """An accumulator of `colour_moments`, of all pictures."""
    return PerPicture(count, count, 6, colour_moments)


def shapes(size: Size, count: int) -> PerPicture:
    """An accumulator of `spectra.durall_profiles`."""
    nothing = torch.zeros(1, 3, *sides(size), dtype=torch.uint8)
    return PerPicture(count, PICTURES, durall_profiles(nothing).shape[1], durall_profiles)


def powers(size: Size, count: int) -> PerPicture:
    """An accumulator of `power_curves`."""
    of_window = power_of_window(size)
    return PerPicture(count, PICTURES, 2 * len(of_window) + 1, power_curves, {"window": of_window})
