"""Sets of pictures: Blue Marble tiles, spoiled ones, folders of them; and an extractor that takes no time."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from cips_lab.data.blue_marble import load_tiles
from cips_lab.data.dataset import ImageDataset
from cips_lab.data.sources import FolderSource
from cips_lab.metrics.extractors import EXTRACTORS, Extractor

RESOLUTION = 32


def tiles(count: int, offset: int = 0) -> np.ndarray:
    """uint8 [count, 3, 32, 32], spread over the world; another offset, other tiles."""
    array = load_tiles(RESOLUTION, "train")
    step = len(array) // count
    return array[offset % step :: step][:count]


def spoiled(pictures: np.ndarray, radius: float = 0.8, noise: float = 0.0) -> np.ndarray:
    """Blurred, then with Gaussian noise."""
    rng = np.random.default_rng(0)
    result = np.empty_like(pictures)
    for target, picture in zip(result, pictures, strict=True):
        image = Image.fromarray(picture.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(radius))
        values = np.asarray(image).transpose(2, 0, 1) + noise * rng.standard_normal(picture.shape)
        target[:] = values.round().clip(0, 255)
    return result


def save(pictures: np.ndarray, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture.transpose(1, 2, 0)).save(folder / f"{number:05d}.png")
    return folder


def dataset(folder: Path) -> ImageDataset:
    return ImageDataset(FolderSource(folder), RESOLUTION)


class Projection(nn.Module):
    """A fixed random affine map of the pixels, a ReLU, and another one for logits."""

    def __init__(self, features: int = 24, classes: int = 7, resolution: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        pixels = 3 * resolution**2
        self.first = nn.Parameter(torch.randn(pixels, features, generator=generator) / pixels**0.5)
        self.second = nn.Parameter(torch.randn(features, classes, generator=generator) / features**0.5)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = (images.flatten(1).float() / 64 @ self.first).relu()
        return features, features @ self.second


def tiny_extractor() -> Extractor:
    return Extractor("tiny", Projection(), features=24, classes=7, canonical=True)


def register_tiny() -> None:
    EXTRACTORS["tiny"] = lambda weights, option: tiny_extractor()


def noise_pictures(count: int, seed: int, contrast: float = 1.0) -> np.ndarray:
    """uint8 [count, 3, 8, 8]: smooth noise of a given contrast."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((count, 3, 2, 2)).repeat(4, 2).repeat(4, 3)
    return (128 + contrast * 40 * coarse).clip(0, 255).astype(np.uint8)
