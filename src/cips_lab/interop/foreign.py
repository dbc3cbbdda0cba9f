"""Weights of related generators that this program has no networks for: recognised, never run, and told what to do.

INR-GAN (universome/inr-gan) and Poly-INR (Rajhans0/Poly_INR) are built on StyleGAN2-ADA's and StyleGAN-XL's code. Their
public weights are Python pickles that hold the networks' source code (``torch_utils/persistence.py`` there), and who
unpickles them runs it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cips_lab.errors import UserError

HEAD = 2**20  # bytes of a file that are looked at: the program stands before the first network's weights
PERSISTENT = (b"_reconstruct_persistent_obj", b"dnnlib.tflib", b"networks_gmgan")
MODULES = "INR-GAN's and Poly-INR's public weights are such files"
REMEDY = (
    "have pictures drawn by its own program, in an environment that you trust it in, and measure them as those of "
    "any generator: python -m cips_lab.evaluate samples=FOLDER"
)


class Kin(NamedTuple):
    """A generator of the family."""

    name: str
    source: bytes  # a word of its source code
    parameter: str  # a part of a parameter's name that no other has


KIN = (Kin("Poly-INR", b"GMgan", "synthesis.fb1.fc0_5"), Kin("INR-GAN", b"CoordFuser", "coord_fuser"))


def refuse_pickled_network(path: Path) -> None:
    """Look for a network that is pickled with its program, without unpickling anything.

    Raises:
        UserError: the file holds one. A file that cannot be opened passes: who reads it says why.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return
    if not head.startswith(b"\x80") or not any(word in head for word in PERSISTENT):
        return
    name = next((kin.name for kin in KIN if kin.source in head), None)
    which = f"{name}'s" if name else f"a StyleGAN2-ADA-style network ({MODULES})"
    raise UserError(
        f"{path}: {which}, pickled together with its program, which reading it would run, so it is not read; nor has "
        f"cips_lab that architecture, so that its state dict alone could not be used here either. What can be done: "
        f"{REMEDY}"
    )


def foreign_state(names: Iterable[str]) -> str:
    """What to add to a message where the parameters are those of a relative; else nothing."""
    for kin in KIN:
        if any(kin.parameter in name for name in names):
            return f". These are {kin.name}'s parameters, an architecture that cips_lab has not: {REMEDY}"
    return ""
