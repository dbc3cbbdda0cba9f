"""A style moves the waves of the Fourier features: textures of two pictures lie at different places.

In the paper every picture is made of the same waves at the same places, and styles change their amplitudes alone. With
e_fo(x) = [sin(theta), cos(theta)], theta = B x + b, a shift of the plane by t(w) is a turn of every pair by
phi = B t(w), and the first layer's matrix takes it up, once a style: pixels cost what they did. (StyleGAN3 lets a style
move its input likewise: Karras et al. 2021, section 3.1.)
"""

import torch
from torch import Tensor, nn

from cips_lab.networks.encoding import FourierFeatures
from cips_lab.networks.equalized import EqualizedLinear
from cips_lab.networks.modulated import Layer, turn_pairs


def movable(fourier: object, std: float, option: str) -> FourierFeatures:
    """The Fourier features, if styles can move them as `generator.<option>` says.

    Raises:
        ValueError: there are none, their waves come not in pairs, or `std` is negative.
    """
    if not isinstance(fourier, FourierFeatures) or fourier.waves != "pairs" or fourier.features % 2:
        raise ValueError(
            f"generator.{option} moves pairs of waves: it needs model.fourier_waves=pairs and an even number of "
            f"model.fourier_features (or {option}=null)"
        )
    if std < 0:
        raise ValueError(f"generator.{option} must be 0 or more, or null, not {std}")
    return fourier


class StyleShift(nn.Module):
    """t(w) = A w: how far a style moves the waves, in half frames.

    Args:
        fourier: what is moved; in pairs of waves.
        w_dim: size of the style.
        std: of the first shifts, for styles of unit variance; 0: none at first, as in StyleGAN3.

    Raises:
        ValueError: the waves come not in pairs, or `std` is negative.
    """

    def __init__(self, fourier: object, w_dim: int, std: float) -> None:
        super().__init__()
        fourier = movable(fourier, std, "shift")
        self.affine = EqualizedLinear(w_dim, fourier.surface.dimensions)
        self.affine.weight.data.mul_(std)

    def forward(self, first: Layer, w: Tensor, frequencies: Tensor) -> Layer:
        """The first layer, of waves that the styles have moved, as one of the waves where they are.

        Args:
            first: its first 2 F inputs are F sines and F cosines; for the styles `w`.
            w: the first layer's styles: [B, w_dim], or [B, P, w_dim] by pixel.
            frequencies: B, [F, dimensions].
        """
        with torch.autocast(w.device.type, enabled=False):
            phase = self.affine(w.float()) @ frequencies.float().t()  # [B, F] or [B, P, F]
            if w.dim() == 3:
                return first._replace(affine=first.affine._replace(phase=phase))
            # s sin(theta + phi) + c cos(theta + phi), sorted by sin(theta) and cos(theta): the pair (s, c) turns back.
            turned = turn_pairs(first.affine.weight.mT, -phase[:, None]).mT.contiguous()
            return first._replace(affine=first.affine._replace(weight=turned))
