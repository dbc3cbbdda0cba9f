"""What tests put into a training process to see what each rank does: by `_target_`, with this folder on PYTHONPATH."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from cips_lab.data.datamodule import BlueMarbleDataModule


class Ranks(pl.Callback):
    """RUN/ranks/N.json: this rank's share of a batch, a digest of its weights, and its job's settings."""

    def __init__(self) -> None:
        self.share = 0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.share = len(batch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        digest = hashlib.sha256()
        for tensor in pl_module.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        seen = {
            "world": trainer.world_size,
            "share": self.share,
            "weights": digest.hexdigest(),
            "seed": pl_module.seed,
            "r1_weight": pl_module.objective.r1_weight,
            "embedding": pl_module.generator.encoding.embedding is not None,
        }
        folder = Path(trainer.default_root_dir) / "ranks"
        folder.mkdir(exist_ok=True)
        (folder / f"{trainer.global_rank}.json").write_text(json.dumps(seen))


class PreparedBlueMarble(BlueMarbleDataModule):
    """Leaves a file for each process that prepares the data."""

    def prepare_data(self) -> None:
        super().prepare_data()
        folder = Path(os.environ["WATCHED"])
        folder.mkdir(exist_ok=True)
        rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID")
        if rank is None:
            rank = f"{os.environ.get('NODE_RANK', 0)}.{os.environ.get('LOCAL_RANK', 0)}"
        (folder / rank).touch()


class Failing(pl.Callback):
    """Fails, or is killed, in the jobs of one seed."""

    def __init__(self, seed: int, how: str) -> None:
        self.seed = seed
        self.how = how

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if pl_module.seed == self.seed and self.how == "raise":
            raise RuntimeError("as the test wants it")
        if pl_module.seed == self.seed and self.how == "kill":
            os.kill(os.getpid(), 9)


class Slowly(pl.Callback):
    """Waits after each iteration, so that a test finds a run in the middle."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        import time

        time.sleep(self.seconds)
