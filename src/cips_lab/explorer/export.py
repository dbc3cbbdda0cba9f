"""From a checkpoint to the file: what the command does with ``output=``."""

from pathlib import Path
from typing import NamedTuple

from cips_lab.errors import UserError
from cips_lab.explorer.packing import pack
from cips_lab.explorer.page import build_page
from cips_lab.files.whole import megabytes
from cips_lab.interop.native import load_trained
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.render.finite import check_weights
from cips_lab.reporting.page import write


class World(NamedTuple):
    """What is walked in. generator: in evaluation mode; title: of its page; facts: what is said of it there."""

    generator: CIPSGenerator
    title: str
    facts: dict[str, float | None]


def open_world(source: str, title: str | None = None) -> World:
    """A checkpoint's generator, looked at.

    Args:
        source: as for `load_generator`.
        title: None: the checkpoint's own name.

    Raises:
        UserError: the checkpoint cannot be read, or its pixels depend on their neighbours, so that no part of a picture
            can be computed alone.
    """
    trained = load_trained(source)
    generator = trained.generator
    if not isinstance(generator, CIPSGenerator):
        raise UserError(
            f"ckpt={source}: this generator is convolutional: it has whole pictures of one size only, and nothing to "
            "walk in; give a CIPS generator's"
        )
    check_weights(generator, source)
    return World(generator.eval(), title or name_of(Path(source).expanduser()), {"kimg": trained.kimg})


def export(source: str, output: Path, title: str | None = None) -> str:
    """Write the page of a checkpoint's generator.

    Args:
        source, title: as `open_world`.
        output: the file; what is there is replaced, whole or not at all.

    Returns:
        A sentence that is printed.

    Raises:
        UserError: see `open_world`.
    """
    world = open_world(source, title)
    page = build_page(pack(world.generator), world.title, world.facts)
    write(page, output)
    return f"{output}: {megabytes(len(page.encode()))}, open it in a browser"


def name_of(source: Path) -> str:
    """What a checkpoint is called: its run, or its file with the folder that it lies in."""
    source = source.resolve()
    if source.is_dir():
        return source.parent.parent.name if source.parent.name == "checkpoints" else source.name
    return f"{source.parent.name}/{source.stem}"
