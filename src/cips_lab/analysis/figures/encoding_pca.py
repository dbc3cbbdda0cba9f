"""Figure 5: what the encodings tell apart, as colours: three principal components over pixels.

The paper sees stripes in the Fourier features and, in the coordinate embeddings, outlines of what the pictures show.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cips_lab.analysis.encodings import EncodingMap, as_it_began, maps_of
from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject, lacks_encoding
from cips_lab.metrics.collect import home_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

COMPONENTS = 3
PERCENT = (1.0, 99.0)  # of a component's values, brought to the darkest and the brightest colour
AT_ONCE = 2**16  # pixels in float64


@dataclass(frozen=True)
class EncodingPCA:
    """Of one part of one model.

    Attributes:
        subject, part: whose and which.
        components: [3, R, R], scores of the pixels, the strongest first; each component's largest score is positive.
        explained: [3], each one's share of the variance over pixels.
        began: the share that the first three had before training; None where that is not known.
    """

    subject: str
    part: str
    components: Tensor
    explained: Tensor
    began: float | None = None

    @property
    def shown(self) -> float:
        """The share of the variance over pixels that the three show."""
        return float(self.explained.sum())


def principal_components(values: EncodingMap, count: int = COMPONENTS) -> tuple[Tensor, Tensor]:
    """PCA of the pixels' vectors, in float64: scores [count, R, R] and shares of the variance [count], on the CPU.

    By the eigenvectors of the covariance [features, features], summed up over parts of the pixels. Components beyond
    the number of features are zero.
    """
    features, side, _ = values.values.shape
    home = home_of(values.values.device)
    pixels = values.values.flatten(1).T.to(home)
    mean = torch.stack([part.double().sum(0) for part in pixels.split(AT_ONCE)]).sum(0) / len(pixels)
    scatter = torch.zeros(features, features, dtype=torch.float64, device=home)
    for part in pixels.split(AT_ONCE):
        centred = part.double() - mean
        scatter += centred.T @ centred
    variances, vectors = torch.linalg.eigh(scatter)
    variances, vectors = variances.flip(0).clamp(min=0)[:count], vectors.flip(1)[:, :count]
    scores = torch.cat([(part.double() - mean) @ vectors for part in pixels.split(AT_ONCE)])
    # A component's sign is free: the same data give the same colours.
    largest = scores.abs().argmax(0)
    scores = scores * scores[largest, torch.arange(scores.shape[1], device=home)].sign()
    explained = variances / scatter.trace().clamp(min=1e-300)
    missing = count - len(explained)
    scores = torch.cat([scores, scores.new_zeros(len(scores), missing)], dim=1)
    explained = torch.cat([explained, explained.new_zeros(missing)])
    return scores.T.unflatten(1, (side, side)).cpu(), explained.cpu()


def compute(study: Study) -> list[EncodingPCA]:
    """Every part of every model's encoding on its native grid.

    Raises:
        Unsuitable: no model has one.
    """
    found = []
    for subject in study.suited(lacks_encoding):
        began = _shown_at_first(study, subject)
        for values in maps_of(subject, subject.pixelwise.encoding):
            components, explained = principal_components(values)
            found.append(
                EncodingPCA(values.subject, values.part, components.float(), explained, began.get(values.part))
            )
    return found


def _shown_at_first(study: Study, subject: Subject) -> dict[str, float]:
    encoding = as_it_began(subject)
    if encoding is None:
        return {}
    maps = maps_of(subject, encoding.to(study.device))
    return {values.part: float(principal_components(values)[1].sum()) for values in maps}


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
    """model -> part -> the share of the variance that the three colours show, and showed before training."""
    found: Row = {}
    for one in data:
        found.setdefault(one.subject, {})[one.part] = {"shown": one.shown, "initialised": one.began}
    return found


def reading(data: list[EncodingPCA]) -> str:
    """How much of each encoding three colours show."""
    told = []
    for subject, parts in numbers(data).items():
        listed = ", ".join(
            f"{part} {share['shown']:.0%}"
            + ("" if share["initialised"] is None else f" (initialised: {share['initialised']:.0%})")
            for part, share in parts.items()
        )
        told.append(f"{subject}: {listed}")
    return f"Three components show this share of the variance over pixels; {'; '.join(told)}."


def draw(data: list[EncodingPCA]) -> "Drawing":
    """A row for each model; of each part the three components as one RGB picture, and each in grey."""
    import matplotlib.pyplot as plt

    models = list(dict.fromkeys(one.subject for one in data))
    parts = list(dict.fromkeys(one.part for one in data))
    columns = 1 + COMPONENTS
    size = (1.45 * columns * len(parts) + 0.6, 1.8 * len(models) + 0.2)
    figure, grid = plt.subplots(len(models), columns * len(parts), figsize=size, squeeze=False, constrained_layout=True)
    for axes in grid.flat:
        axes.axis("off")
    for one in data:
        line, first = models.index(one.subject), columns * parts.index(one.part)
        cells = grid[line, first : first + columns]
        cells[0].imshow(as_colours(one.components).numpy(), interpolation="nearest")
        cells[0].set_title(f"{one.part}\nas red, green, blue", fontsize=8.5)
        for number, axes in enumerate(cells[1:]):
            axes.imshow(one.components[number].numpy(), cmap="gray", interpolation="nearest")
            axes.set_title(f"component {number + 1}:\n{float(one.explained[number]):.1%}", fontsize=8.5)
        for axes in cells:
            axes.axis("on")
            axes.set_xticks([])
            axes.set_yticks([])
    for line, model in enumerate(models):
        cell = next(axes for axes in grid[line] if axes.images)
        cell.set_ylabel(model)
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
