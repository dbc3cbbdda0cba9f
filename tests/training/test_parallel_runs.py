"""A run is the same on any number of processes, and can be continued on another number."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from tiny import RECIPE, build_gan
from torch import Tensor

from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.launch.beginning import split_groups
from cips_lab.processes.collectives import mean_over_processes
from cips_lab.runs.folder import checkpoint_folders
from processes import fit_together, together

BATCH, ITERATIONS = 16, 20
TOLERANCE = 1e-5
KINDS: dict[str, dict[str, Any]] = {
    "cips": {},  # with noise
    "stylegan2": {"generator": "stylegan2", "mixing_probability": 0.9},
    "recipe": RECIPE,
    "projected": {"discriminator": "projected", "objective": {"loss": "hinge"}},
    "vision_aided": {"discriminator": "vision_aided", "objective": {"loss": "relativistic", "r2_weight": 1.0}},
    "classes": {"classes": 3, "mixing_probability": 0.5, "generator": "stylegan2"},
}


class Recorder(pl.Callback):
    """Losses and logits of every iteration, over all processes."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.rows.append({name: float(mean_over_processes(value)) for name, value in pl_module.statistics.items()})
        pl_module.statistics = {}


def rounded_leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Leaky ReLU without its kink: within about a tenth of 0 the slope changes gradually."""
    return negative_slope * x + (1 - negative_slope) * F.softplus(x, beta=20)


def train(folder: Path, iterations: int, options: dict[str, Any], checkpoint: Path | None) -> None:
    """A run, or its continuation, of a GAN at its full learning rates.

    Adam's epsilon is 1e-6 here, not 1e-8: a gradient that is zero but for rounding is then no step of full length,
    whose sign would be the processor's choice. So would be the slope of a leaky ReLU whose argument is zero but for
    rounding; in networks as small as these one such value moves the whole gradient.
    """
    F.leaky_relu = F.leaky_relu_ = rounded_leaky_relu
    weights = {"seed": 0 if checkpoint is None else 5}  # a continued run has all from the checkpoint
    gan = build_gan(**{**weights, "batch_size": BATCH, **options})
    configure = gan.configure_optimizers

    def configured() -> list[torch.optim.Optimizer]:
        optimizers = configure()
        for optimizer in optimizers:
            optimizer.param_groups[0]["eps"] = 1e-6
        return optimizers

    gan.configure_optimizers = configured  # type: ignore[method-assign]
    recorder = Recorder()
    callbacks = (recorder, Checkpoints(every_kimg=1000))
    trainer = fit_together(gan, folder, iterations, *callbacks, checkpoint=checkpoint, batch=BATCH)
    if trainer.is_global_zero:
        (folder / f"rows-{iterations}.json").write_text(json.dumps(recorder.rows))


class Runs:
    """Runs made when they are asked for, once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def whole(self, kind: str, world: int, **options: Any) -> Path:
        name = f"{kind}-{world}" + "".join(f"-{key}{value}" for key, value in options.items())
        return self._run(name, world, ITERATIONS, KINDS[kind] | options, None)

    def continued(self, kind: str, first: int, second: int) -> Path:
        begun = self._run(f"{kind}-{first}-half", first, ITERATIONS // 2, KINDS[kind], None)
        checkpoint = checkpoint_folders(begun)[-1] / "training.ckpt"
        return self._run(f"{kind}-{first}-then-{second}", second, ITERATIONS, KINDS[kind], checkpoint)

    def _run(self, name: str, world: int, iterations: int, options: dict[str, Any], checkpoint: Path | None) -> Path:
        folder = self.root / name
        if not folder.exists():
            together(world, train, folder, folder, iterations, options, checkpoint)
        return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


def losses(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / f"rows-{ITERATIONS}.json").read_text())


def tensors(folder: Path) -> dict[str, Tensor]:
    checkpoint = torch.load(checkpoint_folders(folder)[-1] / "training.ckpt", weights_only=True)
    assert checkpoint["cips_lab"]["images_seen"] == BATCH * ITERATIONS
    return checkpoint["state_dict"]


