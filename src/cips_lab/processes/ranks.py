"""Which of several processes this is, before any process group says so, and what all of them must agree on.

Nothing heavy is imported: Hydra resolves a run's name before training is set up.
"""

import functools
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from cips_lab.errors import UserError

if TYPE_CHECKING:
    from torch.distributed import Store

LAUNCH = "CIPS_LAB_LAUNCH"  # environment variable: when the command was given; inherited by all that it starts
INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs that somebody sits at; Lightning knows them by the same
PREPARED, FAILED = "prepared", "failed"
PREPARATION = timedelta(days=1)  # 70,000 pictures are read once before training, perhaps from a slow disk

# Each is 0 on the first process of all, or unset: Lightning's and torchrun's number on a machine, their number of the
# machine, and SLURM's of all.
RANKS = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def under_torchrun() -> bool:
    """Whether torchrun started this process, and the others."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def under_srun() -> bool:
    """Whether SLURM's srun started this process, and the others."""
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in INTERACTIVE


def started_together() -> int:
    """How many processes torchrun or srun started; 1 where Lightning is to start the others."""
    if under_torchrun():
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ["SLURM_NTASKS"]) if under_srun() else 1


def is_first_of_all() -> bool:
    """Whether this is the process that writes the run folder."""
    return all(int(os.environ.get(name, 0)) == 0 for name in RANKS)


def is_first_here() -> bool:
    """Whether this is the first process of its machine, which prepares the data for the others."""
    return int(os.environ.get("LOCAL_RANK", 0)) == 0 and int(os.environ.get("SLURM_LOCALID", 0)) == 0


@functools.cache
def meeting_point() -> "Store":
    """A key-value store of all processes that were started together: the one that their process group will use too."""
    import torch.distributed as dist

    if under_torchrun():
        address, port, rank = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), int(os.environ["RANK"])
    else:
        from lightning_fabric.plugins.environments import SLURMEnvironment

        environment = SLURMEnvironment(auto_requeue=False)
        address, port, rank = environment.main_address, environment.main_port, environment.global_rank()
    store, _, _ = next(dist.rendezvous(f"tcp://{address}:{port}?rank={rank}&world_size={started_together()}"))
    return store


def launch_time() -> str:
    """When the command was given, the same on all processes: the default name of a run ends with it.

    Under torchrun the processes agree through their store. In a job of SLURM with srun or torchrun it is the job's
    number instead, which stays when the job is put in the queue again.
    """
    if LAUNCH not in os.environ:
        now = time.strftime("%Y%m%d-%H%M%S")
        if "SLURM_JOB_ID" in os.environ and (under_srun() or under_torchrun()):
            now = f"slurm-{os.environ['SLURM_JOB_ID']}"
        elif started_together() > 1:
            now = meeting_point().compare_set("cips_lab/launch", "", now).decode()  # what the first to come has set
        os.environ[LAUNCH] = now
    return os.environ[LAUNCH]


def prepare_once(prepare: Callable[[], None]) -> None:
    """Call `prepare` on the first process of each machine; the others that were started with it wait until it is done.

    Raises:
        UserError: it failed, here or on the process that was waited for.
    """
    if started_together() == 1:
        if is_first_here():  # else this process was started by one that has prepared
            prepare()
        return
    machine = os.environ.get("GROUP_RANK") if under_torchrun() else os.environ.get("SLURM_NODEID")
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    key = f"cips_lab/data/{machine or 0}/{attempt}"
    if is_first_here():
        try:
            prepare()
        except BaseException:
            meeting_point().set(key, FAILED)
            raise
        meeting_point().set(key, PREPARED)
        return
    meeting_point().wait([key], PREPARATION)
    if meeting_point().get(key).decode() == FAILED:
        raise UserError("the data could not be prepared: the first process of this machine says why")


def log_handlers() -> list[str]:
    """Where a process logs to: the run folder's log is the first one's."""
    return ["console", "file"] if is_first_of_all() else ["console"]


def register_resolvers() -> None:
    """`${launch_time:}` and `${log_handlers:}`, for conf/."""
    resolvers: dict[str, Callable[..., Any]] = {"launch_time": launch_time, "log_handlers": log_handlers}
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)
