"""Figure 5: what the encodings tell apart, as colours: three principal components over pixels.

The paper sees stripes in the Fourier features and, in the coordinate embeddings, outlines of what the pictures show.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.encodings import EncodingMap, maps_of
from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import lacks_encoding

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

COMPONENTS = 3
PERCENT = (1.0, 99.0)  # of a component's values, brought to the darkest and the brightest colour


@dataclass(frozen=True)
class EncodingPCA:
    """Of one part of one model.

    Attributes:
        subject, part: whose and which.
        components: [3, R, R], scores of the pixels, the strongest first; each component's largest score is positive.
        explained: [3], each one's share of the variance over pixels.
    """

    subject: str
    part: str
    components: Tensor
    explained: Tensor


def principal_components(values: EncodingMap, count: int = COMPONENTS) -> EncodingPCA:
    """PCA of the pixels' vectors, by the singular values of the centred matrix [R * R, features], in float64."""
    features, side, _ = values.values.shape
    pixels = values.values.double().flatten(1).T
    pixels = pixels - pixels.mean(0)
    u, s, _ = torch.linalg.svd(pixels, full_matrices=False)
    kept = min(count, features)
    scores = u[:, :kept] * s[:kept]
    # A component's sign is free: the same data give the same colours.
    largest = scores.abs().argmax(0)
    scores = scores * scores[largest, torch.arange(kept)].sign()
    explained = s[:kept].square() / s.square().sum()
    padding = count - kept
    return EncodingPCA(
        values.subject,
        values.part,
        torch.cat([scores, scores.new_zeros(len(scores), padding)], dim=1).T.unflatten(1, (side, side)).float(),
        torch.cat([explained, explained.new_zeros(padding)]),
    )


def compute(study: Study) -> list[EncodingPCA]:
    """Every part of every model's encoding on its native grid.

    Raises:
        Unsuitable: a model has none.
    """
    return [
        principal_components(values)
        for subject in study.suited(lacks_encoding)
        for values in maps_of(subject, subject.pixelwise.encoding)
    ]


def as_colours(components: Tensor) -> Tensor:
    """[3, R, R] -> RGB in [0, 1], [R, R, 3]: each component by its own percentiles."""
    flat = components.flatten(1)
    low, high = (torch.quantile(flat, share / 100, dim=1)[:, None, None] for share in PERCENT)
    return ((components - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).permute(1, 2, 0)


def rows(data: list[EncodingPCA]) -> list[Row]:
    """model, part, component (1 is the strongest), explained (share of the variance over pixels)."""
    return [
        {"model": one.subject, "part": one.part, "component": number, "explained": float(share)}
        for one in data
        for number, share in enumerate(one.explained, 1)
    ]


def numbers(data: list[EncodingPCA]) -> Row:
    """The share of the variance that the three colours show."""
    return {"shown": {f"{one.subject}, {one.part}": float(one.explained.sum()) for one in data}}


def reading(data: list[EncodingPCA]) -> str:
    """How much of each encoding three colours show."""
    listed = "; ".join(f"{one.subject}, {one.part}: {float(one.explained.sum()):.0%}" for one in data)
    return f"Three components show this share of the variance over pixels: {listed}."


def draw(data: list[EncodingPCA]) -> "Drawing":
    """A column each: the three components as one RGB picture, and each in grey."""
    import matplotlib.pyplot as plt

    size = (max(5.0, 2.2 * len(data)), 6.2)
    figure, grid = plt.subplots(1 + COMPONENTS, len(data), figsize=size, squeeze=False, constrained_layout=True)
    for column, one in zip(grid.T, data, strict=True):
        column[0].imshow(as_colours(one.components).numpy(), interpolation="nearest")
        column[0].set_title(f"{one.subject}\n{one.part}", fontsize=8.5)
        for number, axes in enumerate(column[1:]):
            axes.imshow(one.components[number].numpy(), cmap="gray", interpolation="nearest")
            axes.set_xlabel(f"component {number + 1}: {float(one.explained[number]):.1%}", fontsize=8)
        for axes in column:
            axes.set_xticks([])
            axes.set_yticks([])
    return figure


FIGURE = Figure(
    name="encoding_pca",
    title="Principal components of the encodings over pixels",
    place="Figure 5",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
)
