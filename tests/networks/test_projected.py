"""The projected discriminator: its frozen network, its fixed mixing, its heads."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pyramid import Pyramid

from cips_lab.networks.projected import Mixing, ProjectedDiscriminator, SpectralConv2d, largest_singular_value


def build(resolution: int | tuple[int, int] = 16, mixing: Mixing = "scales", input_size: int = 64):
    torch.manual_seed(0)
    return ProjectedDiscriminator(Pyramid(), resolution, input_size, channels=4, head_channels=8, mixing=mixing)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_the_spectral_norm_is_the_largest_singular_value(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    exact = torch.linalg.matrix_norm(matrix, 2)
    found = largest_singular_value(matrix.float()).double()
    assert 0.998 * exact < found < exact * (1 + 1e-5)  # never above; below where two values are nearly alike


def test_its_gradient_is_that_of_the_norm() -> None:
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(1), requires_grad=True)
    (found,) = torch.autograd.grad(largest_singular_value(matrix), matrix)
    (exact,) = torch.autograd.grad(torch.linalg.matrix_norm(matrix, 2), matrix)
    torch.testing.assert_close(found, exact, atol=2e-4, rtol=1e-3)


def test_a_weight_of_zeros_gives_no_nan() -> None:
    assert largest_singular_value(torch.zeros(3, 4)) == 0


def test_a_convolution_has_spectral_norm_one() -> None:
    torch.manual_seed(0)
    conv = SpectralConv2d(5, 7, 3)
    with torch.no_grad():
        conv.weight.mul_(13)
        x = torch.randn(1, 5, 3, 3)
        norm = torch.linalg.matrix_norm(conv.weight.flatten(1), 2)
        torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight) / norm, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("resolution", [16, 64, 128, (16, 32)])
@pytest.mark.parametrize("mixing", ["none", "channels", "scales"])
def test_a_logit_a_head_for_every_size(resolution: int | tuple[int, int], mixing: Mixing) -> None:
    discriminator = build(resolution, mixing)
    images = torch.randn(3, 3, *discriminator.size)
    logits = discriminator(images)
    assert logits.shape == (3, 4)
    for i in range(3):  # what is said of one does not depend on the others
        torch.testing.assert_close(discriminator(images[i : i + 1]), logits[i : i + 1], atol=1e-5, rtol=1e-4)


def test_mixing_is_the_formula() -> None:
    discriminator = build(64)
    images = torch.randn(2, 3, 64, 64)
    fixed = dict(discriminator.named_buffers())
    maps = [F.conv2d(x, fixed[f"across_channels_{i}"]) for i, x in enumerate(discriminator.features(images))]
    found = discriminator.projected(images)
    expected = maps[3]
    torch.testing.assert_close(found[3], expected)
    for i in (2, 1, 0):
        larger = F.interpolate(expected, scale_factor=2, mode="bilinear", align_corners=False)
        expected = (maps[i] + F.conv2d(larger, fixed[f"across_scales_{i}"], padding=1)) / math.sqrt(2)
        torch.testing.assert_close(found[i], expected)
    assert [x.shape[1] for x in found] == [4, 8, 16, 32]


def test_the_frozen_network_is_no_part_of_what_is_trained_or_saved() -> None:
    discriminator = build()
    assert all("conv" not in name.partition("heads.")[0] for name in discriminator.state_dict())
    own = {id(p) for p in discriminator.parameters()}
    frozen = list(discriminator.features.parameters())  # type: ignore[attr-defined]
    assert frozen
    assert not own & {id(p) for p in frozen}
    discriminator.requires_grad_(True)
    assert not any(p.requires_grad for p in frozen)
    discriminator.to("meta")
    assert {p.device.type for p in discriminator.features.parameters()} == {"meta"}  # type: ignore[attr-defined]
    assert {p.device.type for p in discriminator.parameters()} == {"meta"}


def test_the_random_mixing_is_kept_with_the_weights() -> None:
    images = torch.randn(2, 3, 16, 16)
    first = build()
    torch.manual_seed(5)
    second = ProjectedDiscriminator(Pyramid(), 16, 64, channels=4, head_channels=8)
    second._features = first._features
    assert not torch.equal(first(images), second(images))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(images), second(images))


def test_pictures_get_gradients_and_fixed_parts_none() -> None:
    discriminator = build()
    images = torch.randn(2, 3, 16, 16, requires_grad=True)
    discriminator(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().min() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in discriminator.parameters())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"input_size": 48}, "discriminator.input_size must be a multiple of 32, not 48"),
        ({"input_size": 0}, "discriminator.input_size"),
        ({"head_channels": 0}, "discriminator.head_channels must be at least 1"),
        ({"mixing": "all"}, "discriminator.mixing must be none, channels or scales"),
    ],
)
def test_options_out_of_range_are_named(options: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ProjectedDiscriminator(Pyramid(), 16, **options)


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images \[B, 3, 16, 16\], not \[1, 3, 8, 8\]"):
        build()(torch.zeros(1, 3, 8, 8))
