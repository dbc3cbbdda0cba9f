"""Checkpoints of the public CIPS implementation (saic-mdal/CIPS): read them, whatever their size and variant.

A file holds a dict with keys ``g``, ``d``, ``g_ema`` (state dicts) and the optimisers', or a bare generator state dict;
trainers of this family may add ``args``. Names may bear the prefixes of DistributedDataParallel and `torch.compile`.
Sizes and the variant follow from the names and shapes of the parameters; of the released code's two activations with a
sine, which have the same parameters, ``args`` or the caller must tell which it is.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line, read_torch
from cips_lab.interop.foreign import foreign_state, refuse_pickled_network
from cips_lab.interop.sizes import LARGEST_RESOLUTION, Network
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.encoding import Lookup
from cips_lab.networks.modulated import Activation
from cips_lab.networks.widths import official_widths

StateDict = Mapping[str, Tensor]
GENERATOR, DISCRIMINATOR = "style.1.weight", "convs.0.0.weight"  # a parameter that each has
KERNEL = ".kernel"  # how names of the blur's fixed kernels end
WRAPPERS = ("module", "_orig_mod")  # what DistributedDataParallel and torch.compile put before, or into, a name
ACTIVATIONS: dict[object, Activation] = {"sin": "sine", "sinrelu": "sinrelu"}  # the released code's word -> ours


class Content(NamedTuple):
    """A whole file's."""

    label: str  # for messages
    whole: Mapping[Any, object]


Source = str | Path | Mapping[str, object] | Content


class Checkpoint(NamedTuple):
    """What is read from a source of one network."""

    label: str  # for messages
    state: StateDict  # of the network that is wanted, under the released code's own names
    arguments: Mapping[str, object]  # of the training program, where they were kept


def load_generator(
    source: Source, *, embedding_lookup: Lookup = "official", activation: Activation | None = None
) -> CIPSGenerator:
    """The generator of an official checkpoint (its moving average, if there is one), in evaluation mode.

    Args:
        source: path of a ``.pt`` file, or its content, or a bare generator state dict.
        embedding_lookup: ``official`` reproduces the released evaluation; ``aligned`` agrees with training.
        activation: ``sine`` or ``sinrelu`` for a network trained with the released code's ``--activation sin`` or
            ``sinrelu``; None: as the file tells.

    Returns:
        A `CIPSGenerator` that computes what the released one does, with its noise drawn by pixel. The mean of w is
        not in such a file: it is estimated from 4,096 latents, as the released code does for truncation.

    Raises:
        UserError: the file cannot be read, is not such a checkpoint, or does not tell its activation.
    """
    return load_with_options(source, embedding_lookup, activation)[0]


def load_with_options(
    source: Source,
    embedding_lookup: Lookup = "official",
    activation: Activation | None = None,
    keys: tuple[str, ...] = ("g_ema", "g"),
) -> tuple[CIPSGenerator, dict[str, Any]]:
    """As `load_generator`, with the options of `CIPSGenerator` that build it; `keys`: what to look under, in order."""
    label, state, arguments = network_in(source, keys, GENERATOR)
    with named(label):
        options, pairs, residual = _generator_options(state)
        options["embedding_lookup"] = embedding_lookup
        first = "linears.0" if residual else "conv1"
        options["activation"] = _activation(state, f"{first}.bias", activation, arguments)
        generator = _build(CIPSGenerator, options, generator_tensors(state, pairs, residual))
    generator.eval().requires_grad_(False)
    z = torch.randn(4096, generator.z_dim, generator=torch.Generator().manual_seed(0))
    generator.mapping.w_mean.copy_(generator.mapping(z).mean(0))
    return generator, options


def _generator_options(state: StateDict) -> tuple[dict[str, Any], int, bool]:
    """From names and shapes: the constructor's options, the number of pairs of layers, whether they are residual."""
    pairs, residual = variant_of(state)
    skip = "to_rgbs.0.bias" in state
    first = "linears.0" if residual else "conv1"
    width = state[f"{first}.conv.weight"].shape[1]
    last = state[f"to_rgbs.{pairs - 1}.conv.weight" if skip else "to_rgb_last.conv.weight"].shape[2]
    w_dim, z_dim = state["style.1.weight"].shape
    fourier, embedding = state.get("lff.ffm.conv.weight"), state.get("emb.input")
    blocks: Literal["plain", "residual"] = "residual" if residual else "plain"
    options: dict[str, Any] = {
        "resolution": 2 ** (pairs + 1),
        "width": width,
        "z_dim": z_dim,
        "w_dim": w_dim,
        "mapping_layers": _count(state, r"style\.\d+\.weight"),
        "fourier": None if fourier is None else {"features": fourier.shape[0]},
        "embedding": None if embedding is None else {"features": embedding.shape[1]},
        "widths": "official" if last == official_widths(width, pairs, blocks)[-1] else "constant",
        "output": "skip" if skip else "last",
        "blocks": blocks,
        "noise": True,
    }
    return options, pairs, residual


