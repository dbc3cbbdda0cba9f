"""What a generator of coordinates owes beside likeness: the same picture on every grid, and a turn without a seam.

Neither compares with real pictures. Of pictures of other generators, panoramas can be looked at for their seam.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
from tqdm import tqdm

from cips_lab.data.dataset import FixedSizeDataset
from cips_lab.errors import UserError
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.processes.collectives import gather, mine, rank
from cips_lab.render.scene import whole_turn

FINER = (2, 4)  # times


def check_consistency(generator: Generator) -> None:
    """Raise `UserError` for a generator that has its native pictures only."""
    if generator.native_only:
        raise UserError("consistency: this generator is convolutional and has no pixels on other grids than its own")


@torch.no_grad()
def consistency(generator: Generator, count: int, device: torch.device, truncation: float = 1.0) -> dict[str, float]:
    """Of the pictures of seeds 0 to `count` - 1: each measure and its standard error, the same on every process.

    ``self_ssim_2``, ``self_ssim_4``: structural similarity (Wang et al. 2004) of a picture with itself on a grid so
    many times finer, averaged over each pixel's own part of the plane; 1 is best. After Ntavelis et al., CVPR 2022.
    ``seam``: of a cylinder's whole turn, see `seams`.
    """
    names = [f"self_ssim_{times}" for times in FINER] + (["seam"] if generator.period is not None else [])
    return measured(names, count, device, lambda seed: of_generator(generator, seed, device, truncation))


def seams_of(pictures: FixedSizeDataset, count: int, device: torch.device) -> dict[str, float]:
    """``seam`` of the first `count` pictures, taken for whole turns, and its standard error."""
    return measured(
        ["seam"], min(count, len(pictures)), device, lambda number: seams(pictures[number][None].to(device))
    )


def measured(names: list[str], count: int, device: torch.device, measure: Callable[[int], Tensor]) -> dict[str, float]:
    """Mean and standard error of what `measure` gives of each number, float64 [K]; each process takes a part."""
    off = True if rank() > 0 else None
    numbers = tqdm(range(count)[mine()], "Consistency", unit=" pictures", delay=2, leave=None, disable=off)
    none = torch.zeros(0, len(names), dtype=torch.float64, device=device)
    values = torch.cat(gather(torch.cat([none, *(measure(number)[None] for number in numbers)])))
    errors = (values.std(0, correction=0) / len(values) ** 0.5).tolist()
    means = dict(zip(names, values.mean(0).tolist(), strict=True))
    return means | {f"{name}_se": error for name, error in zip(names, errors, strict=True)}


def of_generator(generator: Generator, seed: int, device: torch.device, truncation: float) -> Tensor:
    """All measures of a seed's picture, float64 [K]."""
    w = generator.truncate(generator.mapping(generator.mapping.latents([seed])), truncation)
    native, turn, found = generator.synthesize_native(w).clamp(-1, 1), whole_turn(generator, device), []
    for times in FINER:
        finer = generator.render(w, subdivided(generator.size, times, device)).clamp(-1, 1)
        similarity = ssim(avg_pool2d(finer, times), native, data_range=2.0)
        assert isinstance(similarity, Tensor)
        found.append(similarity.double().view(1))
    if turn is not None:
        found.append(seams(generator.render(w, turn).clamp(-1, 1)))
    return torch.cat(found)


def subdivided(size: tuple[int, int], times: int, device: torch.device | str) -> Tensor:
    """A grid [times H, times W, 2] that has times x times pixels about the middle of each of the native one."""
    (height, width), share = size, (1 - 1 / times) / 2  # of a native step, from its middle to the outermost of them
    x, y = 1 + share * 2 / (width - 1), 1 + share * 2 / (height - 1)
    return image_grid(times * height, times * width, (-x, -y, x, y), device=device)


def seams(turns: Tensor) -> Tensor:
    """How much the last column and the first differ, of what neighbours do: [N, 3, H, W] -> float64 [N]; 1: no seam."""
    values = turns.double()
    steps = (values - values.roll(1, dims=3)).abs().mean((1, 2))
    return steps[:, 0] / steps[:, 1:].mean(1).clamp(min=1e-12)
