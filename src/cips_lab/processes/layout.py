"""How many processes train together, who starts them, and what each gets: its share of the batch and of the cores."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf

from cips_lab.errors import UserError
from cips_lab.processes.cores import usable_cores
from cips_lab.processes.ranks import started_together, under_srun, under_torchrun

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Layout:
    """What Lightning's Trainer is told.

    Attributes:
        devices: on each machine: a number, a list of indices, or ``auto``.
        num_nodes: machines.
        processes: on all machines together.
    """

    devices: Any
    num_nodes: int
    processes: int


def layout_of(trainer: DictConfig) -> Layout:
    """Where `trainer.devices` and `trainer.num_nodes` lead, before any process is started.

    What torchrun started is counted, not asked for: its own options say how many. srun's tasks must be as many as the
    configuration says.

    Raises:
        UserError: the devices asked for are not there, or who starts the processes has another number in mind.
    """
    if under_torchrun():
        everywhere, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if everywhere % here:
            raise UserError(f"torchrun: {everywhere} processes, {here} on this machine: all must have equally many")
        _check_gpus(trainer, here)
        return Layout(here, everywhere // here, everywhere)
    check_nodes(trainer)
    processes = _count_here(trainer) * trainer.num_nodes
    if under_srun() and started_together() != processes:
        raise UserError(
            f"srun started {started_together()} task(s), but trainer.devices x trainer.num_nodes = {processes}: say "
            f"#SBATCH --nodes={trainer.num_nodes} --ntasks-per-node={processes // trainer.num_nodes}, or change those"
        )
    devices = "auto" if trainer.devices == -1 else trainer.devices  # -1: all, as Lightning's users say it
    return Layout(devices, trainer.num_nodes, processes)


def count_processes(trainer: DictConfig) -> int:
    """How many processes will train together, before any is started; see `layout_of`."""
    return layout_of(trainer).processes


def check_nodes(trainer: DictConfig) -> None:
    """Several machines find each other through torchrun, SLURM, or variables that are set on each.

    Raises:
        UserError: nothing of the kind is there.
    """
    nodes = trainer.num_nodes
    if not isinstance(nodes, int) or nodes < 1:
        raise UserError(f"trainer.num_nodes={nodes}: must be the number of machines, such as trainer.num_nodes=2")
    if nodes == 1 or under_srun():
        return
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
    if missing:
        raise UserError(
            f"trainer.num_nodes={nodes}: {', '.join(missing)} not set; start it on every machine with torchrun, with "
            "SLURM's srun, or with MASTER_ADDR, MASTER_PORT and NODE_RANK=0, 1, ... (docs/scaling.md)"
        )


def check_name(num_nodes: int, overrides: list[str]) -> None:
    """Machines that are started one by one cannot agree on a time for the default name.

    Raises:
        UserError: there are several, and no name.
    """
    if num_nodes > 1 and started_together() == 1 and not any(o.startswith("name=") for o in overrides):
        raise UserError(f"trainer.num_nodes={num_nodes}: give the run a name, name=..., the same on every machine")


def _count_here(trainer: DictConfig) -> int:
    devices = trainer.devices
    if not (devices in ("auto", -1) or (isinstance(devices, int) and devices > 0) or OmegaConf.is_list(devices)):
        raise UserError(f"trainer.devices must be a number, a list of device indices or auto, not {devices!r}")
    if not _on_gpu(trainer):
        return devices if isinstance(devices, int) and devices > 0 else 1
    available = max(1, torch.cuda.device_count())
    count = available if devices in ("auto", -1) else len(devices) if OmegaConf.is_list(devices) else int(devices)
    _check_gpus(trainer, count)
    return count


def _on_gpu(trainer: DictConfig) -> bool:
    return trainer.accelerator in ("gpu", "cuda") or (trainer.accelerator == "auto" and torch.cuda.is_available())


def _check_gpus(trainer: DictConfig, count: int) -> None:
    if not _on_gpu(trainer):
        return
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        raise UserError("trainer=gpu: there is no GPU here that PyTorch can use; say trainer=cpu or trainer=auto")
    available = max(1, torch.cuda.device_count())
    if count > available:
        raise UserError(f"trainer.devices={count}: this machine has {available} GPU(s)")


def check_batch(batch_size: int, micro_batch: int | None, processes: int) -> None:
    """The global batch must be made of equal shares and those of equal passes."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size must be a positive number of images, not {batch_size!r}")
    if batch_size % processes:
        raise UserError(
            f"batch_size={batch_size} is the global batch and does not divide among {processes} processes: "
            f"choose a multiple of {processes}"
        )
    share = batch_size // processes
    if micro_batch is not None and (micro_batch < 1 or share % micro_batch):
        raise UserError(
            f"micro_batch={micro_batch} does not divide the {share} images of each process "
            f"(batch_size={batch_size} over {processes}): choose a divisor of {share}"
        )


def set_threads(trainer: DictConfig, processes: int) -> None:
    """Share the cores: by default every process would start a thread on each."""
    if trainer.threads is None and "OMP_NUM_THREADS" in os.environ:
        return
    cores = usable_cores()
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if under_torchrun() else max(1, processes // trainer.num_nodes)
    torch.set_num_threads(trainer.threads or max(1, cores // here))


def fabric_of(trainer: DictConfig) -> "Fabric":
    """The processes of a command that trains nothing, to be launched; threads and precision of this one are set."""
    from lightning_fabric import Fabric  # heavy, and a command that starts no processes imports this module too

    processes = count_processes(trainer)
    set_threads(trainer, processes)
    set_float32(trainer.tf32)
    return Fabric(
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        num_nodes=trainer.num_nodes,
        strategy="ddp" if processes > 1 else "auto",
    )


def set_float32(tf32: bool) -> None:
    """Whether NVIDIA GPUs may round the factors of float32 products to TF32, in matrix products and convolutions alike.

    PyTorch's own default is TF32 for convolutions alone: the generator would be exact and its discriminator not.
    """
    torch.backends.cuda.matmul.allow_tf32 = tf32  # by these names and not by fp32_precision, for Lightning asks by them
    torch.backends.cudnn.allow_tf32 = tf32
