"""Classes in both networks: what is given decides, row by row, and the formulas are StyleGAN2-ADA's."""

import math

import pytest
import torch
from pyramid import Pyramid
from torch import Tensor, nn

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.generator import Generator
from cips_lab.networks.mapping import MappingNetwork, of_classes
from cips_lab.networks.projected import ProjectedDiscriminator
from cips_lab.networks.projection import ClassProjection
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.networks.vision_aided import VisionAidedDiscriminator

CLASSES = 3


def generator(kind: str) -> Generator:
    torch.manual_seed(0)
    if kind == "cips":
        fourier, embedding = {"features": 8}, {"features": 4}
        return CIPSGenerator(8, 8, 6, 7, 2, fourier=fourier, embedding=embedding, classes=CLASSES)  # type: ignore[arg-type]
    return StyleGAN2Generator(8, z_dim=6, w_dim=7, mapping_layers=2, channel_base=64, channel_max=8, classes=CLASSES)


def discriminator(kind: str) -> nn.Module:
    torch.manual_seed(0)
    residual = ResidualDiscriminator(8, channel_base=64, channel_max=8, group_size=1, classes=CLASSES)
    projected = ProjectedDiscriminator(Pyramid(), 8, 32, channels=4, head_channels=8, classes=CLASSES)
    both = VisionAidedDiscriminator(residual, projected)
    return {"residual": residual, "projected": projected, "vision_aided": both}[kind]


def one_hot(*labels: int) -> Tensor:
    return torch.eye(CLASSES)[list(labels)]


@pytest.mark.parametrize("kind", ["cips", "stylegan2"])
def test_labels_permuted_make_pictures_permuted(kind: str) -> None:
    network = generator(kind)
    z = torch.randn(1, 6).expand(3, 6)
    images = network(of_classes(z, torch.tensor([0, 1, 2]), CLASSES))
    permuted = network(of_classes(z, torch.tensor([2, 0, 1]), CLASSES))
    torch.testing.assert_close(permuted, images[[2, 0, 1]], atol=1e-6, rtol=1e-5)
    assert (images[0] - images[1]).abs().max() > 1e-3  # and a class is seen


@pytest.mark.parametrize("kind", ["residual", "projected", "vision_aided"])
def test_a_discriminator_looks_at_each_images_own_class(kind: str) -> None:
    network = discriminator(kind)
    images = torch.randn(1, 3, 8, 8).expand(3, 3, 8, 8)
    logits = network(images, label=one_hot(0, 1, 2))
    torch.testing.assert_close(network(images, label=one_hot(2, 0, 1)), logits[[2, 0, 1]], atol=1e-6, rtol=1e-5)
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_the_projection_is_the_formula() -> None:
    torch.manual_seed(0)
    projection = ClassProjection(CLASSES, 5)
    x, label = torch.randn(2, 5), one_hot(1, 2)
    direction = label @ (projection.embedding.weight / math.sqrt(CLASSES)).T + projection.embedding.bias
    direction = direction / (direction.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for layer in projection.layers:
        y = direction @ (layer.weight * 0.01 / math.sqrt(5)).T + layer.bias * 0.01  # type: ignore[union-attr, operator]
        direction = torch.where(y > 0, y, 0.2 * y) * math.sqrt(2)
    torch.testing.assert_close(projection(x, label), (x * direction).sum(1, keepdim=True) / math.sqrt(5))


def test_the_mapping_is_the_formula() -> None:
    torch.manual_seed(0)
    mapping = MappingNetwork(6, 7, layers=1, lr_multiplier=1.0, classes=CLASSES)
    assert mapping.embedding is not None
    z, label = torch.randn(2, 6), one_hot(0, 2)
    e = label @ (mapping.embedding.weight / math.sqrt(CLASSES)).T + mapping.embedding.bias
    parts = [x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt() for x in (z, e)]
    y = torch.cat(parts, 1) @ (mapping.layers[0].weight / math.sqrt(13)).T + mapping.layers[0].bias  # type: ignore[union-attr, operator]
    torch.testing.assert_close(mapping(torch.cat([z, label], 1)), torch.where(y > 0, y, 0.2 * y) * math.sqrt(2))


def test_seeds_have_classes_as_often_as_the_pictures_and_always_the_same() -> None:
    mapping = MappingNetwork(2, 2, classes=CLASSES)
    mapping.class_shares.copy_(torch.tensor([0.5, 0.0, 0.5]))
    found = mapping.classes_of(range(4000))
    assert found is not None
    counts = found.bincount(minlength=CLASSES).tolist()
    assert counts[1] == 0
    assert abs(counts[0] - 2000) < 160  # five standard deviations
    assert mapping.classes_of([17, 3]).tolist() == [found[17], found[3]]  # type: ignore[union-attr]
    latents = mapping.latents([17, 3])
    assert torch.equal(latents[:, :2], MappingNetwork(2, 2).latents([17, 3]))  # a seed's latent is what it is without
    assert torch.equal(latents[:, 2:], one_hot(int(found[17]), int(found[3])))
    assert torch.equal(mapping.latents([17, 3], 1)[:, 2:], one_hot(1, 1))


@pytest.mark.parametrize(
    ("classes", "label", "told"),
    [(CLASSES, 3, "class=3: this generator has classes 0 to 2"), (0, 0, "class=0: this generator knows no classes")],
)
def test_a_class_that_is_not_there(classes: int, label: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MappingNetwork(2, 2, classes=classes).latents([0], label)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match=r"classes as one-hot rows \[2, 3\], and is given none"):
        discriminator("residual")(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"classes as one-hot rows \[2, 3\], and is given none"):
        generator("cips")(torch.zeros(2, 6))
    with pytest.raises(ValueError, match=r"no classes, and is given \[2, 3\]"):
        MappingNetwork(6, 7)(torch.zeros(2, 9))
