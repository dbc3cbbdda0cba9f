"""ModFC, the paper's layer: a fully connected layer over pixels whose weight is modulated by the style (equation 3)."""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cips_lab.networks.equalized import EqualizedLinear, scaled_leaky_relu
from cips_lab.networks.noise import pixel_noise

Activation = Literal["lrelu", "sine", "siren"]
ACTIVATIONS = ("lrelu", "sine", "siren")


class Affine(NamedTuple):
    """What a layer has become once the style is known: ``x @ weight + bias``.

    weight is [B, in, out], or [in, out] when the style does not touch it; bias is [out] or [B, 1, out].
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[P, in] or [B, P, in] -> [B, P, out] (or [P, out] where neither side has a batch)."""
        if self.weight.dim() == 2:
            return x @ self.weight + self.bias
        if x.dim() == 2:
            x = x.expand(self.weight.shape[0], -1, -1)
        return torch.baddbmm(self.bias, x, self.weight)


class ModulatedLinear(nn.Module):
    """Weight modulation and demodulation: B-hat_ij = s_j B_ij / sqrt(eps + sum_k (s_k B_ik)^2), s = A w (equation 3).

    Args:
        in_features, out_features: sizes of the last axis before and after.
        w_dim: size of the style.
        demodulate: whether rows of B-hat are brought to unit length (not for the layers that make RGB).
        modulated: ``False`` gives an ordinary layer, the same for every style.
    """

    EPSILON = 1e-8

    def __init__(
        self, in_features: int, out_features: int, w_dim: int, *, demodulate: bool = True, modulated: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.affine = EqualizedLinear(w_dim, in_features, bias_init=1.0) if modulated else None
        self.scale = 1 / math.sqrt(in_features)
        self.demodulate = demodulate

    def affine_map(self, w: Tensor) -> Affine:
        """Styles [B, w_dim] -> the layer's weight and bias for them, in float32 under any autocast."""
        with torch.autocast(w.device.type, enabled=False):
            weight = self.weight.float() * self.scale
            if self.affine is None:
                return Affine(weight.t(), self.bias)
            style = self.affine(w.float())  # [B, in]
            modulated = style[:, :, None] * weight.t()
            if self.demodulate:
                # sum_k (s_k B_ik)^2 as one matrix product: [B, in] x [in, out]
                norm = style.square() @ weight.square().t()
                modulated = modulated * torch.rsqrt(norm + self.EPSILON)[:, None, :]
            return Affine(modulated, self.bias)

    def extra_repr(self) -> str:
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}, modulated={self.affine is not None}, demodulate={self.demodulate}"


class PixelLayer(nn.Module):
    """ModFC, then the released code's optional noise, then the activation.

    Args:
        in_features, out_features, w_dim, modulated: as `ModulatedLinear`.
        activation: ``lrelu`` (slope 0.2, times sqrt 2), ``sine`` (the paper's column: plain sine), or ``siren``: sine
            with SIREN's initialisation. SIREN draws weights uniform in +-sqrt(6 / in) / omega_0 and applies
            sin(omega_0 x), so that the pre-activation has unit variance for inputs that are themselves sines (variance
            1/2). Demodulation sets the rows' length to 1, hence the gain of sqrt 2 on the product.
        noise: whether there is a learned strength for per-pixel noise, zero at first.
        index: the layer's number, so that no two layers share noise.
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
        index: int = 0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"generator.activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
        self.linear = ModulatedLinear(in_features, out_features, w_dim, modulated=modulated)
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None
        self.activation = activation
        self.index = index
        if activation == "siren":
            nn.init.uniform_(self.linear.weight, -math.sqrt(3), math.sqrt(3))
            nn.init.uniform_(self.linear.bias, -30 / math.sqrt(in_features), 30 / math.sqrt(in_features))

    def affine_map(self, w: Tensor) -> Affine:
        """Styles [B, w_dim] -> what `forward` needs."""
        weight, bias = self.linear.affine_map(w)
        if self.activation == "siren":
            weight = weight * math.sqrt(2)
        return Affine(weight, bias)

    def forward(self, x: Tensor, affine: Affine, keys: Tensor | None, noise_seed: int | Tensor) -> Tensor:
        """[P, in] or [B, P, in] -> [B, P, out]; keys are the pixels' (`noise.pixel_keys`), needed with noise only."""
        y = affine(x)
        if self.noise_strength is not None and keys is not None:
            y = y + self.noise_strength * pixel_noise(keys, self.index, noise_seed)[..., None]
        return scaled_leaky_relu(y) if self.activation == "lrelu" else torch.sin(y)


class PixelBlock(nn.Module):
    """A pair of pixel layers, plain or with a residual connection (over sqrt 2, as in the released code)."""

    def __init__(self, first: PixelLayer, second: PixelLayer, *, residual: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([first, second])
        in_features, out_features = first.linear.weight.shape[1], second.linear.weight.shape[0]
        self.residual = residual
        self.skip = (
            EqualizedLinear(in_features, out_features, bias=False) if residual and in_features != out_features else None
        )

    def affine_map(self, w: Tensor) -> list[Affine]:
        """Styles [B, w_dim] -> what the two layers need."""
        return [layer.affine_map(w) for layer in self.layers]  # type: ignore[operator]

    def forward(self, x: Tensor, affines: list[Affine], keys: Tensor | None, noise_seed: int | Tensor) -> Tensor:
        """[B, P, in] -> [B, P, out]."""
        y = x
        for layer, affine in zip(self.layers, affines, strict=True):
            y = layer(y, affine, keys, noise_seed)
        if not self.residual:
            return y
        skip = x if self.skip is None else F.linear(x, self.skip.weight * self.skip.scale)
        return (y + skip) * math.sqrt(0.5)
