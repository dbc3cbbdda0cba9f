"""ModFC, the paper's layer: a fully connected layer over pixels whose weight is modulated by the style (equation 3).

A layer is used in two moves: once the style is known, `specialise` makes an ordinary affine map of it (B-hat, once per
style); then `run_layer` applies that map to as many pixels as there are, in tiles of any size.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cips_lab.networks.equalized import LRELU_GAIN, LRELU_SLOPE, EqualizedLinear
from cips_lab.networks.noise import pixel_noise

Activation = Literal["lrelu", "sine", "siren", "sinrelu", "silu"]
# Gains of (weight; bias and noise). Leaky ReLU is positively homogeneous, lrelu(g x) = g lrelu(x), so its gain is put
# on weights, once per style, not on activations, once per pixel. SIREN's is explained at `PixelLayer`.
GAINS: dict[str, tuple[float, float]] = {
    "lrelu": (LRELU_GAIN, LRELU_GAIN),
    "sine": (1.0, 1.0),
    "siren": (math.sqrt(2), 1.0),
    "sinrelu": (1.0, 1.0),
    "silu": (1.0, 1.0),
}
SILU_GAIN = 1.6765  # 1 / sqrt(E[silu(x)^2]) for a standard normal x: the variance of activations stays 1


class Rotation(NamedTuple):
    """Rotations of B styles, and what they rotate.

    linear: A(w) - I, [B, 1, 2, 2]; [B, P, 2, 2] of styles by pixel.
    frequencies: B, [F, 2].
    """

    linear: Tensor
    frequencies: Tensor

    def phase(self, coords: Tensor) -> Tensor:
        """phi(x), by how much each pair of waves turns at coordinates [P, 2] or [B, P, 2]: [B, P, F], float32."""
        with torch.autocast(coords.device.type, enabled=False):
            moved = (self.linear * coords.float()[..., None, :]).sum(-1)  # (A - I) x, [B, P, 2]
            return moved @ self.frequencies.t()


class Affine(NamedTuple):
    """A layer for known styles: x @ weight + bias, or, style by pixel, ((x * scale_in) @ weight) * scale_out + bias.

    weight: [B, in, out], or [in, out] where the style does not touch it.
    bias: [out] or [B, 1, out]; [B, P, out] where the style enters through it and differs from pixel to pixel.
    scale_in, scale_out: [B, P, in] and [B, P, out] for styles that differ from pixel to pixel; then the activations are
        modulated instead of the weight, which is the same product. scale_out is None without demodulation.
    phase: [B, P, F]: by how much the encoding's F pairs of waves turn, where that differs from pixel to pixel.
    rotation: of the encoding's waves, before it is known for which pixels (see `at`).
    """

    weight: Tensor
    bias: Tensor
    scale_in: Tensor | None = None
    scale_out: Tensor | None = None
    phase: Tensor | None = None
    rotation: Rotation | None = None

    def at(self, coords: Tensor) -> "Affine":
        """The same for pixels at [P, 2] or [B, P, 2], where a style rotates the waves."""
        if self.rotation is None:
            return self
        phase = self.rotation.phase(coords)
        return self._replace(phase=phase if self.phase is None else phase + self.phase, rotation=None)

    def __call__(self, x: Tensor) -> Tensor:
        """[P, in] or [B, P, in] -> [B, P, out] (or [P, out] where nothing has a batch); a tensor of its own."""
        if self.phase is not None:
            x = turn_pairs(x, self.phase)
        if self.scale_in is not None:
            x = x * self.scale_in
        if self.weight.dim() == 2:
            if self.scale_out is None:
                return torch.matmul(x, self.weight) + self.bias
            return torch.addcmul(self.bias, torch.matmul(x, self.weight), self.scale_out)
        if x.dim() == 3:
            return torch.baddbmm(self.bias, x, self.weight)
        # Pixels that all samples share: one product with all samples' weights side by side, and in the backward pass
        # one product for the gradient of x instead of B and their sum.
        batch, in_features, out_features = self.weight.shape
        side_by_side = self.weight.transpose(0, 1).reshape(in_features, batch * out_features)
        bias = self.bias.expand(batch, 1, out_features).reshape(-1)
        return torch.addmm(bias, x, side_by_side).unflatten(1, (batch, out_features)).transpose(0, 1)

    def colours(self, x: Tensor) -> Tensor:
        """As `__call__` for few outputs (RGB), channels first: [B, P, in] -> [B, out, P].

        A product with three columns is several times slower than one with three rows.
        """
        if self.scale_in is not None:
            x = x * self.scale_in
        if self.weight.dim() == 2:
            return torch.matmul(self.weight.t(), x.mT) + self.bias[:, None]
        return torch.baddbmm(self.bias[:, None], self.weight.mT, x.mT)


def turn_pairs(x: Tensor, phase: Tensor) -> Tensor:
    """An encoding [..., 2 F + rest] with the phases of its F pairs of waves moved on by `phase` [..., F]; broadcast."""
    frequencies = phase.shape[-1]
    x = x.expand(*torch.broadcast_shapes(x.shape[:-1], phase.shape[:-1]), -1)
    sines, cosines, rest = x.split([frequencies, frequencies, x.shape[-1] - 2 * frequencies], -1)
    sin, cos = phase.sin(), phase.cos()
    return torch.cat([cos * sines + sin * cosines, cos * cosines - sin * sines, rest], dim=-1)


class ModulatedLinear(nn.Module):
    """Weight modulation and demodulation: B-hat_ij = s_j B_ij / sqrt(eps + sum_k (s_k B_ik)^2), s = A w (equation 3).

    Args:
        in_features, out_features: sizes of the last axis before and after.
        w_dim: size of the style.
        demodulate: whether rows of B-hat are brought to unit length (not for the layers that make RGB).
        modulated: ``False`` gives an ordinary layer, the same for every style.
        constant: of a layer that is not modulated: whether it has a learned s in the style's place, the same for every
            style, and so keeps rows of unit length and a weight for each input.
    """

    EPSILON = 1e-8

    def __init__(
        self,
        in_features: int,
        out_features: int,
        w_dim: int,
        *,
        demodulate: bool = True,
        modulated: bool = True,
        constant: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.affine = EqualizedLinear(w_dim, in_features, bias_init=1.0) if modulated else None
        self.scale = 1 / math.sqrt(in_features)
        self.demodulate = demodulate
        self.constant_style = nn.Parameter(torch.ones(in_features)) if constant else None

    def unstyled(self) -> Tensor:
        """The weight that styles modulate, or all of it where none does: [in, out], float32."""
        weight = (self.weight.float() * self.scale).t()
        if self.constant_style is None:
            return weight
        style = self.constant_style.float()
        return style[:, None] * weight * self.demodulation(style, weight)

    def demodulation(self, style: Tensor, weight: Tensor) -> Tensor:
        """1 / sqrt(eps + sum_k (s_k B_ik)^2) as one matrix product: [..., in] and [in, out] -> [..., out]."""
        return torch.rsqrt(style.square() @ weight.square() + self.EPSILON)

    def specialise(self, w: Tensor, gain: float = 1.0, bias_gain: float = 1.0) -> Affine:
        """The layer for known styles, in float32 under any autocast.

        Args:
            w: [B, w_dim], or [B, P, w_dim] for a style of its own at every pixel.
            gain, bias_gain: factors on the product and on the bias.
        """
        with torch.autocast(w.device.type, enabled=False):
            weight = self.unstyled()
            bias = self.bias.float() * bias_gain
            if self.affine is None:
                return Affine(weight * gain, bias)
            style = self.affine(w.float())  # [B, in] or [B, P, in]
            demodulation: Tensor | None = None
            if self.demodulate:
                demodulation = self.demodulation(style, weight)
            if w.dim() == 3:
                return Affine(weight * gain, bias, style, demodulation)
            modulated = style[:, :, None] * weight
            if demodulation is not None:
                modulated = modulated * (demodulation * gain)[:, None, :]
            elif gain != 1.0:
                modulated = modulated * gain
            return Affine(modulated, bias)

    def extra_repr(self) -> str:
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}, modulated={self.affine is not None}, demodulate={self.demodulate}"


class Layer(NamedTuple):
    """A pixel layer for known styles: its affine map and its noise's strength, the activation's gain on both."""

    affine: Affine
    noise_strength: Tensor | None

    def at(self, coords: Tensor) -> "Layer":
        """A first layer for pixels at these coordinates, see `Affine.at`."""
        return self._replace(affine=self.affine.at(coords))


class PixelLayer(nn.Module):
    """ModFC, then the released code's optional noise, then the activation.

    Args:
        in_features, out_features, w_dim, modulated: as `ModulatedLinear`.
        activation: ``lrelu`` (slope 0.2, times sqrt 2), ``sine`` (the paper's column: plain sine), ``sinrelu`` (the
            released code's: leaky ReLU of the even features, then sine of the odd ones, all times sqrt 2), or
            ``siren``: sine with SIREN's initialisation. SIREN draws weights uniform in +-sqrt(6 / in) / omega_0 and
            applies sin(omega_0 x), so that the pre-activation has unit variance for inputs that are themselves sines
            (variance 1/2). Demodulation sets the rows' length to 1, hence the gain of sqrt 2 on the product. ``silu``
            (x sigmoid(x), to unit variance) has leaky ReLU's shape without its kink, which the paper blames for waves.
        noise: whether there is a learned strength for per-pixel noise, zero at first.
        constant: as `ModulatedLinear`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        w_dim: int,
        *,
        activation: Activation = "lrelu",
        modulated: bool = True,
        noise: bool = False,
        constant: bool = False,
    ) -> None:
        super().__init__()
        if activation not in GAINS:
            raise ValueError(f"generator.activation must be one of {', '.join(GAINS)}, not {activation!r}")
        self.linear = ModulatedLinear(in_features, out_features, w_dim, modulated=modulated, constant=constant)
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None
        self.activation = activation
        self.gain, self.bias_gain = GAINS[activation]
        if activation == "siren":
            nn.init.uniform_(self.linear.weight, -math.sqrt(3), math.sqrt(3))
            nn.init.uniform_(self.linear.bias, -30 / math.sqrt(in_features), 30 / math.sqrt(in_features))

    def specialise(self, w: Tensor) -> Layer:
        """Styles [B, w_dim] or [B, P, w_dim] -> what `run_layer` needs."""
        noise = None if self.noise_strength is None else self.noise_strength * self.bias_gain
        return Layer(self.linear.specialise(w, self.gain, self.bias_gain), noise)


def run_layer(
    layer: Layer, x: Tensor, activation: Activation, keys: Tensor | None, noise_seed: int | Tensor, index: int
) -> Tensor:
    """One layer over pixels.

    Args:
        layer: from `PixelLayer.specialise`.
        x: [P, in] or [B, P, in].
        activation: as `PixelLayer`.
        keys: the pixels' (`noise.pixel_keys`); needed with noise only.
        noise_seed: one integer, or [B] int64.
        index: the layer's number, so that no two layers share noise.

    Returns:
        [B, P, out].
    """
    y = layer.affine(x)
    if layer.noise_strength is not None and keys is not None:
        y = y + layer.noise_strength * pixel_noise(keys, index, noise_seed)[..., None]
    if activation == "lrelu":
        return F.leaky_relu_(y, LRELU_SLOPE)  # in place: what autograd keeps of it is its result
    if activation == "sinrelu":
        halves = F.leaky_relu(y[..., ::2], LRELU_SLOPE), torch.sin(y[..., 1::2])
        return torch.cat(halves, dim=-1) * LRELU_GAIN
    if activation == "silu":
        return F.silu(y) * SILU_GAIN
    return torch.sin(y) if torch.is_grad_enabled() else y.sin_()
