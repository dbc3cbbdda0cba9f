"""Pictures as tensors: uint8 [3, H, W], square for training; the change to floats happens later, on the device."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from cips_lab.data.decode import upright_size
from cips_lab.data.fitting import fit
from cips_lab.data.sources.base import ImageSource
from cips_lab.data.unreadable import Reader
from cips_lab.errors import UserError
from cips_lab.files.names import printable
from cips_lab.networks.size import Size, halvings, is_native, nearest_native, sides, size_name, size_of


def check_resolution(resolution: int | Sequence[int]) -> None:
    """Raise `UserError` unless `resolution`, pixels a side or (height, width), is one that networks are built for.

    The discriminator halves it until its smaller side has 4 to 7 pixels. Pictures that are only evaluated may have any
    size.
    """
    if not is_native(resolution):
        height, width = sides(resolution)
        square = height == width
        times = max(1, halvings((max(8, height), max(8, width))))
        near = [nearest_native(side, times) for side in (height, width)]
        chosen = str(1 << max(3, height.bit_length() - 1) if height > 0 else 8) if square else f"[{near[0]},{near[1]}]"
        raise UserError(
            f"resolution={height if square else f'[{height},{width}]'}: must be a power of two of at least 8, or "
            "[height,width] of which both are multiples of such a power as leaves 4 to 7 pixels of the smaller; "
            f"choose resolution={chosen}" + (f" or resolution={2 * int(chosen)}" if square else "")
        )


class ImageDataset(Dataset[Tensor]):
    """Item i: picture i of `source` as uint8 [3, H, W], RGB in [0, 255], centre-cropped and Lanczos-resized, see `fit`.

    `resolution`: any size; what training needs of it, data modules check.
    `unreadable`: what is done with a picture that cannot be decoded, see `Reader`.
    Raises `UserError` for a picture that cannot be decoded.
    """

    def __init__(self, source: ImageSource, resolution: Size, unreadable: str = "fail") -> None:
        self.source = source
        self.reader = Reader(source, unreadable)
        self.resolution = resolution

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Tensor:
        image = fit(self.reader.read(index), self.resolution)
        return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())

    def picture(self, index: int) -> Image.Image:
        """Picture i at its own size, RGB; see `windows`."""
        return self.reader.read(index)

    def dimensions(self, index: int) -> tuple[int, int]:
        """Width and height of picture i, by its header."""
        source = self.source
        try:
            with source.open(index) as stream:
                return upright_size(stream)
        except Exception:  # told, or replaced, as when it is read
            return self.reader.read(index).size

    def called(self, index: int) -> str:
        """Its file's name, as messages show it."""
        return printable(self.source.name(index))

    @property
    def location(self) -> str:
        """Where the pictures are."""
        return self.source.location

    def fingerprint(self) -> str:
        """Hexadecimal digits that change with any item; computed without decoding a picture."""
        shape = "square" if isinstance(self.resolution, int) else "rectangle"
        recipe = f"{self.source.fingerprint()} {shape} lanczos {size_name(self.resolution)}"
        return hashlib.sha256(recipe.encode()).hexdigest()

    def identity(self) -> str:
        """That of the source: the same for the same pictures, whatever is made of them."""
        return self.source.identity()

    def resized(self, resolution: Size) -> "ImageDataset":
        """The same pictures at another size, from their originals."""
        return ImageDataset(self.source, resolution, self.reader.policy)


class FixedSizeDataset(ImageDataset):
    """Pictures that are evaluated as they are: all of one size, whatever it is, never resized.

    Args:
        source: the pictures.
        resolution: their size, (height, width) for rectangles; None: that of the first.

    Raises:
        UserError: a picture has another size; it is named when it is read.
    """

    def __init__(self, source: ImageSource, resolution: Size | None = None) -> None:
        if resolution is None:
            first = source.read(0)
            resolution = size_of(first.height, first.width)
        super().__init__(source, resolution)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.array(self.picture(index)).transpose(2, 0, 1).copy())

    def picture(self, index: int) -> Image.Image:
        """Picture i. Raises `UserError` where it has another size."""
        image = self.source.read(index)
        height, width = sides(self.resolution)
        if image.size != (width, height):
            raise UserError(
                f"{printable(self.source.name(index))}: {image.width} x {image.height} pixels, "
                f"where {width} x {height} are expected: samples are evaluated as they are, and all must have one size"
            )
        return image


class ArrayDataset(Dataset[Tensor]):
    """Item i: a copy of row i of a uint8 array [N, 3, H, W], RGB in [0, 255], in memory or memory-mapped.

    Raises `ValueError` for an array of another shape or type.
    """

    def __init__(self, array: np.ndarray) -> None:
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] != 3:
            raise ValueError(f"expected uint8 [N, 3, H, W], got {array.dtype} {list(array.shape)}")
        self.array = array
        self.resolution: Size = size_of(*array.shape[2:])

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> Tensor:
        # A copy: a tensor that shares a read-only map could be written to.
        return torch.from_numpy(np.array(self.array[index]))

    def picture(self, index: int) -> Image.Image:
        """Picture i, RGB; see `windows`."""
        return Image.fromarray(np.ascontiguousarray(self.array[index].transpose(1, 2, 0)))

    def dimensions(self, index: int) -> tuple[int, int]:
        """Width and height."""
        return self.array.shape[3], self.array.shape[2]

    def called(self, index: int) -> str:
        """Its number."""
        return f"picture {index} of {self.location}"

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

    def identity(self) -> str:
        """As `fingerprint`: an array does not say where it came from."""
        return self.fingerprint()

    def resized(self, resolution: Size) -> "ResizedDataset":
        """The same pictures at another size."""
        return ResizedDataset(self, resolution)


class ResizedDataset(Dataset[Tensor]):
    """Item i: item i of another data set, brought to a size as `fit` does."""

    def __init__(self, original: ArrayDataset, resolution: Size) -> None:
        self.original = original
        self.resolution = resolution

    def __len__(self) -> int:
        return len(self.original)

    def __getitem__(self, index: int) -> Tensor:
        image = fit(Image.fromarray(self.original[index].permute(1, 2, 0).numpy()), self.resolution)
        return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())

    @property
    def location(self) -> str:
        """Where the pictures are."""
        return self.original.location

    def fingerprint(self) -> str:
        """Hexadecimal digits that change with any item."""
        recipe = f"{self.original.fingerprint()} lanczos {size_name(self.resolution)}"
        return hashlib.sha256(recipe.encode()).hexdigest()


def to_device_range(images: Tensor, flip_mask: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] in [0, 255] -> float32 in [-1, 1] as x / 127.5 - 1; the samples in `flip_mask` are mirrored.

    `flip_mask`: bool [B] on the device of `images`. Left and right change places.
    """
    flipped = torch.where(flip_mask[:, None, None, None], images.flip(-1), images)
    return flipped.to(torch.float32) / 127.5 - 1
