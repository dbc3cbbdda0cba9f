"""A run that was killed, wherever, and continued is the uninterrupted one, bit for bit, in all it keeps and tells."""

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import MemoryDataModule, build_gan

from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.callbacks.metrics import MetricsLog
from cips_lab.callbacks.stop import StopAtTotal
from cips_lab.runs.folder import checkpoint_folders
from cips_lab.tracking.loggers import tensorboard_logger
from cips_lab.training.gan import GAN
from processes import fit_together, together

TOTAL = 13  # iterations; R1 at even ones, a checkpoint every second, a line of metrics.jsonl every third
# Where the run is killed, time after time: (iteration, what has just been done).
KILLS = [
    (1, "discriminator 0"),  # between two micro-batches
    (3, "generator 0"),  # likewise, before an iteration with R1
    (4, "discriminator 1"),  # the discriminator has gradients and waits for its step, and then for R1
    (6, "before r1"),
    (6, "after r1"),
    (8, "r1 0"),
    (10, "generator 1"),
    (11, "iteration"),  # after a whole iteration, before its checkpoint
]


class KilledHere(pl.Callback):
    """The end of an iteration, before other callbacks see it."""

    def __init__(self, killed: Any) -> None:
        self.killed = killed

    def on_train_batch_end(self, *args: Any) -> None:
        self.killed("iteration")


def kill_at(gan: GAN, moment: tuple[int, str] | None) -> KilledHere:
    """Make this process end itself by SIGKILL at a moment of the training."""

    def reached(what: str) -> None:
        # The clock has moved on when an iteration has ended.
        if moment is not None and (gan.iteration - (what == "iteration"), what) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    backward, r1_step = gan._backward, gan.r1_step

    def watched_backward(loss: Any, network: Any, step: str, index: int) -> None:
        backward(loss, network, step, index)
        reached(f"{step} {index}")

    def watched_r1(real: Any, optimizer: Any) -> None:
        reached("before r1")
        r1_step(real, optimizer)
        reached("after r1")

    gan._backward, gan.r1_step = watched_backward, watched_r1  # type: ignore[method-assign]
    return KilledHere(reached)


def train(folder: Path, options: dict[str, Any], workers: int, moment: tuple[int, str] | None, disturb: int) -> None:
    """Start or continue the run in a folder."""
    for seed in (random.seed, np.random.seed, torch.manual_seed):  # training may not draw from any of these
        seed(disturb)
    kept = checkpoint_folders(folder)
    gan = build_gan(seed=len(kept) and 7, **options)  # other weights at first, where all must come from the file
    gan.seed = 0
    if disturb:
        torch.manual_seed(disturb)
    fit_together(
        gan,
        folder,
        TOTAL,
        kill_at(gan, moment),
        MetricsLog(every_kimg=0.024),
        Checkpoints(every_kimg=0.016, keep=2),
        checkpoint=kept[-1] / "training.ckpt" if kept else None,
        workers=workers,
    )


