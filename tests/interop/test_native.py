"""Our generator files: there and back, from every kind of path, and nothing run that a file names."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import cips_lab
from cips_lab.errors import UserError
from cips_lab.interop.native import FORMAT, generator_file, load_generator, save_generator
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.runs.folder import checkpoint_folders

CIPS: dict[str, Any] = {
    "_target_": "cips_lab.networks.cips.CIPSGenerator",
    "resolution": 8,
    "width": 8,
    "z_dim": 6,
    "w_dim": 7,
    "mapping_layers": 2,
    "fourier": {"features": 8, "initialization": "uniform"},
    "embedding": {"features": 4, "std": 0.5},
    "blocks": "residual",
    "noise": True,
}
STYLEGAN2: dict[str, Any] = {
    "_target_": "cips_lab.networks.stylegan2.StyleGAN2Generator",
    "resolution": 8,
    "z_dim": 6,
    "w_dim": 7,
    "mapping_layers": 2,
    "channel_base": 64,
    "channel_max": 8,
}
Generator = CIPSGenerator | StyleGAN2Generator


def build(config: dict[str, Any]) -> Generator:
    torch.manual_seed(0)
    options = {key: value for key, value in config.items() if key != "_target_"}
    generator = (CIPSGenerator if "width" in config else StyleGAN2Generator)(**options)
    for parameter in generator.parameters():
        nn.init.normal_(parameter)
    generator.mapping.w_mean.normal_()
    return generator


def write_checkpoint(folder: Path, generator: Generator, config: dict[str, Any]) -> Path:
    """A checkpoint folder as the Checkpoints callback leaves it; the trained weights differ from the averaged ones."""
    folder.mkdir(parents=True)
    save_generator(generator, folder / "generator.safetensors", config, kimg=1.5)
    state = {f"generator.{name}": value + 1 for name, value in generator.state_dict().items()}
    state |= {f"average.module.{name}": value for name, value in generator.state_dict().items()}
    state["average.n_averaged"] = torch.tensor(3)
    content = {"state_dict": state, "cips_lab": {"images_seen": 1500, "seed": 0, "generator": config}}
    torch.save(content, folder / "training.ckpt")
    return folder


@torch.no_grad()
def assert_same(loaded: Generator, original: Generator) -> None:
    assert type(loaded) is type(original)
    assert loaded.state_dict().keys() == original.state_dict().keys()
    for name, value in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    z = torch.randn(2, 6)
    assert torch.equal(loaded(z, 5), original.eval()(z, 5))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("config", [CIPS, STYLEGAN2], ids=["cips", "stylegan2"])
def test_there_and_back(tmp_path: Path, config: dict[str, Any]) -> None:
    generator = build(config)
    run = tmp_path / "run"
    folder = write_checkpoint(run / "checkpoints" / "kimg-00001.500", generator, config)
    for source in (run, folder, folder / "generator.safetensors", folder / "training.ckpt", str(run)):
        assert_same(load_generator(source), generator)
    assert cips_lab.load_generator is load_generator


def test_a_run_folder_means_its_newest_checkpoint(tmp_path: Path) -> None:
    generator = build(CIPS)
    for kimg in ("00002.000", "00010.000", "00009.500"):
        generator.mapping.w_mean.fill_(float(kimg))
        write_checkpoint(tmp_path / "checkpoints" / f"kimg-{kimg}", generator, CIPS)
    (tmp_path / "checkpoints" / ".partial-kimg-00011.000").mkdir()
    (tmp_path / "checkpoints" / "kimg-99999.000").write_text("a file, no checkpoint")
    assert [p.name for p in checkpoint_folders(tmp_path)] == [
        "kimg-00002.000",
        "kimg-00009.500",
        "kimg-00010.000",
    ]
    assert float(load_generator(tmp_path).mapping.w_mean[0]) == 10
    assert float(load_generator(tmp_path / "checkpoints" / "kimg-00002.000").mapping.w_mean[0]) == 2
    assert generator_file(tmp_path).parent.name == "kimg-00010.000"


def test_a_path_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_generator(build(CIPS), tmp_path / "g.safetensors", CIPS, kimg=0)
    assert generator_file("~/g.safetensors") == tmp_path / "g.safetensors"


def test_the_header_says_what_the_file_is(tmp_path: Path) -> None:
    """Anybody's safetensors reader can build the generator again."""
    generator = build(CIPS)
    save_generator(generator, tmp_path / "g.safetensors", CIPS, kimg=12.8)
    with safe_open(tmp_path / "g.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata == {"format": FORMAT, "generator": json.dumps(CIPS), "kimg": "12.8"}
    assert load_file(tmp_path / "g.safetensors").keys() == generator.state_dict().keys()


def test_strided_weights_are_written_as_they_are_read(tmp_path: Path) -> None:
    generator = build(CIPS)
    weight = generator.first.linear.weight
    weight.data = weight.data.t().contiguous().t()  # safetensors refuses what is not contiguous
    assert not weight.is_contiguous()
    save_generator(generator, tmp_path / "g.safetensors", CIPS, kimg=0)
    assert torch.equal(load_generator(tmp_path / "g.safetensors").first.linear.weight, weight)


def test_a_generator_is_loaded_without_lightning_or_hydra(tmp_path: Path) -> None:
    """Nor what they are made with: an application that shows pictures should not wait for a laboratory."""
    write_checkpoint(tmp_path / "run" / "checkpoints" / "kimg-00001.500", build(CIPS), CIPS)
    program = (
        "import sys\nfrom cips_lab import load_generator\n"
        "load_generator('run').render(load_generator('run/checkpoints/kimg-00001.500').mapping.w_mean[None], "
        "__import__('cips_lab.networks.coordinates', fromlist=['']).image_grid(3, 5))\n"
        "laboratory = {'pytorch_lightning', 'hydra', 'omegaconf', 'torchmetrics', 'wandb', 'huggingface_hub', 'onnx'}\n"
        "print(sorted(laboratory & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


# ------------------------------------------------------------------ what cannot be used


def refused(path: Path, *says: str) -> None:
    """One UserError that names the file, on one line."""
    with pytest.raises(UserError) as caught:
        load_generator(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert all(part in message for part in says), message
    assert caught.value.__cause__ is None


def test_nothing_there(tmp_path: Path) -> None:
    refused(tmp_path / "absent", "no such file")
    refused(tmp_path / "absent.safetensors", "no such file")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    refused(tmp_path, "no checkpoint")
    refused(tmp_path / "run", "no checkpoint")


@pytest.mark.parametrize("content", [b"text, no tensors", bytes(range(256)), b"\x08\0\0\0\0\0\0\0notjson!"])
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_damaged_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(content)
    refused(path, "can be read")


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_files_cut_short(tmp_path: Path, suffix: str) -> None:
    folder = write_checkpoint(tmp_path / "whole", build(CIPS), CIPS)
    (whole,) = folder.glob(f"*.{suffix}")
    for share in (0.1, 0.5, 0.99):
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
        refused(path, "can be read")


def test_other_softwares_files(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    refused(tmp_path / "other.safetensors", "no cips_lab generator")
    save_file({"weight": torch.zeros(3)}, tmp_path / "later.safetensors", metadata={"format": "cips_lab.generator.9"})
    refused(tmp_path / "later.safetensors", "no cips_lab generator")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    refused(tmp_path / "other.ckpt", "not a checkpoint of cips_lab")
    torch.save([1, 2], tmp_path / "list.ckpt")
    refused(tmp_path / "list.ckpt", "not a checkpoint of cips_lab")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", "public CIPS")


CALLED: list[str] = []


class Intruder:
    """What must never be built."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        CALLED.append("built")


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.eval", f"{__name__}.Intruder", "cips_lab.networks.mapping.MappingNetwork", "", None],
)
def test_a_header_that_names_another_class_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str | None
) -> None:
    config = {**CIPS, "_target_": target}
    if target is None:
        del config["_target_"]
    folder = write_checkpoint(tmp_path / "checkpoint", build(CIPS), config)
    imported: list[str] = []
    monkeypatch.setattr("importlib.import_module", lambda name, *rest: imported.append(name))
    for path in (folder / "generator.safetensors", folder / "training.ckpt"):
        refused(path, f"{target!r}", "cips_lab.networks.cips.CIPSGenerator")
    assert imported == []
    assert CALLED == []


class Payload:
    """A pickle that runs code when it is read."""

    def __reduce__(self) -> Any:
        return (CALLED.append, ("unpickled",))


@pytest.mark.parametrize("suffix", ["ckpt", "pt"])
def test_a_pickle_runs_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"evil.{suffix}"
    torch.save({"state_dict": Payload(), "g_ema": Payload(), "cips_lab": {}}, path)
    refused(path, "can be read")
    assert CALLED == []


@pytest.mark.parametrize(
    "change",
    [
        {"width": 16},
        {"resolution": 16},
        {"blocks": "plain", "output": "last"},
        {"width": "wide"},
        {"resolution": 9},
        {"unknown": 1},
        {"fourier": None},
    ],
)
def test_weights_that_do_not_fit_their_configuration(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", build(CIPS), {**CIPS, **change})
    for path in (folder / "generator.safetensors", folder / "training.ckpt"):
        refused(path, "do not fit")


def test_the_trained_generator_is_not_the_averaged_one(tmp_path: Path) -> None:
    generator = build(CIPS)
    folder = write_checkpoint(tmp_path / "checkpoint", generator, CIPS)
    state = torch.load(folder / "training.ckpt", weights_only=True)["state_dict"]
    assert not torch.equal(state["generator.mapping.w_mean"], generator.mapping.w_mean)
    assert torch.equal(load_generator(folder / "training.ckpt").mapping.w_mean, generator.mapping.w_mean)


def _damaged(folder: Path) -> dict[str, Path]:
    """Files that are not what their names say, each in a way of its own."""
    weights = {"x": torch.zeros(1)}
    headers = {
        "cut": {"format": FORMAT, "generator": "{"},
        "absent": {"format": FORMAT},
        "list": {"format": FORMAT, "generator": '{"_target_": []}'},
        "number": {"format": FORMAT, "generator": "3"},
    }
    files = {name: folder / f"{name}.safetensors" for name in headers}
    for name, path in files.items():
        save_file(weights, path, metadata=headers[name])
    for suffix in (".ckpt", ".pt", ".safetensors"):
        files["empty" + suffix] = folder / f"empty{suffix}"
        files["empty" + suffix].write_bytes(b"")
        files["text" + suffix] = folder / f"text{suffix}"
        files["text" + suffix].write_bytes(b"text, no tensors")
    files["bare"] = folder / "bare.ckpt"
    torch.save({"cips_lab": {}}, files["bare"])
    files["tensor"] = folder / "tensor.ckpt"
    torch.save(torch.zeros(3), files["tensor"])
    files["few"] = folder / "few.pt"
    torch.save({"style.1.weight": torch.zeros(2, 2)}, files["few"])
    return files


def test_every_damaged_file_is_one_error_that_names_it(tmp_path: Path) -> None:
    for kind, path in _damaged(tmp_path).items():
        with pytest.raises(UserError, match=re.escape(str(path))) as caught:
            load_generator(path)
        assert "\n" not in str(caught.value), kind


def test_checkpoints_are_ordered_by_number(tmp_path: Path) -> None:
    for kimg in ("99999.000", "00012.800", "100000.000"):
        (tmp_path / "checkpoints" / f"kimg-{kimg}").mkdir(parents=True)
    names = [path.name for path in checkpoint_folders(tmp_path)]
    assert names == ["kimg-00012.800", "kimg-99999.000", "kimg-100000.000"]
