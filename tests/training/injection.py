"""Losses and gradients that stop being numbers at a chosen moment, phase and process; and a command with that in it.

    INJECT='[{"kind": "gradient", "phase": "generator", "images": 40, "process": 1}]' python injection.py override ...

trains like `python -m cips_lab.train override ...` (Lightning starts the other processes as this one was started).
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from cips_lab.training import gan as gan_module
from cips_lab.training import judging

FUNCTIONS = {
    "discriminator": (gan_module, "discriminator_loss"),
    "r1": (judging, "r1_penalty"),
    "generator": (gan_module, "generator_loss"),
}


@dataclass(frozen=True)
class Fault:
    """`kind`: ``loss`` (infinite, its gradient finite) or ``gradient`` (NaN, the loss finite)."""

    kind: str
    phase: str
    images: int
    process: int = 0
    rollbacks: tuple[int, ...] = (0,)  # in which attempts


class Injection:
    """Patches for the training step; `patch` is that of pytest's MonkeyPatch."""

    def __init__(self, faults: Sequence[Fault], patch: Callable[[Any, str, Any], None]) -> None:
        self.faults = faults
        self.gan: gan_module.GAN | None = None
        original = gan_module.GAN.training_step

        def training_step(gan: gan_module.GAN, batch: Tensor, batch_idx: int) -> None:
            self.gan = gan
            original(gan, batch, batch_idx)

        patch(gan_module.GAN, "training_step", training_step)
        for phase, (module, function) in FUNCTIONS.items():
            patch(module, function, self.spoiling(phase, getattr(module, function)))

    def spoiling(self, phase: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def spoiled(*arguments: Any) -> Tensor:
            result = function(*arguments)
            assert self.gan is not None
            for fault in self.faults:
                here = (fault.phase, fault.images, fault.process) == (
                    phase,
                    self.gan.images_seen,
                    self.gan.global_rank,
                )
                if here and self.gan.rollbacks in fault.rollbacks:
                    if fault.kind == "loss":
                        return result + torch.inf
                    result.register_hook(lambda gradient: gradient * torch.nan)
            return result

        return spoiled


if __name__ == "__main__":
    from cips_lab.train import main

    faults = [Fault(**{**f, "rollbacks": tuple(f.get("rollbacks", (0,)))}) for f in json.loads(os.environ["INJECT"])]
    Injection(faults, pytest.MonkeyPatch().setattr)
    main()
