"""What a run takes, counted from its configuration as `python -m cips_lab.plan` counts it: nothing is allocated."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cips_lab.errors import UserError
from cips_lab.runs.records import Job

# What planning asks beside the training's own configuration. Only counts are taken: any accelerator will do.
PLAN = {
    "accelerator": "h100",
    "default_accelerator": "h100",
    "utilization": 1.0,
    "peak_flops": 1.0,
    "device_memory_gb": 80,
    "headroom": 0.1,
    "tile": "auto",
    "accelerators": {"h100": {"memory_gb": 80}},
}
SETTINGS = ("generator", "discriminator", "objective", "resolution", "batch_size", "micro_batch")


@dataclass(frozen=True)
class Costs:
    """Counts of one model; FLOPs count a multiply-add as two.

    Attributes:
        generator_parameters, discriminator_parameters: their numbers.
        synthesis_flops: the generator's forward pass on one image.
        training_flops: one image of the clock: all steps of both networks, R1 spread over its interval.
    """

    generator_parameters: int
    discriminator_parameters: int
    synthesis_flops: int
    training_flops: float


def costs_of(job: Job) -> Costs | str:
    """The costs of a job's model, or why they cannot be counted (a configuration of another version)."""
    config = {name: job.config.get(name) for name in SETTINGS}
    precision = (job.config.get("trainer") or {}).get("precision", "32-true")
    return _counted(json.dumps(config, sort_keys=True), str(precision), job.total_kimg)


@lru_cache(maxsize=64)
def _counted(config: str, precision: str, total_kimg: float) -> Costs | str:
    from cips_lab.planning.plan import make_plan  # torch and all that trains: only when something is to be counted

    settings: dict[str, Any] = json.loads(config)
    settings |= {
        "trainer": {
            "devices": 1,
            "num_nodes": 1,
            "accelerator": "gpu",
            "precision": precision,
            "tf32": False,
            "threads": None,
        },
        "schedule": {"total_kimg": total_kimg},
        "plan": PLAN,
    }
    composed = OmegaConf.create(settings)
    assert isinstance(composed, DictConfig)
    try:
        plan = make_plan(composed)
    except UserError as error:
        return f"FLOPs could not be counted: {error}"
    return Costs(
        generator_parameters=plan.generator_parameters,
        discriminator_parameters=plan.discriminator_parameters,
        synthesis_flops=plan.generator_forward,
        training_flops=sum(plan.flops_per_image(plan.tiled or plan.untiled).values()),
    )


def flops(number: float) -> str:
    """FLOPs in the unit that suits them, three digits."""
    for unit, factor in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number / 1e6:.3g} MFLOP"


def count(number: float) -> str:
    """A number of parameters: ``45.9 M``, ``83.2 k``."""
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k"
