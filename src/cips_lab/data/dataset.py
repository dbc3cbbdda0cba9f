"""Pictures as tensors: square, uint8, [3, R, R]; the change to floats happens later, on the device."""

import hashlib

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from cips_lab.data.sources import ImageSource
from cips_lab.data.unreadable import Reader
from cips_lab.errors import UserError


def check_resolution(resolution: int) -> None:
    """Raise `UserError` unless `resolution` (pixels a side) is a power of two of at least 8.

    The discriminator halves it down to 4.
    """
    if resolution < 8 or resolution & (resolution - 1):
        below = 1 << max(3, resolution.bit_length() - 1) if resolution > 0 else 8
        raise UserError(
            f"resolution={resolution}: must be a power of two of at least 8; "
            f"choose resolution={below} or resolution={2 * below}"
        )


def square(image: Image.Image, resolution: int) -> Image.Image:
    """The largest centred square of `image`, resized to `resolution` pixels a side with Lanczos, antialiased.

    A picture that is already of that size comes back as it is, pixel for pixel.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: resize(box=...) lets pixels outside the box bleed into its border.
    cropped = image.crop((left, top, left + side, top + side))
    return cropped.resize((resolution, resolution), Image.Resampling.LANCZOS)


class ImageDataset(Dataset[Tensor]):
    """Item i: picture i of `source` as uint8 [3, R, R], RGB in [0, 255], centre-cropped and Lanczos-resized.

    `unreadable`: what is done with a picture that cannot be decoded, see `Reader`.
    Raises `UserError` for a resolution that is no power of two >= 8 and for a picture that cannot be decoded.
    """

    def __init__(self, source: ImageSource, resolution: int, unreadable: str = "fail") -> None:
        check_resolution(resolution)
        self.source = source
        self.reader = Reader(source, unreadable)
        self.resolution = resolution

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Tensor:
        image = square(self.reader.read(index), self.resolution)
        return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())

    @property
    def location(self) -> str:
        """Where the pictures are."""
        return self.source.location

    def fingerprint(self) -> str:
        """Hexadecimal digits that change with any item; computed without decoding a picture."""
        return hashlib.sha256(f"{self.source.fingerprint()} square lanczos {self.resolution}".encode()).hexdigest()


class FixedSizeDataset(ImageDataset):
    """Pictures that are evaluated as they are: square, all of one size, never resized.

    Args:
        source: the pictures.
        resolution: their size; None: that of the first.

    Raises:
        UserError: a picture has another size; it is named when it is read.
    """

    def __init__(self, source: ImageSource, resolution: int | None = None) -> None:
        super().__init__(source, resolution or source.read(0).width)

    def __getitem__(self, index: int) -> Tensor:
        image = self.source.read(index)
        if image.size != (self.resolution, self.resolution):
            raise UserError(
                f"{self.source.name(index)}: {image.width} x {image.height} pixels, where {self.resolution} x "
                f"{self.resolution} are expected: samples are evaluated as they are"
            )
        return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())


class ArrayDataset(Dataset[Tensor]):
    """Item i: a copy of row i of a uint8 array [N, 3, R, R], RGB in [0, 255], in memory or memory-mapped.

    Raises `ValueError` for an array of another shape or type.
    """

    def __init__(self, array: np.ndarray) -> None:
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] != 3 or array.shape[2] != array.shape[3]:
            raise ValueError(f"expected uint8 [N, 3, R, R], got {array.dtype} {list(array.shape)}")
        self.array = array
        self.resolution: int = array.shape[2]

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> Tensor:
        # A copy: a tensor that shares a read-only map could be written to.
        return torch.from_numpy(np.array(self.array[index]))

    @property
    def location(self) -> str:
        """The mapped file, or "memory"."""
        return str(self.array.filename) if isinstance(self.array, np.memmap) else "memory"

    def fingerprint(self) -> str:
        """Hexadecimal digits that change with any item, from every byte."""
        digest = hashlib.sha256(str(self.array.shape).encode())
        for start in range(0, len(self.array), 1024):
            digest.update(self.array[start : start + 1024].tobytes())
        return digest.hexdigest()


def to_device_range(images: Tensor, flip_mask: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] in [0, 255] -> float32 in [-1, 1] as x / 127.5 - 1; the samples in `flip_mask` are mirrored.

    `flip_mask`: bool [B] on the device of `images`. Left and right change places.
    """
    flipped = torch.where(flip_mask[:, None, None, None], images.flip(-1), images)
    return flipped.to(torch.float32) / 127.5 - 1