def records(folder: Path) -> list[dict[str, float]]:
    """metrics.jsonl but for what is measured and not computed."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(("time/", "memory/"))} for line in lines]


def final(folder: Path) -> dict[str, Any]:
    """All that the last checkpoint holds, under flat names."""
    path = checkpoint_folders(folder)[-1]
    assert path.name == f"kimg-00000.{8 * TOTAL:03d}"
    return flat(torch.load(path / "training.ckpt", weights_only=True))


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {prefix: value}
    return {name: leaf for key, part in value.items() for name, leaf in flat(part, f"{prefix}/{key}").items()}


def assert_identical(a: Path, b: Path) -> None:
    assert records(a) == records(b)
    ours, theirs = final(a), final(b)
    # Lightning counts the batches of a process, not of a run, under "loops"; nothing of ours reads them.
    names = {name for name in ours if not name.startswith("/loops")}
    assert names == {name for name in theirs if not name.startswith("/loops")}
    for part in ("/state_dict/average.module", "/optimizer_states/1/state", "/callbacks/MetricsLog", "/cips_lab"):
        assert any(name.startswith(part) for name in names), part
    different = [name for name in sorted(names) if not equal(ours[name], theirs[name])]
    assert different == []


def equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize(
    ("world", "options", "workers"),
    [
        (1, {"micro_batch": 4}, 2),
        (2, {"micro_batch": 2}, 2),
        pytest.param(
            2,
            {"micro_batch": 2, "generator": "stylegan2", "mixing_probability": 0.9},
            0,
            marks=pytest.mark.slow,
            id="stylegan2",
        ),
    ],
)
@pytest.mark.timeout(900)
def test_killed_again_and_again(tmp_path: Path, world: int, options: dict[str, Any], workers: int) -> None:
    """Every process is killed at each of KILLS in turn; in between the run goes on from its newest checkpoint."""
    together(world, train, tmp_path / "whole", tmp_path / "whole", options, workers, None, 0)
    folder = tmp_path / "killed"
    for i, moment in enumerate(KILLS, start=1):
        codes = together(world, train, folder, folder, options, workers, moment, i, expected=None)
        # A process may notice that another is gone before its own end.
        assert -signal.SIGKILL in codes
        assert 0 not in codes
        done = max((int(path.name[-3:]) // 8 for path in checkpoint_folders(folder)), default=0)
        assert done == moment[0] // 2 * 2
    together(world, train, folder, folder, options, workers, None, 99)
    assert_identical(tmp_path / "whole", folder)
    assert [record["kimg"] for record in records(folder)] == [0.024, 0.048, 0.072, 0.096]


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    """A checkpoint that is an iteration too young, or another seed, would be seen."""
    for name, options in (("a", {}), ("b", {"flip": False})):
        together(1, train, tmp_path / name, tmp_path / name, options, 0, None, 0)
    with pytest.raises(AssertionError):
        assert_identical(tmp_path / "a", tmp_path / "b")


def test_an_interval_is_carried_over_to_another_number_of_processes(tmp_path: Path) -> None:
    """Killed within an interval of metrics.jsonl; its sums are means over processes, whatever their number."""
    together(2, train, tmp_path / "whole", tmp_path / "whole", {}, 0, None, 0)
    folder = tmp_path / "changed"
    together(2, train, folder, folder, {}, 0, (4, "generator 0"), 0, expected=-signal.SIGKILL)
    saved = torch.load(checkpoint_folders(folder)[-1] / "training.ckpt", weights_only=True)["callbacks"]["MetricsLog"]
    assert saved["counts"] == {
        "loss/discriminator": 1,
        "loss/generator": 1,
        "logits/fake": 1,
        "logits/real": 1,
        "logits/gap": 1,
        "gradient_norm/discriminator": 1,
        "gradient_norm/generator": 1,
    }, "iteration 3 of 3, 4 and 5; R1 is of even ones"
    together(1, train, folder, folder, {}, 0, None, 0)
    for ours, theirs in zip(records(folder), records(tmp_path / "whole"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


# ------------------------------------------------------------------ loggers


def logged_run(folder: Path, iterations: int, images_seen: int) -> None:
    """A run with the TensorBoard logger; continued at images_seen, unless that is 0."""
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=tensorboard_logger(str(folder), images_seen),
        callbacks=[StopAtTotal(iterations * 8 / 1000), MetricsLog(every_kimg=0.008), Checkpoints(every_kimg=0.016)],
        default_root_dir=folder,
        max_epochs=-1,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    checkpoint = folder / "checkpoints" / f"kimg-00000.{images_seen:03d}" / "training.ckpt" if images_seen else None
    trainer.fit(build_gan(), datamodule=MemoryDataModule(), ckpt_path=checkpoint, weights_only=True)


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_loggers_go_on_where_the_checkpoint_is(tmp_path: Path) -> None:
    """Stopped after five iterations, continued from the checkpoint of the fourth: no point twice, none missing."""
    logged_run(tmp_path / "whole", 6, 0)
    folder = tmp_path / "continued"
    logged_run(folder, 5, 0)
    logged_run(folder, 6, 32)
    for name in ("loss/generator", "loss/r1", "kimg"):
        assert curve(folder, name) == curve(tmp_path / "whole", name)
    assert [step for step, _ in curve(folder, "loss/discriminator")] == [8, 16, 24, 32, 40, 48]
