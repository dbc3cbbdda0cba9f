"""Style mixing (Karras et al. 2019, section 3.1): some layers of one picture with the style of another."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.networks.generator import Generator

EXPECTED = "expected SEEDS,SEEDS:layers=FIRST-LAST, such as 3,7:layers=0-5 or 0-3,8-11:layers=0-2"


@dataclass(frozen=True)
class Mix:
    """Which pictures get which layers of which others.

    Attributes:
        rows: seeds of the pictures that are changed.
        columns: seeds of those whose style enters.
        layers: numbers of the layers that it enters.
    """

    rows: list[int]
    columns: list[int]
    layers: list[int]

    @property
    def seeds(self) -> list[int]:
        """All that are drawn as they are."""
        return [*self.rows, *self.columns]


def parse_mix(text: str) -> Mix:
    """``3,7:layers=0-5``: picture 3 with the style of 7 in layers 0 to 5; ``0-3,8-11:layers=2``: each with each.

    Raises:
        UserError: it is nothing of the kind.
    """
    number = r"(\d+)(?:-(\d+))?"
    match = re.fullmatch(rf"\s*{number}\s*,\s*{number}\s*:\s*layers\s*=\s*{number}\s*", text)
    if match is None:
        raise UserError(f"mix={text}: {EXPECTED}")
    ends = [(int(match[i]), int(match[i + 1] or match[i])) for i in (1, 3, 5)]
    if any(first > last for first, last in ends):
        raise UserError(f"mix={text}: a range runs backwards; {EXPECTED}")
    rows, columns, layers = (list(range(first, last + 1)) for first, last in ends)
    return Mix(rows, columns, layers)


def check_mix(mix: Mix, generator: Generator) -> None:
    """Raise `UserError` for layers that the generator has not."""
    if mix.layers[-1] >= generator.num_layers:
        raise UserError(
            f"mix: layers={mix.layers[0]}-{mix.layers[-1]}, and this generator's are 0-{generator.num_layers - 1}"
        )


def mixed_styles(rows: Tensor, columns: Tensor, mix: Mix, num_layers: int) -> Tensor:
    """Styles [R, w_dim] and [C, w_dim] -> [R C, num_layers, w_dim], each with each, row by row."""
    chosen = torch.zeros(num_layers, 1, dtype=torch.bool, device=rows.device)
    chosen[mix.layers] = True
    return torch.where(chosen, columns[None, :, None, :], rows[:, None, None, :]).flatten(0, 1)
