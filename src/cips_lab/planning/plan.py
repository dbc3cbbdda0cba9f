"""What a training run will take: parameters, FLOPs, memory and time, counted before anything is allocated."""

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.networks.cips import CIPSGenerator, to_images
from cips_lab.networks.tiling import choose_tile
from cips_lab.planning.rehearsal import KINDS, PHASES, R1, Iteration, forward_flops, rehearsal
from cips_lab.processes.layout import check_batch, set_threads

# What `trainer.precision` lets products be computed in; float32 on a GPU with `trainer.tf32` in TF32.
ARITHMETIC = {"32-true": "fp32", "bf16-mixed": "bf16"}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclasses.dataclass
class Plan:
    """A run in numbers; bytes are one process's, FLOPs count a multiply-add as two.

    Attributes:
        generator_parameters, discriminator_parameters: their numbers.
        generator_forward, discriminator_forward: FLOPs of one image.
        resolution, batch_size, passes, processes: images an iteration, passes that each process makes of its share.
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
    resolution: int
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
        images = self.batch_size / self.processes
        return {
            phase: flops / images / (self.r1_interval if phase == R1 else 1) for phase, flops in iteration.flops.items()
        }

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
    with rehearsal(cfg, processes) as gan:
        generator = gan.generator
        tiled: Iteration | None = None
        untiled_synthesis: Callable[..., Tensor] = generator.synthesize_native
        if isinstance(generator, CIPSGenerator):
            device = torch.device("cpu" if accelerator == "cpu" else "cuda")
            free = round(memory * (1 - cfg.plan.headroom)) - gan.tracker.live.total()
            pixels = generator.resolution**2
            tile = choose_tile(cfg.plan.tile, pixels, gan.share // gan.passes, generator.width, device, free)

            def in_tiles(w: Tensor, noise_seed: Tensor) -> Tensor:
                return generator.synthesize_native(w, noise_seed, tile)

            def at_once(w: Tensor, noise_seed: Tensor) -> Tensor:
                rgb = generator.synthesis(w, generator.native_coords, noise_seed)
                return to_images(rgb, generator.resolution, generator.resolution)

            tiled = gan.rehearse(in_tiles, tile)
            untiled_synthesis = at_once
        untiled = gan.rehearse(untiled_synthesis, generator.resolution**2)
        side = generator.resolution
        return Plan(
            generator_parameters=sum(p.numel() for p in generator.parameters()),
            discriminator_parameters=sum(p.numel() for p in gan.discriminator.parameters()),
            generator_forward=forward_flops(gan, generator, (generator.z_dim,)),
            discriminator_forward=forward_flops(gan, gan.discriminator, (3, side, side)),
            resolution=side,
            batch_size=cfg.batch_size,
            passes=gan.passes,
            processes=processes,
            r1_interval=gan.objective.r1_interval if gan.objective.r1_weight > 0 else 0,
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


def arithmetic_of(trainer: DictConfig, accelerator: str) -> str:
    """What products are computed in: a key of an accelerator's rates."""
    arithmetic = ARITHMETIC[trainer.precision]
    return "tf32" if arithmetic == "fp32" and trainer.tf32 and accelerator != "cpu" else arithmetic


def count_planned(trainer: DictConfig) -> int:
    """How many processes will train together; their devices need not be here."""
    devices = trainer.devices
    if OmegaConf.is_list(devices):
        devices = len(devices)
    elif devices in ("auto", -1):
        devices = 1 if trainer.accelerator == "cpu" else max(1, torch.cuda.device_count())
    if not isinstance(devices, int) or devices < 1:
        raise UserError(f"trainer.devices must be a number, a list of device indices or auto, not {devices!r}")
    return devices * trainer.num_nodes


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


