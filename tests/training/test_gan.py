"""The training step: beside a plain PyTorch loop, on micro-batches, interrupted, mixed, and in two processes."""

import copy
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tiny import PICTURES, MemoryDataModule, build_gan, fit, make_trainer
from torch import Tensor, nn

from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.data.sampler import InfiniteSampler
from cips_lab.networks.equalized import EqualizedConv2d
from cips_lab.networks.modulated import Affine
from cips_lab.training.draws import draw_flips, draw_latents
from cips_lab.training.gan import GAN
from forked import Python


def state_of(gan: GAN) -> dict[str, Tensor]:
    """Everything that training changes, under one name each."""
    state = {name: value.clone() for name, value in gan.state_dict().items()}
    for i, optimizer in enumerate(gan.trainer.optimizers):
        for j, slots in optimizer.state_dict()["state"].items():
            state |= {f"optimizer{i}.{j}.{name}": torch.as_tensor(value).clone() for name, value in slots.items()}
    state["images_seen"] = torch.tensor(gan.images_seen)
    return state


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float = 0.0) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        difference = float((value.double() - b[name].double()).abs().max())
        assert difference <= tolerance, f"{name}: {difference}"


# ------------------------------------------------------------------ a plain loop


def real_batch(iteration: int, size: int = 8, seed: int = 0) -> Tensor:
    """Pictures of an iteration, out of the definition of the stream: epoch after epoch, each a permutation."""
    data = MemoryDataModule()
    data.setup()
    sampler = InfiniteSampler(PICTURES, seed)
    order = [int(i) for epoch in range(3) for i in sampler.permutation(epoch)]
    chosen = order[iteration * size : (iteration + 1) * size]
    return torch.stack([data.train_dataset[i] for i in chosen])


