"""What a model takes, counted from its configuration alone: the same whatever trains it. Nothing is allocated."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from cips_lab.errors import UserError
from cips_lab.runs.records import Job

if TYPE_CHECKING:  # torch and all that trains: imported only when something is to be counted
    from cips_lab.planning.rehearsal import Iteration, Rehearsal

SETTINGS = ("generator", "discriminator", "objective", "view", "resolution", "batch_size", "micro_batch")


@dataclass(frozen=True)
class Costs:
    """Counts of one model; FLOPs count a multiply-add as two.

    Attributes:
        generator_parameters, discriminator_parameters: their numbers.
        synthesis_flops, judging_flops: a forward pass of the generator, of the discriminator, on one image.
        training_flops: one image of the clock: all steps of both networks, R1 spread over its interval. What tiles
            compute a second time where memory is short is not in it, for that depends on the device.
    """

    generator_parameters: int
    discriminator_parameters: int
    synthesis_flops: int
    judging_flops: int
    training_flops: float


def count(config: DictConfig) -> Costs:
    """The costs of a configuration's model.

    Args:
        config: composed, with the entries that `SETTINGS` names.

    Raises:
        UserError: an option cannot be used.
    """
    from cips_lab.planning.rehearsal import rehearsal

    with rehearsal(config, processes=1) as gan:
        return costs_of_rehearsal(gan, gan.rehearse_untiled())


def costs_of_rehearsal(gan: "Rehearsal", iteration: "Iteration") -> Costs:
    """Counts of the networks on stage, and of an iteration of theirs."""
    generator, discriminator = gan.generator, gan.discriminator
    return Costs(
        generator_parameters=sum(p.numel() for p in generator.parameters()),
        discriminator_parameters=sum(p.numel() for p in discriminator.parameters()),
        synthesis_flops=gan.forward_flops(generator, (generator.z_dim + generator.mapping.classes,)),
        judging_flops=gan.judging_flops(),
        training_flops=sum(iteration.flops_per_image(gan.share, gan.r1_interval).values()),
    )


def costs_of(job: Job) -> Costs | str:
    """The costs of a job's model, or why they cannot be counted (a configuration of another version)."""
    return _counted(json.dumps({name: job.config.get(name) for name in SETTINGS}, sort_keys=True))


@lru_cache(maxsize=64)
def _counted(config: str) -> Costs | str:
    settings: dict[str, Any] = json.loads(config)
    composed = OmegaConf.create(settings)
    assert isinstance(composed, DictConfig)
    try:
        return count(composed)
    except UserError as error:
        return f"FLOPs could not be counted: {error}"