def accelerator_of(cfg: DictConfig, processes: int) -> tuple[str, dict[str, float], int]:
    """Name, arithmetic -> FLOP/s, and bytes of memory of what one process computes on."""
    name = cfg.plan.accelerator
    if name == "auto":
        name = "cpu" if cfg.trainer.accelerator == "cpu" else cfg.plan.default_accelerator
    arithmetic = arithmetic_of(cfg.trainer, name)
    if name == "cpu":
        rates = {arithmetic: measured_rate(cfg.trainer, processes, DTYPES[arithmetic])}
        memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 / processes * cfg.trainer.num_nodes
    elif name in cfg.plan.accelerators:
        rates = {key: float(value) for key, value in cfg.plan.accelerators[name].items() if key != "memory_gb"}
        memory_gb = cfg.plan.accelerators[name].memory_gb
        if arithmetic not in rates and cfg.plan.peak_flops is None:
            raise UserError(f"plan.accelerator={name} has no {arithmetic}: it has {', '.join(rates)}")
    else:
        known = ", ".join(["auto", "cpu", *cfg.plan.accelerators])
        raise UserError(f"plan.accelerator must be one of {known}, not {name!r}; or set plan.peak_flops for any other")
    if cfg.plan.peak_flops is not None:
        rates = {"given": float(cfg.plan.peak_flops)}
    return name, rates, round((cfg.plan.device_memory_gb or memory_gb) * 2**30)


def measured_rate(trainer: DictConfig, processes: int, dtype: torch.dtype) -> float:
    """FLOP/s of each process's share of this machine's cores in a matrix product, the best of several."""
    set_threads(trainer, processes)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    crowding = max(1.0, torch.get_num_threads() * processes / trainer.num_nodes / cores)
    a = torch.randn(1024, 1024).to(dtype)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * len(a) ** 3 / min(seconds) / crowding


# ---------------------------------------------------------------------- on paper


def report(plan: Plan) -> str:
    """The plan as aligned text."""
    columns = [("tiled", plan.tiled), ("untiled", plan.untiled)] if plan.tiled else [("", plan.untiled)]
    iterations = [iteration for _, iteration in columns if iteration is not None]
    per_image = [plan.flops_per_image(iteration) for iteration in iterations]
    totals = [sum(flops.values()) for flops in per_image]
    share = plan.batch_size // plan.processes
    lines = [
        f"{plan.resolution} x {plan.resolution} pixels, batch {plan.batch_size} on {plan.processes} process(es): "
        f"{share} images each in {plan.passes} pass(es), {plan.precision}",
    ]

    def row(name: str, *cells: str) -> None:
        lines.append(f"{name:<36}" + "".join(f"{cell:>20}" for cell in cells))

    def heading(name: str, *cells: str) -> None:
        lines.append("")
        row(name, *cells)

    heading("networks", "generator", "discriminator")
    row("  parameters", f"{plan.generator_parameters:,}", f"{plan.discriminator_parameters:,}")
    row("  forward pass of an image", flop(plan.generator_forward), flop(plan.discriminator_forward))

    heading("arithmetic for each image", *(name for name, _ in columns))
    for phase in PHASES[:-1]:
        if phase in per_image[0]:
            every = f", every {plan.r1_interval} iterations" if phase == R1 else ""
            row(f"  {phase}{every}", *(flop(flops[phase]) for flops in per_image))
    row("  sum", *(flop(total) for total in totals))
    row("  for each kimg", *(flop(1000 * total) for total in totals))

    heading("memory of each process", *(name for name, _ in columns))
    if plan.tiled is not None:
        all_pixels = plan.resolution**2
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
        row(f"  {plan.processes} x {flop(rate)}/s {arithmetic}{'*' * (arithmetic == plan.arithmetic)}", *times)
    if len(plan.rates) > 1:
        option = f"trainer.precision={plan.precision}" + (", trainer.tf32=true" if plan.arithmetic == "tf32" else "")
        hint = "; trainer.tf32=true: in tf32" if plan.arithmetic == "fp32" and "tf32" in plan.rates else ""
        lines.append(f"  * what {option} computes in{hint}")
    return "\n".join(line.rstrip() for line in lines)


def flop(number: float) -> str:
    """FLOPs in the unit that suits them, four digits."""
    for unit, factor in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if number >= factor:
            return f"{number / factor:,.4g} {unit}"
    return f"{number / 1e6:,.4g} MFLOP"


def size(number: int) -> str:
    """Bytes in the unit that suits them."""
    return f"{number / 2**30:,.2f} GiB" if number >= 2**30 else f"{number / 2**20:,.1f} MiB"


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"