def _activation(
    state: StateDict, sines_bias: str, wanted: Activation | None, arguments: Mapping[str, object]
) -> Activation:
    """Leaky ReLU has its bias in the activation; a layer of either kind with a sine has one of its own."""
    if sines_bias not in state:
        if wanted not in (None, "lrelu"):
            raise ValueError(f"activation={wanted} does not fit: its parameters are those of leaky ReLU")
        return "lrelu"
    told = wanted or ACTIVATIONS.get(arguments.get("activation"))
    if told in ("sine", "sinrelu"):
        return told
    raise ValueError(
        "its activation is sin or sinrelu, and the file does not tell which; convert it once, with "
        "activation=sine (their sin) or activation=sinrelu: python -m cips_lab.convert ckpt=FILE output=FOLDER"
    )


def load_discriminator(source: Source) -> ResidualDiscriminator:
    """The discriminator of an official checkpoint, in evaluation mode.

    Args:
        source: path of a ``.pt`` file, or its content (key ``d``), or a bare discriminator state dict.

    Raises:
        UserError: the file cannot be read, or is not such a checkpoint.
    """
    return load_discriminator_with_options(source)[0]


def load_discriminator_with_options(source: Source) -> tuple[ResidualDiscriminator, dict[str, int]]:
    """As `load_discriminator`, with the options of `ResidualDiscriminator` that build it."""
    label, state, _ = network_in(source, ("d",), DISCRIMINATOR)
    with named(label):
        blocks = _count(state, r"convs\.\d+\.conv1\.0\.weight")
        resolution = 4 * 2**blocks
        channels = [state["convs.0.0.weight"].shape[0]]
        channels += [state[f"convs.{i}.conv2.1.weight"].shape[0] for i in range(1, blocks + 1)]
        options = {
            "resolution": resolution,
            "channel_base": channels[0] * resolution,
            "channel_max": max(channels),
        }
        discriminator = _build(ResidualDiscriminator, options, discriminator_tensors(state))
    return discriminator.eval().requires_grad_(False), options


def generator_tensors(state: StateDict, pairs: int, residual: bool) -> dict[str, Tensor]:
    """A released generator's tensors by our names and in our layout; they may be fewer, or others of these shapes.

    Nothing is scaled and nothing mixed: an element of ours is one of theirs, and so is its gradient.

    Args:
        state: by the released names.
        pairs, residual: see `variant_of`.
    """
    return {_generator_name(name, pairs, residual): _reshape(name, value) for name, value in state.items()}


def discriminator_tensors(state: StateDict) -> dict[str, Tensor]:
    """The same of a discriminator, but for the kernels of its blur, which are no parameters."""
    return {_discriminator_name(name): value for name, value in state.items() if not name.endswith(KERNEL)}


def variant_of(state: StateDict) -> tuple[int, bool]:
    """Of a released generator: the number of pairs of layers, and whether they are residual."""
    residual = "linears.1.conv1.conv.weight" in state
    inner = _count(state, r"linears\.\d+\.conv1\.conv\.weight" if residual else r"linears\.\d+\.conv\.weight")
    return inner if residual else inner // 2, residual


def _generator_name(name: str, pairs: int, residual: bool) -> str:
    """A released parameter's name in `CIPSGenerator`."""
    part, _, rest = name.partition(".")
    if part == "lff":
        return "encoding.fourier." + rest.rpartition(".")[2]
    if part == "emb":
        return "encoding.embedding.table"
    if part == "style":  # style.0 is the pixel norm, without parameters
        index, leaf = rest.split(".")
        return f"mapping.layers.{int(index) - 1}.{leaf}"
    if part == "to_rgb_last":
        return f"to_rgb.{pairs - 1}.{_leaf(rest)}"
    index, _, leaf = rest.partition(".")
    if part == "to_rgbs":
        return f"to_rgb.{index}.{_leaf(leaf)}"
    if part == "conv1":
        return f"first.{_layer_leaf(rest)}"
    if not residual:
        return f"blocks.{int(index) // 2}.{('first', 'second')[int(index) % 2]}.{_layer_leaf(leaf)}"
    if index == "0":
        return f"first.{_layer_leaf(leaf)}"
    block = f"blocks.{int(index) - 1}"
    if leaf == "skip.0.weight":
        return f"{block}.skip.weight"
    conv, _, leaf = leaf.partition(".")
    return f"{block}.{'first' if conv == 'conv1' else 'second'}.{_layer_leaf(leaf)}"


def _leaf(name: str) -> str:
    return name.removeprefix("conv.").replace("modulation", "affine")


