"""A generator as two functions of tensors, which other software can run: what `onnx` and `exported` write.

mapping    latents z [N, z_dim] and truncation [1] (and label [N] of a generator of classes) -> styles [N, w_dim]
synthesis  styles [N, w_dim] and coordinates [P, 2] -> rgb [N, P, 3]

N and P are free. Two functions and not one, because a style is made once and looked at from many places: a viewer that
zooms, draws in tiles or walks between styles calls the second alone. A convolutional generator has no free
coordinates: its synthesis is styles -> images [N, 3, H, W] of its own size. Noise is that of noise_seed 0, a function
of the pixel, as in every picture that `cips_lab.synthesize` makes.
"""

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cips_lab.files.whole import flush
from cips_lab.interop.native import load_trained
from cips_lab.interop.trained import Trained
from cips_lab.networks.encoding import CoordinateEmbedding
from cips_lab.networks.generator import Generator
from cips_lab.networks.mapping import of_classes

Axes = dict[int, str]  # which axes of a tensor are free, by their names


class Graph(NamedTuple):
    """A function of tensors, and what is known of it."""

    module: nn.Module
    example: tuple[Tensor, ...]  # of its inputs, in their order
    inputs: dict[str, Axes]
    outputs: tuple[str, ...]
    about: dict[str, str]  # of every input and output: shape, type, range

    def program(self) -> torch.export.ExportedProgram:
        """It by `torch.export`, with its axes free."""
        free = torch.export.Dim.DYNAMIC
        shapes = {name: dict.fromkeys(axes, free) for name, axes in self.inputs.items()}
        with torch.no_grad():
            program = torch.export.export(self.module, self.example, dynamic_shapes=shapes)
        parts = [part for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)]
        for node in (node for part in parts for node in part.graph.nodes):
            node.meta.pop("stack_trace", None)  # lines of our code, by their paths on this machine
        return program


def subject_of(source: str | Path | Generator | Trained) -> Trained:
    """A generator as it is, or was read, or out of what `load_generator` reads; in evaluation mode, on the CPU, a copy.

    Raises:
        UserError: see `load_generator`.
    """
    if isinstance(source, Generator):
        source = Trained(copy.deepcopy(source), {})
    found = source if isinstance(source, Trained) else load_trained(source)
    found.generator.cpu().eval().requires_grad_(False)
    return found


class Mapping(nn.Module):
    """Latents to truncated styles."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.mapping = generator.mapping

    def forward(self, z: Tensor, truncation: Tensor) -> Tensor:
        """[N, z_dim] and [1] -> [N, w_dim]."""
        return self.mapping.truncate(self.mapping(z), truncation)  # type: ignore[arg-type]


class MappingOfClasses(Mapping):
    """Latents and the numbers of their classes to truncated styles."""

    def forward(self, z: Tensor, truncation: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        """[N, z_dim], [1] and int64 [N] -> [N, w_dim]."""
        return super().forward(of_classes(z, label, self.mapping.classes), truncation)


class Synthesis(nn.Module):
    """Styles and coordinates to colours; its weights are those that it needs."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = copy.copy(generator)
        self.generator._modules = {name: part for name, part in generator._modules.items() if name != "mapping"}
        self.generator._buffers = {}  # the native grid

    def forward(self, styles: Tensor, coordinates: Tensor) -> Tensor:
        """[N, w_dim] and [P, 2] -> [N, P, 3]."""
        return self.generator.synthesis(styles, coordinates)


class NativeSynthesis(Synthesis):
    """Styles to images of the generator's own size."""

    def forward(self, styles: Tensor) -> Tensor:  # type: ignore[override]
        """[N, w_dim] -> [N, 3, H, W]."""
        return self.generator.synthesize_native(styles)


