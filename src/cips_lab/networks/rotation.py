"""A style rotates the waves of the Fourier features: textures of two pictures run in different directions.

With e_fo(x) = [sin(theta), cos(theta)], theta = B x + b, a rotation of the plane by A(w) is B A x + b: every pair turns
by phi(x) = B (A - I) x, which unlike a shift's (see `shift`) depends on the place. (StyleGAN3 lets a style rotate its
input likewise: Karras et al. 2021, section 3.1.)
"""

import torch
from torch import Tensor, nn

from cips_lab.networks.equalized import EqualizedLinear
from cips_lab.networks.modulated import Layer, Rotation
from cips_lab.networks.shift import movable


class StyleRotation(nn.Module):
    """A(w), the rotation by alpha(w) = A w + a: how far a style turns the waves around the middle of the frame.

    Args:
        fourier: what is rotated; in pairs of waves, on the plane.
        w_dim: size of the style.
        std: of the first angles, in radians, for styles of unit variance; 0: none at first, as in StyleGAN3.

    Raises:
        ValueError: the waves come not in pairs or lie on a cylinder, or `std` is negative.
    """

    def __init__(self, fourier: object, w_dim: int, std: float) -> None:
        super().__init__()
        fourier = movable(fourier, std, "rotation")
        if fourier.surface.turns is not None:
            raise ValueError(
                "generator.rotation rotates the plane, not a cylinder: model.surface=plane, or rotation=null"
            )
        self.affine = EqualizedLinear(w_dim, 1)
        self.affine.weight.data.mul_(std)

    def forward(self, first: Layer, w: Tensor, frequencies: Tensor) -> Layer:
        """The first layer, of waves that the styles rotate, as one of the waves where they are; see `Layer.at`.

        Args:
            first: its first 2 F inputs are F sines and F cosines; for the styles `w`.
            w: the first layer's styles: [B, w_dim], or [B, P, w_dim] by pixel.
            frequencies: B, [F, 2].
        """
        with torch.autocast(w.device.type, enabled=False):
            angle = self.affine(w.float())  # [B, 1] or [B, P, 1]
            sin, less = angle.sin(), angle.cos() - 1
            linear = torch.stack([torch.cat([less, -sin], -1), torch.cat([sin, less], -1)], -2)
            rotation = Rotation(linear[:, None] if w.dim() == 2 else linear, frequencies.float())
            return first._replace(affine=first.affine._replace(rotation=rotation))
