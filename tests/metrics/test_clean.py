"""clean-fid: its package's resizing and distance on the same pictures, with the same weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance as by_clean_fid
from cleanfid.resize import build_resizer
from PIL import Image
from sets import spoiled, tiles
from torch import Tensor

from cips_lab.metrics.clean import LAYERS, SIZE, resized
from cips_lab.metrics.extractors import load_extractor
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.statistics import gaussian_of


def by_the_package(pictures: np.ndarray) -> Tensor:
    """uint8 [B, 3, H, W] -> float32 [B, 3, 299, 299]."""
    resize = build_resizer("clean")
    return torch.from_numpy(np.stack([resize(p.transpose(1, 2, 0)).transpose(2, 0, 1) for p in pictures]))


@pytest.mark.parametrize("size", [(32, 32), (256, 256), (400, 300), (512, 512)])
def test_pictures_are_resized_as_the_package_does(size: tuple[int, int]) -> None:
    pictures = np.stack(
        [
            np.asarray(Image.fromarray(tile.transpose(1, 2, 0)).resize(size, Image.Resampling.LANCZOS))
            for tile in tiles(4)
        ]
    ).transpose(0, 3, 1, 2)
    found = resized(torch.from_numpy(pictures.copy()), SIZE)
    torch.testing.assert_close(found, by_the_package(pictures), rtol=0, atol=1e-3)  # of 255 levels


def test_at_299_pixels_it_is_the_plain_network(inception_weights: Path) -> None:
    images = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    plain, clean = (load_extractor(name, inception_weights) for name in ("inception", "inception_clean"))
    torch.testing.assert_close(clean(images).features, plain(images).features, rtol=1e-5, atol=1e-6)
    assert (clean.distance_key, clean.classes) == ("fid_clean", None)
    assert not clean.canonical


@pytest.mark.slow
def test_the_distance_is_the_packages(inception_weights: Path) -> None:
    """Within 1e-4, as docs/metrics.md says."""
    extractor = load_extractor("inception_clean", inception_weights)
    real, generated = tiles(10), spoiled(tiles(10, offset=1))
    with torch.no_grad():
        theirs = []
        for part in (generated, real):
            x = (by_the_package(part) - 128) / 128
            for name in LAYERS:
                x = getattr(extractor.network.inception, name)(x)
            theirs.append(x.flatten(1).double().numpy())
    expected = by_clean_fid(
        theirs[0].mean(0), np.cov(theirs[0], rowvar=False), theirs[1].mean(0), np.cov(theirs[1], rowvar=False)
    )
    ours = [gaussian_of(extractor(torch.from_numpy(part.copy())).features) for part in (generated, real)]
    assert frechet_distance(*ours) == pytest.approx(float(expected), rel=1e-4)
