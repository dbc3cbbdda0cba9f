"""From a start to the nearest picture: Adam under the schedule of StyleGAN2's projector (Karras et al. 2020, App. D).

Pixels are conditionally independent, so that memory is bounded whatever the picture's size: it is drawn tile by tile
without a graph, the objective's gradient of the picture is taken, and each tile is drawn once more for its part of the
styles' gradient (`networks.tiling`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.inverting.objective import Objective, Terms

QUIET_FROM = 0.75  # share of the steps after which styles are no longer perturbed


@dataclass(frozen=True)
class Schedule:
    """How one stage goes.

    Attributes:
        steps: of Adam.
        learning_rate: in standard deviations of the generator's styles.
        ramp_up, ramp_down: shares of the steps in which the rate grows from 0 and falls to it.
        perturbation: standard deviations of the noise that is added to styles at first.
    """

    steps: int
    learning_rate: float
    ramp_up: float = 0.05
    ramp_down: float = 0.25
    perturbation: float = 0.0

    def rate(self, step: int) -> float:
        """The learning rate of a step: a cosine down at the end, a line up at the beginning."""
        share = step / self.steps
        down = min(1.0, (1 - share) / self.ramp_down) if self.ramp_down else 1.0
        up = min(1.0, (step + 1) / (self.ramp_up * self.steps)) if self.ramp_up else 1.0
        return self.learning_rate * (0.5 - 0.5 * math.cos(down * math.pi)) * up

    def noise(self, step: int) -> float:
        """How far styles are perturbed in a step: not in the first, whose loss is the start's own."""
        left = 1 - step / self.steps / QUIET_FROM
        return self.perturbation * max(0.0, left) ** 2 if step else 0.0

    def quiet(self) -> "Schedule":
        """The same without perturbations."""
        return replace(self, perturbation=0.0)


@dataclass(frozen=True)
class State:
    """Where a descent was.

    Attributes:
        at: coordinates of the styles, [1, w_dim] or [1, L, w_dim]; behind them noise [L, H, W], where it is looked for.
        image: [1, 3, H, W].
        terms: its distance.
    """

    at: tuple[Tensor, ...]
    image: Tensor
    terms: Terms

    @property
    def loss(self) -> float:
        """The distance, without what else was minimised."""
        return float(self.terms.loss)


Draw = Callable[..., Tensor]  # what `State.at` holds -> a picture [1, 3, H, W], with gradients
Penalty = Callable[..., Tensor]  # the same -> what is added to the loss
Watch = Callable[[State], None]


def descend(
    start: Sequence[Tensor],
    draw: Draw,
    objective: Objective,
    schedule: Schedule,
    watch: Watch,
    random: torch.Generator | None = None,
    penalty: Penalty | None = None,
) -> State:
    """The best state on the way down; never one that is worse than the start.

    Args:
        start: see `State.at`.
        draw: what makes a picture of it.
        objective: what is minimised.
        schedule: how.
        watch: is shown each state.
        random: on the CPU, where styles are perturbed.
        penalty: what is minimised too; states are chosen by their distance alone.

    Raises:
        UserError: a loss is not finite.
    """
    at = tuple(tensor.detach().clone().requires_grad_() for tensor in start)
    optimizer = torch.optim.Adam(at, lr=schedule.learning_rate, betas=(0.9, 0.999))
    best: State | None = None
    for step in range(schedule.steps + 1):  # the last one only looks
        last = step == schedule.steps
        amount = 0.0 if last else schedule.noise(step)
        with torch.set_grad_enabled(not last):
            aside = amount * torch.randn(at[0].shape, generator=random).to(at[0]) if amount else 0.0
            image = draw(at[0] + aside, *at[1:])
            terms = objective(image)
            total = terms.loss if penalty is None else terms.loss + penalty(*at)
        state = State(tuple(t.detach().clone() for t in at), image.detach(), Terms(*(term.detach() for term in terms)))
        if not math.isfinite(state.loss):
            raise UserError(
                f"the loss is not finite after {step} steps: the generator's weights overflow, or learning_rate="
                f"{schedule.learning_rate} is too large; choose a smaller one"
            )
        if not amount and (best is None or state.loss < best.loss):
            best = state
        watch(state)
        if not last:
            optimizer.param_groups[0]["lr"] = schedule.rate(step)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    assert best is not None  # the first state is never perturbed
    return best
