"""What a run is planned for: how many processes, the rates of their devices, and the memory of each."""

import os
import time

import torch
from omegaconf import DictConfig, OmegaConf

from cips_lab.errors import UserError
from cips_lab.processes.cores import usable_cores
from cips_lab.processes.layout import set_threads

# What `trainer.precision` lets products be computed in; float32 on a GPU with `trainer.tf32` in TF32.
ARITHMETIC = {"32-true": "fp32", "bf16-mixed": "bf16"}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


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
    cores = usable_cores()
    crowding = max(1.0, torch.get_num_threads() * processes / trainer.num_nodes / cores)
    a = torch.randn(1024, 1024).to(dtype)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * len(a) ** 3 / min(seconds) / crowding
