"""Losses and gradients that are not finite, in one process: no step with them, all is told, rollback recovers."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from injection import Fault, Injection
from safetensors.torch import load_file
from tiny import PICTURES, MemoryDataModule, build_gan, fit, make_trainer
from torch import nn

from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.callbacks.metrics import MetricsLog
from cips_lab.data.sampler import InfiniteSampler
from cips_lab.errors import NonFinite, UserError
from cips_lab.launch.resume import fit_from
from cips_lab.runs.folder import checkpoint_folders
from cips_lab.training.draws import draw_latents
from cips_lab.training.gan import GAN
from cips_lab.training.guard import Guard, check_precision, poisoned, seed_after
from cips_lab.training.incident import Finding, Incident, save
from cips_lab.training.rollback import where_to_go_back


def weights(gan: GAN) -> dict[str, torch.Tensor]:
    return copy.deepcopy(dict(gan.state_dict()))


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], *prefixes: str) -> None:
    for name in a:
        if name.startswith(prefixes):
            assert torch.equal(a[name], b[name]), name


# ------------------------------------------------------------------ the parts


def test_poisoning_changes_no_bit_of_a_finite_loss_or_its_gradient() -> None:
    x = torch.randn(64, requires_grad=True)
    (plain,) = torch.autograd.grad(x.exp().mean(), x)
    loss = poisoned(x.exp().mean())
    assert torch.equal(loss, x.exp().mean())
    assert torch.equal(torch.autograd.grad(loss, x)[0], plain)


@pytest.mark.parametrize("lost", [float("inf"), float("-inf"), float("nan")])
def test_a_loss_that_is_not_finite_poisons_its_gradient(lost: float) -> None:
    x = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(poisoned(x.sum() + lost), x)
    assert gradient.isnan().all()


def test_seeds_after_rollbacks() -> None:
    assert seed_after(7, 0) == 7
    seeds = {seed_after(seed, n) for seed in range(20) for n in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("options", [{"action": "panic"}, {"max_rollbacks": -1}, {"max_rollbacks": 1.5}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"guard.{next(iter(options))}"):
        Guard(**options)


def test_half_precision_has_a_guard_of_its_own() -> None:
    check_precision(Guard("off"), "16-mixed")
    check_precision(Guard("stop"), "bf16-mixed")
    with pytest.raises(UserError, match=r"guard=rollback with trainer.precision=16-mixed.*guard=off"):
        check_precision(Guard("rollback"), "16-mixed")


def test_the_norm_is_that_of_all_gradients_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against numpy, in every phase of three iterations."""
    seen: list[tuple[str, float, float]] = []
    inspect = Guard.inspect

    def watched(guard: Guard, network: nn.Module, phase: str, optimizer: Any) -> torch.Tensor:
        norm = inspect(guard, network, phase, optimizer)
        parts = [p.grad.double().numpy().ravel() for p in network.parameters() if p.grad is not None]
        seen.append((phase, float(norm), float(np.linalg.norm(np.concatenate(parts)))))
        return norm

    monkeypatch.setattr(Guard, "inspect", watched)
    log = MetricsLog(every_kimg=0.024)
    fit(build_gan(), tmp_path, 3, log)
    with_r1 = ["discriminator", "r1", "generator"]
    assert [phase for phase, *_ in seen] == [*with_r1, "discriminator", "generator", *with_r1]
    for phase, norm, expected in seen:
        assert norm == pytest.approx(expected, rel=1e-5), phase
    for phase in ("discriminator", "r1", "generator"):
        logged = json.loads((tmp_path / "metrics.jsonl").read_text())[f"gradient_norm/{phase}"]
        assert logged == pytest.approx(np.mean([norm for p, norm, _ in seen if p == phase]), rel=1e-5)
    assert log.last["logits/gap"] == pytest.approx(log.last["logits/real"] - log.last["logits/fake"], abs=1e-6)


