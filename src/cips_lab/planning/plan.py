"""What a training run will take: parameters, FLOPs, memory and time, counted before anything is allocated."""

import dataclasses
import math
from typing import Any

import torch
from omegaconf import DictConfig

from cips_lab.errors import UserError
from cips_lab.networks.size import Size, sides
from cips_lab.planning.costs import costs_of_rehearsal
from cips_lab.planning.devices import ARITHMETIC, accelerator_of, arithmetic_of, count_planned
from cips_lab.planning.rehearsal import KINDS, PHASES, R1, Iteration, rehearsal
from cips_lab.planning.units import duration, flops, size
from cips_lab.processes.layout import check_batch

DIGITS = 4  # of FLOPs


@dataclasses.dataclass
class Plan:
    """A run in numbers; bytes are one process's, FLOPs count a multiply-add as two.

    Attributes:
        generator_parameters, discriminator_parameters: their numbers.
        generator_forward, discriminator_forward: FLOPs of one image.
        resolution, shown: of a picture, and of what of it is shown at once: a side, or (height, width).
        batch_size, passes, processes: images an iteration, passes that each process makes of its share.
        r1_interval: iterations from one R1 step to the next; 0 without R1.
        precision, accelerator: as configured.
        rates: arithmetic -> FLOP/s of one process's device at its peak.
        arithmetic: the one that `precision` means.
        utilization: share of the peak that is reached.
        device_bytes: memory of one process's device; headroom: the share of it to be left alone.
        total_kimg: length of the run.
        tiled: the iteration as it is trained; None for a convolutional generator.
        untiled: the same with all pixels in one graph.
    """

    generator_parameters: int
    discriminator_parameters: int
    generator_forward: int
    discriminator_forward: int
    resolution: Size
    shown: Size
    batch_size: int
    passes: int
    processes: int
    r1_interval: int
    precision: str
    accelerator: str
    rates: dict[str, float]
    arithmetic: str
    utilization: float
    device_bytes: int
    headroom: float
    total_kimg: float
    tiled: Iteration | None
    untiled: Iteration

    def flops_per_image(self, iteration: Iteration) -> dict[str, float]:
        """Phase -> FLOPs for one image of the clock, R1 spread over its interval."""
        return iteration.flops_per_image(self.batch_size // self.processes, self.r1_interval)

    def seconds(self, iteration: Iteration, arithmetic: str) -> float:
        """From the first image to the last, the arithmetic alone."""
        rate = self.rates[arithmetic] * self.utilization * self.processes
        return sum(self.flops_per_image(iteration).values()) * self.total_kimg * 1000 / rate

    def fits(self, iteration: Iteration) -> bool:
        """Whether the peak leaves the headroom free."""
        return iteration.peak_bytes <= self.device_bytes * (1 - self.headroom)

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        result = dataclasses.asdict(self)
        for name, iteration in (("tiled", self.tiled), ("untiled", self.untiled)):
            if iteration is not None:
                result[name] |= {
                    "flops_per_image": self.flops_per_image(iteration),
                    "flops_per_kimg": 1000 * sum(self.flops_per_image(iteration).values()),
                    "peak_bytes": iteration.peak_bytes,
                    "worst_phase": iteration.worst_phase,
                    "fits": self.fits(iteration),
                    "seconds": {name: self.seconds(iteration, name) for name in self.rates},
                }
        return result


def make_plan(cfg: DictConfig) -> Plan:
    """Count what a composed ``conf/plan.yaml`` would take to train.

    Raises:
        UserError: an option cannot be used, or no such run could be trained.
    """
    processes = count_planned(cfg.trainer)
    check_batch(cfg.batch_size, cfg.micro_batch, processes)
    check_options(cfg)
    accelerator, rates, memory = accelerator_of(cfg, processes)
    device = torch.device("cpu" if accelerator == "cpu" else "cuda")
    with rehearsal(cfg, processes, cfg.trainer.precision) as gan:
        tiled = gan.rehearse_tiled(cfg.plan.tile, device, round(memory * (1 - cfg.plan.headroom)))
        untiled = gan.rehearse_untiled()
        costs = costs_of_rehearsal(gan, untiled)
        return Plan(
            generator_parameters=costs.generator_parameters,
            discriminator_parameters=costs.discriminator_parameters,
            generator_forward=costs.synthesis_flops,
            discriminator_forward=costs.judging_flops,
            resolution=gan.generator.resolution,
            shown=gan.view.size,
            batch_size=cfg.batch_size,
            passes=gan.passes,
            processes=processes,
            r1_interval=gan.r1_interval,
            precision=cfg.trainer.precision,
            accelerator=accelerator,
            rates=rates,
            arithmetic="given" if cfg.plan.peak_flops is not None else arithmetic_of(cfg.trainer, accelerator),
            utilization=cfg.plan.utilization,
            device_bytes=memory,
            headroom=cfg.plan.headroom,
            total_kimg=cfg.schedule.total_kimg,
            tiled=tiled,
            untiled=untiled,
        )


def check_options(cfg: DictConfig) -> None:
    """What can be said to be wrong without counting."""
    plan = cfg.plan
    if cfg.trainer.precision not in ARITHMETIC:
        raise UserError(f"trainer.precision must be one of {', '.join(ARITHMETIC)}, not {cfg.trainer.precision!r}")
    if plan.tile != "auto" and (not isinstance(plan.tile, int) or plan.tile < 1):
        raise UserError(f"plan.tile must be auto or a positive number of pixels, not {plan.tile!r}")
    for name in ("peak_flops", "device_memory_gb"):
        if plan[name] is not None and not (isinstance(plan[name], (int, float)) and plan[name] > 0):
            raise UserError(f"plan.{name} must be a positive number, not {plan[name]!r}")
    if not isinstance(plan.utilization, (int, float)) or not 0 < plan.utilization <= 1:
        raise UserError(f"plan.utilization is a share of the peak, above 0 and at most 1, not {plan.utilization!r}")
    if not isinstance(plan.headroom, (int, float)) or not 0 <= plan.headroom < 1:
        raise UserError(f"plan.headroom is a share of the memory, from 0 to below 1, not {plan.headroom!r}")


# ---------------------------------------------------------------------- on paper


def report(plan: Plan) -> str:
    """The plan as aligned text."""
    columns = [("tiled", plan.tiled), ("untiled", plan.untiled)] if plan.tiled else [("", plan.untiled)]
    iterations = [iteration for _, iteration in columns if iteration is not None]
    per_image = [plan.flops_per_image(iteration) for iteration in iterations]
    totals = [sum(phases.values()) for phases in per_image]
    share = plan.batch_size // plan.processes
    height, width = sides(plan.resolution)
    part = "" if plan.shown == plan.resolution else f", of which {' x '.join(map(str, sides(plan.shown)))} are shown"
    lines = [
        f"{height} x {width} pixels{part}, batch {plan.batch_size} on {plan.processes} process(es): "
        f"{share} images each in {plan.passes} pass(es), {plan.precision}",
    ]

    def row(name: str, *cells: str) -> None:
        lines.append(f"{name:<36}" + "".join(f"{cell:>20}" for cell in cells))

    def heading(name: str, *cells: str) -> None:
        lines.append("")
        row(name, *cells)

    heading("networks", "generator", "discriminator")
    row("  parameters", f"{plan.generator_parameters:,}", f"{plan.discriminator_parameters:,}")
    row("  forward pass of an image", flops(plan.generator_forward, DIGITS), flops(plan.discriminator_forward, DIGITS))

    heading("arithmetic for each image", *(name for name, _ in columns))
    for phase in PHASES[:-1]:
        if phase in per_image[0]:
            every = f", every {plan.r1_interval} iterations" if phase == R1 else ""
            row(f"  {phase}{every}", *(flops(phases[phase], DIGITS) for phases in per_image))
    row("  sum", *(flops(total, DIGITS) for total in totals))
    row("  for each kimg", *(flops(1000 * total, DIGITS) for total in totals))

    heading("memory of each process", *(name for name, _ in columns))
    if plan.tiled is not None:
        all_pixels = math.prod(sides(plan.shown))
        row("  pixels synthesised at once", *("all" if i.tile >= all_pixels else f"{i.tile:,}" for i in iterations))
    for phase in PHASES:
        if phase in iterations[0].memory:
            row(f"  peak of {phase}", *(size(sum(i.memory[phase].values())) for i in iterations))
    row("  highest in", *(i.worst_phase for i in iterations))
    for kind in KINDS:
        row(f"    {kind}", *(size(i.memory[i.worst_phase][kind]) for i in iterations))
    row("    sum", *(size(i.peak_bytes) for i in iterations))
    verdicts = ("fits" if plan.fits(i) else "DOES NOT FIT" for i in iterations)
    shares = (f"{i.peak_bytes / plan.device_bytes:.0%}" for i in iterations)
    row(f"  of {size(plan.device_bytes)} ({plan.accelerator})", *map(": ".join, zip(shares, verdicts, strict=True)))

    heading(f"{plan.total_kimg:,g} kimg at {plan.utilization:.0%} of the peak", *(name for name, _ in columns))
    for arithmetic, rate in plan.rates.items():
        times = (duration(plan.seconds(i, arithmetic)) for i in iterations)
        row(f"  {plan.processes} x {flops(rate, DIGITS)}/s {arithmetic}{'*' * (arithmetic == plan.arithmetic)}", *times)
    if len(plan.rates) > 1:
        option = f"trainer.precision={plan.precision}" + (", trainer.tf32=true" if plan.arithmetic == "tf32" else "")
        hint = "; trainer.tf32=true: in tf32" if plan.arithmetic == "fp32" and "tf32" in plan.rates else ""
        lines.append(f"  * what {option} computes in{hint}")
    return "\n".join(line.rstrip() for line in lines)
