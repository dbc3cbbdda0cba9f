"""ONNX and torch.export: the same numbers as the generator, whatever the numbers of samples and pixels."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor
from variants import CIPS_CASES, CIPS_VARIANTS, build, composed

from cips_lab.errors import UserError
from cips_lab.interop import exported
from cips_lab.interop import onnx as to_onnx
from cips_lab.interop.graphs import with_plain_reads
from cips_lab.interop.native import save_generator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.networks.mapping import of_classes

CLASSES = 3
# Options that no file of conf/generator sets, and that a graph could be made of wrongly.
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "classes": ("cips_ne", {"classes": CLASSES}),
    "pairs": ("cips_ne", {"fourier": {"features": 15, "waves": "pairs"}}),
    **{name: case for name, case in CIPS_CASES.items() if name not in CIPS_VARIANTS},
}
CASES = {name: (name, {}) for name in CIPS_VARIANTS} | OTHERS
# An export takes seconds. These have most of what a graph is made of between them (residual blocks are in the test of
# docs/export.md); the others are for `make test-all`.
ALL = "cylinder+noise"
QUICK = (ALL, "classes")
OF_CASES = [pytest.param(case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES]


@dataclass
class Written:
    """A generator in `source`, and the files that are made of it."""

    generator: Generator
    config: dict[str, Any]
    source: Path

    @cached_property
    def onnx(self) -> list[Path]:
        return to_onnx.write(self.source, self.source.parent / "onnx" / "model.onnx")

    @cached_property
    def exported(self) -> list[Path]:
        return exported.write(self.source, self.source.parent / "exported" / "model.pt2")

    @cached_property
    def sessions(self) -> list[onnxruntime.InferenceSession]:
        return [onnxruntime.InferenceSession(path) for path in self.onnx]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each case once."""
    made: dict[str, Written] = {}

    def of(case: str) -> Written:
        if case not in made:
            name, options = (case, {}) if case == "stylegan2" else CASES[case]
            config = composed(name) | {"resolution": 8} | options
            source = tmp_path_factory.mktemp("written") / "generator.safetensors"
            made[case] = Written(build(name, **config), config, source)
            save_generator(made[case].generator, source, config, kimg=12.8)
        return made[case]

    return of


def places(pixels: int) -> Tensor:
    """Within the training picture, on its edges, and beyond them."""
    return torch.cat([torch.rand(pixels, 2) * 3 - 1.5, torch.tensor([[-1.0, -1.0], [1.0, 1.0]])])[-pixels:]


def largest(a: Tensor, b: Any) -> float:
    assert a.shape == b.shape
    return float((a - torch.as_tensor(b)).abs().max())


def latents(generator: Generator, samples: int, psi: float) -> tuple[Tensor, dict[str, Tensor]]:
    """What the generator's mapping takes, and what a graph's, in its order."""
    z = torch.randn(samples, generator.z_dim)
    fed = {"z": z, "truncation": torch.tensor([psi])}
    if not generator.mapping.classes:
        return z, fed
    label = torch.arange(samples) % CLASSES
    return of_classes(z, label, CLASSES), {**fed, "label": label}


@pytest.mark.parametrize("case", OF_CASES)
@torch.no_grad()
def test_onnxruntime_agrees(written: Any, case: str) -> None:
    generator, (synthesis, mapping) = written(case).generator, written(case).sessions
    for samples in (1, 5):
        for psi in (1.0, 0.3):
            z, fed = latents(generator, samples, psi)
            (w,) = mapping.run(["styles"], {name: value.numpy() for name, value in fed.items()})
            assert largest(generator.truncate(generator.mapping(z), psi), w) < 1e-5
        for pixels in (1, 7, 4096):
            coords = places(pixels)
            (rgb,) = synthesis.run(["rgb"], {"styles": w, "coordinates": coords.numpy()})
            assert largest(generator.synthesis(torch.from_numpy(w), coords), rgb) < 1e-4


@pytest.mark.parametrize("case", OF_CASES)
@torch.no_grad()
def test_exported_agrees(written: Any, case: str) -> None:
    generator = written(case).generator
    synthesis, mapping = (torch.export.load(path).module() for path in written(case).exported)
    for samples in (1, 5):
        for psi in (1.0, 0.3):
            z, fed = latents(generator, samples, psi)
            w = mapping(*fed.values())
            assert largest(generator.truncate(generator.mapping(z), psi), w) < 1e-6
        for pixels in (1, 7, 4096):
            coords = places(pixels)
            assert largest(generator.synthesis(w, coords), synthesis(w, coords)) < 1e-6


@torch.no_grad()
def test_a_convolutional_generator_gives_its_native_images(written: Any) -> None:
    generator, (synthesis, _) = written("stylegan2").generator, written("stylegan2").sessions
    assert [(value.name, value.shape[1:]) for value in synthesis.get_inputs()] == [("styles", [generator.w_dim])]
    program = torch.export.load(written("stylegan2").exported[0]).module()
    for samples in (1, 5):
        w = torch.randn(samples, generator.w_dim)
        images = generator.synthesize_native(w)
        assert largest(images, synthesis.run(None, {"styles": w.numpy()})[0]) < 1e-4
        assert largest(images, program(w)) < 1e-6


