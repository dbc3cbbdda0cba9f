"""What a run began with, by its content: the pictures, and the weights of `init=`; inputs.json in its folder.

A path says little: the same pictures lie at another one on another machine, and other pictures at the same one after a
while. So the content is noted when a run begins, and looked at when it is continued.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cips_lab.files.whole import replace_text
from cips_lab.runs.folder import INPUTS


@dataclass(frozen=True)
class Inputs:
    """Hexadecimal digits that are the same for the same content; None where there is none, or nobody looked.

    Attributes:
        pictures: of the training set, see `ImageSource.identity`.
        init: SHA-256 of the file that the generator's weights came from.
    """

    pictures: str | None = None
    init: str | None = None


def read_inputs(run: Path) -> Inputs:
    """What a run folder notes; nothing in those of earlier versions, or where it cannot be read."""
    try:
        found = json.loads((run / INPUTS).read_text(encoding="utf-8"))
        return Inputs(**{name: None if value is None else str(value) for name, value in found.items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return Inputs()


def write_inputs(run: Path, inputs: Inputs) -> None:
    """Note it."""
    replace_text(run / INPUTS, json.dumps(asdict(inputs)) + "\n")
