"""The two encodings of a pixel as maps: what Figures 4, 5 and 6 look at, trained and as they began."""

from typing import NamedTuple

import torch
from omegaconf import OmegaConf
from torch import Tensor

from cips_lab.analysis.subject import Subject
from cips_lab.configuration import build
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.encoding import CoordinateEmbedding, EncodingPart, FourierFeatures, PositionalEncoding

FOURIER, EMBEDDING = "Fourier features", "coordinate embedding"
NAMES: dict[type, str] = {FourierFeatures: FOURIER, CoordinateEmbedding: EMBEDDING}


class EncodingMap(NamedTuple):
    """One part of the encoding on the native grid.

    Attributes:
        subject: the model's label.
        part: `FOURIER` or `EMBEDDING`.
        values: float32 [features, R, R].
    """

    subject: str
    part: str
    values: Tensor


def parts_of(encoding: PositionalEncoding) -> dict[str, EncodingPart]:
    """The parts that an encoding has, by their names."""
    return {NAMES.get(type(part), type(part).__name__): part for part in encoding.parts()}


@torch.no_grad()
def maps_of(subject: Subject, encoding: PositionalEncoding, resolution: int | None = None) -> list[EncodingMap]:
    """Each part's values on a square grid of the training square, native by default."""
    side = resolution or subject.generator.resolution
    grid = image_grid(side, side, device=next(encoding.parameters()).device).view(-1, 2)
    return [
        EncodingMap(subject.label, name, part(grid).T.unflatten(1, (side, side)).cpu())
        for name, part in parts_of(encoding).items()
    ]


def as_it_began(subject: Subject) -> PositionalEncoding | None:
    """The encoding before training, where the file tells how it was made: an initialisation, by the run's own seed."""
    if not subject.config:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed or 0)
        generator = build(OmegaConf.create(subject.config))
    return generator.encoding if isinstance(generator, CIPSGenerator) else None