def test_a_run_is_the_same_with_and_without_the_guard(tmp_path: Path) -> None:
    on, off = build_gan(guard=Guard("stop")), build_gan(guard=Guard("off"))
    trainers = [fit(gan, tmp_path, 5) for gan in (on, off)]
    assert_equal(weights(on), weights(off), "")
    for a, b in zip(*(trainer.optimizers for trainer in trainers), strict=True):
        for x, y in zip(a.state.values(), b.state.values(), strict=True):
            assert all(torch.equal(x[key], y[key]) for key in x)


# ------------------------------------------------------------------ stop


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize("phase", ["discriminator", "r1", "generator"])
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_nothing_is_stepped_with_it_and_all_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, phase: str, micro_batch: int | None
) -> None:
    gan = build_gan(micro_batch=micro_batch)
    fit(gan, tmp_path, 2)
    before = weights(gan)
    Injection([Fault(kind, phase, 16)], monkeypatch.setattr)
    with pytest.raises(NonFinite) as caught:  # the module goes on from where it is: at 16 images, an iteration with R1
        fit(gan, tmp_path, 3)
    message = str(caught.value)
    title = {"discriminator": "discriminator, step D", "r1": "discriminator, step R1", "generator": "generator, step G"}
    assert f"({title[phase]}) at kimg 0.016, iteration 2" in message
    assert "process 0 of 1" in message
    assert "gradients of " in message
    assert ("loss/" in message) == (kind == "loss")
    # The phase itself and all after it left the weights alone; D had its own step if it came before.
    untouched = {
        "discriminator": ("generator", "average", "discriminator"),
        "r1": ("generator", "average"),
        "generator": ("generator", "average"),
    }
    assert_equal(before, weights(gan), *untouched[phase])
    assert all(value.isfinite().all() for value in gan.state_dict().values())
    assert gan.images_seen == 16
    name = f"kimg-00000.016-{phase}-0"
    record = json.loads((tmp_path / "guard" / f"{name}.json").read_text())
    assert record["phase"] == phase
    network = gan.generator if phase == "generator" else gan.discriminator
    assert set(record["processes"][0]["parameters"]) <= {n for n, _ in network.named_parameters()}
    assert f"{name}-process0.safetensors" in message


def test_the_saved_batch_is_the_one_and_its_latents_can_be_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Injection([Fault("loss", "generator", 24)], monkeypatch.setattr)
    with pytest.raises(NonFinite):
        fit(build_gan(seed=0), tmp_path, 9)
    real = load_file(tmp_path / "guard" / "kimg-00000.024-generator-0-process0.safetensors")["real"]
    data = MemoryDataModule()
    data.setup()
    order = iter(InfiniteSampler(PICTURES, seed=0, images_seen=24))
    assert torch.equal(real, torch.stack([data.train_dataset[next(order)] for _ in range(8)]))
    record = json.loads((tmp_path / "guard" / "kimg-00000.024-generator-0.json").read_text())
    latents = draw_latents(record["seed"], "generator", record["images_seen"], record["batch_size"], record["z_dim"])
    expected = draw_latents(0, "generator", 24, 8, 6)
    assert torch.equal(latents.z, expected.z)
    assert record["processes"][0]["losses"]["loss/generator"] == "inf"


def test_off_steps_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Injection([Fault("gradient", "generator", 8)], monkeypatch.setattr)
    gan = build_gan(guard=Guard("off"))
    fit(gan, tmp_path, 2)
    assert gan.generator.first.linear.weight.isnan().any()
    assert not (tmp_path / "guard").exists()


def test_a_batch_that_cannot_be_saved_does_not_hide_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guard").write_text("a file, where a folder should be")
    Injection([Fault("gradient", "discriminator", 8)], monkeypatch.setattr)
    with pytest.raises(NonFinite, match=r"(?s)step D.*iteration 1.*the batch could not be saved"):
        fit(build_gan(), tmp_path, 3)