def _layer_leaf(name: str) -> str:
    if name == "noise.weight":
        return "noise_strength"
    return "linear.bias" if name == "activate.bias" else f"linear.{_leaf(name)}"


def _discriminator_name(name: str) -> str:
    """A released parameter's name in `ResidualDiscriminator`."""
    fixed = {
        "convs.0.0.weight": "from_rgb.weight",
        "convs.0.1.bias": "from_rgb.bias",
        "final_conv.0.weight": "final_conv.weight",
        "final_conv.1.bias": "final_conv.bias",
        "final_linear.0.weight": "final_linear.weight",
        "final_linear.0.bias": "final_linear.bias",
        "final_linear.1.weight": "logit.weight",
        "final_linear.1.bias": "logit.bias",
    }
    if name in fixed:
        return fixed[name]
    match = re.fullmatch(r"convs\.(\d+)\.(conv1|conv2|skip)\.\d\.(weight|bias)", name)
    return f"blocks.{int(match[1]) - 1}.{match[2]}.{match[3]}" if match else name


def _reshape(name: str, value: Tensor) -> Tensor:
    """From the released layout of 1x1 convolutions over [B, C, H, W] to ours of matrices over pixel lists."""
    if name == "emb.input":  # [1, C, R, R] -> [R * R, C]
        return value[0].permute(1, 2, 0).flatten(0, 1)
    if name == "noise.weight" or name.endswith(".noise.weight"):
        return value.reshape(())
    if name.endswith(".bias") and value.dim() == 4:  # [1, C, 1, 1], of RGB and beside a sine
        return value.flatten()
    if value.dim() == 5:  # [1, out, in, 1, 1]
        return value[0, :, :, 0, 0]
    return value[:, :, 0, 0] if value.dim() == 4 else value


def _count(state: StateDict, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def read(source: Source) -> Content:
    """A source's content, looked at no further.

    Raises:
        UserError: it is a file that cannot be read safely.
    """
    if isinstance(source, Content):
        return source
    if isinstance(source, (str, Path)):
        refuse_pickled_network(Path(source))
        content = read_torch(source, "a checkpoint")
        return Content(str(source), content if isinstance(content, Mapping) else {})
    return Content("the given state dict", source)


def network_in(source: Source, keys: tuple[str, ...], evidence: str) -> Checkpoint:
    """The state dict under the first of `keys` that is there, or the whole content; `UserError` without `evidence`."""
    label, whole = content = read(source)
    found = next((value for key in keys if isinstance(value := whole.get(key), Mapping)), whole)
    state: dict[str, Tensor] = {}
    for name, value in found.items():
        plain = ".".join(part for part in str(name).split(".") if part not in WRAPPERS)
        if isinstance(value, Tensor) and plain != "n_averaged":  # the count that torch's AveragedModel keeps
            if plain in state:
                raise UserError(f"{label}: its parameter {plain} is there twice, with and without a wrapper's prefix")
            state[plain] = value
    if evidence not in state:
        raise UserError(
            f"{label}: not a checkpoint of the public CIPS implementation (no {evidence} in it); give a run folder, a "
            f".safetensors of cips_lab or a .pt of that implementation{foreign_state(state)}"
        )
    return Checkpoint(label, state, arguments_of(content))


def arguments_of(content: Content) -> Mapping[str, object]:
    """Of the training program, where they were kept."""
    arguments = content.whole.get("args", {})
    arguments = vars(arguments) if isinstance(arguments, argparse.Namespace) else arguments
    return arguments if isinstance(arguments, Mapping) else {}


def _build(kind: type[Network], options: dict[str, Any], state: dict[str, Tensor]) -> Network:
    """The network, if its parameters are those of the file; the mean of w is in no such file."""
    if options["resolution"] > LARGEST_RESOLUTION:
        raise ValueError(f"as many layers as a network of {options['resolution']} x {options['resolution']} pixels")
    with torch.device("meta"):
        own = kind(**options).state_dict()
    own_names = {name for name in own if name != "mapping.w_mean"}
    if unknown := sorted(set(state) ^ own_names):
        raise ValueError(f"its parameters do not fit {kind.__name__}: {', '.join(unknown[:5])}")
    for name, value in state.items():
        if own[name].shape != value.shape:
            raise ValueError(f"parameter {name} has shape {list(value.shape)}, expected {list(own[name].shape)}")
        if not value.is_floating_point():
            raise ValueError(f"parameter {name} holds {value.dtype}, not floating-point numbers")
    network = kind(**options)
    network.load_state_dict(state, strict=False)
    return network


@contextmanager
def named(label: str) -> Iterator[None]:
    """What cannot be made of names and shapes becomes one message that names the file."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{label}: not a checkpoint of the public CIPS implementation (no {error} in it)") from None
    except Exception as error:  # names and shapes of any kind end in as many kinds of error
        raise UserError(f"{label}: {first_line(error)}") from None
