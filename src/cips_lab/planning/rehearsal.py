"""One iteration of the real training step, gone through with fake tensors.

Fake tensors have shapes and storage sizes but no memory and no values, so an iteration of any size takes seconds and
allocates nothing. Two meters look on: one adds up FLOPs, one the bytes of the tensors that are alive.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from cips_lab.configuration import build
from cips_lab.data.dataset import to_device_range
from cips_lab.data.labelled import Batch, parts_of
from cips_lab.networks.discriminator import TOLD_CHANNELS
from cips_lab.networks.tiling import Tile, keep_bytes
from cips_lab.planning.meters import FlopCounter, MemoryTracker
from cips_lab.processes.reducer import GradientReducer
from cips_lab.training.gan import GAN
from cips_lab.training.guard import Guard
from cips_lab.training.views import DRAWS, cut

KINDS = ("parameters", "average", "Adam moments", "gradients", "images", "activations")
DISCRIMINATOR, R1, GENERATOR, AVERAGE = PHASES = ("discriminator step", "R1 step", "generator step", "averaging")


@dataclasses.dataclass
class Iteration:
    """One iteration of one process.

    Attributes:
        tile: pixels of each sample synthesised at once.
        flops: phase -> FLOPs of the process's share of the batch; R1 as if it came every time.
        memory: phase -> kind -> bytes at the phase's peak.
    """

    tile: int
    flops: dict[str, int] = dataclasses.field(default_factory=dict)
    memory: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)

    def flops_per_image(self, images: int, r1_interval: int) -> dict[str, float]:
        """Phase -> FLOPs for one of the `images` of the process's share, R1 spread over its interval."""
        return {phase: flops / images / (r1_interval if phase == R1 else 1) for phase, flops in self.flops.items()}

    @property
    def worst_phase(self) -> str:
        """The phase that needs the most memory."""
        return max(self.memory, key=lambda phase: sum(self.memory[phase].values()))

    @property
    def peak_bytes(self) -> int:
        """The most memory that is needed at once."""
        return sum(self.memory[self.worst_phase].values())


