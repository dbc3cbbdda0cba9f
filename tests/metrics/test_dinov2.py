"""DINOv2: the published code's numbers, Pillow's and torchvision's preprocessing, and what the distance is by them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sets import spoiled, tiles
from torch import Tensor
from torchvision import transforms

from cips_lab.errors import UserError
from cips_lab.metrics.dinov2 import DEVIATION, MEAN, DINOv2, prepared, resized_as_pillow
from cips_lab.metrics.extractors import load_extractor
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.statistics import gaussian_of

# facebookresearch/dinov2 at b8931f7: DinoVisionTransformer(img_size=518, patch_size=14, embed_dim=32, depth=2,
# num_heads=2, init_values=1.0, block_chunks=0, interpolate_offset=0.1) with the weights and pictures of `seeded`.
FIRST = [-0.08873, 1.10131, 2.80882, 0.61836, 1.07276, 0.64474, -0.74161, 0.75056]
LAST = [-1.0542, 0.70017, 0.95148, -0.5347, -0.12548, 1.10387, 1.17112, 0.0963]


def seeded() -> tuple[DINOv2, Tensor]:
    """A small network with weights that differ from zero everywhere, and three pictures for it."""
    network, generator = DINOv2(32, 2, 2).eval(), torch.Generator().manual_seed(0)
    state = {}
    for name, value in sorted(network.state_dict().items()):
        scale = name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "gamma"))
        state[name] = torch.randn(value.shape, generator=generator) * 0.3 + float(scale)
    network.load_state_dict(state)
    return network, torch.randn(3, 3, 224, 224, generator=generator)


def by_pillow(pictures: np.ndarray) -> Tensor:
    """dgm-eval's transform, on uint8 [B, 3, H, W]."""
    transform = transforms.Compose(
        [
            transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    return torch.stack([transform(Image.fromarray(picture.transpose(1, 2, 0))) for picture in pictures])


def test_it_is_the_published_code() -> None:
    network, pictures = seeded()
    with torch.no_grad():
        found = network.tokens(pictures)
    torch.testing.assert_close(found[0, :8], torch.tensor(FIRST), rtol=0, atol=2e-5)
    torch.testing.assert_close(found[2, -8:], torch.tensor(LAST), rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (100, 100), (256, 256), (300, 400)])
def test_pictures_are_resized_as_pillow_does(size: tuple[int, int]) -> None:
    pictures = np.stack(
        [
            np.asarray(Image.fromarray(tile.transpose(1, 2, 0)).resize(size[::-1], Image.Resampling.LANCZOS))
            for tile in tiles(12)
        ]
    ).transpose(0, 3, 1, 2)
    expected = [
        np.asarray(Image.fromarray(picture.transpose(1, 2, 0)).resize((224, 224), Image.Resampling.BICUBIC))
        for picture in pictures
    ]
    found = resized_as_pillow(torch.from_numpy(pictures.copy()), 224)
    away = (found - torch.from_numpy(np.stack(expected).transpose(0, 3, 1, 2).copy()).float()).abs()
    assert away.max() <= 2  # levels, where Pillow's whole-number coefficients fall on the other side of a half
    assert (away > 0).float().mean() < 0.01
    torch.testing.assert_close(prepared(torch.from_numpy(pictures.copy())), by_pillow(pictures), rtol=0, atol=0.04)


def test_the_distance_is_that_of_the_protocol() -> None:
    """Within 1e-4, as docs/metrics.md says."""
    network, _ = seeded()
    real, generated = tiles(80), spoiled(tiles(80, offset=1))
    with torch.no_grad():
        theirs = [gaussian_of(network.tokens(by_pillow(part))) for part in (generated, real)]
        ours = [gaussian_of(network(torch.from_numpy(part.copy()))[0]) for part in (generated, real)]
    expected = frechet_distance(*theirs)
    assert expected > 0
    assert frechet_distance(*ours) == pytest.approx(expected, rel=1e-4)


def test_at_the_size_of_its_training_embeddings_are_as_they_are() -> None:
    network, _ = seeded()
    assert network.positions(37) is network.pos_embed
    assert network.positions(16).shape == (1, 257, 32)


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "small.pth"
    torch.save(DINOv2(32, 2, 2).state_dict(), path)
    with pytest.raises(UserError, match=r"small\.pth: not weights of DINOv2 ViT-L/14"):
        load_extractor("dinov2", path)
