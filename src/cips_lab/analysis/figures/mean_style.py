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

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class MeanStyle:
    """Of one model.

    Attributes:
        subject: its label.
        image: the picture at the tracked mean of w, [3, R, R], values about [-1, 1].
        detail: its energy above R / 8 cycles a picture, dB of the power of white noise of deviation 1 in that range.
    """

    subject: str
    image: Tensor
    detail: float


def detail_of(images: Tensor) -> Tensor:
    """Energy of pictures [B, 3, R, R] above R / 8 cycles a picture: [B], dB."""
    curves = power_profiles(windowed_power(images - images.mean((2, 3), keepdim=True)).mean(1))
    return decibels(curves[:, images.shape[-1] // 8 :].mean(1))


@torch.no_grad()
def compute(study: Study) -> list[MeanStyle]:
    """Every model's picture at its mean style."""
    found = []
    for subject in study.subjects:
        generator = subject.generator
        image = generator.synthesize_native(generator.mapping.w_mean[None].to(study.device)).float().cpu()
        found.append(MeanStyle(subject.label, image[0], float(detail_of(image)[0])))
    return found


def rows(data: list[MeanStyle]) -> list[Row]:
    """model, detail_db."""
    return [{"model": one.subject, "detail_db": one.detail} for one in data]


def numbers(data: list[MeanStyle]) -> Row:
    """The detail of each."""
    return {"detail_db": {one.subject: one.detail for one in data}}


def reading(data: list[MeanStyle]) -> str:
    """Which mean picture holds most detail."""
    ordered = sorted(data, key=lambda one: -one.detail)
    listed = ", ".join(f"{one.subject} {one.detail:.1f} dB" for one in ordered)
    return f"Energy of the mean picture above an eighth of the sampling rate, most first: {listed}."


def draw(data: list[MeanStyle]) -> "Drawing":
    """The pictures side by side."""
    import matplotlib.pyplot as plt

    size = (max(3.0, 2.4 * len(data)), 2.9)
    figure, grid = plt.subplots(1, len(data), figsize=size, squeeze=False, constrained_layout=True)
    for axes, one in zip(grid[0], data, strict=True):
        axes.imshow(((one.image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(one.subject)
        axes.set_xlabel(f"detail {one.detail:.1f} dB", fontsize=8.5)
        axes.set_xticks([])
        axes.set_yticks([])
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
