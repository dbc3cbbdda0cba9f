"""What is done when a loss or a gradient stops being a number: no step, and then a report or another attempt.

Nothing is asked of the other processes while all is well. A loss that is not finite makes its own gradients NaN
(`poisoned`), and the average over processes hands any NaN to all: so each sees the same norm of the averaged gradient
and decides the same. The decision stays on the device: Adam's own `found_inf` leaves the weights as they are, in this
step and in the rest of the iteration, and the flags of all steps are read at once, at the iteration's end.

Who had it is found by going through the step again, which is possible because weights have not changed and every draw
is a function of the seed and the images seen.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from cips_lab.errors import UserError

ACTIONS = ("stop", "rollback", "off")


def poisoned(loss: Tensor) -> Tensor:
    """The loss, bit for bit, with gradients that are NaN if the loss is not finite.

    An infinite loss may have a finite gradient, which would be averaged and stepped with.
    """
    return loss * (1 + 0 * loss.detach())  # 0 * inf and 0 * NaN are NaN; anything else leaves the factor 1


def seed_after(seed: int, rollbacks: int) -> int:
    """The seed of all draws after a number of rollbacks: the run's own before the first."""
    if rollbacks == 0:
        return seed
    digest = blake2b(f"{seed}/rollback/{rollbacks}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


@dataclass
class Guard:
    """Looks at every averaged gradient before it is stepped with.

    Args:
        action: ``stop`` ends the run on all processes, with a message and the batch in RUN/guard; ``rollback`` goes
            back to the last checkpoint and on from there with other draws; ``off`` steps with whatever comes.
        max_rollbacks: of the whole run; one more stops it.

    Raises:
        ValueError: an option is out of its range.
    """

    action: str = "stop"
    max_rollbacks: int = 3

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"guard.action must be one of {', '.join(ACTIONS)}, not {self.action!r}")
        if isinstance(self.max_rollbacks, bool) or not isinstance(self.max_rollbacks, int) or self.max_rollbacks < 0:
            raise ValueError(f"guard.max_rollbacks must be a whole number of at least 0, not {self.max_rollbacks!r}")
        self._flags: dict[str, Tensor] = {}  # phase -> 1.0 if it or an earlier one of the iteration was not finite

    @property
    def active(self) -> bool:
        """Whether anything is done about it."""
        return self.action != "off"

    def inspect(self, network: nn.Module, phase: str, optimizer: Any) -> Tensor:
        """The norm of a network's gradients; an optimiser that is not to step is told so.

        Args:
            network: its gradients are averaged over processes already.
            phase: ``discriminator``, ``r1`` or ``generator``.
            optimizer: of the network; fused, for it is told on the device.
        """
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.active:
            bad = (~torch.isfinite(norm)).float()
            for earlier in self._flags.values():
                bad = torch.maximum(bad, earlier)
            self._flags[phase] = bad
            # What a gradient scaler tells a fused optimiser: with 1.0 there it leaves weights and state alone.
            getattr(optimizer, "optimizer", optimizer).found_inf = bad
        return norm

    def lost_phase(self) -> str | None:
        """At the end of an iteration, the one moment at which the device is waited for: its first phase that was not
        finite, whose optimiser did not step, nor those after it. None where all were. What was noted is forgotten.
        """
        flags, self._flags = self._flags, {}
        values = torch.stack(list(flags.values())).tolist() if flags else []
        return list(flags)[values.index(1.0)] if any(values) else None


@dataclass
class StandStill:
    """An optimiser that only forgets gradients."""

    network: nn.Module

    def step(self) -> None:
        """Leave the weights as they are."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self.network.zero_grad(set_to_none)


def check_precision(guard: Guard, precision: str) -> None:
    """Raise `UserError` where a gradient scaler, to which overflow is ordinary, would be taken for a failure."""
    if guard.active and precision in ("16-mixed", "16-true", 16, "16"):
        raise UserError(
            f"guard={guard.action} with trainer.precision={precision}: in half precision gradients overflow now and "
            "then, and the scaler skips such steps; say guard=off, or trainer.precision=bf16-mixed"
        )
