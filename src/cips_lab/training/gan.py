"""The LightningModule. One iteration: a discriminator step, now and then R1, a generator step, and the average.

The clock is `images_seen`: real images consumed by all processes together. All randomness is a function of the seed
and that clock (`draws`), so neither the number of processes, nor micro-batches, nor an interruption changes a run.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cips_lab.data.dataset import to_device_range
from cips_lab.data.labelled import Batch, parts_of
from cips_lab.data.windows import WindowsOf
from cips_lab.errors import NonFinite
from cips_lab.networks.generator import Generator
from cips_lab.networks.tiling import Tile
from cips_lab.processes.collectives import is_distributed, mean_over_processes
from cips_lab.processes.reducer import GradientReducer
from cips_lab.training.augment import Augment
from cips_lab.training.draws import Latents, Share, draw_flips, draw_latents, share_of
from cips_lab.training.guard import Guard, poisoned, seed_after
from cips_lab.training.incident import report
from cips_lab.training.judging import Judge, Look, in_precision
from cips_lab.training.losses import ADVERSARIAL, certainty, discriminator_loss, generator_loss
from cips_lab.training.objective import Objective
from cips_lab.training.retracing import incident_of
from cips_lab.training.views import AnyResolution, Full, Shown, View, WindowReader, cut, draw

Networks = Literal["both", "generator", "discriminator"]
CHECKPOINT_KEY = "cips_lab"


class GAN(pl.LightningModule):
    """Generator, discriminator, the generator's moving average, and the step that trains them.

    Args:
        generator, discriminator: the networks.
        objective: losses, optimisers and averaging.
        batch_size: images an iteration over all processes; a multiple of (processes x micro-batches).
        micro_batch: images a pass on each process; None: its whole share at once.
        seed: of all draws.
        flip: whether half of the real images are mirrored.
        compile: mode in which `torch.compile` takes both networks' forward passes (R1, a second derivative, stays
            eager); None: not at all.
        tile: pixels of each sample synthesised at once; ``auto``, or None for all (see `tiling.choose_tile`).
        guard: what is done when a loss or gradient is not finite.
        generator_config: what `load_generator` needs to build the generator again; kept in checkpoints.
        view: which coordinates are shown; None: the whole native grid.
        augment: what is done to pictures before the discriminator sees them; None: nothing.
        mixed: which networks a precision such as ``bf16-mixed`` is for; the other stays float32.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: nn.Module,
        objective: Objective,
        *,
        batch_size: int,
        micro_batch: int | None = None,
        seed: int = 0,
        flip: bool = True,
        compile: str | None = None,
        tile: Tile = "auto",
        guard: Guard | None = None,
        generator_config: dict[str, Any] | None = None,
        view: View | None = None,
        augment: Augment | None = None,
        mixed: Networks = "both",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = generator
        self.discriminator = discriminator
        self.average = AveragedModel(generator)
        self.average.requires_grad_(False).eval()
        self.batch_size = batch_size
        self.micro_batch = micro_batch
        self.seed = seed
        self.flip = flip
        self.guard = guard or Guard()
        self.rollbacks = 0  # by the guard; each changes all draws
        self.generator_config = generator_config or {}
        self.images_seen = 0
        self.statistics: dict[str, Tensor] = {}  # of the last iteration, this process's share
        self.reducers: dict[nn.Module, GradientReducer] = {}  # of each network, where there are other processes
        self.view = Full(generator.resolution) if view is None else view
        self.view.check(generator)
        self.objective = objective.of_pictures(math.prod(self.view.sides), batch_size)
        self.recipe = self.objective.at(0)  # of this iteration
        self.augment = augment or Augment()
        self.mixed = mixed
        self.judge = Judge(discriminator, self.augment, compile, mixed != "generator")
        self.shown: Shown  # by this process's share of the iteration
        if compile is not None:
            generator.compile_synthesis(compile)
        self._native: Callable[..., Tensor] = partial(generator.synthesize_native, tile=tile)
        self._at: Callable[..., Tensor] = partial(generator.synthesize_at, tile=tile)

    @property
    def generator_ema(self) -> Generator:
        """The averaged generator: what is sampled, evaluated and kept."""
        return self.average.module  # type: ignore[return-value]

    @property
    def iteration(self) -> int:
        """Iterations done so far."""
        return self.images_seen // self.batch_size

    @property
    def draw_seed(self) -> int:
        """Of all draws of training: the run's seed until the guard goes back to a checkpoint."""
        return seed_after(self.seed, self.rollbacks)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [
            self.objective.generator_optimizer(self.generator),
            self.objective.discriminator_optimizer(self.discriminator),
        ]

    def on_fit_start(self) -> None:
        """Tell the data where this process's share begins: after a checkpoint was read, before loaders are made."""
        world = self.trainer.world_size
        self.trainer.datamodule.configure(  # type: ignore[attr-defined]
            batch_size=self.batch_size // world,
            seed=self.draw_seed,
            rank=self.global_rank,
            world_size=world,
            images_seen=self.images_seen,
            windows=self._windows(),
            labelled=self.generator.mapping.classes > 0,
        )

    def _windows(self) -> WindowsOf | None:
        """How pictures are read where the view takes them at their own size."""
        if not isinstance(self.view, AnyResolution):
            return None
        reader = WindowReader(self.view, self.draw_seed, self.batch_size, self.flip)
        return WindowsOf(self.view.frame, self.view.sides, reader)

    def on_fit_end(self) -> None:
        """Whoever uses the networks next may not have other processes beside it."""
        for reducer in self.reducers.values():
            reducer.remove()
        self.reducers.clear()

    # ------------------------------------------------------------------ one iteration

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One iteration on this process's share of the real images, uint8 [B / processes, 3, H, W]."""
        optimizer_g, optimizer_d = self.optimizers()  # type: ignore[attr-defined]
        self._set_rates(optimizer_g, optimizer_d)
        self.augment.begin(self.images_seen)
        real = self.prepare_real(batch)
        self.collect_gradients_of(self.discriminator)
        self.discriminator_step(real, optimizer_d)
        if self.objective.penalises_apart and self.iteration % self.objective.r1_interval == 0:
            self.r1_step(real, optimizer_d)
        self.collect_gradients_of(self.generator)
        w_mean = self.generator_step(real, optimizer_g)
        lost = self.guard.lost_phase()
        if lost is not None:
            folder, parts = Path(self.trainer.default_root_dir), parts_of(batch, self.generator.mapping.classes)
            raise NonFinite(report(incident_of(self, lost, batch), folder, parts, self.global_rank))
        self.generator.mapping.track_mean(w_mean[None])
        self._update_average()
        self.augment.end(self.batch_size)
        self.statistics |= self.augment.statistics()
        self.images_seen += self.batch_size

    def discriminator_step(self, real: Tensor, optimizer: Any) -> None:
        shares = self._shares()
        for i, latents in enumerate(self._latents("discriminator", shares)):
            shown = self.shown.part(i, len(shares))
            joined = not self.objective.penalises_apart
            real_look, fake_look = self._look("real", shares[i]), self._look("fake", shares[i])
            weights = (self.recipe.r1_weight, self.recipe.r2_weight) if joined else (0.0, 0.0)
            real_logits, r1 = self._judged(real[i :: len(shares)], shown, real_look, "r1", weights[0], i)
            fake_logits, r2 = self._judged(self._fakes(latents, shown), shown, fake_look, "r2", weights[1], i)
            self.augment.observe(certainty(self.objective.loss, real_logits, fake_logits), self.judge.weights)
            loss = discriminator_loss(self.objective.loss, real_logits, fake_logits, self.judge.weights)
            self._backward(loss + r1 + r2, self.discriminator, "discriminator", i)
            self._record("loss/discriminator", loss, i)
            self._record("logits/real", real_logits.mean(), i)
            self._record("logits/fake", fake_logits.mean(), i)
            self._record("logits/gap", real_logits.mean() - fake_logits.mean(), i)
        self._step(optimizer, self.discriminator, "discriminator")

    def r1_step(self, real: Tensor, optimizer: Any) -> None:
        """The penalties in an optimiser step of their own, on the same pictures, as the released code does."""
        shares = self._shares()
        for i, latents in enumerate(self._latents("discriminator", shares)):
            shown = self.shown.part(i, len(shares))
            penalties = [("r1", "real", self.recipe.r1_weight, real[i :: len(shares)])]
            if self.recipe.r2_weight:
                penalties.append(("r2", "fake", self.recipe.r2_weight, self._fakes(latents, shown)))
            loss = torch.zeros((), device=real.device)
            for name, purpose, weight, images in penalties:
                penalty = self.judge.penalty(images, shown, self._look(purpose, shares[i]))
                loss = loss + weight / 2 * penalty * self.objective.r1_interval
                self._record(f"loss/{name}", penalty, i)
            self._backward(loss, self.discriminator, "r1", i)
        self._step(optimizer, self.discriminator, "r1")

    def generator_step(self, real: Tensor, optimizer: Any) -> Tensor:
        """Also gives the mean of the styles that all processes drew, [w_dim]."""
        shares = self._shares()
        w_mean = torch.zeros_like(self.generator.mapping.w_mean)
        for i, latents in enumerate(self._latents("generator", shares)):
            w = self._styles(latents)
            w_mean += w.detach().float().reshape(-1, w.shape[-1]).mean(0) / len(shares)
            shown = self.shown.part(i, len(shares))
            look = self._look("generator", shares[i])
            logits = self.judge.logits(self._synthesize(w, latents.noise_seed, shown), shown, look)
            beside = None
            if ADVERSARIAL[self.objective.loss].of_pairs:
                with torch.no_grad():
                    beside = self.judge.logits(real[i :: len(shares)], shown, self._look("real", shares[i]))
            loss = generator_loss(self.objective.loss, logits, beside, self.judge.weights)
            self._backward(loss, self.generator, "generator", i)
            self._record("loss/generator", loss, i)
        self._step(optimizer, self.generator, "generator")
        return mean_over_processes(w_mean)

    def _update_average(self) -> None:
        decay = self.objective.ema_decay(self.batch_size, self.images_seen)
        self.average.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.average.update_parameters(self.generator)
        self.generator_ema.mapping.w_mean.copy_(self.generator.mapping.w_mean)

    # ------------------------------------------------------------------ its parts

    def _synthesize(self, w: Tensor, noise_seed: Tensor, shown: Shown) -> Tensor:
        """What samples show of their pictures, [b, 3, h, w]."""
        with in_precision(self.mixed != "discriminator", w.device):
            return self._native(w, noise_seed) if shown.coords is None else self._at(w, shown.coords, noise_seed)

    @torch.no_grad()
    def _fakes(self, latents: Latents, shown: Shown) -> Tensor:
        """What the discriminator's step shows beside real pictures, [b, 3, h, w]."""
        return self._synthesize(self._styles(latents), latents.noise_seed, shown)

    def _look(self, purpose: str, share: Share) -> Look:
        """How the discriminator sees a share of some pictures in this iteration."""
        place = self.draw_seed, purpose, self.images_seen, self.batch_size
        return self.judge.look(*place, share, self.generator.mapping.w_mean)

    def _judged(
        self, images: Tensor, shown: Shown, look: Look, name: str, weight: float, index: int
    ) -> tuple[Tensor, Tensor | float]:
        """Logits [b, n], and the penalty on their gradient with its weight, where it has one."""
        if weight == 0:
            return self.judge.logits(images, shown, look), 0.0
        logits, penalty = self.judge.logits_and_penalty(images, shown, look)
        self._record(f"loss/{name}", penalty, index)
        return logits, weight / 2 * penalty

    def _set_rates(self, *optimizers: Any) -> None:
        """This iteration's weights and learning rates."""
        self.recipe = self.objective.at(self.images_seen)
        for optimizer, rates in zip(optimizers, (self.recipe.generator, self.recipe.discriminator), strict=True):
            for group in optimizer.param_groups:
                group.update(rates)

    def collect_gradients_of(self, network: nn.Module) -> None:
        """Of the network whose turn it is, and of no other."""
        for one in (self.generator, self.discriminator):
            one.requires_grad_(one is network)

    def _backward(self, loss: Tensor, network: nn.Module, step: str, index: int) -> None:
        """Micro-batch `index`'s part of the network's gradients; those of the last leave for the other processes."""
        passes = len(self._shares())
        if is_distributed() and index == passes - 1:
            if network not in self.reducers:
                self.reducers[network] = self.new_reducer(network)
            self.reducers[network].arm(step)
        with in_precision(False, loss.device):  # of each operation's own forward pass, and not cast once more
            self.manual_backward(poisoned(loss) / passes)

    def new_reducer(self, network: nn.Module) -> GradientReducer:
        """What averages a network's gradients over processes; made in its first step, when it wants gradients."""
        return GradientReducer(network)

    def _step(self, optimizer: Any, network: nn.Module, phase: str) -> None:
        if is_distributed():
            self.reducers[network].finish()
        self.statistics[f"gradient_norm/{phase}"] = self.guard.inspect(network, phase, optimizer)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _styles(self, latents: Latents) -> Tensor:
        """Latents -> w [b, w_dim], or [b, layers, w_dim] where the generator mixes styles."""
        return self.generator.training_styles(latents.z, latents.z_mixed, latents.crossover)

    def prepare_real(self, batch: Batch) -> Tensor:
        """uint8 -> [-1, 1] on the device, each image mirrored or not as the whole batch's draw says, and cut to what is
        shown; which is noted for the fake ones, which are also of the same classes.
        """
        pictures, windows, label = parts_of(batch, self.generator.mapping.classes)
        share = Share(self.global_rank, self.trainer.world_size)
        flips = torch.zeros(self.batch_size, dtype=torch.bool)
        if self.flip:
            flips = draw_flips(self.draw_seed, self.images_seen, self.batch_size)
        real = to_device_range(pictures, share.of(flips).to(pictures.device))
        draws = share.of(draw(self.draw_seed, self.images_seen, self.batch_size)).to(pictures.device)
        self.shown = self.view.shown(draws, windows)._replace(label=label)
        if getattr(self.discriminator, "faded", None) is not None:  # it has grown
            self.discriminator.fade.fill_(self.view.fade(self.images_seen))  # type: ignore[operator]
        return real if self.shown.windows is None else cut(real, self.shown.windows, self.view.sides)

    def _shares(self) -> list[Share]:
        """This process's shares of a global batch, one for each micro-batch."""
        world = self.trainer.world_size
        passes = 1 if self.micro_batch is None else self.batch_size // world // self.micro_batch
        return [Share(self.global_rank + world * i, world * passes) for i in range(passes)]

    def _latents(self, purpose: str, shares: list[Share]) -> list[Latents]:
        latents = draw_latents(self.draw_seed, purpose, self.images_seen, self.batch_size, self.generator.z_dim)
        return [
            share_of(latents, share, self.device).of(self.shown.part(i, len(shares)).label)
            for i, share in enumerate(shares)
        ]

    def _record(self, name: str, value: Tensor, index: int) -> None:
        """Sum over micro-batches; the reader divides."""
        value = value.detach().float() / len(self._shares())
        self.statistics[name] = value if index == 0 else self.statistics[name] + value

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CHECKPOINT_KEY] = {
            "images_seen": self.images_seen,
            "seed": self.seed,
            "rollbacks": self.rollbacks,
            "generator": self.generator_config,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.images_seen = int(checkpoint[CHECKPOINT_KEY]["images_seen"])
        # A rollback that has just happened is not in the checkpoint that it goes back to.
        self.rollbacks = max(self.rollbacks, int(checkpoint[CHECKPOINT_KEY].get("rollbacks", 0)))
