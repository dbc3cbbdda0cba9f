"""The search for one picture's styles: a start, then one stage after the other, each from the best of the one before.

| space | stages | what is free |
|---|---|---|
| w | w | one style for all layers |
| layers | w, layers | then each layer's own ("w+", Abdal et al. 2019) |
| layers_noise | w, layers, noise | then the noise of each layer and native pixel too |

The last state of a stage is the first of the next: a larger space never ends with a larger loss.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cips_lab.interop.pretrained import Stages
from cips_lab.inverting.descent import Penalty, Schedule, State, descend
from cips_lab.inverting.objective import Objective, Terms
from cips_lab.inverting.space import SAMPLES, space_of, styles_of
from cips_lab.inverting.trace import Trace
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.generator import Generator
from cips_lab.networks.tiling import Tile
from cips_lab.render.given_noise import drawn_noise
from cips_lab.render.inverted import draw_styles

STAGES = {"w": ("w",), "layers": ("w", "layers"), "layers_noise": ("w", "layers", "noise")}
BATCH = 16  # pictures of candidates that are drawn at once
SHORT_LIST = 16  # candidates whose features are looked at


@dataclass(frozen=True)
class Options:
    """How it is looked for.

    Attributes:
        space: see above.
        start: ``best`` of the candidates and the mean, or ``mean``.
        candidates: random styles that are tried.
        schedule: of each stage.
        weights: of the pixels' and of the features' distance.
        drift: weight of how far layers' styles are from those of the stage before.
        noise_weight: of how far noise is from noise.
        seed: of candidates and perturbations.
        noise_seed: of the noise, where it is not looked for.
        tile: see `Generator.synthesize_native`.
    """

    space: str
    start: str
    candidates: int
    schedule: Schedule
    weights: tuple[float, float]
    drift: float
    noise_weight: float
    seed: int
    noise_seed: int
    tile: Tile


@dataclass(frozen=True)
class Found:
    """What came out: styles [1, w_dim] or [1, L, w_dim], noise [L, H, W] or None, and where each stage ended."""

    styles: Tensor
    noise: Tensor | None
    stages: dict[str, State]
    mean: State
    start: State
    trace: Trace

    @property
    def state(self) -> State:
        """The last."""
        return list(self.stages.values())[-1]


class Search:
    """For pictures of one size in one generator.

    Args:
        generator: in evaluation mode, without gradients of its own.
        grid: [H, W, 2] of the pictures; None: the native one.
        label: of a generator with classes, that of the styles that are tried; None: each their own.
        options: how.
        network: of `objective.feature_network`; None where features do not count.
    """

    def __init__(
        self,
        generator: Generator,
        grid: Tensor | None,
        label: int | None,
        options: Options,
        network: tuple[Stages, tuple[int, int]] | None,
    ) -> None:
        self.generator, self.grid, self.options, self.network = generator, grid, options, network
        styles = styles_of(generator, options.seed, max(SAMPLES, options.candidates), label)
        self.space = space_of(styles)
        self.candidates = styles[: options.candidates]

    def draw(self, u: Tensor, noise: Tensor | None = None) -> Tensor:
        """Coordinates [B, w_dim] or [B, L, w_dim] -> pictures [B, 3, H, W]."""
        options = self.options
        return draw_styles(self.generator, self.space.style(u), self.grid, noise, options.noise_seed, options.tile)

    def find(self, target: Tensor, name: str = "") -> Found:
        """Look for [1, 3, H, W] in [-1, 1].

        Raises:
            UserError: a loss is not finite.
        """
        options = self.options
        objective = Objective(target, options.weights, self.network)
        stages = STAGES[options.space]
        trace = Trace(name, target, len(stages) * (options.schedule.steps + 1))
        mean = self._look(torch.zeros_like(self.space.mean)[None], objective)
        state = start = min(mean, self._nearest(target, objective), key=lambda s: s.loss) if self._tries else mean
        ends: dict[str, State] = {}
        for number, stage in enumerate(stages):
            at, penalty = self._beginning(stage, state)
            random = (
                torch.Generator().manual_seed(options.seed) if number == 0 else None
            )  # later ones are not perturbed
            quiet = options.schedule if number == 0 else options.schedule.quiet()
            with trace.stage(stage):
                state = descend(at, self.draw, objective, quiet, trace.watch, random, penalty)
            ends[stage] = state
        trace.close()
        return Found(
            self.space.style(state.at[0]), state.at[1] if len(state.at) > 1 else None, ends, mean, start, trace
        )

    @property
    def _tries(self) -> bool:
        return self.options.start == "best" and len(self.candidates) > 0

    def _beginning(self, stage: str, state: State) -> tuple[tuple[Tensor, ...], Penalty | None]:
        """Where a stage starts, and what it minimises beside the distance."""
        options, u = self.options, state.at[0]
        if stage == "w":
            return (u,), None
        first = u if u.dim() == 3 else u[:, None].repeat(1, self.generator.num_layers, 1)

        def drifted(u: Tensor, noise: Tensor | None = None) -> Tensor:
            away = options.drift * (u - first).square().mean()
            return away if noise is None else away + options.noise_weight * unlike_noise(noise)

        if stage == "layers":
            return (first,), drifted if options.drift else None
        assert isinstance(self.generator, CIPSGenerator)
        return (first, drawn_noise(self.generator, options.noise_seed)), drifted

    @torch.no_grad()
    def _look(self, u: Tensor, objective: Objective) -> State:
        image = self.draw(u)
        return State((u,), image, Terms(*objective(image)))

    @torch.no_grad()
    def _nearest(self, target: Tensor, objective: Objective) -> State:
        """The best of the candidates: of the few with the nearest pixels, by the objective."""
        batches = self.candidates.split(BATCH)
        u = torch.cat([self.space.coordinates(batch) for batch in batches])
        away = torch.cat([(self.draw(part) - target).square().mean((1, 2, 3)) for part in u.split(BATCH)])
        short = away.topk(min(SHORT_LIST, len(away)), largest=False).indices
        return min((self._look(u[i : i + 1], objective) for i in short.tolist()), key=lambda state: state.loss)


def unlike_noise(maps: Tensor) -> Tensor:
    """How far maps [L, H, W] are from white noise of mean 0 and variance 1; 0 where it does not show.

    Neighbours' products at several scales, as StyleGAN2's projector has it, and the first two moments.
    """
    total = maps.mean((1, 2)).square().sum() + (maps.square().mean((1, 2)) - 1).square().sum()
    while True:
        for axis in (1, 2):
            total = total + (maps * maps.roll(1, axis)).mean((1, 2)).square().sum()
        if min(maps.shape[1:]) < 16:
            return total
        maps = 2 * F.avg_pool2d(maps[None], 2)[0]  # of four independent ones the mean has half their deviation
