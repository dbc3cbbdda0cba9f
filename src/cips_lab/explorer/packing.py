"""A generator as a JSON header and one block of bytes: all that a page needs to draw with it.

What is constant is computed here (learning-rate multipliers, a table's low-pass, gains on biases), so that the page has
matrices and vectors only. Matrices are stored in half precision, brought below 1 by a power of two so that none can
overflow; vectors, the mapping network, and the Fourier matrix, which is multiplied by coordinates that may be far away,
in single precision.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cips_lab.networks.cips import CIPSGenerator, PixelBlock
from cips_lab.networks.encoding import CoordinateEmbedding, EncodingPart, FourierFeatures
from cips_lab.networks.equalized import EqualizedLinear
from cips_lab.networks.mapping import CLASS_STREAM
from cips_lab.networks.modulated import ModulatedLinear, PixelLayer

FORMAT = "cips_lab.explorer.1"
ALIGNMENT = 4  # bytes, of every tensor's first


class Packed(NamedTuple):
    """A generator for a page.

    Attributes:
        header: for JSON: options, and under ``tensors`` of each by its name [shape, type, offset, factor].
        blob: the tensors' bytes, little endian.
    """

    header: dict[str, Any]
    blob: bytes


class _Block:
    """Tensors one behind the other."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[list[int], str, int, float]] = {}
        self.blob = bytearray()

    def add(self, name: str, tensor: Tensor, *, single: bool = False) -> None:
        """Append one; a vector, or `single`: in single precision."""
        array = tensor.detach().cpu().float().contiguous().numpy()
        factor = 1.0
        if single or array.ndim < 2:
            stored, kind = array.astype("<f4"), "f32"
        else:
            largest = float(np.abs(array).max(initial=0.0))
            factor = 2.0 ** float(np.ceil(np.log2(largest))) if largest > 0 else 1.0
            stored, kind = (array / factor).astype("<f2"), "f16"
        self.blob += bytes(-len(self.blob) % ALIGNMENT)
        self.entries[name] = (list(array.shape), kind, len(self.blob), factor)
        self.blob += stored.tobytes()


class _NoBlock(_Block):
    """Keeps nothing."""

    def add(self, name: str, tensor: Tensor, *, single: bool = False) -> None:
        pass


def pack(generator: CIPSGenerator) -> Packed:
    """Everything that `CIPSGenerator.program` and its encoding compute with.

    Args:
        generator: in evaluation mode.

    Returns:
        Its header and bytes, see `Packed`.
    """
    block = _Block()
    return Packed(_described(generator, block), bytes(block.blob))


def describe(generator: CIPSGenerator) -> Packed:
    """The same without a tensor: for a page whose pixels are computed elsewhere."""
    return Packed(_described(generator, _NoBlock()), b"")


def _described(generator: CIPSGenerator, block: _Block) -> dict[str, Any]:
    """The header; tensors go into the block."""
    mapping, curved = generator.mapping, generator.curved
    for i, linear in enumerate(mapping.layers):
        assert isinstance(linear, EqualizedLinear)
        # Narrow beside the rest, and of all roundings that of the mapping network would be seen first.
        _add_linear(block, f"mapping.{i}", linear, single=True)
    if mapping.embedding is not None:
        _add_linear(block, "mapping.classes", mapping.embedding)
        block.add("mapping.shares", mapping.class_shares)
    block.add("mapping.mean", mapping.w_mean)

    layers, pairs = [_add_layer(block, "layer.0", generator.first)], []
    if generator.shift is not None:
        _add_linear(block, "shift", generator.shift.affine, single=True)
    if generator.rotation is not None:
        _add_linear(block, "rotation", generator.rotation.affine, single=True)
    if generator.style_input is not None:
        _add_linear(block, "style", generator.style_input, generator.first.bias_gain)
    for i, pair in enumerate(generator.blocks):
        assert isinstance(pair, PixelBlock)
        layers += [_add_layer(block, f"layer.{2 * i + n}", layer) for n, layer in ((1, pair.first), (2, pair.second))]
        if pair.skip is not None:
            block.add(f"skip.{i}.weight", (pair.skip.weight * pair.skip.scale).t())
        rgb = dict(generator.to_rgb.items()).get(str(i))
        if rgb is not None:
            assert isinstance(rgb, ModulatedLinear)
            _add_modulated(block, f"rgb.{i}", rgb, 1.0)
        pairs.append({"skip": pair.skip is not None, "rgb": rgb is not None})
    return {
        "format": FORMAT,
        "resolution": list(generator.size),
        "z_dim": generator.z_dim,
        "w_dim": generator.w_dim,
        "mapping_layers": len(mapping.layers),
        "classes": mapping.classes,
        "class_stream": CLASS_STREAM & 0xFFFFFFFF,  # the low half: what a Mersenne twister is seeded with
        "turns": curved.turns,
        "activation": generator.activation,
        "residual": generator.residual,
        "noise": generator.noise,
        "encoding": [_add_part(block, part) for part in generator.encoding.parts()],
        "layers": layers,
        "pairs": pairs,
        "parameters": sum(parameter.numel() for parameter in generator.parameters()),
        "tensors": block.entries,
    }


def _add_linear(block: _Block, name: str, linear: EqualizedLinear, gain: float = 1.0, *, single: bool = False) -> None:
    """[in, out] and [out]: y = x @ weight + bias."""
    block.add(f"{name}.weight", (linear.weight * (linear.scale * gain)).t(), single=single)
    if linear.bias is not None:
        block.add(f"{name}.bias", linear.bias * (linear.lr_multiplier * gain))


def _add_modulated(block: _Block, name: str, linear: ModulatedLinear, bias_gain: float) -> None:
    """[in, out] before modulation, [out], and the affine map of the style where there is one."""
    block.add(f"{name}.weight", linear.unstyled())
    block.add(f"{name}.bias", linear.bias * bias_gain)
    if linear.affine is not None:
        _add_linear(block, f"{name}.affine", linear.affine)


def _add_layer(block: _Block, name: str, layer: PixelLayer) -> dict[str, Any]:
    _add_modulated(block, name, layer.linear, layer.bias_gain)
    strength = 0.0 if layer.noise_strength is None else float(layer.noise_strength) * layer.bias_gain
    out_features, in_features = layer.linear.weight.shape
    return {
        "inputs": in_features,
        "outputs": out_features,
        "modulated": layer.linear.affine is not None,
        "gain": layer.gain,
        "noise": strength,
    }


@torch.no_grad()
def _add_part(block: _Block, part: EncodingPart) -> dict[str, Any]:
    if isinstance(part, FourierFeatures):
        block.add("fourier.weight", part.weight, single=True)
        block.add("fourier.bias", part.bias)
        return {"kind": "fourier", "features": part.features, "frequencies": len(part.weight), "waves": part.waves}
    if isinstance(part, CoordinateEmbedding):
        block.add("embedding.table", part.scaled(part.filtered()))
        size = {"rows": part.rows, "columns": part.columns}
        return {"kind": "embedding", "features": part.features, "lookup": part.lookup, **size}
    raise TypeError(f"the explorer's page cannot compute {type(part).__name__}")
