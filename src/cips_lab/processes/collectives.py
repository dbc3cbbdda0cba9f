"""What several processes exchange; one process alone runs the same code and exchanges nothing.

In an evaluation sample i belongs to process i mod N. Nothing is padded and nothing is computed by one process alone.
"""

from typing import TypeVar

import torch.distributed as dist
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

T = TypeVar("T")


def world_size() -> int:
    """Processes that take part, 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number in [0, world_size), 0 without torch.distributed."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def mine() -> slice:
    """Which of a list of samples this process has: number rank, rank + world_size, ..."""
    return slice(rank(), None, world_size())


def total(values: Tensor) -> Tensor:
    """The sum of a tensor of one shape over processes, on all of them."""
    if world_size() == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values


def gather(values: Tensor) -> list[Tensor]:
    """Every process's tensor, in the order of ranks, on all of them; shapes may differ, numbers of dimensions not."""
    return [values] if world_size() == 1 else gather_all_tensors(values)


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return world_size() > 1


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor of one shape over processes, on all of them; it waits for them, so let it be small."""
    return total(value.detach()) / world_size() if is_distributed() else value


def wait_for_all() -> None:
    """Return when every process has called this."""
    if is_distributed():
        dist.barrier()


def gather_objects(value: T) -> list[T]:
    """Every process's value, which can be pickled, in the order of ranks, on all of them; every process calls it."""
    if not is_distributed():
        return [value]
    values: list[T] = [value] * world_size()
    dist.all_gather_object(values, value)
    return values
