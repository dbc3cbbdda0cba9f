"""Figure 6: what each encoding contributes: pictures with the embedding set to zero, and with the Fourier features.

In the paper, without the embedding a face loses its details and keeps its shape; without the Fourier features little
more than flat colours is left. Here the change is measured too.
"""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cips_lab.analysis.encodings import EMBEDDING, FOURIER, parts_of
from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject, lacks_encoding
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.spectra import decibels, power_profiles, windowed_power
from cips_lab.networks.cips import CIPSGenerator

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

WHOLE = "both encodings"
BANDS = {"low": (0.0, 1 / 8), "middle": (1 / 8, 1 / 4), "high": (1 / 4, 1 / 2)}  # of the sampling rate


@dataclass(frozen=True)
class ZeroedInput:
    """Of one model with one part set to zero, or none.

    Attributes:
        subject: the model's label.
        zeroed: `WHOLE` for none, or the part.
        images: of the study's seeds, [N, 3, R, R], values about [-1, 1].
        distance: Frechet distance of features to the model's whole samples; 0 for `WHOLE`.
        to_real: the same to real pictures; None without any.
        bands: dB of the power in each of `BANDS`.
    """

    subject: str
    zeroed: str
    images: Tensor
    distance: float
    to_real: float | None
    bands: dict[str, float]


def without(generator: CIPSGenerator, part: str) -> CIPSGenerator:
    """A copy whose encoding gives zeros for one part: the rest of the network is as it was.

    Its first layer's weights still count in the demodulation, as they do where an input merely happens to be zero.
    """
    copied = copy.deepcopy(generator)
    module: nn.Module = parts_of(copied.encoding)[part]
    with torch.no_grad():
        for parameter in module.parameters():  # sin(0 x + 0) = 0, and a table of zeros interpolates to zero
            parameter.zero_()
    return copied


def bands_of(images: Tensor) -> dict[str, float]:
    """dB of the mean power of pictures [N, 3, R, R] in each band, 0 dB being white noise of deviation 1."""
    centred = images.double() - images.double().mean((2, 3), keepdim=True)
    curve = power_profiles(windowed_power(centred).mean(1)).mean(0)
    side = images.shape[-1]
    radius = torch.arange(len(curve)) / side
    return {
        name: float(decibels(curve[(radius >= low) & (radius <= high) & (radius > 0)].mean()))
        for name, (low, high) in BANDS.items()
    }


def compute(study: Study) -> list[ZeroedInput]:
    """Every model whole, and with each of its parts set to zero.

    Raises:
        Unsuitable: a model has no encoding.
    """
    found = []
    for subject in study.suited(lacks_encoding):
        parts = parts_of(subject.pixelwise.encoding)
        whole = study.gaussian(study.samples(subject))
        for zeroed in (WHOLE, *(part for part in (EMBEDDING, FOURIER) if part in parts)):
            changed = subject
            if zeroed != WHOLE:
                changed = Subject(subject.label, without(subject.pixelwise, zeroed), subject.config)
            with torch.no_grad():
                images = changed.generator.synthesize_native(study.styles(changed)).float().cpu()
            seen = whole if zeroed == WHOLE else study.gaussian(study.samples(changed))
            found.append(
                ZeroedInput(
                    subject.label,
                    zeroed,
                    images,
                    0.0 if zeroed == WHOLE else frechet_distance(seen, whole),
                    None if study.real is None else frechet_distance(seen, study.real_gaussian),
                    bands_of(images),
                )
            )
    return found


def rows(data: list[ZeroedInput]) -> list[Row]:
    """model, zeroed, distance (to the whole model's samples), distance_to_real, and dB by band."""
    return [
        {
            "model": one.subject,
            "zeroed": one.zeroed,
            "distance": one.distance,
            "distance_to_real": one.to_real,
            **{f"{band}_db": level for band, level in one.bands.items()},
        }
        for one in data
    ]


def numbers(data: list[ZeroedInput]) -> Row:
    """The distances."""
    return {"distance": {f"{one.subject}, zeroed: {one.zeroed}": one.distance for one in data if one.zeroed != WHOLE}}


def reading(data: list[ZeroedInput]) -> str:
    """Which part matters more."""
    listed = "; ".join(f"{one.subject} without {one.zeroed}: {one.distance:.1f}" for one in data if one.zeroed != WHOLE)
    return f"Distance of features from the whole model's samples: {listed}."


def draw(data: list[ZeroedInput]) -> "Drawing":
    """A row each, the same seeds in every row."""
    import matplotlib.pyplot as plt

    columns = len(data[0].images)
    size = (max(5.0, 1.5 * columns + 1.8), 1.6 * len(data))
    figure, grid = plt.subplots(len(data), columns, figsize=size, squeeze=False, constrained_layout=True)
    for line, one in zip(grid, data, strict=True):
        for axes, image in zip(line, one.images, strict=True):
            axes.imshow(((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        what = one.zeroed if one.zeroed == WHOLE else f"without\n{one.zeroed}"
        line[0].set_ylabel(f"{one.subject}\n{what}", fontsize=8, rotation=0, ha="right", va="center")
    return figure


FIGURE = Figure(
    name="zeroed_inputs",
    title="What each encoding contributes",
    place="Figure 6",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
