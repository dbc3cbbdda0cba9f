"""Back to a checkpoint and on with other draws, where a number was lost and `guard=rollback` asks for it."""

import logging
from pathlib import Path

from cips_lab.errors import NonFinite
from cips_lab.training.gan import GAN
from cips_lab.training.guard import Guard

log = logging.getLogger(__name__)


def where_to_go_back(error: NonFinite, guard: Guard, gan: GAN, checkpoints: list[Path]) -> Path:
    """The checkpoint from which a run trains on with other draws after a number was lost.

    Args:
        error: what told it; the same on every process.
        guard: the run's.
        gan: counts the rollbacks, and keeps the count in its checkpoints.
        checkpoints: of the run, oldest first.

    Raises:
        NonFinite: the guard does not go back, there is nothing to go back to, or it did so often enough.
    """
    if guard.action != "rollback":
        raise error
    if not checkpoints:
        raise NonFinite(f"{error}\nguard=rollback: there is no checkpoint yet to go back to") from None
    if gan.rollbacks >= guard.max_rollbacks:
        raise NonFinite(
            f"{error}\nguard=rollback: gave up after guard.max_rollbacks={guard.max_rollbacks} rollback(s)"
        ) from None
    gan.rollbacks += 1
    if gan.global_rank == 0:
        log.warning("%s", error)
        count = f"{gan.rollbacks} of {guard.max_rollbacks}"
        log.warning("rollback %s: to %s, and on with other draws", count, checkpoints[-1].name)
    return checkpoints[-1]