class GatheredEmbedding(CoordinateEmbedding):
    """A coordinate embedding by plain reads of its table: an embedding bag is a loop, or nothing, in other software."""

    @classmethod
    def of(cls, part: CoordinateEmbedding) -> "GatheredEmbedding":
        """The same function; a low-pass is done once and for all."""
        gathered = copy.copy(part)
        gathered.__class__ = cls
        assert isinstance(gathered, cls)
        gathered._parameters = {"table": nn.Parameter(part.scaled(part.filtered()), requires_grad=False)}
        gathered._buffers = {"filter_x": None, "filter_y": None}
        gathered.lr_multiplier = 1.0
        return gathered

    def weighted(self, table: Tensor, rows: Tensor, weights: Tensor, sparse: bool) -> Tensor:
        """[P, K] rows and weights -> [P, features]; one read of the table at a time, for [P, K, features] is large."""
        several = zip(rows.unbind(-1), weights.unbind(-1), strict=True)
        return sum((torch.embedding(table, row) * weight[:, None] for row, weight in several), torch.zeros(()))


def with_plain_reads(generator: Generator) -> Generator:
    """A generator whose tables are read by `GatheredEmbedding`; the given one is left as it is."""
    generator = copy.deepcopy(generator)
    for parent in generator.modules():
        for name, part in parent.named_children():
            if isinstance(part, CoordinateEmbedding):
                setattr(parent, name, GatheredEmbedding.of(part))
    return generator


def graphs_of(generator: Generator) -> dict[str, Graph]:
    """``synthesis`` and ``mapping`` of a generator that is in evaluation mode on the CPU."""
    styles, classes = torch.zeros(3, generator.w_dim), generator.mapping.classes
    about = {
        "z": f"float32 [N, {generator.z_dim}], standard normal",
        "label": f"int64 [N], the class, 0 to {classes - 1}",
        "truncation": "float32 [1], psi: 1 changes nothing, 0 gives the mean style",
        "styles": f"float32 [N, {generator.w_dim}], of the mapping",
        "coordinates": "float32 [P, 2], (x, y), x to the right, y down; the training picture spans -1 to 1 both ways, "
        "its first and last pixels included" + _around(generator),
        "rgb": "float32 [N, P, 3], red, green, blue, about -1 to 1, to be clamped",
        "image": f"float32 [N, 3, {generator.size[0]}, {generator.size[1]}], about -1 to 1, to be clamped",
    }

    def graph(module: nn.Module, example: dict[str, tuple[Tensor, Axes]], output: str) -> Graph:
        tensors, axes = (tuple(one[i] for one in example.values()) for i in range(2))
        told = {name: about[name] for name in (*example, output)}
        return Graph(module, tensors, dict(zip(example, axes, strict=True)), (output,), told)  # type: ignore[arg-type]

    samples, pixels = {0: "samples"}, {0: "pixels"}
    latents: dict[str, tuple[Tensor, Axes]] = {
        "z": (torch.ones(3, generator.z_dim), samples),
        "truncation": (torch.ones(1), {}),
    }
    if classes:
        latents["label"] = (torch.zeros(3, dtype=torch.int64), samples)
    mapping = graph((MappingOfClasses if classes else Mapping)(generator), latents, "styles")
    if generator.native_only:
        synthesis = graph(NativeSynthesis(generator), {"styles": (styles, samples)}, "image")
    else:
        places = torch.zeros(5, 2)
        synthesis = graph(Synthesis(generator), {"styles": (styles, samples), "coordinates": (places, pixels)}, "rgb")
    return {"synthesis": synthesis, "mapping": mapping}


def _around(generator: Generator) -> str:
    return "" if generator.period is None else f"; x and x + {generator.period:g} are the same place of the cylinder"


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A file of the same name in a folder of its own; what the block writes there is put beside `path`, `path` last.

    For formats that keep the names of their files within, as `replacing` is for the others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as folder:
        yield Path(folder) / path.name
        for part in sorted(Path(folder).iterdir(), key=lambda part: part.name == path.name):
            flush(part)
            part.replace(path.with_name(part.name))


def paths_of(output: str | Path) -> dict[str, Path]:
    """``model.onnx`` -> synthesis in ``model.onnx``, mapping in ``model.mapping.onnx``."""
    path = Path(output).expanduser()
    return {"synthesis": path, "mapping": path.with_name(f"{path.stem}.mapping{path.suffix}")}
