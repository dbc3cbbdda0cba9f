"""The pictures of a generator that are evaluated: always those of the same latents, sample i that of seed i."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.mapping import latents_of_seeds
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.render.pictures import quantize


@torch.no_grad()
def samples(
    generator: CIPSGenerator | StyleGAN2Generator,
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
    """
    for numbers in batches:
        z = latents_of_seeds(numbers.tolist(), generator.z_dim).to(device)
        w = generator.truncate(generator.mapping(z), truncation)
        if resolution in (None, generator.resolution):
            yield quantize(generator.synthesize_native(w))
        else:
            yield quantize(generator.render(w, image_grid(resolution, resolution, device=device)))
