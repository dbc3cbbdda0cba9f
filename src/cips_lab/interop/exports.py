"""What a generator can be written as, by the ending of the file's name: the one table.

Nothing heavy is imported until something is written: `--help` lists the table.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cips_lab.errors import UserError

if TYPE_CHECKING:
    from cips_lab.interop.trained import Trained


class Ending(NamedTuple):
    """A kind of file.

    Attributes:
        write: of a generator and a file that is not there yet, the file; returns a sentence that is printed.
        sentence: what it is, for `--help`.
    """

    write: Callable[["Trained", Path], str]
    sentence: str


def _safetensors(trained: "Trained", output: Path) -> str:
    from cips_lab.interop.native import save_generator

    save_generator(trained.generator, output, trained.config, trained.kimg or 0.0)
    return f"{output}: the generator, which every command of cips_lab reads"


def _onnx(trained: "Trained", output: Path) -> str:
    from cips_lab.interop import onnx

    return _told(onnx.write(trained, output), f"opset {onnx.OPSET}; onnxruntime runs them")


def _exported(trained: "Trained", output: Path) -> str:
    from cips_lab.interop import exported

    return _told(exported.write(trained, output), "torch.export.load runs them without cips_lab")


def _told(files: list[Path], what: str) -> str:
    return f"{', '.join(map(str, files))}: synthesis (styles, coordinates) and mapping (latents); {what}"


ENDINGS: dict[str, Ending] = {
    ".safetensors": Ending(_safetensors, "the generator in one file, which every command of cips_lab reads"),
    ".onnx": Ending(_onnx, "for onnxruntime, with a free number of pixels and samples"),
    ".pt2": Ending(_exported, "the same as programs of torch.export"),
}


def ending_of(output: Path) -> Ending | None:
    """The kind of file that an output's name asks for; None where it is a folder's.

    Raises:
        UserError: it has the ending of a file that is not in the table.
    """
    if output.suffix in ENDINGS:
        return ENDINGS[output.suffix]
    if output.suffix in FILES:
        raise UserError(f"output={output}: nothing is written as {output.suffix}; choose a folder, or {listed()}")
    return None


# Endings that nobody means a folder by, and that are not in the table (those in it are looked for first).
FILES = (".bin", ".ckpt", ".jit", ".pkl", ".pt", ".pth", ".pytorch", ".zip")


def listed() -> str:
    """The endings."""
    return ", ".join(ENDINGS)


def described() -> str:
    """The endings and what they are, for `--help`."""
    return "; ".join(f"{ending}: {kind.sentence}" for ending, kind in ENDINGS.items())