def test_one_that_does_not_come_again_is_said_to_be_nobodys(tmp_path: Path) -> None:
    incident = Incident("r1", 16, 2, 0, 0, 8, None, 6, [Finding(0, {"loss/r1": 0.5}, []), Finding(1, {}, [])])
    saved = save(incident, tmp_path, (torch.zeros(8, 3, 8, 8, dtype=torch.uint8), None, None), 0)
    assert "on no process when the step was repeated" in incident.message(saved)
    assert (tmp_path / "guard" / "kimg-00000.016-r1-0-process0.safetensors").exists()


# ------------------------------------------------------------------ rollback


def run_guarded(folder: Path, gan: GAN, iterations: int, *, every: int = 2) -> None:
    """As `launch.run` does, from the newest checkpoint in the folder."""
    folder.mkdir(exist_ok=True)
    trainer = make_trainer(folder, iterations, MetricsLog(0.008), Checkpoints(every * 0.008, keep=None))

    found = checkpoint_folders(folder)
    start = found[-1] if found else None
    while True:
        try:
            fit_from(trainer, gan, MemoryDataModule(), start)
            return
        except NonFinite as error:
            start = where_to_go_back(error, gan.guard, gan, checkpoint_folders(folder))


def test_rollback_recovers_with_other_draws_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Injection([Fault("gradient", "discriminator", 24)], patch.setattr)
        gan = build_gan(guard=Guard("rollback", 1))
        run_guarded(tmp_path / "a", gan, 7)
    assert gan.rollbacks == 1
    kimgs = [json.loads(line)["kimg"] for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert kimgs == [0.008 * i for i in range(1, 8)], "every moment is there once"
    plain = build_gan()
    run_guarded(tmp_path / "b", plain, 7)
    first = json.loads((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()[1])
    other = json.loads((tmp_path / "b" / "metrics.jsonl").read_text().splitlines()[1])
    assert first["loss/generator"] == other["loss/generator"], "the same run up to the checkpoint"
    assert not torch.equal(gan.generator.first.linear.weight, plain.generator.first.linear.weight)
    # A run that is continued from the checkpoint with one rollback behind it makes the same weights, bit for bit ...
    repeated = build_gan(seed=1)
    repeated.seed, repeated.rollbacks = 0, 1
    fit(repeated, tmp_path / "c", 7, checkpoint=tmp_path / "b" / "checkpoints" / "kimg-00000.016" / "training.ckpt")
    assert_equal(weights(gan), weights(repeated), "")
    # ... and one from a checkpoint after it knows of the rollback by itself.
    resumed = build_gan(seed=2)
    resumed.seed = 0
    fit(resumed, tmp_path / "d", 7, checkpoint=tmp_path / "a" / "checkpoints" / "kimg-00000.032" / "training.ckpt")
    assert resumed.rollbacks == 1
    assert_equal(weights(gan), weights(resumed), "")


def test_rollback_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Injection([Fault("loss", "generator", 24, rollbacks=(0, 1, 2, 3, 4))], monkeypatch.setattr)
    gan = build_gan(guard=Guard("rollback", 2))
    with pytest.raises(NonFinite, match=r"(?s)step G.*gave up after guard.max_rollbacks=2") as caught:
        run_guarded(tmp_path, gan, 7)
    assert str(caught.value).startswith("a loss or gradient is not finite")
    assert gan.rollbacks == 2
    names = sorted(path.name for path in (tmp_path / "guard").glob("*.json"))
    assert names == [f"kimg-00000.024-generator-{n}.json" for n in range(3)], "every attempt is told"
    seeds = {json.loads((tmp_path / "guard" / name).read_text())["seed"] for name in names}
    assert seeds == {seed_after(0, n) for n in range(3)}


def test_rollback_without_a_checkpoint_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Injection([Fault("loss", "generator", 8)], monkeypatch.setattr)
    with pytest.raises(NonFinite, match="there is no checkpoint yet"):
        run_guarded(tmp_path, build_gan(guard=Guard("rollback")), 7)