def reference_step(
    g: nn.Module,
    d: nn.Module,
    ema: nn.Module,
    optim_g: Any,
    optim_d: Any,
    iteration: int,
    r1_interval: int,
    first: bool,
) -> None:
    """One iteration as the released train.py does it, on one process, with batch 8 and the draws of seed 0."""
    images_seen = 8 * iteration
    real = real_batch(iteration).float() / 127.5 - 1
    flips = draw_flips(0, images_seen, 8)
    real[flips] = real[flips].flip(3)

    latents = draw_latents(0, "discriminator", images_seen, 8, 6)
    with torch.no_grad():
        fake = g(latents.z, latents.noise_seed)
    optim_d.zero_grad()
    (F.softplus(-d(real)).mean() + F.softplus(d(fake)).mean()).backward()
    optim_d.step()

    if iteration % r1_interval == 0:
        real.requires_grad_(True)
        (gradient,) = torch.autograd.grad(d(real).sum(), real, create_graph=True)
        optim_d.zero_grad()
        (10 / 2 * gradient.pow(2).reshape(8, -1).sum(1).mean() * r1_interval).backward()
        optim_d.step()

    latents = draw_latents(0, "generator", images_seen, 8, 6)
    optim_g.zero_grad()
    w = g.mapping(latents.z)
    F.softplus(-d(g.synthesize_native(w, latents.noise_seed))).mean().backward()
    optim_g.step()
    optim_g.zero_grad()

    with torch.no_grad():
        g.mapping.w_mean.mul_(0.998).add_(w.mean(0), alpha=0.002)
        ema.mapping.w_mean.copy_(g.mapping.w_mean)
        half_life = min(50.0, 0.5 * images_seen)
        decay = 0.0 if first else 0.5 ** (8 / half_life)
        for average, parameter in zip(ema.parameters(), g.parameters(), strict=True):
            average.mul_(decay).add_(parameter, alpha=1 - decay)


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_iterations_equal_a_plain_loop(tmp_path: Path, iterations: int) -> None:
    """Iteration 0 has an R1 step, 1 has none; the fifth has crossed an epoch and the ramp-up of the average."""
    gan = build_gan()
    g, d = copy.deepcopy(gan.generator), copy.deepcopy(gan.discriminator)
    ema = copy.deepcopy(g)
    before = {name: value.clone() for name, value in gan.state_dict().items()}
    optim_g = torch.optim.Adam(g.parameters(), lr=0.002 * 4 / 5, betas=(0.0, 0.99 ** (4 / 5)))
    optim_d = torch.optim.Adam(d.parameters(), lr=0.002 * 2 / 3, betas=(0.0, 0.99 ** (2 / 3)))
    for iteration in range(iterations):
        reference_step(g, d, ema, optim_g, optim_d, iteration, r1_interval=2, first=iteration == 0)
    fit(gan, tmp_path, iterations)
    assert gan.iteration == iterations
    assert gan.images_seen == 8 * iterations
    for ours, reference in ((gan.generator, g), (gan.discriminator, d), (gan.generator_ema, ema)):
        theirs = reference.state_dict()
        for name, value in ours.state_dict().items():
            torch.testing.assert_close(value, theirs[name], atol=2e-6, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    unmoved = [name for name, value in gan.state_dict().items() if torch.equal(value, before[name])]
    assert unmoved == []


def test_the_average_lags_behind(tmp_path: Path) -> None:
    gan = build_gan()
    fit(gan, tmp_path, 6)
    pairs = list(zip(gan.generator.parameters(), gan.generator_ema.parameters(), strict=True))
    assert all(not torch.equal(a, b) for a, b in pairs)
    assert not any(p.requires_grad for p in gan.generator_ema.parameters())
    assert torch.equal(gan.generator.mapping.w_mean, gan.generator_ema.mapping.w_mean)


def test_w_mean_is_tracked(tmp_path: Path) -> None:
    gan = build_gan()
    means = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            latents = draw_latents(0, "generator", gan.images_seen, 8, 6)
            with torch.no_grad():  # the generator is stepped last: these are the styles of its step
                means.append(gan.generator.mapping(latents.z).mean(0))

    fit(gan, tmp_path, 3, Watch())
    expected = torch.zeros(7)
    for mean in means:
        expected = 0.998 * expected + 0.002 * mean
    torch.testing.assert_close(gan.generator.mapping.w_mean, expected, atol=1e-7, rtol=1e-5)


# ------------------------------------------------------------------ how it is computed does not matter


@pytest.mark.parametrize("micro_batch", [4, 8])
def test_micro_batches_are_the_whole_batch(tmp_path: Path, micro_batch: int) -> None:
    whole = build_gan()
    fit(whole, tmp_path, 3)
    parts = build_gan(micro_batch=micro_batch)
    assert len({id(p) for p in parts.parameters()} & {id(p) for p in whole.parameters()}) == 0
    fit(parts, tmp_path, 3)
    assert_equal(state_of(whole), state_of(parts), tolerance=1e-5)


@pytest.mark.parametrize(("processes", "micro_batch"), [(1, None), (1, 4), (2, None), (2, 4), (3, 2), (4, 1)])
def test_the_passes_of_all_processes_partition_the_batch(processes: int, micro_batch: int | None) -> None:
    batch = torch.arange(24)
    seen = []
    for rank in range(processes):
        process = SimpleNamespace(
            trainer=SimpleNamespace(world_size=processes), global_rank=rank, batch_size=24, micro_batch=micro_batch
        )
        shares = GAN._shares(process)  # type: ignore[arg-type]
        own = batch[rank::processes]  # what the sampler gives this process
        for i, share in enumerate(shares):
            assert len(share.of(batch)) == (micro_batch or 24 // processes)
            assert torch.equal(share.of(batch), own[i :: len(shares)])  # a pass's latents go with its pictures
            seen += share.of(batch).tolist()
    assert sorted(seen) == batch.tolist()


def test_micro_batches_record_the_whole_batch(tmp_path: Path) -> None:
    recorded = []
    for micro_batch in (None, 4):
        gan = build_gan(micro_batch=micro_batch)
        fit(gan, tmp_path, 1)
        recorded.append(gan.statistics)
    assert recorded[0].keys() == recorded[1].keys()
    losses = {"loss/discriminator", "loss/generator", "loss/r1", "logits/real", "logits/fake", "logits/gap"}
    assert losses | {f"gradient_norm/{phase}" for phase in ("discriminator", "r1", "generator")} == recorded[0].keys()
    for name, value in recorded[0].items():
        torch.testing.assert_close(recorded[1][name], value, atol=1e-5, rtol=1e-5)


def test_the_seed_matters_and_nothing_else_does(tmp_path: Path) -> None:
    runs = []
    for seed, disturbance in ((0, 0), (0, 1), (1, 0)):
        gan = build_gan(seed=0)
        gan.seed = seed
        torch.manual_seed(disturbance)  # no draw of training comes from the global generator
        fit(gan, tmp_path, 2)
        runs.append(state_of(gan))
    assert_equal(runs[0], runs[1])
    assert not torch.equal(runs[0]["generator.first.linear.weight"], runs[2]["generator.first.linear.weight"])


def test_flips_can_be_turned_off(tmp_path: Path) -> None:
    gan = build_gan(flip=False)
    seen: list[Tensor] = []
    step = gan.discriminator_step
    gan.discriminator_step = lambda real, optimizer: (seen.append(real.clone()), step(real, optimizer))[1]
    fit(gan, tmp_path, 2)
    for iteration in range(2):
        torch.testing.assert_close(seen[iteration], real_batch(iteration).float() / 127.5 - 1)


def test_the_idle_network_collects_no_gradients(tmp_path: Path) -> None:
    gan = build_gan()
    turns = []
    step = gan._step

    def watch(optimizer: Any, network: nn.Module, phase: str) -> None:
        idle = gan.generator if network is gan.discriminator else gan.discriminator
        assert all(p.grad is None for p in idle.parameters())
        assert any(p.grad is not None for p in network.parameters())
        assert all(p.grad is None for p in gan.average.parameters())
        turns.append("D" if network is gan.discriminator else "G")
        step(optimizer, network, phase)
        assert all(p.grad is None for p in gan.parameters())

    gan._step = watch  # type: ignore[method-assign]
    fit(gan, tmp_path, 3)
    assert "".join(turns) == "DDG" + "DG" + "DDG"  # R1 in a step of its own in iterations 0 and 2


def test_without_r1(tmp_path: Path) -> None:
    gan = build_gan(objective={"r1_weight": 0.0})
    fit(gan, tmp_path, 1)
    assert "loss/r1" not in gan.statistics
    assert gan.trainer.optimizers[1].state_dict()["state"][0]["step"] == 1


# ------------------------------------------------------------------ stopping and going on


@pytest.mark.parametrize(("images", "stops_at"), [(8, 8), (9, 16), (16, 16), (39, 40), (1, 8)])
def test_it_stops_at_the_right_image(tmp_path: Path, images: int, stops_at: int) -> None:
    trainer = make_trainer(tmp_path, 1)
    stop = trainer.callbacks[0]
    stop.total_images = images  # type: ignore[attr-defined]
    gan = build_gan()
    trainer.fit(gan, datamodule=MemoryDataModule())
    assert gan.images_seen == stops_at
    assert trainer.should_stop


@pytest.mark.parametrize(
    ("stop", "total"),
    [(1, 4), (2, 4), (3, 5), (4, 6)],  # R1 is due at even iterations: 2 and 4 stop exactly before one
)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, stop: int, total: int) -> None:
    uninterrupted = build_gan()
    fit(uninterrupted, tmp_path / "a", total)

    first = build_gan()
    fit(first, tmp_path / "b", stop, Checkpoints(every_kimg=1000))
    checkpoint = tmp_path / "b" / "checkpoints" / f"kimg-00000.{8 * stop:03d}" / "training.ckpt"
    torch.manual_seed(999)
    second = build_gan(seed=5)  # other weights at first: all must come from the file
    trainer = fit(second, tmp_path / "b", total, checkpoint=checkpoint)
    assert_equal(state_of(uninterrupted), state_of(second))
    assert second.images_seen == 8 * total
    assert (
        trainer.optimizers[0].param_groups[0]["betas"] == uninterrupted.trainer.optimizers[0].param_groups[0]["betas"]
    )


def test_a_run_interrupted_every_iteration(tmp_path: Path) -> None:
    uninterrupted = build_gan()
    fit(uninterrupted, tmp_path / "a", 4)
    checkpoint = None
    for iterations in range(1, 5):
        gan = build_gan(seed=iterations if checkpoint else 0)
        fit(gan, tmp_path / "b", iterations, Checkpoints(every_kimg=1000), checkpoint=checkpoint)
        checkpoint = tmp_path / "b" / "checkpoints" / f"kimg-00000.{8 * iterations:03d}" / "training.ckpt"
    assert_equal(state_of(uninterrupted), state_of(gan))


# ------------------------------------------------------------------ precision, mixing


@pytest.mark.parametrize("generator", ["cips", "stylegan2"])
def test_bfloat16(tmp_path: Path, generator: str) -> None:
    full, mixed = build_gan(generator), build_gan(generator)
    fit(full, tmp_path, 3)
    fit(mixed, tmp_path, 3, precision="bf16-mixed")
    for name, value in state_of(mixed).items():
        assert value.isfinite().all(), name
        assert value.dtype in (torch.float32, torch.int64), name
    assert not torch.equal(*(gan.state_dict()["discriminator.logit.weight"] for gan in (full, mixed)))
    for name, value in full.statistics.items():
        assert abs(float(value) - float(mixed.statistics[name])) < 0.1 * max(1.0, abs(float(value))), name


@pytest.mark.parametrize("mixed", ["both", "generator", "discriminator"])
def test_each_network_has_its_precision(tmp_path: Path, mixed: Any) -> None:
    gan = build_gan(mixed=mixed)
    kinds: dict[str, set[torch.dtype]] = {"generator": set(), "discriminator": set()}

    def note(network: str, run: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Tensor:
            result: Tensor = run(*args, **kwargs)
            kinds[network].add(result.dtype)
            return result

        return noted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Affine, "colours", note("generator", Affine.colours))
        patch.setattr(EqualizedConv2d, "forward", note("discriminator", EqualizedConv2d.forward))
        fit(gan, tmp_path, 1, precision="bf16-mixed")
    assert kinds["generator"] == {torch.float32 if mixed == "discriminator" else torch.bfloat16}
    # R1 is float32 whatever the rest is.
    assert kinds["discriminator"] == ({torch.float32} if mixed == "generator" else {torch.float32, torch.bfloat16})
    for value in state_of(gan).values():
        assert value.isfinite().all()


def test_style_mixing_uses_both_styles(tmp_path: Path) -> None:
    gan = build_gan("stylegan2", mixing_probability=0.5)
    generator = gan.generator
    mixes: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    original = generator.mix

    def mix(first: Tensor, second: Tensor, crossover: Any) -> Tensor:
        styles = original(first, second, crossover)
        mixes.append((first.detach(), second.detach(), crossover, styles.detach()))
        return styles

    generator.mix = mix  # type: ignore[method-assign]
    fit(gan, tmp_path, 16)
    assert len(mixes) == 32  # discriminator and generator steps
    mixed = 0
    for first, second, crossover, styles in mixes:
        assert styles.shape == (8, generator.num_layers, 7)
        for sample in range(8):
            place = int(crossover[sample])
            assert 1 <= place <= generator.num_layers
            mixed += int(place < generator.num_layers)
            for layer in range(generator.num_layers):
                assert torch.equal(styles[sample, layer], (first if layer < place else second)[sample])
    assert 100 < mixed < 156  # of 256 with probability 1/2: five standard deviations are 40
    places = torch.cat([crossover for *_, crossover, _ in mixes])
    assert set(places.tolist()) == set(range(1, generator.num_layers + 1))
    for value in state_of(gan).values():
        assert value.isfinite().all()


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_style_mixing_always_and_never(probability: float, share: float) -> None:
    gan = build_gan("stylegan2", mixing_probability=probability)
    latents = draw_latents(0, "generator", 0, 64, 6)
    w = gan._styles(latents)
    if share == 0:
        assert torch.equal(w, gan.generator.mapping(latents.z))
    else:
        first, second = gan.generator.mapping(latents.z), gan.generator.mapping(latents.z_mixed)
        torch.testing.assert_close(w[:, 0], first)  # the first layer always has the first style
        torch.testing.assert_close(w[:, -1], second)


def test_stylegan2_trains(tmp_path: Path) -> None:
    gan = build_gan("stylegan2", mixing_probability=0.9)
    before = {name: value.clone() for name, value in gan.state_dict().items()}
    fit(gan, tmp_path, 2)
    assert [name for name, value in gan.state_dict().items() if torch.equal(value, before[name])] == []


# ------------------------------------------------------------------ two processes


@pytest.fixture(scope="module")
def runs(python: Python, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The debug experiment on one process and on two (gloo), as commands.

    At a tenth of its learning rates: Adam turns a gradient that is zero but for rounding into a whole step, either way,
    so that at the full rate the comparison below measures the processor's rounding.
    """
    folder = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"CIPS_LAB_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    for name, trainer in (("one", ["trainer=cpu"]), ("two", ["trainer=ddp_cpu", "trainer.devices=2"])):
        command = ["-m", "cips_lab.train", "experiment=debug", *trainer, f"name={name}"]
        settings = [f"paths.runs={folder}", "generator.noise=true", "trainer.threads=1", "callbacks.progress=null"]
        settings += ["objective.generator_lr=0.0002", "objective.discriminator_lr=0.0002", "schedule.total_kimg=0.16"]
        result = python(*command, *settings, cwd=folder, env=environment)
        assert result.returncode == 0, result.stderr
    return folder


def test_two_processes_train_as_one_does(runs: Path) -> None:
    one, two = (
        [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    expected = [0.016 * i for i in range(1, 11)]  # 20 iterations, two to a line
    assert [record["kimg"] for record in one] == [record["kimg"] for record in two] == pytest.approx(expected)
    for ours, theirs in zip(one, two, strict=True):
        assert ours.keys() == theirs.keys()
        assert "loss/generator" in ours
        for name, value in ours.items():
            if name.startswith(("loss/", "logits/")):
                assert abs(value - theirs[name]) <= 1e-4 * max(1.0, abs(value)), (ours["kimg"], name)
    weights = [load_file(runs / n / "checkpoints" / "kimg-00000.160" / "generator.safetensors") for n in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert float((value - weights[1][name]).abs().max()) <= 1e-4 * max(1.0, float(value.abs().max())), name


def test_a_checkpoint_has_the_same_keys_on_any_number_of_processes(runs: Path) -> None:
    one, two = (
        torch.load(runs / name / "checkpoints" / "kimg-00000.160" / "training.ckpt", weights_only=True)
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert one["state_dict"].keys() == two["state_dict"].keys()
    assert one["cips_lab"] == two["cips_lab"]
    assert one["callbacks"].keys() == two["callbacks"].keys()
    assert one["callbacks"]["MetricsLog"].keys() == two["callbacks"]["MetricsLog"].keys()
    assert {k: v.shape for k, v in one["state_dict"].items()} == {k: v.shape for k, v in two["state_dict"].items()}
    for a, b in zip(one["optimizer_states"], two["optimizer_states"], strict=True):
        assert a["state"].keys() == b["state"].keys()
        assert a["param_groups"] == b["param_groups"]
