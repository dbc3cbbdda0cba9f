"""ONNX: a generator for every runtime that reads it (onnxruntime, in browsers too), with a free number of pixels.

Two files, see `graphs`: ``model.onnx`` (synthesis) and ``model.mapping.onnx``. Weights beyond protobuf's 2 GiB lie
beside a model, in ``model.onnx.data``.
"""

import importlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cips_lab import __version__
from cips_lab.errors import UserError
from cips_lab.interop.graphs import (
    Generator,
    Graph,
    graphs_of,
    paths_of,
    subject_of,
    with_plain_reads,
    written_beside,
)
from cips_lab.interop.trained import Trained

FORMAT = "cips_lab.onnx.1"
OPSET = 18  # the first with BitwiseXor, which noise is made of; runtimes read it since onnxruntime 1.14
PACKAGES = ("onnx", "onnxscript")
LARGEST = 2**31 - 2**24  # bytes of weights within a file: protobuf ends at 2 GiB, and the graph needs some


def write(source: str | Path | Generator | Trained, output: str | Path) -> list[Path]:
    """Write a generator as ONNX.

    Args:
        source: a generator, one that was read, or what `load_generator` takes.
        output: ``model.onnx``; the mapping lies beside it, in ``model.mapping.onnx``.

    Returns:
        The files: synthesis, mapping, and those of weights that are too large for a file of ONNX.

    Raises:
        UserError: the source cannot be read, or a package is missing.
    """
    needed(str(output))
    subject = subject_of(source)
    files = paths_of(output)
    written: list[Path] = []
    for name, graph in graphs_of(with_plain_reads(subject.generator)).items():
        told = {
            "format": FORMAT,
            "cips_lab": __version__,
            "opset": str(OPSET),
            "graph": name,
            "generator": json.dumps(subject.config),
            "kimg": "" if subject.kimg is None else str(subject.kimg),
            "tensors": json.dumps(graph.about),
        }
        written += _save(_translated(graph, told), graph, files[name])
    return sorted(written, key=lambda path: path not in files.values())


def needed(output: str) -> None:
    """Raise `UserError` where a package is missing."""
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError:
            raise UserError(
                f"output={output}: ONNX needs the package {package}: pip install 'cips-lab[onnx]'"
            ) from None


def _translated(graph: Graph, told: dict[str, str]) -> Any:
    """A `torch.onnx.ONNXProgram`, with what is told of it in its model's metadata."""
    free = {name: dict(axes) for name, axes in graph.inputs.items()}
    with torch.no_grad(), _quietly():
        program = torch.onnx.export(
            graph.module,
            graph.example,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=free,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            verbose=False,
        )
    assert program is not None
    model = program.model
    for part in (model.graph, *model.graph, *model.graph.initializers.values()):
        part.metadata_props.clear()  # the exporter's: lines of our code, by their paths on this machine
    model.metadata_props.update(told)
    model.producer_name, model.producer_version = "cips_lab", __version__
    return program


def _save(program: Any, graph: Graph, path: Path) -> list[Path]:
    """Write the model, and its weights beside it where they are too large; the files."""
    size = sum(tensor.numel() * tensor.itemsize for tensor in graph.module.state_dict().values())
    with written_beside(path) as partial:
        program.save(partial, external_data=size > LARGEST)
        names = sorted(part.name for part in partial.parent.iterdir())
    return [path.with_name(name) for name in names]


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks on itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
