"""`python -m cips_lab.convert`: what comes of public checkpoints is theirs, and training goes on as theirs would."""

import argparse
import json
import pickle
import shlex
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from golden import DATA, STEPS, State, parameters, prefixed, small_state, whole, with_sines
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from tiny import MemoryDataModule, make_trainer
from torch import Tensor

from cips_lab.data.dataset import ArrayDataset
from cips_lab.errors import UserError
from cips_lab.interop import native, official
from cips_lab.launch.networks import build_gan
from cips_lab.launch.resume import fit_from
from cips_lab.networks.coordinates import image_grid
from cips_lab.runs.folder import checkpoint_folders
from cips_lab.training.guard import Guard

Run = Callable[..., subprocess.CompletedProcess[str]]
GOLDEN = dict(np.load(DATA / "official_cips.npz"))


def z_of() -> Tensor:
    return torch.from_numpy(np.random.RandomState(1).standard_normal((4, 64)).astype(np.float32))


def close(ours: Tensor, name: str, tolerance: float = 1e-4) -> None:
    assert np.abs(ours.numpy() - GOLDEN[name]).max() <= tolerance * np.abs(GOLDEN[name]).max()


# ------------------------------------------------------------------ pictures


@pytest.mark.parametrize(("variant", "golden"), [("CIPSskip-256", "skip16_eval"), ("CIPSres-256", "res16_eval")])
@torch.no_grad()
def test_a_converted_folder_draws_the_released_pictures(run: Run, tmp_path: Path, variant: str, golden: str) -> None:
    torch.save({"g_ema": prefixed(small_state(variant), "module.")}, tmp_path / "theirs.pt")
    made = run("convert", "ckpt=theirs.pt", "output=runs/theirs")
    assert made.returncode == 0, made.stderr
    generator = native.load_generator(tmp_path / "runs/theirs")
    close(generator(z_of()), golden)
    assert generator.training is False
    drawn = run("synthesize", "ckpt=runs/theirs", "seeds=0-3", "output=a.png")
    assert drawn.returncode == 0, drawn.stderr
    assert run("synthesize", "ckpt=theirs.pt", "seeds=0-3", "output=b.png").returncode == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    for missing in ("no g,", "no d:", "no g_optim:", "no d_optim:"):
        assert f"not in the file: {missing}" in made.stdout
    assert "at 0 kimg" in made.stdout


@torch.no_grad()
def test_files_out_of_a_public_checkpoint_and_out_of_a_run(run: Run, tmp_path: Path) -> None:
    state = {name: value.half() for name, value in small_state("CIPSskip-256").items()}
    torch.save(state, tmp_path / "bare.pt")
    made = run("convert", "ckpt=bare.pt", "output=one.safetensors")
    assert made.returncode == 0, made.stderr
    assert "one.safetensors" in made.stdout
    one = native.load_generator(tmp_path / "one.safetensors")
    expected = official.load_generator(state)
    assert torch.equal(one(z_of()), expected(z_of()))
    assert all(p.dtype == torch.float32 for p in one.parameters())
    folder = run("convert", "ckpt=bare.pt", "output=runs/bare", "kimg=3200")
    assert folder.returncode == 0, folder.stderr
    assert "one generator alone" in folder.stdout
    assert "at 3200 kimg" in folder.stdout
    assert run("convert", "ckpt=runs/bare", "output=two.safetensors").returncode == 0
    first, second = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "two.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert native.load_trained(tmp_path / "two.safetensors").kimg == 3200


@torch.no_grad()
@pytest.mark.parametrize("name", [pytest.param("model.onnx", marks=pytest.mark.slow), "model.pt2"])
def test_programs_of_other_software(run: Run, tmp_path: Path, name: str) -> None:
    torch.save({"g_ema": small_state("CIPSskip-256")}, tmp_path / "theirs.pt")
    made = run("convert", "ckpt=theirs.pt", f"output={name}")
    assert made.returncode == 0, made.stderr
    assert "synthesis (styles, coordinates) and mapping (latents)" in made.stdout
    mapping_name = name.replace("model", "model.mapping")
    grid = image_grid(16, 16).reshape(-1, 2)
    if name.endswith(".onnx"):
        mapping, synthesis = (onnxruntime.InferenceSession(tmp_path / file) for file in (mapping_name, name))
        (styles,) = mapping.run(None, {"z": z_of().numpy(), "truncation": np.ones(1, np.float32)})
        (rgb,) = synthesis.run(None, {"styles": styles, "coordinates": grid.numpy()})
        images = torch.from_numpy(rgb)
    else:
        mapping, synthesis = (torch.export.load(tmp_path / file).module() for file in (mapping_name, name))
        images = synthesis(mapping(z_of(), torch.ones(1)), grid)
    close(images.transpose(1, 2).reshape(4, 3, 16, 16), "skip16_eval")
    again = run("convert", "ckpt=theirs.pt", f"output={name}")
    assert again.returncode == 2
    assert f"output={name} is there already" in again.stderr


