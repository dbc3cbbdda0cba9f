"""Gaussian noise that is a function of the pixel: counter-based, so it needs no state, no buffer and no order.

The released code of CIPS adds learned per-pixel noise in every layer and draws it anew at each call. Drawn from a
stream, a pixel's noise would depend on which other pixels are synthesised with it. Here it is a hash of (pixel, layer,
seed), so that conditional independence holds with noise too, and two passes over the same tile see the same noise.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cips_lab.networks.size import sides

SUBPIXELS = 64  # noise cells per native pixel and direction: native pixels sit in cell centres, far from rounding
_MASK = 0xFFFFFFFF


def _mix(h: Tensor) -> Tensor:
    """Finaliser of MurmurHash3 (public domain) on 32-bit values kept in int64; products wrap, the low 32 bits hold."""
    h = (h ^ (h >> 16)) * 0x85EBCA6B & _MASK
    h = (h ^ (h >> 13)) * 0xC2B2AE35 & _MASK
    return h ^ (h >> 16)


def pixel_keys(coords: Tensor, resolution: int | Sequence[int], turns: int | None = None) -> Tensor:
    """A 32-bit key for each pixel.

    Args:
        coords: [..., 2] coordinates (x, y).
        resolution: native resolution R, or (height, width); pixels nearer than 1/64 of a native pixel share their key.
        turns: on a cylinder, frames of a whole turn, after which keys come again.

    Returns:
        [...] int64 in [0, 2**32).
    """
    height, width = sides(resolution)
    # Scaled by numbers, not by a tensor of them: the same to the bit on every device.
    x = torch.round((coords[..., 0].float() + 1) * (0.5 * SUBPIXELS * (width - 1))).to(torch.int64)
    y = torch.round((coords[..., 1].float() + 1) * (0.5 * SUBPIXELS * (height - 1))).to(torch.int64)
    if turns is not None:
        x = x % (SUBPIXELS * (width - 1) * turns)
    return _mix((_mix(x & _MASK) * 0x9E3779B1 + y) & _MASK)


def pixel_noise(keys: Tensor, layer: int, seed: int | Tensor) -> Tensor:
    """Standard normal noise for each pixel (Box-Muller on two hashes).

    Args:
        keys: [P] or [B, P] from `pixel_keys`.
        layer: which layer asks; layers are independent.
        seed: one integer for all samples, or [B] int64, one for each.

    Returns:
        [P] or [B, P] float32.
    """
    if isinstance(seed, Tensor):
        salt = _mix((seed.to(torch.int64)[:, None] * 0x27D4EB2F + layer * 0x165667B1 + 1) & _MASK)
    else:
        salt = _mix(torch.tensor((seed * 0x27D4EB2F + layer * 0x165667B1 + 1) & _MASK, device=keys.device))
    first = _mix((keys ^ salt) & _MASK)
    second = _mix((first + 0x9E3779B9) & _MASK)
    # 24 bits each: what float32 holds exactly, and float64 is not to be had on every device.
    radius = torch.sqrt(-2 * torch.log(((first >> 8).float() + 0.5) / 2.0**24))
    return radius * torch.cos((second >> 8).float() * (2 * math.pi / 2.0**24))