class Rehearsal(GAN):
    """`GAN`'s own training step without a trainer, with an eye on what each phase takes."""

    REHEARSED = 2  # passes: the second adds to gradients that are there, and so does every later one

    def __init__(
        self,
        cfg: DictConfig,
        processes: int,
        memory: MemoryTracker,
        flops: FlopCounter,
        precision: str = "32-true",
    ) -> None:
        share = cfg.batch_size // processes
        samples = cfg.micro_batch or share
        self.share, self.passes = share, share // samples
        rehearsed = min(self.passes, self.REHEARSED)
        super().__init__(
            build(cfg.generator),
            build(cfg.discriminator),
            build(cfg.objective),
            batch_size=rehearsed * samples * processes,
            micro_batch=samples,
            guard=Guard("off"),  # fake tensors have no values to look at
            view=None if cfg.get("view") is None else build(cfg.view),
            mixed=OmegaConf.select(cfg, "trainer.mixed", default="both"),
        )
        self.precision = precision
        self.trainer = SimpleNamespace(world_size=processes, global_rank=0)  # type: ignore[assignment]
        self.pair = self.configure_optimizers()
        self.tracker, self.counter = memory, flops
        self.found = Iteration(tile=0)

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """Generator's, discriminator's."""
        return self.pair

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Without a trainer there is no gradient to scale."""
        loss.backward()

    def new_reducer(self, network: nn.Module) -> GradientReducer:
        """Fake tensors have no values to agree on."""
        return _Trusting(network)

    def set_the_stage(self) -> None:
        """Bring everything into being that a run has after its first iteration, and name it."""
        for optimizer, network in zip(self.pair, (self.generator, self.discriminator), strict=True):
            for parameter in network.parameters():
                parameter.grad = torch.zeros_like(parameter)
                parameter.register_post_accumulate_grad_hook(lambda p: self.tracker.label("gradients", [p.grad]))
            optimizer.step()
            optimizer.zero_grad()
            self.tracker.label(
                "Adam moments", (value for state in optimizer.state.values() for value in state.values())
            )
        self._update_average()
        for network in (self.generator, self.discriminator):
            self.tracker.label("parameters", (*network.parameters(), *network.buffers()))
        self.tracker.label("average", (*self.average.parameters(), *self.average.buffers()))

    def rehearse(self, native: Callable[..., Tensor], at: Callable[..., Tensor], tile: int) -> Iteration:
        """One iteration with R1.

        Args:
            native: runs the generator on its native grid: (w, noise_seed) -> images [b, 3, H, W].
            at: runs it on any: (w, coords, noise_seed) -> images [b, 3, h, w].
            tile: pixels of each sample that they synthesise at once.
        """
        self.found = Iteration(tile)
        self._native, self._at = native, at
        self.images_seen = 0  # a moment with R1
        windowed = self.view.reads_originals
        pictures = torch.zeros(self.share, 3, *(self.view.sides if windowed else self.view.frame), dtype=torch.uint8)
        batch = [pictures]
        if windowed:
            batch.append(torch.ones(self.share, 5, dtype=torch.int64))
        if self.generator.mapping.classes:
            batch.append(torch.zeros(self.share, dtype=torch.int64))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            self.training_step(batch, 0)
        rehearsed = min(self.passes, self.REHEARSED)
        self.found.flops = {phase: flops * self.passes // rehearsed for phase, flops in self.found.flops.items()}
        return self.found

    def rehearse_untiled(self) -> Iteration:
        """The same with all pixels in one graph, as a generator without tiles is trained."""
        at_once = self.generator.synthesize_at_once
        return self.rehearse(at_once, lambda w, coords, seed: at_once(w, seed, coords), self.pixels)

    def rehearse_tiled(self, tile: Tile, device: torch.device, memory: int) -> Iteration | None:
        """An iteration as it is trained on a device; None for a generator that has no tiles.

        Args:
            tile: pixels of each sample in a tile, or ``auto``: chosen as training chooses.
            device: of this kind; it need not be here.
            memory: bytes of it that tensors may fill.
        """
        generator = self.generator
        if generator.native_only:
            return None
        free = memory - self.tracker.live.total()
        tile = generator.tile_pixels(tile, self.share // self.passes, device, free, self.pixels)
        keep = keep_bytes(device, free)
        return self.rehearse(
            partial(generator.synthesize_native, tile=tile, keep=keep),
            partial(generator.synthesize_at, tile=tile, keep=keep),
            tile,
        )

    def forward_flops(self, network: nn.Module, sample: tuple[int, ...]) -> int:
        """FLOPs of a network's forward pass on one sample of the given shape."""
        before = self.counter.total
        with torch.no_grad():
            network(torch.zeros(1, *sample))
        return self.counter.total - before

    def judging_flops(self) -> int:
        """FLOPs of the discriminator's forward pass on one image."""
        channels = TOLD_CHANNELS[self.judge.told]
        before = self.counter.total
        with torch.no_grad():
            image = torch.zeros(1, 3, *self.view.sides)
            told = torch.zeros(1, channels, *self.view.sides)
            classes = self.generator.mapping.classes
            of = {"label": torch.zeros(1, classes)} if classes else {}
            self.discriminator(image, *([told] if channels else []), **of)
        return self.counter.total - before

    @property
    def pixels(self) -> int:
        """Of a sample, as it is shown."""
        return math.prod(self.view.sides)

    @property
    def r1_interval(self) -> int:
        """Iterations from one R1 step to the next; 0 without."""
        return self.objective.r1_interval if self.objective.penalises_apart else 0

    def prepare_real(self, batch: Batch) -> Tensor:
        """The whole share is held, of which the passes that are rehearsed take theirs."""
        pictures, windows, label = parts_of(batch, self.generator.mapping.classes)
        real = to_device_range(pictures, torch.zeros(len(pictures), dtype=torch.bool))
        rehearsed = self.batch_size // self.trainer.world_size
        draws = torch.zeros(rehearsed, DRAWS, dtype=torch.float64)
        self.shown = self.view.shown(draws, None if windows is None else windows[:rehearsed])
        self.shown = self.shown._replace(label=None if label is None else label[:rehearsed])
        self.tracker.label("images", (pictures, real))
        seen = real[:rehearsed]
        return seen if self.shown.windows is None else cut(seen, self.shown.windows, self.view.sides)

    def discriminator_step(self, real: Tensor, optimizer: Any) -> None:
        with self._phase(DISCRIMINATOR):
            super().discriminator_step(real, optimizer)

    def r1_step(self, real: Tensor, optimizer: Any) -> None:
        with self._phase(R1):
            super().r1_step(real, optimizer)

    def generator_step(self, real: Tensor, optimizer: Any) -> Tensor:
        with self._phase(GENERATOR):
            return super().generator_step(real, optimizer)

    def _update_average(self) -> None:
        with self._phase(AVERAGE):
            super()._update_average()

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self.tracker.restart()
        before = self.counter.total
        yield
        self.found.flops[name] = self.counter.total - before
        self.found.memory[name] = {kind: self.tracker.peak[kind] for kind in KINDS}


class _Trusting(GradientReducer):
    """Takes every process for a copy of this one."""

    def _differing(self, present: list[bool]) -> list[str]:
        return []


class _FakeTensors(FakeTensorMode):
    """Fake tensors that `copy.deepcopy` (of the averaged generator) leaves in the same mode."""

    def __deepcopy__(self, memo: Any) -> "_FakeTensors":
        return self


@contextmanager
def pretended_processes(count: int) -> Iterator[None]:
    """A process group whose collectives do nothing: the buffers made for them are counted all the same."""
    if count == 1:
        yield
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore  # the import also registers the backend

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=count)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def rehearsal(cfg: DictConfig, processes: int, precision: str = "32-true") -> Iterator[Rehearsal]:
    """The GAN of a composed training configuration, on fake tensors; what is done inside allocates nothing."""
    with warnings.catch_warnings(), pretended_processes(processes), _FakeTensors():
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")  # deepcopy asks for it
        with MemoryTracker() as memory, FlopCounter() as flops:
            gan = Rehearsal(cfg, processes, memory, flops, precision)
            gan.set_the_stage()
            yield gan
