"""`torch.export`: a generator as a program that PyTorch runs without this package (`torch.export.load`).

Two files, see `graphs`: ``model.pt2`` (synthesis) and ``model.mapping.pt2``. What is in them besides is the text file
``cips_lab.json``, which `torch.export.load(path, extra_files={"cips_lab.json": ""})` reads.
"""

import json
from pathlib import Path

import torch

from cips_lab import __version__
from cips_lab.interop.graphs import graphs_of, paths_of, subject_of, written_beside
from cips_lab.interop.trained import Trained
from cips_lab.networks.generator import Generator

FORMAT = "cips_lab.exported.1"
EXTRA = "cips_lab.json"


def write(source: str | Path | Generator | Trained, output: str | Path) -> list[Path]:
    """Write a generator as ``.pt2`` files with a free number of samples and of pixels.

    Args:
        source: a generator, one that was read, or what `load_generator` takes.
        output: ``model.pt2``; the mapping lies beside it, in ``model.mapping.pt2``.

    Returns:
        The files: synthesis, mapping.

    Raises:
        UserError: the source cannot be read.
    """
    subject = subject_of(source)
    files = paths_of(output)
    for name, graph in graphs_of(subject.generator).items():
        told = {
            "format": FORMAT,
            "cips_lab": __version__,
            "torch": torch.__version__,
            "graph": name,
            "generator": subject.config,
            "kimg": subject.kimg,
            "tensors": graph.about,
        }
        program = graph.program()
        with written_beside(files[name]) as partial:
            torch.export.save(program, partial, extra_files={EXTRA: json.dumps(told)})
    return list(files.values())
