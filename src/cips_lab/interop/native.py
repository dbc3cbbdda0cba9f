"""Our own generator files: safetensors with the generator's configuration in its header."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line, parse_config, read_safetensors, read_torch
from cips_lab.files.whole import replacing
from cips_lab.interop import hub, official
from cips_lab.interop.hub import is_hub_id
from cips_lab.interop.sizes import build_as_stored
from cips_lab.interop.trained import Trained
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.generator import Generator
from cips_lab.networks.modulated import Activation
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.runs.folder import DISCRIMINATOR, GENERATOR, TRAINING, checkpoint_folders

# Only these are built from a file's header: a file from elsewhere must not name code to run.
CIPS = "cips_lab.networks.cips.CIPSGenerator"
GENERATORS: dict[str, type[Generator]] = {
    CIPS: CIPSGenerator,
    "cips_lab.networks.stylegan2.StyleGAN2Generator": StyleGAN2Generator,
}
FORMAT = "cips_lab.generator.1"
DISCRIMINATOR_FORMAT = "cips_lab.discriminator.1"  # see `discriminators`
REMEDY = "give a run folder, one of its checkpoints, or the generator.safetensors in it, as cips_lab wrote it"


def save_generator(generator: nn.Module, path: str | Path, config: dict[str, Any], kimg: float) -> None:
    """Write a generator's weights, and in the header the configuration that builds it.

    Args:
        generator: any whose configuration is given.
        path: ``.safetensors`` file.
        config: resolved ``conf/generator``, with its ``_target_``.
        kimg: thousands of images it was trained on.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()}
    metadata = {"format": FORMAT, "generator": json.dumps(config), "kimg": str(kimg)}
    with replacing(Path(path)) as partial:
        save_file(tensors, partial, metadata=metadata)


def convert(source: str | Path, output: str | Path, activation: Activation | None = None) -> None:
    """Write a checkpoint of the public CIPS implementation as our own file, which every command reads.

    Args:
        source: the ``.pt`` file.
        output: ``.safetensors`` file.
        activation: see `official.load_generator`.

    Raises:
        UserError: the source cannot be read, or does not tell its activation and it is not given.
    """
    trained = load_trained(source, activation)
    save_generator(trained.generator, output, trained.config, trained.kimg or 0.0)


def is_ours(path: Path) -> bool:
    """Whether a file is of a kind that cips_lab writes; by its name."""
    return path.suffix in (".safetensors", ".ckpt")


def generator_file(source: str | Path) -> Path:
    """The file that a path means: itself, a checkpoint folder's, or that of a run folder's newest checkpoint.

    ``owner/name``, where nothing of the kind is here, is a repository of the Hugging Face hub: its file is downloaded,
    unless it was before.

    Raises:
        UserError: there is none.
    """
    if is_hub_id(source):
        return hub.fetch(str(source), GENERATOR)
    path = Path(source).expanduser()
    if path.is_dir():
        if (path / GENERATOR).is_file():
            return path / GENERATOR
        folders = checkpoint_folders(path)
        if not folders:
            raise UserError(f"{path}: no checkpoint in this folder; give a run folder, a checkpoint or a file")
        return folders[-1] / GENERATOR
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; give a run folder, a .safetensors or a released .pt file")
    return path


def load_generator(source: str | Path) -> Generator:
    """The averaged generator of a run, on the CPU, in evaluation mode, without gradients.

    Args:
        source: a run folder (its newest checkpoint), a checkpoint folder, a ``generator.safetensors``, a
            ``training.ckpt``, a ``.pt`` file of the public CIPS implementation, or ``owner/name`` on the Hugging Face
            hub (`pip install 'cips-lab[hub]'`). A path that exists is never looked for there.

    Raises:
        UserError: nothing of the kind is there, or it does not hold what its name says.
    """
    return load_with_config(source)[0]


def load_with_config(source: str | Path) -> tuple[Generator, dict[str, Any]]:
    """As `load_generator`, with the configuration that builds it; empty for a file of the public implementation."""
    path = generator_file(source)
    return load_trained(path)[:2] if is_ours(path) else (official.load_generator(path), {})


