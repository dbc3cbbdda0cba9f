"""What is drawn: which latents, how far truncated, which part of the plane, at which size. Files are other modules'.

A seed is one latent wherever it is drawn: sample i of an evaluation is the picture of ``synthesize seeds=i``.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.networks.size import Size
from cips_lab.networks.surface import turn_grid
from cips_lab.networks.tiling import Tile
from cips_lab.processes.collectives import world_size
from cips_lab.render.pictures import quantize

TRAINING_SQUARE = (-1.0, -1.0, 1.0, 1.0)
GOLDEN = (5**0.5 - 1) / 2


def parse_seeds(seeds: Any) -> list[int]:
    """``3``, ``"0-15"``, ``"1,4-6"`` or a sequence of these -> seeds in order; `UserError` for anything else."""
    text = str(seeds) if isinstance(seeds, (str, int)) else ",".join(str(part) for part in seeds)
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", part.strip())
        if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
            raise UserError(f"seeds={seeds}: expected a number, a range like 0-15, or a list like [1,5,9]")
        numbers.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return numbers


def parse_size(resolution: Any, native: Size) -> tuple[int, int]:
    """``null`` (the native one), a number or ``[height,width]`` -> (height, width); `UserError` for anything else."""
    chosen = native if resolution is None else resolution
    size = [chosen] * 2 if isinstance(chosen, int) else list(chosen)
    if len(size) != 2 or not all(isinstance(side, int) and side >= 1 for side in size):
        raise UserError(f"resolution={resolution}: expected a positive number of pixels, or [height,width]")
    return size[0], size[1]


def check_scene(generator: Generator, height: int, width: int, region: Sequence[float] = TRAINING_SQUARE) -> None:
    """Raise `UserError` for a size or region that the generator cannot draw."""
    if generator.surface == "cylinder" and not -1 <= region[1] < region[3] <= 1:
        raise UserError(
            f"region={list(region)}: reaches off the cylinder's height, which is from -1 to 1; choose top and bottom "
            "within"
        )
    if not generator.native_only:
        return
    if (height, width) != generator.size:
        raise UserError(
            f"resolution={height if height == width else f'[{height},{width}]'}: this generator is convolutional and "
            f"makes pictures of its native {generator.size[0]} x {generator.size[1]} only"
        )
    if tuple(region) != TRAINING_SQUARE:
        raise UserError(f"region={list(region)}: this generator is convolutional and has its native pictures only")


def whole_turn(generator: Generator, device: torch.device | str | None = None) -> Tensor | None:
    """The grid [H, W, 2] of a cylinder's whole turn at the native pixels' distance; None on a plane."""
    if generator.period is None:
        return None
    height, width = generator.size
    return turn_grid(height, round(generator.period / 2 * (width - 1)), generator.period, device=device)


def around(grid: Tensor, numbers: Tensor, period: float) -> Tensor:
    """A frame's grid [H, W, 2], or one for each, at an angle for each sample's number [B]: [B, H, W, 2].

    Multiples of the golden ratio fill the turn evenly, however many samples there are.
    """
    share = (numbers.double() * GOLDEN) % 1
    moved = torch.stack([share * period, torch.zeros_like(share)], dim=-1).to(grid)
    return grid + moved[:, None, None]


@torch.no_grad()
def placed(generator: Generator, z: Tensor, psi: float, grid: Tensor, numbers: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] of latents at places [H, W, 2] or [B, H, W, 2] of a frame, see `draw`.

    Of a cylinder, of frames at the angles of the samples' numbers [B], see `around`.
    """
    w = generator.truncate(generator.mapping(z), psi)
    if generator.period is not None:
        grid = around(grid, numbers.to(z.device), generator.period)
    return generator.synthesize_at(w, grid)


@torch.no_grad()
def draw(generator: Generator, z: Tensor, psi: float = 1.0, grid: Tensor | None = None, tile: Tile = "auto") -> Tensor:
    """The pictures of latents: what every command, callback and page shows or measures.

    Args:
        generator: in evaluation mode, on the latents' device.
        z: [B, z_dim].
        psi: of the truncation trick; 1 for none.
        grid: [H, W, 2], see `image_grid`; None: the native grid, as training synthesises it.
        tile: see `Generator.synthesize_native`; on a grid None means ``auto`` too.

    Returns:
        [B, 3, H, W], about [-1, 1], not clamped.
    """
    w = generator.truncate(generator.mapping(z), psi)
    if grid is None:
        return generator.synthesize_native(w, tile=tile)
    return generator.render(w, grid, tile=tile)


def samples(
    generator: Generator,
    batches: Iterable[Tensor],
    device: torch.device | str,
    truncation: float = 1.0,
    resolution: int | Sequence[int] | None = None,
    places: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Tensor]:
    """The pictures that are evaluated: those that `cips_lab.synthesize seeds=...` makes of the same numbers.

    Of a cylinder, each is a frame at another angle, so that all of the turn is judged.

    Args:
        generator: on `device`, in evaluation mode.
        batches: numbers of samples, int64 [b], as `Evaluator.batches` gives them.
        device: where pictures are made.
        truncation: psi; 1 for none, as metrics are usually computed.
        resolution: pixels a side or (height, width); None: the generator's own.
        places: instead, where within a frame the pixels of samples [b] lie, [b, h, w, 2].

    Yields:
        uint8 [b, 3, H, W].

    Raises:
        UserError: a picture is not finite, naming its seed. Of several processes, after the last batch: the others
            count on this one's part in what they do together.
    """
    height, width = parse_size(resolution, generator.resolution)
    native = (height, width) == generator.size
    grid = None if native and generator.period is None else image_grid(height, width, device=device)
    failure: UserError | None = None
    for numbers in batches:
        if failure is None:
            seeds = numbers.tolist()
            z = generator.mapping.latents(seeds)
            try:
                if places is None and generator.period is None:
                    yield quantize(draw(generator, z, truncation, grid), seeds)
                else:
                    shown = grid if places is None else places(numbers).to(device)
                    assert shown is not None  # a cylinder has its grid
                    yield quantize(placed(generator, z, truncation, shown, numbers), seeds)
                continue
            except UserError as error:
                if world_size() == 1:
                    raise
                failure = error
        shape = (height, width) if places is None else places(numbers).shape[1:3]
        yield torch.zeros(len(numbers), 3, *shape, dtype=torch.uint8, device=device)
    if failure is not None:
        raise failure
