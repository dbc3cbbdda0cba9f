"""Mean magnitude spectra of pictures, by the two recipes that the field uses: what Figure 7 of the paper shows.

``durall``: Durall, Keuper & Keuper, CVPR 2020 (their code: cc-hpc-itwm/UpConv). Of each picture: grey, FFT, 20 ln |F|,
its azimuthal mean over whole radii, brought to [0, 1] by its own extremes. The curve is the mean over pictures. It
shows the *shape* of the fall from low to high frequencies; how strong anything is, it has divided away.

``stylegan3``: Karras et al., NeurIPS 2021 (their code: avg_spectra.py). Pictures are whitened with the real set's mean
and deviation, windowed (so that the picture's edges make no cross), padded to four times their size, and |F|^2 is
averaged over pictures and channels; then dB. It shows absolute levels.

Both go through pictures once, in a stream, on any device and on any number of processes: sums are kept in float64.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from cips_lab.metrics.collect import home_of
from cips_lab.processes.collectives import total

Recipe = Literal["durall", "stylegan3"]
RECIPES: tuple[Recipe, ...] = ("durall", "stylegan3")

GREY = (0.2989, 0.5870, 0.1140)  # of R, G, B: ITU-R BT.601, rounded as UpConv does
FLOOR = 1e-8  # added by UpConv to the complex spectrum, so that its logarithm is finite
BETA = 8.0  # of the Kaiser window
PADDING = 4  # times the picture's side
AT_ONCE = 2**20  # values of pictures that are transformed together: a padded spectrum takes 256 times their bytes


class Profile(NamedTuple):
    """A curve over frequency with its spread over pictures.

    Attributes:
        radius: [K] in cycles a picture.
        mean: [K]; durall: a share in [0, 1]; stylegan3: dB of the mean power.
        std: [K], the standard deviation over pictures; stylegan3: of each picture's own dB.
        pictures: their number.
    """

    radius: Tensor
    mean: Tensor
    std: Tensor
    pictures: int


def grey(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] -> float64 [B, H, W] in [0, 255]."""
    weights = torch.tensor(GREY, dtype=torch.float64, device=images.device)
    return torch.einsum("bchw,c->bhw", images.double(), weights)


def whole_radii(height: int, width: int, centre: tuple[float, float], device: torch.device | str) -> Tensor:
    """int64 [H, W]: each place's distance from a centre (row, column), rounded down."""
    rows = torch.arange(height, dtype=torch.float64, device=device) - centre[0]
    columns = torch.arange(width, dtype=torch.float64, device=device) - centre[1]
    return torch.hypot(rows[:, None], columns[None, :]).long()


def azimuthal_mean(values: Tensor, radii: Tensor) -> Tensor:
    """Means over places of equal radius: [B, H, W] and [H, W] -> [B, largest radius + 1]."""
    flat, index = values.flatten(1), radii.flatten()
    sums = values.new_zeros(len(flat), int(index.max()) + 1).index_add_(1, index, flat)
    return sums / torch.bincount(index).to(sums)


def durall_curves(images: Tensor) -> Tensor:
    """Each picture's azimuthal mean of 20 ln |F| of its grey values: [B, 3, N, N] in [0, 255] -> float64 [B, K].

    The radii are those about (N - 1) / 2, where no frequency of an even N lies, and lack the first and the last, as in
    UpConv's code. K is the number of radii left: they reach beyond N / 2 cycles a picture, into the corners.
    """
    height, width = images.shape[-2:]
    spectrum = torch.fft.fftshift(torch.fft.fft2(grey(images)), dim=(-2, -1)) + FLOOR
    radii = whole_radii(height, width, ((height - 1) / 2, (width - 1) / 2), images.device)
    return azimuthal_mean(20 * torch.log(spectrum.abs()), radii)[:, 1:-1]


def durall_profiles(images: Tensor) -> Tensor:
    """`durall_curves`, each brought to [0, 1] by its own extremes; a picture without any contrast gives zeros."""
    curves = durall_curves(images)
    lowest, highest = curves.amin(1, keepdim=True), curves.amax(1, keepdim=True)
    spread = highest - lowest
    return torch.where(spread > 0, (curves - lowest) / torch.where(spread > 0, spread, 1.0), 0.0)


def window(size: int, device: torch.device | str = "cpu") -> Tensor:
    """float64 [size]: a Kaiser window of unit energy; a picture's is its outer product with itself."""
    kaiser = torch.kaiser_window(size, periodic=False, beta=BETA, dtype=torch.float64, device=device)
    return kaiser / kaiser.square().sum().sqrt()


def windowed_power(values: Tensor) -> Tensor:
    """|F|^2 of maps [..., H, W], windowed and padded with zeros to [..., 4 H, 4 W]; the frequency 0 stands at [0, 0].

    White noise of variance 1 has power 1 everywhere, that is 0 dB.
    """
    height, width = values.shape[-2:]
    taper = window(height, values.device)[:, None] * window(width, values.device)[None, :]
    return torch.fft.fft2(values.double() * taper, s=(PADDING * height, PADDING * width)).abs().square()


def power(images: Tensor, mean: float, std: float) -> Tensor:
    """Each picture's |F|^2 as StyleGAN3's avg_spectra.py computes it: uint8 [B, 3, H, W] -> float64 [B, 4 H, 4 W].

    Whitened by the set's mean and deviation, then `windowed_power`, averaged over channels.
    """
    return windowed_power((images.double() - mean) / std).mean(1)


