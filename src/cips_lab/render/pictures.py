"""Tensors to picture files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from cips_lab.files.whole import replacing
from cips_lab.render.finite import check_pictures


def quantize(images: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
    """[B, 3, H, W] in [-1, 1] (clamped) -> uint8 [B, 3, H, W] on the same device: round((x + 1) * 127.5).

    Raises `PictureNotFinite` for a picture that is not finite, see `check_pictures`; `seeds` are its name there.
    """
    check_pictures(images, seeds)
    scaled = (images.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().byte()


def to_uint8(images: Tensor, seeds: Sequence[int] | None = None) -> np.ndarray:
    """[B, 3, H, W] in [-1, 1] (clamped) -> uint8 [B, H, W, 3], as `quantize`."""
    return quantize(images, seeds).permute(0, 2, 3, 1).cpu().numpy()


def tile_images(pictures: np.ndarray, columns: int) -> np.ndarray:
    """uint8 [B, H, W, 3] -> one picture, row by row, the last row filled up with white."""
    batch, height, width, channels = pictures.shape
    rows = -(-batch // columns)
    sheet = np.full((rows * columns, height, width, channels), 255, dtype=np.uint8)
    sheet[:batch] = pictures
    return (
        sheet.reshape(rows, columns, height, width, channels)
        .transpose(0, 2, 1, 3, 4)
        .reshape(rows * height, columns * width, channels)
    )


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Write uint8 [H, W, 3] as PNG or what the suffix says; a half-written file never bears the name."""
    with replacing(path) as partial:
        Image.fromarray(picture).save(partial)
