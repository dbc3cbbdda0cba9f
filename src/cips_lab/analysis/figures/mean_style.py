"""Figure 3: the picture at the mean style, which shows what a model draws where nothing in particular is asked for.

In the paper CIPS's mean face is sharp and CIPS-NE's is plain: the coordinate embedding holds details of places.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.metrics.spectra import decibels, power_profiles, windowed_power
from cips_lab.reporting.figures import show

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SAMPLES = 32  # whose detail the mean picture's is compared with
IN_A_ROW = 6


@dataclass(frozen=True)
class MeanStyle:
    """Of one model.

    Attributes:
        subject: its label.
        image: the picture at the tracked mean of w, [3, R, R], values about [-1, 1].
        detail: its power from R / 8 cycles a picture on, dB; 0 dB is white noise of deviation 1.
        of_samples: the same of `SAMPLES` samples, their mean power.
    """

    subject: str
    image: Tensor
    detail: float
    of_samples: float

    @property
    def difference(self) -> float:
        """dB by which the mean picture holds more detail than samples do; negative: less."""
        return self.detail - self.of_samples


def detail_of(images: Tensor) -> float:
    """Mean power of pictures [B, 3, R, R] in the rings from R / 8 to R / 2 cycles a picture, dB."""
    values = images.detach().cpu().double()
    curves = power_profiles(windowed_power(values - values.mean((2, 3), keepdim=True)).mean(1))
    return float(decibels(curves[:, images.shape[-1] // 8 :].mean()))


@torch.no_grad()
def compute(study: Study) -> list[MeanStyle]:
    """Every model's picture at its mean style."""
    found = []
    for subject in study.subjects:
        generator = subject.generator
        image = generator.synthesize_native(generator.mapping.w_mean[None].to(study.device)).float().cpu()
        styles = study.styles(subject, range(SAMPLES)).split(study.batch)
        samples = torch.cat([generator.synthesize_native(w).float().cpu().clamp(-1, 1) for w in styles])
        found.append(MeanStyle(subject.label, image[0], detail_of(image.clamp(-1, 1)), detail_of(samples)))
    return found


def rows(data: list[MeanStyle]) -> list[Row]:
    """model, detail_db, detail_of_samples_db."""
    return [{"model": one.subject, "detail_db": one.detail, "detail_of_samples_db": one.of_samples} for one in data]


def numbers(data: list[MeanStyle]) -> Row:
    """The detail of each mean picture and of the samples."""
    return {one.subject: {"detail_db": one.detail, "detail_of_samples_db": one.of_samples} for one in data}


def reading(data: list[MeanStyle]) -> str:
    """Which mean picture holds most detail, beside its model's samples."""
    ordered = sorted(data, key=lambda one: -one.detail)
    listed = ", ".join(f"{one.subject} {one.detail:.1f} dB ({one.difference:+.1f} dB)" for one in ordered)
    return f"Detail of the mean picture (its power above an eighth of the sampling rate; less its samples'): {listed}."


def draw(data: list[MeanStyle]) -> "Drawing":
    """The pictures side by side."""
    import matplotlib.pyplot as plt

    columns = min(IN_A_ROW, len(data))
    lines = -(-len(data) // IN_A_ROW)
    size = (max(3.6, 2.3 * columns), 2.9 * lines)
    figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False, constrained_layout=True)
    for axes in grid.flat[len(data) :]:
        axes.axis("off")
    for axes, one in zip(grid.flat, data, strict=False):
        show(axes, one.image)
        axes.set_title(one.subject)
        axes.set_xlabel(f"detail {one.detail:.1f} dB\n(samples {one.of_samples:.1f} dB)", fontsize=8.5)
    return figure


FIGURE = Figure(
    name="mean_style",
    title="The picture at the mean style",
    place="Figure 3",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