def power_profiles(powers: Tensor) -> Tensor:
    """Azimuthal means of padded powers [B, 4 H, 4 W] at 0, 1, ..., min(H, W) // 2 cycles a picture: [B, K].

    A ring holds the frequencies that are nearer to it than to another.
    """
    height, width = powers.shape[-2:]
    rows = torch.fft.fftfreq(height, 1 / height, device=powers.device).double()[:, None] / PADDING
    columns = torch.fft.fftfreq(width, 1 / width, device=powers.device).double()[None, :] / PADDING
    rings = (torch.hypot(rows, columns) + 0.5).long()
    return azimuthal_mean(powers, rings)[:, : min(height, width) // (2 * PADDING) + 1]


def decibels(values: Tensor) -> Tensor:
    """10 log10, of powers; what is 0 becomes the smallest number's."""
    return 10 * torch.log10(values.clamp(min=torch.finfo(values.dtype).tiny))


class DurallSpectrum:
    """The mean of `durall_profiles` over the pictures of all processes."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: Tensor | None = None  # [2, K]: of the curves, and of their squares

    def update(self, images: Tensor) -> None:
        """Add uint8 [B, 3, N, N] of this process; all pictures are of one size."""
        curves = durall_profiles(images.to(home_of(images.device)))
        sums = torch.stack([curves.sum(0), curves.square().sum(0)])
        self._sums = sums if self._sums is None else self._sums + sums
        self.count += len(images)

    def compute(self) -> Profile:
        """The same on every process, which must all call it and have seen a picture.

        Raises:
            ValueError: this process has seen none.
        """
        if self._sums is None:
            raise ValueError("the spectrum of no picture")
        count = int(total(torch.tensor(self.count, device=self._sums.device)))
        mean, square = total(self._sums) / count
        radius = torch.arange(1, len(mean) + 1, dtype=torch.float64)
        return Profile(radius, mean.cpu(), (square - mean.square()).clamp(min=0).sqrt().cpu(), count)


class PowerSpectrum:
    """The mean of `power` over the pictures of all processes: the map, its azimuthal curve and its slices.

    Args:
        mean, std: of the real pictures' values in [0, 255], over everything: see `mean_and_deviation`.
    """

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.std = mean, std
        self.count = 0
        self._map: Tensor | None = None
        self._sums: Tensor | None = None  # [3, K]: of power, of dB, and of dB squared

    def update(self, images: Tensor) -> None:
        """Add uint8 [B, 3, H, W] of this process; all pictures are of one size."""
        images = images.to(home_of(images.device))
        for part in images.split(max(1, AT_ONCE // images[0].numel())):
            powers = power(part, self.mean, self.std)
            curves = power_profiles(powers)
            levels = decibels(curves)
            sums = torch.stack([curves.sum(0), levels.sum(0), levels.square().sum(0)])
            self._map = powers.sum(0) if self._map is None else self._map + powers.sum(0)
            self._sums = sums if self._sums is None else self._sums + sums
        self.count += len(images)

    def compute(self) -> tuple[Tensor, Profile]:
        """The map in dB, float64 [4 H, 4 W] with the frequency 0 in the middle, and the curve; on every process.

        Raises:
            ValueError: this process has seen no picture.
        """
        if self._map is None or self._sums is None:
            raise ValueError("the spectrum of no picture")
        count = int(total(torch.tensor(self.count, device=self._map.device)))
        levels = torch.fft.fftshift(decibels(total(self._map) / count))
        mean, level, square = total(self._sums) / count
        radius = torch.arange(len(mean), dtype=torch.float64)
        std = (square - level.square()).clamp(min=0).sqrt()
        return levels.cpu(), Profile(radius, decibels(mean).cpu(), std.cpu(), count)


def closed(levels: Tensor) -> Tensor:
    """A square map [4 N, 4 N] whose middle is the frequency 0 -> [4 N + 1, 4 N + 1], from -N / 2 to N / 2 inclusive.

    A spectrum is periodic: N / 2 cycles and -N / 2 are the same.
    """
    levels = torch.cat([levels, levels[:1]], dim=0)
    return torch.cat([levels, levels[:, :1]], dim=1)


def slices(levels: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Degrees -> (cycles a picture, dB) along the horizontal (0) and the diagonal (45) of a square map [4 N, 4 N].

    Both [2 N + 1]: the horizontal ends at N / 2 cycles, the diagonal at N / sqrt 2.
    """
    levels, middle = closed(levels), len(levels) // 2
    cycles = torch.arange(middle + 1).double() / PADDING
    return {0: (cycles, levels[middle, middle:]), 45: (cycles * 2**0.5, levels.diagonal()[middle:])}


def mean_and_deviation(sums: Tensor) -> tuple[float, float]:
    """Of all values of a set, from [number, sum, sum of squares], float64."""
    number, first, second = sums.tolist()
    mean = first / number
    return mean, max(second / number - mean**2, 0.0) ** 0.5


def sums_of(images: Tensor) -> Tensor:
    """[number, sum, sum of squares] of uint8 pictures' values, float64 [3], to be added up."""
    values = images.double()
    return torch.stack([torch.tensor(float(values.numel())).to(values), values.sum(), values.square().sum()])


def profile_distance(a: Profile, b: Profile) -> float:
    """Root mean square difference of two curves over their radii, without the frequency 0: dB, or shares."""
    if a.radius.shape != b.radius.shape:
        raise ValueError(f"spectra of {len(a.radius)} and {len(b.radius)} frequencies: pictures differ in size")
    kept = a.radius > 0
    return float((a.mean - b.mean)[kept].square().mean().sqrt())