def load_trained(source: str | Path, activation: Activation | None = None) -> Trained:
    """As `load_generator`, with what its file says of it: also where it is of the public implementation.

    Args:
        source: as for `load_generator`.
        activation: of a public checkpoint, see `official.load_generator`.

    Raises:
        UserError: as `load_generator`; or an activation is given for a file of our own, which tells it.
    """
    path = generator_file(source)
    if not is_ours(path):
        public, options = official.load_with_options(path, activation=activation)
        return Trained(public, {"_target_": CIPS, **options}, None, path)
    if activation is not None:
        raise UserError(f"activation={activation}: {path} is a file of cips_lab, which tells its activation itself")
    return _from_safetensors(path) if path.suffix == ".safetensors" else _from_lightning(path)


def discriminator_file(source: str | Path) -> Path | None:
    """The file that may hold the discriminator of a generator; None where there is no such file."""
    path = generator_file(source)
    if path.suffix != ".safetensors":
        return path
    if is_hub_id(source):
        return hub.download(str(source), DISCRIMINATOR)
    if not Path(source).expanduser().is_dir():
        return None
    beside = (path.with_name(name) for name in (TRAINING, DISCRIMINATOR))
    return next((file for file in beside if file.is_file()), None)


def discriminator_state(source: str | Path) -> dict[str, torch.Tensor] | None:
    """The weights of the discriminator that a generator was trained against, where they lie in the same place.

    Args:
        source: as for `load_generator`.

    Returns:
        Its state dict; None for a file that holds a generator alone.

    Raises:
        UserError: the file cannot be read.
    """
    path = discriminator_file(source)
    if path is None:
        return None
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        if metadata.get("format") != DISCRIMINATOR_FORMAT:
            raise UserError(f"{path}: holds no cips_lab discriminator (its header lacks format {DISCRIMINATOR_FORMAT})")
        return tensors
    content = read_torch(path, "a checkpoint")
    if path.suffix != ".ckpt":
        has_one = isinstance(content, dict) and isinstance(content.get("d"), dict)
        return dict(official.load_discriminator(content).state_dict()) if has_one else None
    prefix = "discriminator."
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise UserError(f"{path}: not a checkpoint of cips_lab; {REMEDY}")
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _from_safetensors(path: Path) -> Trained:
    state, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: holds no cips_lab generator (its header lacks format {FORMAT}); {REMEDY}")
    try:
        config = parse_config(metadata["generator"])
    except (KeyError, ValueError):
        raise UserError(f"{path}: its header holds no configuration of a generator; {REMEDY}") from None
    return Trained(_build(path, config, state), config, _kimg(metadata.get("kimg")), path)


def _from_lightning(path: Path) -> Trained:
    checkpoint = read_torch(path, "a checkpoint")
    prefix = "average.module."
    try:
        if not isinstance(checkpoint, dict):
            raise TypeError("a checkpoint is a dict")
        own = checkpoint["cips_lab"]
        config = own["generator"]
        state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{path}: not a checkpoint of cips_lab; {REMEDY}") from None
    images = _kimg(own.get("images_seen"))
    return Trained(_build(path, config, state), config, None if images is None else images / 1000, path)


def _kimg(told: Any) -> float | None:
    """A number in a header; None where it is none: it only decorates."""
    try:
        return float(told) if isfinite(float(told)) else None
    except (TypeError, ValueError):
        return None


def _build(path: Path, config: Any, state: dict[str, torch.Tensor]) -> Generator:
    options = dict(config) if isinstance(config, dict) else {}
    target = options.pop("_target_", None)
    if not isinstance(target, str) or target not in GENERATORS:
        raise UserError(f"{path}: its generator is {target!r}, not one of {', '.join(GENERATORS)}; {REMEDY}")
    try:
        generator = build_as_stored(GENERATORS[target], options, state)
        generator.load_state_dict(state)
    except Exception as error:  # what a constructor makes of options of any type and size
        raise UserError(f"{path}: weights and configuration do not fit ({first_line(error)}); {REMEDY}") from None
    return generator.eval().requires_grad_(False)
