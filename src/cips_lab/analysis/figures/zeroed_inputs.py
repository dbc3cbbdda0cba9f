"""Figure 6: what each encoding contributes: pictures with the embedding set to zero, and with the Fourier features.

In the paper, without the embedding a face loses its details and keeps its shape; without the Fourier features little
more than flat colours is left. Here the change is measured too: in the judge's features, and by frequency.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.encodings import EMBEDDING, parts_of, zeroed
from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.picture_spectra import power_curve, real_spectrum
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject, lacks_encoding
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.spectra import Profile
from cips_lab.reporting.figures import COLOURS, FAINT, INK, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

WHOLE = "both encodings"
BANDS = {"low": (0, 1 / 8), "middle": (1 / 8, 1 / 4), "high": (1 / 4, 1 / 2)}  # of R cycles a picture, 0 left out


@dataclass(frozen=True)
class ZeroedInput:
    """Of one model with one part set to zero, or none.

    Attributes:
        subject: the model's label.
        zeroed: `WHOLE` for none, or the part.
        images: of the study's seeds, [N, 3, R, R], values about [-1, 1].
        distance: Frechet distance of features to the model's whole samples; 0 for `WHOLE`.
        to_real: the same to real pictures; None without any.
        curve: dB over cycles a picture, by the stylegan3 recipe.
    """

    subject: str
    zeroed: str
    images: Tensor
    distance: float
    to_real: float | None
    curve: Profile


@dataclass(frozen=True)
class ZeroedInputs:
    """Every model's `WHOLE` first, then its parts; and the curve of real pictures, None without any."""

    models: list[list[ZeroedInput]]
    real: Profile | None


def lacks_a_second_part(subject: Subject) -> str | None:
    """Whether a picture is left when a part is set to zero; of subjects with an encoding."""
    parts = list(parts_of(subject.pixelwise.encoding))
    if len(parts) > 1:
        return None
    return f"{subject.label} has one encoding, the {parts[0]}: without it nothing tells its pixels apart"


def compute(study: Study) -> ZeroedInputs:
    """Every model that has both parts: whole, and with each of them set to zero.

    Raises:
        Unsuitable: no model has.
    """
    models = [_model(study, subject) for subject in study.suited(lacks_encoding, lacks_a_second_part)]
    return ZeroedInputs(models, None if study.real is None else real_spectrum(study).stylegan3)


def _model(study: Study, subject: Subject) -> list[ZeroedInput]:
    found = []
    parts = sorted(parts_of(subject.pixelwise.encoding), key=lambda part: part != EMBEDDING)
    for part in (WHOLE, *parts):
        whole = part == WHOLE
        changed = subject if whole else replace(subject, generator=zeroed(subject.pixelwise, part))
        with torch.no_grad():
            images = changed.generator.synthesize_native(study.styles(changed)).float().cpu()
        seen = study.gaussian_of(subject) if whole else study.gaussian(study.samples(changed))
        found.append(
            ZeroedInput(
                subject.label,
                part,
                images,
                0.0 if whole else frechet_distance(seen, study.gaussian_of(subject)),
                None if study.real is None else frechet_distance(seen, study.real_gaussian),
                power_curve(study, study.samples(changed), f"{subject.label}, {part}"),
            )
        )
    return found


def changes(one: ZeroedInput, whole: ZeroedInput) -> dict[str, float]:
    """dB by which the mean power of the rings of each of `BANDS` has changed."""
    power, before = (10 ** (curve.curve.mean / 10) for curve in (one, whole))
    radius, side = one.curve.radius, one.images.shape[-1]
    found = {}
    for name, (start, stop) in BANDS.items():
        band = (radius > 0) & (radius >= start * side) & (radius <= stop * side)
        found[name] = float(10 * torch.log10(power[band].mean() / before[band].mean()))
    return found


def rows(data: ZeroedInputs) -> list[Row]:
    """model, zeroed, distance (to the whole model's samples), distance_to_real, and the change of dB by band."""
    return [
        {
            "model": one.subject,
            "zeroed": "none" if one.zeroed == WHOLE else one.zeroed,
            "distance": one.distance,
            "distance_to_real": one.to_real,
            **{f"{band}_change_db": change for band, change in changes(one, model[0]).items()},
        }
        for model in data.models
        for one in model
    ]


def numbers(data: ZeroedInputs) -> Row:
    """model -> part -> distance from the whole model's samples, and change in dB by band; the whole's from real."""
    return {
        model[0].subject: {
            "whole": {"distance_to_real": model[0].to_real},
            **{
                one.zeroed: {
                    "distance": one.distance,
                    "distance_to_real": one.to_real,
                    "change_db": changes(one, model[0]),
                }
                for one in model[1:]
            },
        }
        for model in data.models
    }


def reading(data: ZeroedInputs) -> str:
    """Which part matters more, and where its energy is."""
    told = []
    for model in data.models:
        ordered = sorted(model[1:], key=lambda one: -one.distance)
        listed = ", ".join(
            f"{one.distance:.3g} without the {one.zeroed} ({changes(one, model[0])['high']:+.1f} dB of power in the "
            "highest frequencies)"
            for one in ordered
        )
        told.append(f"{model[0].subject}: {listed}")
    return f"Feature distance from the whole model's samples, {'; '.join(told)}."


def draw(data: ZeroedInputs) -> "Drawing":
    """A row each, the same seeds in every row of a model; beside a model's rows what its frequencies lose."""
    import matplotlib.pyplot as plt

    columns = len(data.models[0][0].images)
    lines = sum(map(len, data.models))
    size = (1.35 * columns + 6.2, 1.45 * lines + 0.5)
    figure = plt.figure(figsize=size, constrained_layout=True)
    grid = figure.add_gridspec(lines, columns + 1, width_ratios=[*[1.35] * columns, 4.2])
    line = 0
    for model in data.models:
        panel = figure.add_subplot(grid[line : line + len(model), columns])
        _curves(panel, model, data.real)
        for one in model:
            for column, image in enumerate(one.images):
                axes = figure.add_subplot(grid[line, column])
                show(axes, image)
                if column == 0:
                    axes.set_ylabel(_name(one), fontsize=8.5, rotation=0, ha="right", va="center", labelpad=6)
            line += 1
    return figure


def _name(one: ZeroedInput) -> str:
    if one.zeroed == WHOLE:
        return f"{one.subject}\n{WHOLE}"
    return f"without the\n{one.zeroed}\n(distance {one.distance:.3g})"


def _curves(axes: "Axes", model: list[ZeroedInput], real: Profile | None) -> None:
    if real is not None:
        axes.plot(real.radius.numpy(), real.mean.numpy(), color=INK, linestyle=":", label="real pictures")
    for one, colour in zip(model, COLOURS, strict=False):
        label = WHOLE if one.zeroed == WHOLE else f"without the {one.zeroed}"
        axes.plot(one.curve.radius.numpy(), one.curve.mean.numpy(), color=colour, label=label)
    axes.set_title(f"{model[0].subject}: power by frequency", loc="left")
    axes.set_xlabel("cycles a picture")
    axes.set_ylabel("dB")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.legend(frameon=False, fontsize=8)


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
