"""The two encodings of a pixel as maps: what Figures 4, 5 and 6 look at, trained and as they began."""

import copy
from typing import NamedTuple

import torch
from omegaconf import OmegaConf
from torch import Tensor

from cips_lab.analysis.subject import Subject
from cips_lab.configuration import build
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.encoding import (
    CoordinateEmbedding,
    EncodingPart,
    FourierFeatures,
    Inputs,
    PositionalEncoding,
)

FOURIER, EMBEDDING = "Fourier features", "coordinate embedding"
NAMES: dict[type, str] = {FourierFeatures: FOURIER, CoordinateEmbedding: EMBEDDING}


class EncodingMap(NamedTuple):
    """One part of the encoding on the native grid.

    Attributes:
        subject: the model's label.
        part: `FOURIER` or `EMBEDDING`.
        values: float32 [features, R, R], where the encoding's parameters are.
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
    side = resolution or subject.generator.side
    grid = image_grid(side, side, device=next(encoding.parameters()).device).view(-1, 2)
    return [
        EncodingMap(subject.label, name, part(grid).T.unflatten(1, (side, side)))
        for name, part in parts_of(encoding).items()
    ]


def as_it_began(subject: Subject) -> PositionalEncoding | None:
    """The encoding before training, on the CPU; None where the file does not tell how it was made.

    Of a run it is the very one that it began with, drawn as `launch.networks.build_gan` does, unless `init` gave it
    other weights; of a file without a run, whose seed is not known, another draw from the same distribution.
    """
    if not subject.config:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed or 0)
        generator = build(OmegaConf.create(subject.config))
    return generator.encoding if isinstance(generator, CIPSGenerator) else None


class Nothing(EncodingPart):
    """Zeros, in the place of a part that is set to zero."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def inputs(self, native: bool) -> Inputs:
        return Inputs()

    def encode(self, coords: Tensor, inputs: Inputs) -> Tensor:
        return coords.new_zeros(*coords.shape[:-1], self.features)


def zeroed(generator: CIPSGenerator, part: str) -> CIPSGenerator:
    """A copy whose encoding has zeros for one part; the rest of the network is as it was.

    It draws what the first layer draws without that part's columns of its modulated weight B-hat. Those columns still
    count in the demodulation, as where an input merely happens to be zero: with columns deleted from B instead, the
    other ones' rows would be brought to unit length, and grow.
    """
    copied = copy.deepcopy(generator)
    own = parts_of(copied.encoding)[part]
    (name,) = (name for name, module in copied.encoding.named_children() if module is own)
    copied.encoding.add_module(name, Nothing(own.features).to(copied.native_coords.device))
    if part == FOURIER:
        copied.shift = copied.rotation = None  # styles have no waves to move
    return copied
