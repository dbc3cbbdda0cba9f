"""Data parallelism for two networks that are stepped in turn.

`DistributedDataParallel` around the whole module expects every parameter to take part in every backward pass, which is
never so in a GAN. Here the module stays unwrapped: parameters are made equal once, and the gradients of the network
that is being stepped are averaged once per step (`reducer`). A process that is lost ends the others (`watch`).
"""

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig
from omegaconf import flag_override
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from torch import Tensor

from cips_lab.configuration import quoted
from cips_lab.errors import UserError
from cips_lab.processes.ranks import under_torchrun
from cips_lab.processes.watch import LAUNCHER, Watch, follow_launcher, watch_children, watch_launcher


class ReplicatedStrategy(DDPStrategy):
    """Lightning's DDP launcher and process group, without its wrapper around the module.

    Args:
        timeout_minutes: a process that does not take part in an operation for so long is given up, and the run ends.

    Raises:
        UserError: it is not positive.
    """

    def __init__(self, timeout_minutes: float = 10.0) -> None:
        if timeout_minutes <= 0:
            raise UserError(f"trainer.timeout_minutes={timeout_minutes}: must be a positive number of minutes")
        super().__init__(timeout=datetime.timedelta(minutes=timeout_minutes))

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = WatchedLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    def configure_ddp(self) -> None:
        """Copy rank 0's parameters and buffers to all, in place of wrapping the module."""
        assert self.model is not None
        with torch.no_grad():
            for tensor in self.model.state_dict().values():
                if isinstance(tensor, Tensor):
                    dist.broadcast(tensor, src=0)


@contextmanager
def folder_for_quotes() -> Iterator[None]:
    """Within, Hydra's `run.dir` is as it may stand between quotes.

    Lightning puts it there, as it is, in the command of each further process.
    """
    config: Any = HydraConfig.instance().cfg
    if config is None:  # not a command of Hydra's
        yield
        return
    run = config.hydra.run
    folder = run.dir
    with flag_override(run, "readonly", False):
        run.dir = quoted(folder)[1:-1]
        try:
            yield
        finally:
            run.dir = folder


class WatchedLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher, which starts this command once more for each further process of this machine.

    Its observer kills everything, the reason included, when a child ends; none looks after the parent. A `Watch` takes
    its place.
    """

    watch: Watch | None = None  # of the last fit

    def launch(self, function: Callable[..., Any], *args: Any, trainer: pl.Trainer | None = None, **kwargs: Any) -> Any:
        """Start the other processes, if none has, and call the function, watching them."""
        environment = self.cluster_environment
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if self.watch is None:  # otherwise the guard went back to a checkpoint, with the processes that there are
            self.watch = self._start_others()
        with self.watch:
            return function(*args, **kwargs)

    def _start_others(self) -> Watch:
        environment = self.cluster_environment
        follower = follow_launcher()
        if not environment.creates_processes_externally:
            os.environ[LAUNCHER] = str(os.getpid())
            try:
                with folder_for_quotes():
                    self._call_children_scripts()
            finally:
                del os.environ[LAUNCHER]
            return watch_children(self.procs, environment.node_rank() * self.num_processes + 1)
        if follower is not None:
            return follower
        if under_torchrun():
            return watch_launcher(os.getppid(), "torchrun", sees_peers=False)
        return Watch(None)

    def end_watch(self) -> None:
        """The run is over, however it ended."""
        if self.watch is not None:
            self.watch.end()
