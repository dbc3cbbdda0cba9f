"""What all processes of a run must agree on when training begins."""

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from cips_lab.errors import UserError
from cips_lab.processes.collectives import is_distributed
from cips_lab.training.clock import gan_of


class SameMoment(pl.Callback):
    """All processes continue from the same checkpoint.

    Machines that do not share the run folder would not: the first continues, and the others, which see no checkpoint,
    begin anew, with other optimisers and other pictures.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise `UserError`, on every process, if they stand at different moments."""
        if not is_distributed():
            return
        images = gan_of(pl_module).images_seen
        extremes = torch.tensor([images, -images], device=trainer.strategy.root_device)
        dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
        newest, oldest = int(extremes[0]), -int(extremes[1])
        if newest != oldest:
            raise UserError(
                f"{trainer.default_root_dir}: some processes continue at kimg {newest / 1000:g}, others at "
                f"{oldest / 1000:g}: to continue a run, paths.runs must be a folder that all machines share"
            )
