"""A checkpoint that a run is continued from: read without running what is in it, and told when it does not fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.connectors.checkpoint_connector import _CheckpointConnector
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line, read_torch
from cips_lab.runs.folder import TRAINING

if TYPE_CHECKING:
    from cips_lab.training.gan import GAN


def check_checkpoint(path: Path, gan: "GAN") -> None:
    """See that a `training.ckpt` is one, of this very module; tensors stay on disk.

    Raises:
        UserError: it would run code, is damaged, or belongs to other networks.
    """
    content = read_torch(path, "a checkpoint of a run", mmap=True)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"{path}: not a checkpoint of a run; {remedy(path)}")
    own = content.get("cips_lab")
    images = own.get("images_seen") if isinstance(own, dict) else None
    if isinstance(images, bool) or not isinstance(images, int) or images < 0 or images % gan.batch_size:
        raise UserError(f"{path}: says {images!r} images were seen; {remedy(path)}")
    expected = {name: tuple(value.shape) for name, value in gan.state_dict().items()}
    found = {n: tuple(v.shape) if isinstance(v, Tensor) else None for n, v in content["state_dict"].items()}
    for name in sorted(expected.keys() | found.keys(), key=str):
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{path}: {name} is {found.get(name, 'not there')}, where this run has "
                f"{expected.get(name, 'nothing of the kind')}; {remedy(path)}"
            )
    problem = optimizer_problem(content.get("optimizer_states"), gan)
    if problem is not None:
        raise UserError(f"{path}: {problem}; {remedy(path)}")


def optimizer_problem(states: Any, gan: "GAN") -> str | None:
    """What is wrong with the optimisers' states, if anything: one a network, tensors of its parameters' shapes."""
    networks = (gan.generator, gan.discriminator)
    if not isinstance(states, list) or len(states) != len(networks):
        return "it lacks the state of the two optimisers"
    for state, network in zip(states, networks, strict=True):
        parameters = list(network.parameters())
        if not isinstance(state, dict) or not isinstance(state.get("state"), dict):
            return "the state of an optimiser is damaged"
        for index, moments in state["state"].items():
            known = isinstance(index, int) and 0 <= index < len(parameters) and isinstance(moments, dict)
            if not known or not {"step", "exp_avg", "exp_avg_sq"} <= moments.keys():
                return f"the state of an optimiser is damaged (parameter {index!r})"
            for name in ("exp_avg", "exp_avg_sq"):
                if not isinstance(moments[name], Tensor) or moments[name].shape != parameters[index].shape:
                    return f"the state of an optimiser is damaged ({name} of parameter {index})"
    return None


class Restoration(_CheckpointConnector):
    """Lightning's steps that put a checkpoint's content into place: what fails in them is the file's fault.

    What fails before, between and after them (devices, data, other processes) is not, and passes as it is.

    Args:
        trainer: whose steps these are.
        start: the file; None where there is none, and nothing is put into place.
    """

    def __init__(self, trainer: pl.Trainer, start: Path | None) -> None:
        super().__init__(trainer)
        self.start = start

    def resume_start(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        with blaming(self.start):
            super().resume_start(checkpoint_path, weights_only)

    def restore_model(self) -> None:
        with blaming(self.start):
            super().restore_model()

    def restore_callbacks(self) -> None:
        with blaming(self.start):
            super().restore_callbacks()

    def restore_training_state(self) -> None:
        with blaming(self.start):
            super().restore_training_state()


@contextmanager
def blaming(checkpoint: Path | None) -> Iterator[None]:
    """Around what reads a checkpoint.

    Raises:
        UserError: in place of the error that Python or PyTorch has for content of the wrong kind.
    """
    try:
        yield
    except torch.OutOfMemoryError:  # of a device that others use
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if checkpoint is None:
            raise
        message = f"{checkpoint}: cannot be continued from ({first_line(error)}); {remedy(checkpoint)}"
        raise UserError(message) from error


def fit_from(trainer: pl.Trainer, gan: "GAN", data: pl.LightningDataModule, checkpoint: Path | None) -> None:
    """Train from a checkpoint, or from the beginning.

    Args:
        trainer, gan, data: as for Lightning's `fit`.
        checkpoint: its folder, or its `training.ckpt`; None: none.

    Raises:
        UserError: the checkpoint cannot be continued from.
    """
    start = checkpoint / TRAINING if checkpoint is not None and checkpoint.is_dir() else checkpoint
    if start is not None:
        check_checkpoint(start, gan)
    trainer._checkpoint_connector = Restoration(trainer, start)
    trainer.fit(gan, datamodule=data, ckpt_path=start, weights_only=True)


def remedy(path: Path) -> str:
    """What to do about a damaged checkpoint."""
    return f"delete {path.parent.name} to continue from the checkpoint before it"