def test_what_a_file_says_of_itself(written: Any) -> None:
    """Anybody can build the generator again, or knows what to give the model without our documents."""
    files, config = written(ALL).onnx, written(ALL).config
    assert [path.name for path in files] == ["model.onnx", "model.mapping.onnx"]
    assert sorted(files[0].parent.iterdir()) == sorted(files)
    names = {"synthesis": ["coordinates", "rgb", "styles"], "mapping": ["styles", "truncation", "z"]}
    for path, graph in zip(files, names, strict=True):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        told = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(told["generator"]) == config
        assert (told["format"], told["kimg"], told["graph"]) == (to_onnx.FORMAT, "12.8", graph)
        (opset,) = model.opset_import
        assert (opset.domain, opset.version, told["opset"]) == ("", to_onnx.OPSET, str(to_onnx.OPSET))
        tensors = json.loads(told["tensors"])
        found = [value.name for value in (*model.graph.input, *model.graph.output)]
        assert sorted(found) == sorted(tensors) == names[graph]
    for path, graph in zip(written(ALL).exported, names, strict=True):
        extra = {exported.EXTRA: ""}
        torch.export.load(path, extra_files=extra)
        told = json.loads(extra[exported.EXTRA])
        assert (told["generator"], told["kimg"], told["graph"]) == (config, 12.8, graph)


def test_files_hold_what_they_need_and_nothing_of_this_machine(written: Any) -> None:
    case = written(ALL)
    sizes = {True: 0, False: 0}  # of the mapping's weights, and of the others
    for name, value in case.generator.state_dict().items():
        sizes[name.startswith("mapping.")] += value.numel() * value.itemsize
    stylegan2 = written("stylegan2")  # whose layers are graphs within the graph
    for path in (*stylegan2.onnx, *stylegan2.exported):
        assert b"cips_lab/networks" not in path.read_bytes()
    for files in (case.onnx, case.exported):
        assert sorted(files[0].parent.iterdir()) == sorted(files)
        for path, needed in zip(files, (sizes[False], sizes[True]), strict=True):
            content = path.read_bytes()
            assert needed < len(content)
            assert b"cips_lab/networks" not in content
            assert str(Path(to_onnx.__file__).parents[2]).encode() not in content
    assert not [name for name in torch.export.load(case.exported[0]).state_dict if "mapping" in name]


def test_weights_that_a_file_of_onnx_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie beside it, under a name that the model knows."""
    generator = build("cips_ne", resolution=8)
    monkeypatch.setattr(to_onnx, "LARGEST", 1000)
    files = to_onnx.write(generator, tmp_path / "large.onnx")
    assert [path.name for path in files] == [
        "large.onnx", "large.mapping.onnx", "large.onnx.data", "large.mapping.onnx.data",
    ]  # fmt: skip
    w, coords = torch.randn(2, generator.w_dim), places(5)
    (rgb,) = onnxruntime.InferenceSession(files[0]).run(None, {"styles": w.numpy(), "coordinates": coords.numpy()})
    assert largest(generator.synthesis(w, coords).detach(), rgb) < 1e-4


def test_another_process_needs_none_of_our_code(written: Any, tmp_path: Path) -> None:
    files = [str(path) for path in written(ALL).exported]
    code = (
        "import sys, torch\n"
        f"synthesis, mapping = (torch.export.load(path).module() for path in {files})\n"
        f"w = mapping(torch.zeros(2, {written(ALL).generator.z_dim}), torch.ones(1))\n"
        "assert synthesis(w, torch.zeros(11, 2)).shape == (2, 11, 3)\n"
        "assert not [name for name in sys.modules if name.startswith('cips_lab')]\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("case", ["cips_lowpass", "slow_table", "official_lookup", "cylinder_coarse"])
@torch.no_grad()
def test_plain_reads_change_nothing(case: str) -> None:
    """And leave the generator as it was."""
    generator = build(CASES[case][0], **CASES[case][1])
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    coords = places(200)
    expected = generator.encoding(coords)
    plain = with_plain_reads(generator)
    assert largest(expected, plain.encoding(coords)) < 1e-6
    assert type(plain.encoding.embedding) is not type(generator.encoding.embedding)
    assert torch.equal(generator.encoding(coords), expected)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


@torch.no_grad()
def test_training_mode_does_not_matter() -> None:
    """`official` lookup is for evaluation: what is written is the generator in evaluation mode."""
    from cips_lab.interop.graphs import subject_of

    generator = build("cips", embedding_lookup="official").train()
    subject = subject_of(generator)
    assert generator.training
    assert not subject.generator.training
    grid = image_grid(*generator.size).view(-1, 2)
    w = torch.randn(1, generator.w_dim)
    assert torch.equal(subject.generator.synthesis(w, grid), generator.eval().synthesis(w, grid))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"needs the package onnxscript: pip install 'cips-lab\[onnx\]'"):
        to_onnx.write(tmp_path / "absent", tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