@torch.no_grad()
def test_an_activation_that_the_file_does_not_tell(run: Run, tmp_path: Path) -> None:
    torch.save({"g_ema": with_sines("CIPSskip-256")}, tmp_path / "untold.pt")
    refused = run("convert", "ckpt=untold.pt", "output=runs/untold")
    assert refused.returncode == 2
    assert "untold.pt: its activation is sin or sinrelu" in refused.stderr
    assert "activation=sinrelu" in refused.stderr
    assert not (tmp_path / "runs").exists()
    made = run("convert", "ckpt=untold.pt", "output=runs/untold", "activation=sinrelu")
    assert made.returncode == 0, made.stderr
    ours = native.load_generator(tmp_path / "runs/untold").train()
    theirs = official.load_generator(with_sines("CIPSskip-256"), activation="sinrelu").train()
    assert torch.equal(ours(z_of()), theirs(z_of()))
    assert "generator.activation=sinrelu" in made.stdout


# ------------------------------------------------------------------ training


def our_name(name: str, residual: bool) -> str:
    """A released parameter's place in our networks, written down once more."""
    head, _, rest = name.partition(".")
    rest = rest.replace("noise.weight", "noise_strength").replace("activate.bias", "linear.bias")
    rest = rest.replace("conv.modulation", "linear.affine").replace("conv.weight", "linear.weight")
    if head == "lff":
        return f"encoding.fourier.{name.split('.')[-1]}"
    if head == "emb":
        return "encoding.embedding.table"
    if head == "conv1":
        return f"first.{rest}"
    number, _, leaf = rest.partition(".")
    if head == "linears" and residual:
        if number == "0":
            return f"first.{leaf}"
        place = leaf.replace("conv1.", "first.").replace("conv2.", "second.").replace("skip.0.", "skip.")
        return f"blocks.{int(number) - 1}.{place}"
    if head == "linears":
        return f"blocks.{int(number) // 2}.{'second' if int(number) % 2 else 'first'}.{leaf}"
    if head == "to_rgbs":
        return f"to_rgb.{number}.{leaf.replace('linear.', '')}"
    if head == "to_rgb_last":
        return f"to_rgb.2.{rest.replace('linear.', '')}"
    return f"mapping.layers.{int(number) - 1}.{leaf}"


def our_critic_name(name: str) -> str:
    head, number, *rest = name.split(".")
    if head == "convs" and number == "0":
        return f"from_rgb.{rest[-1]}"
    if head == "convs":
        return f"blocks.{int(number) - 1}.{rest[0]}.{rest[-1]}"
    if head == "final_conv":
        return f"final_conv.{rest[-1]}"
    return ("final_linear." if number == "0" else "logit.") + rest[-1]


def as_theirs(ours: Tensor, name: str, shape: torch.Size) -> Tensor:
    """Our layout -> theirs: matrices become 1 x 1 convolutions, the table of pixels a picture."""
    if name == "emb.input":
        side = shape[-1]
        return ours.reshape(side, side, -1).permute(2, 0, 1)[None]
    return ours.reshape(shape)


class Pictures(MemoryDataModule):
    """Noise, 16 x 16."""

    def __init__(self) -> None:
        super().__init__()
        self.resolution = 16

    def setup(self, stage: str | None = None) -> None:
        self.train_dataset = ArrayDataset(np.random.default_rng(0).integers(0, 256, (22, 3, 16, 16), dtype=np.uint8))


