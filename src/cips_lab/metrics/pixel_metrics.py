"""Metrics that no network gave: of patches, of colours and of spectra. They need no download, and judge otherwise.

Imported when they are computed: the list of metrics is read by commands that need neither torch nor torchmetrics.
"""

from typing import TYPE_CHECKING

from cips_lab.metrics.metric import Comparison, Metric, PictureSums

if TYPE_CHECKING:
    import torchmetrics
    from torch import Tensor

    from cips_lab.metrics.statistics import Estimate
    from cips_lab.networks.size import Size


def make_colours(size: "Size", count: int) -> "torchmetrics.Metric":
    from cips_lab.metrics.per_picture import colours

    return colours(count)


def make_shapes(size: "Size", count: int) -> "torchmetrics.Metric":
    from cips_lab.metrics.per_picture import shapes

    return shapes(size, count)


def make_powers(size: "Size", count: int) -> "torchmetrics.Metric":
    from cips_lab.metrics.per_picture import powers

    return powers(size, count)


def make_descriptors(size: "Size", count: int) -> "torchmetrics.Metric":
    from cips_lab.metrics.laplacian import Descriptors

    return Descriptors(size, count)


def swd(pair: Comparison) -> dict[str, float]:
    """Karras et al., ICLR 2018: of patches of Laplacian pyramids, level by level."""
    from cips_lab.metrics.sliced_wasserstein import sliced_wasserstein

    found = sliced_wasserstein(pair.generated.sums, pair.real.sums)
    of_levels = {f"swd/{level}": value for level, value in found.levels.items()}
    return {"swd": found.value, "swd_se": found.se, **of_levels}


def colour(pair: Comparison) -> dict[str, float]:
    """The Frechet distance of the pictures' colour moments, in squared levels."""
    from cips_lab.metrics.frechet import frechet_estimate
    from cips_lab.metrics.statistics import gaussian_of

    generated, real = pair.generated.sums["values"], pair.real.sums["values"]
    found = frechet_estimate(generated, gaussian_of(generated), gaussian_of(real))
    return {"colour": found.value, "colour_se": found.se}


def spectrum_distance_durall(pair: Comparison) -> dict[str, float]:
    """Between mean curves by Durall et al.'s recipe: the root mean square over radii, a share of the curves' range."""
    generated, real = pair.generated.sums["values"].double(), pair.real.sums["values"].double()
    found = curve_distance(generated - generated.mean(0), generated.mean(0) - real.mean(0))
    return {"spectrum_distance_durall": found.value, "spectrum_distance_durall_se": found.se}


def spectrum_distance(pair: Comparison) -> dict[str, float]:
    """Between mean powers by StyleGAN3's recipe: the root mean square over radii, without the frequency 0, in dB."""
    import math

    window, real = pair.real.sums["window"], pair.real.sums["values"].double()
    mean, rings = real[:, -1].mean(), len(window)
    generated = pair.generated.sums["values"].double()

    def whitened(values: "Tensor") -> "Tensor":
        """Powers [N, K - 1]; their scale, the set's deviation, is the same for both and adds no difference."""
        powers = values[:, :rings] - 2 * mean * values[:, rings : 2 * rings] + mean**2 * window
        return powers[:, 1:]

    ours, theirs = whitened(generated), whitened(real).mean(0)
    decibel = 10 / math.log(10)
    centre = ours.mean(0)
    found = curve_distance(decibel * (ours / centre - 1), decibel * (centre / theirs).log())
    return {"spectrum_distance": found.value, "spectrum_distance_se": found.se}


def curve_distance(influences: "Tensor", difference: "Tensor") -> "Estimate":
    """The root mean square of a difference of curves [K], and its error from each picture's influence on it [N, K]."""
    from cips_lab.metrics.statistics import Estimate

    value = difference.square().mean().sqrt()
    of_value = influences @ difference / (len(difference) * value.clamp(min=1e-30))
    return Estimate(float(value), float(of_value.std(correction=0)) / len(influences) ** 0.5)


SWD = Metric(
    "swd", "lower", "Sliced Wasserstein distance", swd, PictureSums("descriptors.1", make_descriptors), headline=True
)
COLOUR = Metric("colour", "lower", "Colour moments", colour, PictureSums("colours.1", make_colours))
SPECTRUM_DISTANCE_DURALL = Metric(
    "spectrum_distance_durall",
    "lower",
    "Spectrum's shape (Durall)",
    spectrum_distance_durall,
    PictureSums("shapes.1", make_shapes),
)
SPECTRUM_DISTANCE = Metric(
    "spectrum_distance", "lower", "Spectrum, dB (StyleGAN3)", spectrum_distance, PictureSums("powers.1", make_powers)
)
