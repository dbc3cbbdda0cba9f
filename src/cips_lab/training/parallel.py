"""Data parallelism for two networks that are stepped in turn.

`DistributedDataParallel` around the whole module expects every parameter to take part in every backward pass, which is
never so in a GAN. Here the module stays unwrapped: parameters are made equal once, and the gradients of the network
that is being stepped are averaged once per step.
"""

import torch
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class ReplicatedStrategy(DDPStrategy):
    """Lightning's DDP launcher and process group, without its wrapper around the module."""

    def configure_ddp(self) -> None:
        """Copy rank 0's parameters and buffers to all, in place of wrapping the module."""
        assert self.model is not None
        with torch.no_grad():
            for tensor in self.model.state_dict().values():
                if isinstance(tensor, Tensor):
                    dist.broadcast(tensor, src=0)


def average_gradients(network: nn.Module) -> None:
    """Replace every gradient of one network by its mean over processes, in one reduction.

    A parameter without one (R1 does not see the logit's bias) stays without, the same on every process: a gradient of
    zero would be a step of Adam, which one process alone does not make.
    """
    if not is_distributed():
        return
    parameters = [p for p in network.parameters() if p.grad is not None]
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, part in zip(parameters, flat.split([g.numel() for g in gradients]), strict=True):
        parameter.grad = part.view_as(parameter)


def average(value: Tensor) -> Tensor:
    """Mean of a small tensor over processes."""
    if not is_distributed():
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
