"""A trained generator as it was read, with what is needed to write it as another file."""

from pathlib import Path
from typing import Any, NamedTuple

from cips_lab.networks.generator import Generator


class Trained(NamedTuple):
    """A trained generator, and what its file says of it."""

    generator: Generator  # the average, on the CPU, in evaluation mode, without gradients
    config: dict[str, Any]  # builds it; ``conf/generator``, resolved, with its ``_target_``
    kimg: float | None = None  # thousands of images that it was trained on; None where the file does not tell
    source: Path | None = None  # the file that it was read from
