"""A trained generator as it was read, with what is needed to write it as another file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cips_lab.networks.generator import Generator


@dataclass(frozen=True)
class Trained:
    """A trained generator, as it was read.

    Attributes:
        generator: the average, on the CPU, in evaluation mode, without gradients.
        config: builds it; ``conf/generator``, resolved, with its ``_target_``.
        kimg: thousands of images that it was trained on; 0 where the source does not tell.
        source: the file that it was read from.
    """

    generator: Generator
    config: dict[str, Any]
    kimg: float
    source: Path
