"""An iteration whose numbers were not finite, gone through again: which parameters it was, on which process."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cips_lab.data.labelled import Batch
from cips_lab.processes.collectives import gather_objects
from cips_lab.training.guard import Guard, StandStill
from cips_lab.training.incident import Finding, Incident


class Steps(Protocol):
    """What is known of a training in the middle of an iteration, and its phases; `gan.GAN` is one."""

    generator: Any
    discriminator: nn.Module
    guard: Guard
    statistics: dict[str, Tensor]
    images_seen: int
    rollbacks: int
    batch_size: int
    micro_batch: int | None

    @property
    def iteration(self) -> int: ...

    @property
    def draw_seed(self) -> int: ...

    @property
    def global_rank(self) -> int: ...

    def prepare_real(self, batch: Batch) -> Tensor: ...

    def collect_gradients_of(self, network: nn.Module) -> None: ...

    def discriminator_step(self, real: Tensor, optimizer: Any) -> None: ...

    def r1_step(self, real: Tensor, optimizer: Any) -> None: ...

    def generator_step(self, real: Tensor, optimizer: Any) -> Tensor: ...


def incident_of(gan: Steps, phase: str, batch: Batch) -> Incident:
    """What all processes know of a phase that was not finite; no weight has changed in this iteration."""
    losses = {name: float(value) for name, value in gan.statistics.items()}
    return Incident(
        phase=phase,
        images_seen=gan.images_seen,
        iteration=gan.iteration,
        rollbacks=gan.rollbacks,
        seed=gan.draw_seed,
        batch_size=gan.batch_size,
        micro_batch=gan.micro_batch,
        z_dim=gan.generator.z_dim,
        processes=gather_objects(Finding(gan.global_rank, losses, retrace(gan, phase, batch))),
    )


def retrace(gan: Steps, phase: str, batch: Batch) -> list[str]:
    """Go through a phase again: the parameters whose gradient is not finite on this very process.

    Possible because weights have not changed and every draw is a function of the seed and the images seen. Hooks
    see gradients before they are averaged; no weight is stepped, and statistics stay what they were.

    Args:
        gan: in the iteration.
        phase: ``discriminator``, ``r1`` or ``generator``.
        batch: this process's real images, uint8 [B / processes, 3, H, W].
    """
    network: nn.Module = gan.generator if phase == "generator" else gan.discriminator
    steps: dict[str, Callable[[Tensor, Any], Any]] = {
        "discriminator": gan.discriminator_step,
        "r1": gan.r1_step,
        "generator": gan.generator_step,
    }
    finite: dict[str, Tensor] = {}

    def look(name: str, gradient: Tensor) -> None:
        here = torch.isfinite(gradient).all()
        finite[name] = here if name not in finite else finite[name] & here

    statistics, gan.statistics = gan.statistics, {}
    gan.collect_gradients_of(network)
    handles = [p.register_hook(partial(look, name)) for name, p in network.named_parameters() if p.requires_grad]
    try:
        steps[phase](gan.prepare_real(batch), StandStill(network))
    finally:
        for handle in handles:
            handle.remove()
        gan.guard.lost_phase()  # forgotten
        gan.statistics = statistics
    return [name for name, here in finite.items() if not here]
