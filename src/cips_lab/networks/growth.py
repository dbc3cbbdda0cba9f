"""Growth: a network of a higher resolution that begins as one of a lower (Karras et al. 2018; the paper's FFHQ 1024).

The generator's picture does not change when it grows: its table of embeddings is read between its entries, and the new
pairs of layers are heard through RGB outputs that begin at zero. The discriminator sees its pictures as the smaller one
did, shrunk to its size, and takes to its new blocks little by little.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.encoding import CoordinateEmbedding
from cips_lab.networks.size import halvings, size_name


def doublings(small: tuple[int, int], large: tuple[int, int]) -> int:
    """How often a size must be doubled to be another; 0 if it never is."""
    times = halvings(large) - halvings(small)
    return times if times > 0 and large == (small[0] << times, small[1] << times) else 0


@torch.no_grad()
def grown_generator(small: CIPSGenerator, large: CIPSGenerator) -> dict[str, Tensor]:
    """The state of `large` with which it makes the pictures of `small`, on its own finer grid.

    Exact but for what belongs to native pixels: learned noise, a low-pass on the table, which becomes finer, and a
    cylinder's table that is stretched.

    Raises:
        ValueError: `large` is not of twice the resolution, four times, ..., with all else alike.
    """
    if not doublings(small.size, large.size):
        raise ValueError(f"pictures of {size_name(small.size)} cannot be doubled to {size_name(large.size)}")
    if set(small.to_rgb) != {str(i) for i in range(len(small.blocks))}:
        raise ValueError("growth needs generator.output=skip; with output=last, the last layer makes the picture")
    state = large.state_dict()
    for name, value in small.state_dict().items():
        if name == "encoding.embedding.table":
            value = table_between(small.encoding.embedding, large.encoding.embedding)  # type: ignore[arg-type]
        if name not in state or state[name].shape != value.shape:
            there = list(state[name].shape) if name in state else "absent"
            raise ValueError(f"{name} is {list(value.shape)} in the smaller generator and {there} in the larger")
        state[name] = value
    for index in range(len(small.blocks), len(large.blocks)):
        for part in ("weight", "bias"):
            state[f"to_rgb.{index}.{part}"] = torch.zeros_like(state[f"to_rgb.{index}.{part}"])
    return state


def table_between(small: CoordinateEmbedding, large: CoordinateEmbedding) -> Tensor:
    """The smaller table, read where the larger one has its entries."""
    period = large.surface.period
    y = torch.linspace(-1, 1, large.rows, dtype=torch.float64)
    if period is None:
        x = torch.linspace(-1, 1, large.columns, dtype=torch.float64)
    else:
        x = torch.arange(large.columns, dtype=torch.float64) * (period / large.columns) - 1
    coords = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1).float()
    return small.interpolate(coords.flatten(0, 1).to(small.table.device), small.table) / large.lr_multiplier


def grow_discriminator(state: Mapping[str, Tensor], large: ResidualDiscriminator) -> bool:
    """Give a discriminator the weights of a smaller one, and let it see as that did at first.

    Args:
        state: the smaller one's.
        large: is changed, if it fits.

    Returns:
        Whether it fits: the same channels at the resolutions that both have.
    """
    known = {name: value for name, value in state.items() if not name.startswith("faded.")}
    blocks = len({name.split(".")[1] for name in known if name.startswith("blocks.")})
    more = len(large.blocks) - blocks
    if more <= 0:
        return False
    moved = {}
    for name, value in known.items():
        first, _, rest = name.partition(".")
        if first == "blocks":
            index, _, rest = rest.partition(".")
            name = f"blocks.{int(index) + more}.{rest}"
        moved[f"faded.{rest}" if first == "from_rgb" else name] = value
    channels = large.blocks[more].conv1.weight.shape[1]  # type: ignore[union-attr, index]
    own = {name: tuple(value.shape) for name, value in large.state_dict().items()}
    for name, value in moved.items():
        expected = own.get(name)
        if name.startswith("faded."):
            expected = (channels, *large.from_rgb.weight.shape[1:]) if name == "faded.weight" else (channels,)
        if expected != tuple(value.shape):
            return False
    large.grow(more)
    large.load_state_dict({**large.state_dict(), **moved})
    return True
