"""What is done when a loss or a gradient stops being a number: no step, and then a report or another attempt.

Nothing is asked of the other processes while all is well. A loss that is not finite makes its own gradients NaN
(`poisoned`), and the average over processes hands any NaN to all: so each sees the same norm of the averaged gradient
and decides the same. The decision stays on the device: Adam's own `found_inf` leaves the weights as they are, in this
step and in the rest of the iteration, and the flags of all steps are read at once, at the iteration's end.

Who had it is found by going through the step again, which is possible because weights have not changed and every draw
is a function of the seed and the images seen.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cips_lab.errors import NonFinite, UserError
from cips_lab.processes.collectives import wait_for_all
from cips_lab.training.incident import Finding, Incident, collect, save

if TYPE_CHECKING:
    from cips_lab.training.gan import GAN

log = logging.getLogger(__name__)

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

    def check(self, gan: "GAN", batch: Tensor) -> None:
        """At the end of an iteration: the one moment at which the device is waited for.

        Args:
            gan: all processes are at the same place.
            batch: this process's real images, uint8 [B / processes, 3, R, R].

        Raises:
            NonFinite: a phase of this iteration was not finite; its optimiser and those after it did not step.
        """
        flags, self._flags = self._flags, {}
        if not flags:
            return
        values = torch.stack(list(flags.values())).tolist()
        if not any(values):
            return
        phase = list(flags)[values.index(1.0)]
        losses = {name: float(value) for name, value in gan.statistics.items()}
        incident = Incident(
            phase=phase,
            images_seen=gan.images_seen,
            iteration=gan.iteration,
            rollbacks=gan.rollbacks,
            seed=gan.draw_seed,
            batch_size=gan.batch_size,
            micro_batch=gan.micro_batch,
            z_dim=gan.generator.z_dim,
            processes=collect(Finding(gan.global_rank, losses, self._retrace(gan, batch, phase))),
        )
        saved = save(incident, Path(gan.trainer.default_root_dir), batch, gan.global_rank)
        wait_for_all()  # no process may end, and so end others, while one is still writing
        message = incident.message(saved)
        if gan.global_rank != 0:
            message = f"process {gan.global_rank} stops with the others: {incident.headline()}"
        raise NonFinite(message)

    def _retrace(self, gan: "GAN", batch: Tensor, phase: str) -> list[str]:
        """Go through a phase again and list the parameters whose gradient is not finite on this very process.

        Hooks see gradients before they are averaged; no weight is stepped.
        """
        network = gan.generator if phase == "generator" else gan.discriminator
        finite: dict[str, Tensor] = {}

        def note(name: str, gradient: Tensor) -> None:
            here = torch.isfinite(gradient).all()
            finite[name] = here if name not in finite else finite[name] & here

        def noting(name: str) -> Callable[[Tensor], None]:
            return lambda gradient: note(name, gradient)

        statistics, gan.statistics = gan.statistics, {}
        gan._generator_turn(phase == "generator")
        handles = [p.register_hook(noting(name)) for name, p in network.named_parameters() if p.requires_grad]
        try:
            gan.run_phase(phase, batch, StandStill(network))
        finally:
            for handle in handles:
                handle.remove()
            self._flags.clear()
            gan.statistics = statistics
        return [name for name, here in finite.items() if not here]


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


def fit_guarded(
    fit: Callable[[Path | None], None], gan: "GAN", guard: Guard, newest: Callable[[], Path | None], start: Path | None
) -> None:
    """Train, and where a number was lost go back and train on with other draws, as often as the guard allows.

    Args:
        fit: trains from a checkpoint's file, or from the beginning.
        gan: what is trained; counts the rollbacks, and keeps the count in its checkpoints.
        guard: the run's.
        newest: the file of the newest checkpoint, or None.
        start: where to begin.

    Raises:
        NonFinite: as often as that was not enough.
    """
    while True:
        try:
            return fit(start)
        except NonFinite as error:
            if guard.action != "rollback":
                raise
            # Every checkpoint was written before the iteration that failed, and all processes waited for it.
            start = newest()
            if start is None:
                raise NonFinite(f"{error}\nguard=rollback: there is no checkpoint yet to go back to") from None
            if gan.rollbacks >= guard.max_rollbacks:
                raise NonFinite(
                    f"{error}\nguard=rollback: gave up after guard.max_rollbacks={guard.max_rollbacks} rollback(s)"
                ) from None
            gan.rollbacks += 1
            if gan.global_rank == 0:
                log.warning("%s", error)
                log.warning(
                    "rollback %d of %d: to %s, and on with other draws",
                    gan.rollbacks,
                    guard.max_rollbacks,
                    start.parent.name,
                )
