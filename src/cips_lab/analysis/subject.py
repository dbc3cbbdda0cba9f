"""A generator under study, and what a figure may need of it: each a function that says in a sentence what it lacks.

study.suited(lacks_encoding, lacks_outputs)   # the subjects that have both
"""

from dataclasses import dataclass, field
from typing import Any

from cips_lab.errors import UserError
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.generator import Generator


class Unsuitable(UserError):
    """What was given lacks what a figure needs; the message is one sentence that says what."""


@dataclass(frozen=True)
class Subject:
    """A generator under study.

    Attributes:
        label: what it is called in legends; unlike any other's in the study.
        generator: averaged, in evaluation mode, on the study's device.
        config: the configuration that builds it, as it lies in its file; empty for a released checkpoint.
        variant: the option of the group `generator`, or what its file is called; subjects of one variant and several
            seeds give means and deviations.
        kimg: thousands of images that it was trained on, or None.
        seed: of its run, or None.
    """

    label: str
    generator: Generator
    config: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    kimg: float | None = None
    seed: int | None = None

    @property
    def pixelwise(self) -> CIPSGenerator:
        """The generator, of which `lacks_encoding` found nothing lacking."""
        assert isinstance(self.generator, CIPSGenerator)
        return self.generator


def lacks_grid(subject: Subject) -> str | None:
    """Whether it draws at any coordinate."""
    return f"{subject.label} is convolutional: it draws its native grid only" if subject.generator.native_only else None


def lacks_encoding(subject: Subject) -> str | None:
    """Whether a pixel enters it as an encoding of its coordinate, and leaves it through a `PixelProgram`."""
    if isinstance(subject.generator, CIPSGenerator):
        return None
    return f"{subject.label} is convolutional: its pixels have no encoding"


def lacks_outputs(subject: Subject) -> str | None:
    """Whether its picture is a sum of several RGB outputs; of subjects with an encoding."""
    one = len(subject.pixelwise.to_rgb) == 1
    return f"{subject.label} reads RGB once, at its end: there is no sum to take apart" if one else None
