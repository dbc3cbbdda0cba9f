"""The pictures of a generator that are evaluated: always those of the same latents, sample i that of seed i."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.networks.mapping import latents_of_seeds
from cips_lab.processes.collectives import world_size
from cips_lab.render.pictures import quantize


@torch.no_grad()
def samples(
    generator: Generator,
    batches: Iterable[Tensor],
    device: torch.device | str,
    truncation: float = 1.0,
    resolution: int | None = None,
) -> Iterator[Tensor]:
    """The pictures that `cips_lab.synthesize seeds=...` makes of the same numbers.

    Args:
        generator: on `device`, in evaluation mode.
        batches: numbers of samples, int64 [b], as `Evaluator.batches` gives them.
        device: where pictures are made.
        truncation: psi; 1 for none, as metrics are usually computed.
        resolution: of the pictures; None: the generator's own.

    Yields:
        uint8 [b, 3, R, R].

    Raises:
        UserError: a picture is not finite, naming its seed. Of several processes, after the last batch: the others
            count on this one's part in what they do together.
    """
    side = resolution or generator.resolution
    failure: UserError | None = None
    for numbers in batches:
        if failure is None:
            try:
                yield _pictures(generator, numbers.tolist(), device, truncation, side)
                continue
            except UserError as error:
                if world_size() == 1:
                    raise
                failure = error
        yield torch.zeros(len(numbers), 3, side, side, dtype=torch.uint8, device=device)
    if failure is not None:
        raise failure


def _pictures(generator: Generator, seeds: list[int], device: torch.device | str, psi: float, side: int) -> Tensor:
    z = latents_of_seeds(seeds, generator.z_dim).to(device)
    w = generator.truncate(generator.mapping(z), psi)
    if side == generator.resolution:
        return quantize(generator.synthesize_native(w), seeds)
    return quantize(generator.render(w, image_grid(side, side, device=device)), seeds)
