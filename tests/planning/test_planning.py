"""Plans: FLOPs beside a closed formula, memory beside what a real iteration takes."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from cips_lab.configuration import conf_folder
from cips_lab.errors import UserError
from cips_lab.planning.meters import FlopCounter, MemoryTracker
from cips_lab.planning.plan import Plan, make_plan, report
from cips_lab.planning.rehearsal import Rehearsal, pretended_processes
from cips_lab.planning.units import duration
from cips_lab.processes.reducer import GradientReducer

SMALL = (
    "experiment=debug",
    "trainer=cpu",
    "plan.accelerator=h100",
)
CAREFUL = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("plan", list(overrides))


@functools.cache
def planned(*overrides: str) -> Plan:
    return make_plan(composed(*overrides))


def test_generator_flops_by_formula() -> None:
    side, width, features, z_dim, w_dim, mapping = 16, 24, 20, 12, 10, 3
    plan = planned(
        *SMALL,
        f"model.width={width}",
        f"model.fourier_features={features}",
        f"model.embedding_features={features}",
        f"model.z_dim={z_dim}",
        f"model.w_dim={w_dim}",
        f"model.mapping_layers={mapping}",
    )
    pairs = 3  # log2(16) - 1
    inputs = [2 * features] + [width] * 2 * pairs
    products = side**2 * sum(n * width for n in inputs)  # the MLP over pixels
    products += side**2 * (2 * features + pairs * width * 3)  # Fourier features and RGB
    products += sum(w_dim * n + n * width for n in inputs)  # styles and demodulation
    products += pairs * w_dim * width  # styles of RGB
    products += z_dim * w_dim + (mapping - 1) * w_dim**2
    assert plan.generator_forward == 2 * products


def test_an_iterations_flops_add_up() -> None:
    plan = planned(*SMALL)
    assert plan.tiled is not None
    assert plan.tiled.flops == plan.untiled.flops  # the graph is small: kept, and nothing is done twice
    flops = plan.flops_per_image(plan.untiled)
    # D sees a real and a generated image, forward and twice backward (but for the images' own gradient)
    judging = flops["discriminator step"] - plan.generator_forward
    assert 5 * plan.discriminator_forward < judging < 6 * plan.discriminator_forward
    assert flops["R1 step"] == plan.untiled.flops["R1 step"] / 8 / plan.r1_interval


def test_recomputation_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cips_lab.networks.tiling.KEEP_BYTES", 0)
    kept = planned(*SMALL, "plan.tile=16")  # by a GPU with memory to spare, as in training
    assert kept.tiled is not None
    assert kept.tiled.flops == kept.untiled.flops
    plan = planned(*SMALL, "plan.tile=32", "plan.device_memory_gb=0.001")
    assert plan.tiled is not None
    extra = plan.tiled.flops["generator step"] - plan.untiled.flops["generator step"]
    assert extra / 8 == pytest.approx(plan.generator_forward, rel=0.1)  # all but mapping, styles and demodulation
    assert plan.tiled.memory["generator step"]["activations"] < plan.untiled.memory["generator step"]["activations"]


def test_a_rehearsal_on_real_tensors_finds_the_same() -> None:
    cfg = composed(*SMALL, "micro_batch=2")
    plan = make_plan(cfg)
    with MemoryTracker() as memory, FlopCounter() as flops:
        gan = Rehearsal(cfg, 1, memory, flops)
        gan.set_the_stage()
        assert plan.tiled is not None
        tile = plan.tiled.tile
        at = gan.generator.synthesize_at
        found = gan.rehearse(lambda w, seed: gan.generator.synthesize_native(w, seed, tile), at, tile)
    assert found == plan.tiled


def test_the_parts_of_memory() -> None:
    plan = planned(*SMALL)
    peak = plan.untiled.memory["averaging"]
    # and two sets of 4-byte buffers beside the parameters: coordinates, mean of w, the average's count
    buffers = 4 * (16 * 16 * 2 + 16)
    assert peak["parameters"] == 4 * (plan.generator_parameters + plan.discriminator_parameters) + buffers
    assert peak["average"] == 4 * plan.generator_parameters + buffers + 8
    moments = peak["Adam moments"] - 8 * (plan.generator_parameters + plan.discriminator_parameters)
    assert 0 < moments < 1000  # the counts of steps
    assert peak["images"] == 8 * 3 * 16 * 16 * (1 + 4)
    assert peak["gradients"] == 0
    stepping = plan.untiled.memory["discriminator step"]
    assert stepping["gradients"] <= 4 * plan.discriminator_parameters


def test_processes_and_passes_divide_the_batch() -> None:
    whole, two, passes = planned(*SMALL), planned(*SMALL, "trainer.devices=2"), planned(*SMALL, "micro_batch=2")
    assert (whole.passes, two.passes, passes.passes) == (1, 1, 4)
    r1_flops = [plan.untiled.flops["R1 step"] for plan in (whole, two, passes)]
    assert r1_flops[0] == 2 * r1_flops[1] == r1_flops[2]
    # nearly, for the Fourier features are computed once for all samples of a pass
    assert two.seconds(two.untiled, "fp32") == pytest.approx(whole.seconds(whole.untiled, "fp32") / 2, rel=0.01)
    assert whole.untiled.peak_bytes > two.untiled.peak_bytes > passes.untiled.peak_bytes
    assert not torch.distributed.is_initialized()


def test_what_the_reduction_of_gradients_allocates_is_seen() -> None:
    """A bucket at a time: its gradients are let go when they were copied into it."""
    layers = torch.nn.Sequential(*(torch.nn.Linear(100, 100, bias=False) for _ in range(3)))
    with pretended_processes(4), MemoryTracker() as memory:
        reducer = GradientReducer(layers, bucket_mb=40_000 / 2**20)
        reducer._differing = lambda present: []  # type: ignore[method-assign]  # nobody answers
        layers(torch.zeros(1, 100)).sum().backward()
        memory.label("parameters", layers.parameters())
        memory.label("gradients", (p.grad for p in layers.parameters()))
        memory.restart()
        reducer.arm("step")
        reducer.finish()
    peak = memory.peak["activations"] + memory.peak["gradients"]
    assert 4 * 40_000 <= peak < 4.1 * 40_000  # three gradients and a bucket


def test_every_pass_after_the_second_is_like_it() -> None:
    few, many = planned(*SMALL, "micro_batch=4"), planned(*SMALL, "micro_batch=4", "batch_size=32")
    for phase, parts in few.untiled.memory.items():
        assert many.untiled.flops[phase] == 4 * few.untiled.flops[phase]
        images = many.untiled.memory[phase]["images"]
        assert many.untiled.memory[phase] == parts | {"images": images}
        assert images == 4 * parts["images"]


@pytest.mark.parametrize(
    ("generator", "precision"), [("cips_ne", "bf16-mixed"), ("cips_residual", "32-true"), ("stylegan2", "bf16-mixed")]
)
def test_every_kind_of_generator(generator: str, precision: str) -> None:
    plan = planned(*SMALL, f"generator={generator}", f"trainer.precision={precision}")
    assert (plan.tiled is None) == (generator == "stylegan2")
    assert "R1 step" in report(plan)


def test_the_largest_experiment_allocates_nothing() -> None:
    before = resident()
    narrow = ("model.width=64", "model.embedding_features=512", "batch_size=8")
    plan = planned("experiment=ffhq_1024", "trainer=gpu", "trainer.devices=8", *narrow)
    assert plan.generator_parameters > 512e6  # 2 GiB for the table alone
    assert resident() - before < 200 * 2**20
    assert plan.fits(plan.untiled)
    plan.device_bytes = 2**30
    assert not plan.fits(plan.untiled)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_on_this_machine() -> None:
    plan = planned("experiment=debug", "trainer=cpu")
    assert plan.accelerator == "cpu"
    assert 1e8 < plan.rates["fp32"] < 1e14
    assert plan.device_bytes > 2**28
    two = planned("experiment=debug", "trainer=ddp_cpu")
    assert two.device_bytes == pytest.approx(plan.device_bytes / 2, abs=1)


def test_without_r1() -> None:
    plan = planned(*SMALL, "objective.r1_weight=0")
    assert "R1 step" not in plan.untiled.flops
    assert "R1" not in report(plan)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("plan.accelerator=abacus", "plan.accelerator must be one of auto, cpu, h200"),
        ("plan.utilization=40", "plan.utilization is a share"),
        ("plan.tile=null", "plan.tile must be auto or a positive number"),
        ("plan.headroom=-1", "plan.headroom is a share"),
        ("plan.peak_flops=fast", "plan.peak_flops must be a positive number"),
        ("trainer.precision=64-true", "trainer.precision must be one of"),
        ("trainer.devices=none", "trainer.devices must be a number"),
        ("trainer.devices=3", "does not divide among 3 processes"),
        ("resolution=33", "resolution must be a power of two"),
    ],
)
def test_what_cannot_be_planned_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(*SMALL, override)


def test_half_precision_needs_a_device_that_has_it() -> None:
    with pytest.raises(UserError, match="v100 has no bf16: it has fp32, fp16"):
        planned(*SMALL, "plan.accelerator=v100", "trainer.precision=bf16-mixed")


def test_tf32_is_planned_for_where_it_is_asked_for() -> None:
    assert planned(*SMALL, "trainer.tf32=true", "plan.accelerator=a100").arithmetic == "tf32"
    assert planned(*SMALL, "plan.accelerator=a100").arithmetic == "fp32"
    assert (
        planned(*SMALL, "trainer.tf32=true", "plan.accelerator=a100", "trainer.precision=bf16-mixed").arithmetic
        == "bf16"
    )
    with pytest.raises(UserError, match="v100 has no tf32"):
        planned(*SMALL, "trainer.tf32=true", "plan.accelerator=v100")


def test_durations() -> None:
    assert [duration(x) for x in (3, 300, 10_000, 1e6)] == ["3.0 seconds", "5.0 minutes", "2.8 hours", "11.6 days"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["tiled", "untiled"])
@pytest.mark.parametrize(
    "sizes",
    [
        # the generator's activations dominate, and are too many to be kept: tiles are synthesised twice
        ("batch_size=8", "model.width=256", "discriminator.channel_base=2048", "discriminator.channel_max=128"),
        # the discriminator's dominate
        ("batch_size=16", "model.width=32", "discriminator.channel_base=4096", "discriminator.channel_max=128"),
    ],
    ids=["generator", "discriminator"],
)
def test_memory_beside_what_a_real_iteration_takes(mode: str, sizes: tuple[str, ...]) -> None:
    """Prints the figures of docs/planning.md: pytest -m slow -s tests/planning/test_planning.py."""
    common = ("generator=cips", "trainer=cpu", "resolution=64", "objective.r1_interval=1")
    small = ("model.z_dim=64", "model.w_dim=64", "model.mapping_layers=2")
    overrides = [*common, *small, *sizes]
    plan = make_plan(composed(*overrides))
    iteration = plan.tiled if mode == "tiled" else plan.untiled
    assert iteration is not None
    script = Path(__file__).with_name("one_iteration.py")
    result = subprocess.run(
        [sys.executable, script, mode, *overrides],
        env=os.environ | CAREFUL,
        capture_output=True,
        text=True,
        check=True,
    )
    measured = int(result.stdout.splitlines()[-1])
    print(
        f"\n{' '.join(sizes)}\n  {mode}: predicted {iteration.peak_bytes / 2**20:.1f} MiB ({iteration.worst_phase}), "
        f"measured {measured / 2**20:.1f} MiB: {iteration.peak_bytes / measured - 1:+.1%}"
    )
    assert iteration.peak_bytes == pytest.approx(measured, rel=0.2)


@pytest.mark.slow
def test_a_patch_costs_its_share_of_the_pixels() -> None:
    """And of a rectangle, those of both sides; frames of a cylinder are encoded for each sample, and cost no less."""
    whole, patch = (make_plan(composed(*SMALL, *more)) for more in ([], ["view=patch", "view.size=8"]))
    assert whole.tiled is not None
    assert patch.tiled is not None
    assert (whole.resolution, whole.shown, patch.resolution, patch.shown) == (16, 16, 16, 8)
    assert patch.tiled.flops["generator step"] < 0.4 * whole.tiled.flops["generator step"]
    assert patch.discriminator_forward < 0.4 * whole.discriminator_forward
    assert patch.generator_forward == whole.generator_forward  # of a whole picture
    wide = make_plan(composed(*SMALL, "resolution=[16,32]"))
    assert wide.tiled is not None
    assert wide.resolution == (16, 32)
    assert wide.discriminator_forward == pytest.approx(2 * whole.discriminator_forward, rel=0.05)
    assert wide.tiled.flops["generator step"] == pytest.approx(2 * whole.tiled.flops["generator step"], rel=0.1)
    around = make_plan(composed(*SMALL, "view=cylinder", "generator.surface=cylinder"))
    assert around.tiled is not None
    assert around.tiled.flops["generator step"] >= whole.tiled.flops["generator step"]
    any_size = make_plan(composed(*SMALL, "view=anyres", "discriminator.told=where_and_scale"))
    assert any_size.discriminator_forward > whole.discriminator_forward  # three more channels
