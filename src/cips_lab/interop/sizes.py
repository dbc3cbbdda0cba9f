"""Networks that a file describes, built only if the file holds their weights.

A configuration of a few bytes can ask for a network of any size. So it is first built on the device ``meta``, where
tensors have shapes and no memory, and what would be its weights is compared with what is there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cips_lab.networks.size import halvings

LARGEST_RESOLUTION = 8192  # pixels a side: beyond, the coordinates alone, which no file holds, take gigabytes
MOST_LAYERS = 1024  # of the mapping network: what can be asked for in a loop that allocates nothing
Network = TypeVar("Network", bound=nn.Module)


def deepest_rgb(doublings: int) -> str:
    """What every generator of a size has a parameter in."""
    return f"to_rgb.{max(1, doublings)}."


def build_as_stored(
    kind: type[Network],
    options: Mapping[str, Any],
    state: Mapping[str, Tensor],
    deepest: Callable[[int], str] = deepest_rgb,
) -> Network:
    """A network, as its constructor leaves it, whose parameters and buffers have the shapes of `state`.

    Args:
        kind: the network's class.
        options: of its constructor.
        state: names and tensors of the file.
        deepest: how the names begin of what a network has whose smaller side was doubled from 4 pixels so often.

    Raises:
        ValueError: it would be larger than a network of its kind can be, or other than the file.
        Exception: whatever the constructor makes of options that it does not know.
    """
    size = options.get("resolution", 8)
    if not isinstance(size, int) and (not isinstance(size, Sequence) or isinstance(size, str) or len(size) != 2):
        raise ValueError(f"resolution must be a whole number, or two, not {str(size)[:40]}")
    lengths = [("resolution", side, LARGEST_RESOLUTION) for side in ([size] if isinstance(size, int) else size)]
    for option, value, most in (*lengths, ("mapping_layers", options.get("mapping_layers"), MOST_LAYERS)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most):
            raise ValueError(f"{option} must be a whole number up to {most}, not {str(value)[:40]}")
    # Coordinates are in no file and are made on the CPU even here: the depth must be that of the file before.
    last = deepest(halvings(size))
    if not any(name.startswith(last) for name in state):
        raise ValueError(f"no {last[:-1]} in the file, which its configuration's resolution asks for")
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in kind(**options).state_dict().items()}
    found = {name: tuple(value.shape) if isinstance(value, Tensor) else None for name, value in state.items()}
    for name in sorted(expected.keys() | found.keys(), key=str):
        if expected.get(name) != found.get(name):
            here, there = (list(s[name]) if s.get(name) is not None else "none" for s in (found, expected))
            raise ValueError(f"{name} is {here} in the file and {there} in its configuration")
    for name, value in state.items():
        if not value.is_floating_point():
            raise ValueError(f"{name} holds {value.dtype}, not floating-point numbers")
    return kind(**options)
