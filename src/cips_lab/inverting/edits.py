"""What can be done with a picture once its styles are known: truncated, mixed by layer, and changed into another."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cips_lab.inverting.sheets import Cell, sheet
from cips_lab.inverting.trace import frame
from cips_lab.networks.generator import Generator
from cips_lab.render.inverted import Inversion, draw_styles

SHARES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)  # of what a picture differs from the mean, or from another
PARTS = ("first", "middle", "last")  # thirds of the layers


@torch.no_grad()
def edits_of(
    generator: Generator,
    found: Inversion,
    others: Sequence[tuple[str, Tensor]],
    mean: Tensor,
    grid: Tensor | None,
    toward: tuple[str, Tensor] | None = None,
) -> np.ndarray:
    """A sheet, uint8 [H, W, 3].

    Args:
        generator: that it was found in.
        found: the picture.
        others: what they are called, and styles [1, w_dim], that it is mixed with.
        mean: the mean style [w_dim].
        grid: [H, W, 2]; None: the native one.
        toward: what it is changed into, styles [1, w_dim] or [1, num_layers, w_dim]; None: the first of the others.
    """
    layers = generator.num_layers
    own = found.by_layer(layers).to(mean)

    def cell(styles: Tensor, caption: str) -> Cell:
        return Cell(frame(draw_styles(generator, styles, grid, found.noise, found.noise_seed)), caption)

    def between(end: Tensor, name: str) -> list[Cell]:
        captions = ["found", *(f"{share:g}" for share in SHARES[1:-1]), name]
        return [cell(end + s * (own - end), caption) for s, caption in zip(SHARES, captions, strict=True)]

    rows = [("towards\nthe mean", between(mean, "mean"))]
    name, end = toward if toward is not None else others[0] if others else ("", own)
    if name:
        rows.append((f"towards\n{name}", between(end if end.dim() == 3 else end[:, None], name)))
    if others:
        rows.append(("others", [cell(styles, other) for other, styles in others]))
        for part, numbers in zip(PARTS, np.array_split(np.arange(layers), len(PARTS)), strict=True):
            if not len(numbers):
                continue
            chosen = torch.zeros(layers, 1, dtype=torch.bool, device=own.device)
            chosen[numbers.tolist()] = True
            mixed = [cell(torch.where(chosen, styles[:, None], own), f"with {other}") for other, styles in others]
            rows.append((f"{part} layers\n{numbers[0]}-{numbers[-1]}", mixed))
    return sheet(rows, largest=256)