@pytest.mark.parametrize(
    ("variant", "lr", "betas"),
    [
        ("CIPSskip-256", 0.002, (0.0, 0.99)),
        pytest.param("CIPSres-256", 0.0013, (0.5, 0.9), marks=pytest.mark.slow),
    ],
)
def test_training_on_takes_the_step_that_their_adam_takes(
    run: Run, tmp_path: Path, variant: str, lr: float, betas: tuple[float, float]
) -> None:
    """Discriminator, R1 and generator, each beside `torch.optim.Adam` on their parameters with their state."""
    content = whole(variant, lr, betas)
    torch.save(content, tmp_path / "whole.pt")
    made = run("convert", "ckpt=whole.pt", "output=runs/on", "batch_size=8")
    assert made.returncode == 0, made.stderr
    assert "at 0.256 kimg" in made.stdout
    assert "not in the file" not in made.stdout
    assert "32 steps" in made.stdout
    assert "34 steps" in made.stdout

    cfg = OmegaConf.load(tmp_path / "runs/on/config.yaml")
    gan = build_gan(cfg, Guard(), flip=True)  # type: ignore[arg-type]
    gradients: list[tuple[str, State]] = []
    step = gan._step

    def watched(optimizer: Any, network: torch.nn.Module, phase: str) -> None:
        found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
        gradients.append((phase, found))
        step(optimizer, network, phase)

    gan._step = watched  # type: ignore[method-assign]
    (checkpoint,) = checkpoint_folders(tmp_path / "runs/on")
    trainer = make_trainer(tmp_path / "runs/on", STEPS["g"] + 1)
    fit_from(trainer, gan, Pictures(), checkpoint)
    assert gan.images_seen == 8 * (STEPS["g"] + 1)
    assert [phase for phase, _ in gradients] == ["discriminator", "r1", "generator"]

    residual = "res" in variant
    for key, network, phases in (
        ("g", gan.generator, ["generator"]),
        ("d", gan.discriminator, ["discriminator", "r1"]),
    ):
        names = {
            name: our_name(name, residual) if key == "g" else our_critic_name(name) for name in parameters(content[key])
        }
        ours = dict(network.named_parameters())
        assert sorted(names.values()) == sorted(ours)
        theirs = {name: content[key][name].clone().requires_grad_() for name in names}
        adam = torch.optim.Adam(list(theirs.values()))
        adam.load_state_dict(content[f"{key}_optim"])
        for phase, found in gradients:
            if phase in phases:
                for name, parameter in theirs.items():
                    own_gradient = found.get(names[name])  # R1 has none for the last bias
                    parameter.grad = None
                    if own_gradient is not None:
                        parameter.grad = as_theirs(own_gradient, name, parameter.shape)
                adam.step()
        optimizer = gan.trainer.optimizers[key == "d"]
        for name, parameter in theirs.items():
            own = ours[names[name]]
            moved = float((parameter - content[key][name]).detach().abs().max())
            difference = (as_theirs(own.detach(), name, parameter.shape) - parameter.detach()).abs()
            assert moved > 0, name
            assert float(difference.max()) <= 1e-4 * moved + 2e-7 * float(parameter.detach().abs().max()), name
            for moment in ("exp_avg", "exp_avg_sq"):
                expected = adam.state[parameter][moment]
                found_moment = as_theirs(optimizer.state[own][moment], name, parameter.shape)
                torch.testing.assert_close(found_moment, expected, rtol=1e-5, atol=1e-7)
            assert float(optimizer.state[own]["step"]) == float(adam.state[parameter]["step"]) > STEPS[key]

    decay = 0.5 ** (32 / 10_000)  # of the released code, whatever the batch
    averages, now = dict(gan.generator_ema.named_parameters()), dict(gan.generator.named_parameters())
    for name, before in content["g_ema"].items():
        own = our_name(name, residual)
        expected = decay * before + (1 - decay) * as_theirs(now[own].detach(), name, before.shape)
        torch.testing.assert_close(as_theirs(averages[own], name, before.shape), expected, rtol=1e-5, atol=1e-6)


