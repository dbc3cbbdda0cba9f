"""Spectra of a study's sets of pictures, by both recipes, and how far each lies from the real one."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject
from cips_lab.metrics.collect import home_of, numbered
from cips_lab.metrics.spectra import (
    RECIPES,
    DurallSpectrum,
    PowerSpectrum,
    Profile,
    Recipe,
    mean_and_deviation,
    profile_distance,
    sums_of,
)
from cips_lab.processes.collectives import total

REAL, HELD_OUT = "real", "real, held out"
UNITS: dict[Recipe, str] = {"durall": "", "stylegan3": " dB"}  # of distances
DIGITS: dict[Recipe, int] = {"durall": 3, "stylegan3": 2}


@dataclass(frozen=True)
class Spectrum:
    """Of one set of pictures.

    Attributes:
        label: of the set.
        durall: share in [0, 1] over cycles a picture.
        stylegan3: dB over cycles a picture; 0 dB is white noise of the real set's deviation.
        levels: dB, float64 [4 R, 4 R], the frequency 0 in the middle.
    """

    label: str
    durall: Profile
    stylegan3: Profile
    levels: Tensor

    def profile(self, recipe: Recipe) -> Profile:
        """The azimuthal curve by one of the recipes."""
        return self.durall if recipe == "durall" else self.stylegan3

    def distance(self, other: "Spectrum", recipe: Recipe) -> float:
        """Root mean square difference of the azimuthal curves: durall: a share; stylegan3: dB."""
        return profile_distance(self.profile(recipe), other.profile(recipe))


def distances(one: Spectrum, real: Spectrum) -> dict[str, float]:
    """recipe -> distance of the curves."""
    return {recipe: one.distance(real, recipe) for recipe in RECIPES}


def spectrum_of(label: str, batches: Iterable[Tensor], count: int, study: Study) -> Spectrum:
    """Both recipes in one pass over this process's share of `count` pictures; the same on every process."""
    mean, std = whitening(study)
    durall, stylegan3 = DurallSpectrum(), PowerSpectrum(mean, std)
    for images, _ in numbered(batches, count, study.device, f"Spectrum of {label}"):
        durall.update(images)
        stylegan3.update(images)
    levels, curve = stylegan3.compute()
    return Spectrum(label, durall.compute(), curve, levels)


def power_curve(study: Study, batches: Iterable[Tensor], label: str) -> Profile:
    """The stylegan3 recipe's azimuthal curve of a study's number of pictures, without any real ones too.

    0 dB is white noise of the real set's deviation or, without one, of 1 in values of [-1, 1].
    """
    spectrum = PowerSpectrum(*((127.5, 127.5) if study.real is None else whitening(study)))
    for images, _ in numbered(batches, study.count, study.device, f"Spectrum of {label}"):
        spectrum.update(images)
    return spectrum.compute()[1]


def whitening(study: Study) -> tuple[float, float]:
    """Mean and deviation of all values of the real pictures, in [0, 255].

    Raises:
        Unsuitable: there are none.
    """
    home = home_of(study.device)

    def found() -> tuple[float, float]:
        own = (sums_of(images.to(home)) for images in study.real_pictures())
        return mean_and_deviation(total(reduce(torch.add, own, torch.zeros(3, dtype=torch.float64, device=home))))

    return study.once("whitening", found)


def real_spectrum(study: Study) -> Spectrum:
    """Of the real pictures. Raises `Unsuitable` where there are none."""
    return study.once(("spectrum", REAL), lambda: spectrum_of(REAL, study.real_pictures(), study.count, study))


def held_out_spectrum(study: Study) -> Spectrum | None:
    """Of real pictures that were not trained on: how far two sets of real pictures are apart; None without any."""
    pictures = study.held_out
    if pictures is None:
        return None
    count = min(study.count, len(pictures))
    batches = study.pictures(pictures, count)
    return study.once(("spectrum", HELD_OUT), lambda: spectrum_of(HELD_OUT, batches, count, study))


def subject_spectrum(study: Study, subject: Subject) -> Spectrum:
    """Of a subject's samples, as many as there are real pictures."""
    label = subject.label
    return study.once(("spectrum of", label), lambda: spectrum_of(label, study.samples(subject), study.count, study))


def quoted(distance: float, recipe: Recipe) -> str:
    """A distance in the digits that it is told with: ``2.74 dB`` or ``0.072``."""
    return f"{distance:.{DIGITS[recipe]}f}{UNITS[recipe]}"