def assert_same_run(ours: Path, theirs: Path) -> None:
    ours_rows, theirs_rows = losses(ours), losses(theirs)
    assert len(theirs_rows) == ITERATIONS
    assert len(ours_rows) in (ITERATIONS, ITERATIONS // 2)
    for iteration, row in enumerate(ours_rows, ITERATIONS - len(ours_rows)):
        expected = theirs_rows[iteration]
        assert row.keys() == expected.keys()
        for name, value in row.items():
            assert abs(value - expected[name]) <= TOLERANCE * max(1.0, abs(expected[name])), (iteration, name)
    a, b = tensors(ours), tensors(theirs)
    assert a.keys() == b.keys()
    for name, value in a.items():
        limit = TOLERANCE * max(1.0, float(b[name].abs().max()))
        assert float((value.double() - b[name].double()).abs().max()) <= limit, name


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_changes(runs: Runs, kind: str) -> None:
    """What is compared below is no standstill."""
    rows = losses(runs.whole(kind, 1))
    values = [row["loss/discriminator"] for row in rows]
    assert max(values) - min(values) > 20 * TOLERANCE
    assert sum("loss/r1" in row for row in rows) == (ITERATIONS if kind == "recipe" else ITERATIONS / 2)


@pytest.mark.parametrize(
    ("kind", "world"),
    [
        ("cips", 2),
        ("cips", 4),
        ("stylegan2", 2),
        ("stylegan2", 4),
        ("recipe", 2),
        ("projected", 2),
        ("vision_aided", 2),
        ("classes", 2),
    ],
)
def test_as_on_one_process(runs: Runs, kind: str, world: int) -> None:
    """On 4, each process has one group of the minibatch standard deviation."""
    assert_same_run(runs.whole(kind, world), runs.whole(kind, 1))


def test_micro_batches_on_two_processes(runs: Runs) -> None:
    assert_same_run(runs.whole("cips", 2, micro_batch=4), runs.whole("cips", 1))


def test_micro_batches_of_classes(runs: Runs) -> None:
    assert_same_run(runs.whole("classes", 1, micro_batch=4), runs.whole("classes", 1))


def test_micro_batches_of_any_size_where_samples_are_judged_alone(runs: Runs) -> None:
    assert_same_run(runs.whole("projected", 1, micro_batch=2), runs.whole("projected", 1))


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [("cips", 2, 1), ("cips", 1, 2), ("stylegan2", 2, 1), ("stylegan2", 1, 4), ("projected", 2, 1)],
)
def test_continued_on_another_number_of_processes(runs: Runs, kind: str, first: int, second: int) -> None:
    assert_same_run(runs.continued(kind, first, second), runs.whole(kind, 1))


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "group", "split"),
    [
        (16, None, 4, 4, False),
        (16, None, 8, 4, True),
        (16, 2, 1, 4, True),
        (16, 2, 2, 2, False),
        (6, None, 1, 4, False),
    ],
)
def test_split_groups_are_told(batch: int, micro: int | None, processes: int, group: int, split: bool) -> None:
    """Beside the definition: do the passes' own groups have the members that the whole batch's have?"""
    world = torch.arange(batch)
    shares = processes * (batch // processes // (micro or batch // processes))
    found = [part for i in range(shares) for part in groups(world[i::shares], group)]
    assert (sorted(found) != sorted(groups(world, group))) == split
    assert (split_groups(batch, micro, processes, group) is not None) == split


def groups(samples: Tensor, size: int) -> list[list[int]]:
    """As `minibatch_stddev` divides a batch."""
    count = max(1, min(-(-len(samples) // size), len(samples) // 2))
    return [samples[i::count].tolist() for i in range(count)]


def test_the_parts_of_the_comparison_can_fail(runs: Runs, tmp_path: Path) -> None:
    """Another seed, which is what a wrong share of the draws amounts to, is seen at once."""
    folder = tmp_path / "other"
    together(1, train, folder, folder, ITERATIONS, {"seed": 1}, None)
    with pytest.raises(AssertionError):
        assert_same_run(folder, runs.whole("cips", 1))
