"""A discriminator that leaves its run: ``discriminator.safetensors`` beside ``generator.safetensors``.

A folder of these two is what `init=` trains on from, and `load_generator` reads. Two files and not one, because nearly
everybody wants the generator alone, which is the smaller.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line, parse_config, read_safetensors
from cips_lab.files.whole import replacing
from cips_lab.interop import official
from cips_lab.interop.native import (
    DISCRIMINATOR_FORMAT,
    discriminator_file,
    discriminator_state,
    generator_file,
    load_trained,
    save_generator,
)
from cips_lab.interop.sizes import build_as_stored
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.runs.folder import CONFIG, DISCRIMINATOR, GENERATOR, run_above
from cips_lab.runs.settings import read_settings

RESIDUAL = "cips_lab.networks.discriminator.ResidualDiscriminator"  # the only one that is built from a file's header
FADED = "faded."  # of one that has grown: what the smaller one saw pictures with, of no use once it is left


def save_discriminator(state: Mapping[str, Tensor], path: str | Path, config: Mapping[str, Any], kimg: float) -> None:
    """Write a discriminator's weights, and in the header the configuration that builds it.

    Args:
        state: its state dict.
        path: ``.safetensors`` file.
        config: resolved ``conf/discriminator``, with its ``_target_``; empty where it is not known.
        kimg: thousands of images it was trained on.
    """
    kept = {name: value for name, value in state.items() if not name.startswith(FADED)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in kept.items()}
    metadata = {"format": DISCRIMINATOR_FORMAT, "discriminator": json.dumps(dict(config)), "kimg": str(kimg)}
    with replacing(Path(path)) as partial:
        save_file(tensors, partial, metadata=metadata)


def write_both(source: str | Path, folder: str | Path) -> list[Path]:
    """Write generator and discriminator of a run, a checkpoint or a public ``.pt`` as a folder of two files.

    Args:
        source: as for `load_generator`.
        folder: where they are to lie; made if need be.

    Returns:
        The files.

    Raises:
        UserError: the source cannot be read, or holds no discriminator.
    """
    folder = Path(folder).expanduser()
    stored, state = load_trained(source), discriminator_state(source)
    if state is None:
        raise UserError(
            f"{source}: holds no discriminator; give a run folder, one of its checkpoints, a training.ckpt, or a .pt "
            "of the public implementation with the key d"
        )
    kimg = stored.kimg or 0.0
    files = [folder / GENERATOR, folder / DISCRIMINATOR]
    save_generator(stored.generator, files[0], stored.config, kimg)
    save_discriminator(state, files[1], discriminator_config(source), kimg)
    return files


def discriminator_config(source: str | Path) -> dict[str, Any]:
    """What builds the discriminator of a source that holds one; empty where nobody has noted it.

    A checkpoint's is noted in its run's config.yaml.
    """
    path = generator_file(source)
    if path.suffix not in (".safetensors", ".ckpt"):
        return {"_target_": RESIDUAL, **official.load_discriminator_with_options(path)[1]}
    kept = discriminator_file(source)
    if kept is not None and kept.suffix == ".safetensors":
        return _read(kept)[1]
    run = run_above(path)
    return {} if run is None else dict(read_settings(run / CONFIG).get("discriminator") or {})


def load_discriminator(source: str | Path) -> ResidualDiscriminator:
    """The discriminator of a run, a checkpoint or a folder of `write_both`, on the CPU, in evaluation mode.

    Args:
        source: as for `write_both`, or a ``discriminator.safetensors`` itself.

    Raises:
        UserError: there is none, its configuration is not known, or it looks through a network of others.
    """
    path = Path(source).expanduser()
    state: Mapping[str, Tensor] | None
    if path.suffix == ".safetensors" and path.is_file():
        state, config = _read(path)
    else:
        state = discriminator_state(source)
        if state is None:
            raise UserError(f"{source}: holds no discriminator")
        config = discriminator_config(source)
    options = dict(config)
    target = options.pop("_target_", None)
    if target != RESIDUAL:
        raise UserError(f"{source}: its discriminator is {target!r}; {RESIDUAL} alone is built from a file")
    try:
        kept = {name: value for name, value in state.items() if not name.startswith(FADED)}
        discriminator = build_as_stored(ResidualDiscriminator, options, kept, lambda halved: f"blocks.{halved - 1}.")
        discriminator.load_state_dict(kept)
    except Exception as error:  # what a constructor makes of options of any type and size
        raise UserError(f"{source}: weights and configuration do not fit ({first_line(error)})") from None
    return discriminator.eval().requires_grad_(False)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state, metadata = read_safetensors(path)
    if metadata.get("format") != DISCRIMINATOR_FORMAT:
        raise UserError(f"{path}: holds no cips_lab discriminator (its header lacks format {DISCRIMINATOR_FORMAT})")
    try:
        return state, parse_config(metadata["discriminator"])
    except (KeyError, ValueError):
        raise UserError(f"{path}: its header holds no configuration of a discriminator") from None