def pictures(folder: Path) -> Path:
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(draw.integers(0, 256, (18, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def test_a_converted_run_lives_on(run: Run, tmp_path: Path) -> None:
    """The printed command trains; evaluation, pictures and the report read the folder before and after."""
    content: dict[str, Any] = {k: prefixed(v, "module.") if k in ("g", "d") else v for k, v in whole().items()}
    content["args"] = argparse.Namespace(batch=4, r1=5.0, d_reg_every=16, lr=0.002, path="ffhq")
    torch.save(content, tmp_path / "whole.pt")
    further = "trainer=cpu logger=none metrics=efficientnet_lite0 schedule.evaluate_kimg=null data.num_workers=0"
    made = run("convert", "ckpt=whole.pt", "output=runs/on", "batch_size=8", f"training={further}")
    assert made.returncode == 0, made.stderr
    command = shlex.split(made.stdout.splitlines()[-1])
    assert command[:4] == ["python", "-m", "cips_lab.train", "name=on"]
    assert "objective.r1_weight=5.0" in command
    real = pictures(tmp_path / "real")
    measure = (
        "metrics=efficientnet_lite0",
        "metrics.num_samples=20",
        "metrics.kid_subset_size=10",
        f"data.path={real}",
    )

    options = [f"data.path={real}" if word.startswith("data.path=") else word for word in command[3:]]
    more = ("schedule.total_kimg=0.264", "schedule.checkpoint_kimg=1")
    trained = run("train", *options, *more)
    assert trained.returncode == 0, trained.stderr
    assert "continuing from kimg-00000.256" in trained.stdout + trained.stderr
    assert [path.name for path in checkpoint_folders(tmp_path / "runs/on")] == ["kimg-00000.256", "kimg-00000.264"]
    assert json.loads((tmp_path / "runs/on/status.json").read_text())["state"] == "finished"
    after = run("evaluate", "ckpt=runs/on", "output=after.json", *measure)
    assert after.returncode == 0, after.stderr
    assert run("synthesize", "ckpt=runs/on", "seeds=0-3", "output=a.png").returncode == 0
    assert run("report", "run=runs/on").returncode == 0
    assert (tmp_path / "runs/on/report.html").is_file()

    other = pictures(tmp_path / "other")
    Image.new("RGB", (16, 16)).save(other / "one_more.png")
    elsewhere = [f"data.path={other}" if word.startswith("data.path=") else word for word in options]
    refused = run("train", *elsewhere, "schedule.total_kimg=0.272")
    assert refused.returncode == 2, "the pictures of its first training are now the run's"
    assert "holds other pictures" in refused.stderr
    refused = run("train", *options, "schedule.total_kimg=0.272", "generator.noise=false")
    assert refused.returncode == 2
    assert "generator.noise" in refused.stderr

    init = [word for word in options if not word.startswith("name=")]
    begun = run("train", *init, "name=new", "init=runs/on", "schedule.total_kimg=0.008")
    assert begun.returncode == 0, begun.stderr
    assert "the weights of both networks" in begun.stdout + begun.stderr


# ------------------------------------------------------------------ what is refused


def pickled_network(word: str) -> bytes:
    """As StyleGAN2-ADA's programs write networks: a call of their own, with the program's text."""
    module = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: Any) -> Any:
        raise AssertionError("it was run")

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]

    class Network:
        def __reduce__(self) -> Any:
            return _reconstruct_persistent_obj, ({"module_src": f"class {word}(nn.Module): ...", "state": bytes(99)},)

    sys.modules |= {"torch_utils": types.ModuleType("torch_utils"), module.__name__: module}
    try:
        return pickle.dumps({"training_set_kwargs": {}, "G_ema": Network()})
    finally:
        del sys.modules["torch_utils"], sys.modules[module.__name__]


def test_pickled_networks_are_recognised_and_not_run(run: Run, tmp_path: Path) -> None:
    named = {"GMganSynthesis": "Poly-INR's", "CoordFuser": "INR-GAN's", "Other": "a StyleGAN2-ADA-style network"}
    for word, which in named.items():
        (tmp_path / f"{word}.pkl").write_bytes(pickled_network(word))
        with pytest.raises(UserError, match=rf"{word}\.pkl: {which}"):
            official.load_generator(tmp_path / f"{word}.pkl")
    refused = run("convert", "ckpt=GMganSynthesis.pkl", "output=runs/x")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: GMganSynthesis.pkl: Poly-INR's")
    for part in ("not read", "evaluate samples=FOLDER"):
        assert part in refused.stderr
    assert not (tmp_path / "runs").exists()


class Hostile:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_mistakes(run: Run, tmp_path: Path) -> None:
    torch.save({"g_ema": small_state("CIPSskip-256")}, tmp_path / "ema.pt")
    (tmp_path / "there").mkdir()
    whole_file = (tmp_path / "ema.pt").read_bytes()
    (tmp_path / "damaged.pt").write_bytes(whole_file[: len(whole_file) // 2])
    torch.save({"g_ema": small_state("CIPSskip-256"), "args": Hostile()}, tmp_path / "hostile.pt")
    torch.save({"synthesis.fb1.fc0_5.weight": torch.zeros(3)}, tmp_path / "exported.pt")
    assert run("convert", "ckpt=ema.pt", "output=own.safetensors").returncode == 0
    cases = [
        (["output=x"], "ckpt=... is missing"),
        (["ckpt=ema.pt", "output=there"], "output=there is there already"),
        (["ckpt=ema.pt", "output=model.gguf.bin"], "nothing is written as .bin"),
        (["ckpt=absent.pt", "output=x"], "absent.pt: no such file"),
        (["ckpt=damaged.pt", "output=x"], "damaged.pt: not a checkpoint that can be read safely"),
        (["ckpt=hostile.pt", "output=x"], "hostile.pt: not a checkpoint that can be read safely"),
        (["ckpt=exported.pt", "output=x"], "Poly-INR's parameters"),
        (["ckpt=own.safetensors", "output=x"], "own.safetensors is cips_lab's own already"),
        (["ckpt=own.safetensors", "output=x.safetensors", "activation=sine"], "tells its activation itself"),
        (["ckpt=ema.pt", "output=x", "activation=sine"], "activation=sine does not fit"),
        (["ckpt=ema.pt", "output=x.safetensors", "training=seed=1"], "training=seed=1 is of a folder"),
        (["ckpt=ema.pt", "output=x", "training=generator.noise=false"], "the generator is that of ema.pt"),
    ]
    for options, words in cases:
        refused = run("convert", *options)
        assert refused.returncode == 2, options
        assert words in refused.stderr, (options, refused.stderr)
        assert "Traceback" not in refused.stderr
    assert not {"x", "x.safetensors", "ran"} & {path.name for path in tmp_path.iterdir()}
