"""A style rotates the waves: the pairs that turn from place to place beside waves of other frequencies."""

import math
from typing import Any

import pytest
import torch
from variants import ROTATION, with_waves

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.encoding import FourierFeatures

TOLERANCE = {"rtol": 0.0, "atol": 5e-5}  # float32, pictures of about 1, coordinates to 2
CASES: dict[str, dict[str, Any]] = {
    "modulated": {},
    "unmodulated": {"modulation": False},
    "with a shift": {"shift": 1.0},
    "without a table": {"embedding": None},
}


def turning(**options: Any) -> tuple[CIPSGenerator, FourierFeatures]:
    return with_waves(**{**ROTATION, **options})


def rotated(angle: float) -> torch.Tensor:
    """A: anticlockwise where y goes up."""
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_a_rotation_is_other_frequencies(case: str) -> None:
    """sin(B A p + b): the definition, in a generator whose waves no style rotates; A p + t with a shift."""
    generator, fourier = turning(**CASES[case])
    w, coords = torch.randn(3, 12), torch.rand(50, 2) * 4 - 2
    turned = generator.synthesis(w, coords)
    by_pixel = generator.synthesis(w[:, None, None].expand(-1, 1, 50, -1), coords)
    assert generator.rotation is not None
    angles = generator.rotation.affine(w)
    frequencies, phases = fourier.weight.clone(), fourier.bias.clone()
    shifts = torch.zeros(3, 2) if generator.shift is None else generator.shift.affine(w)
    generator.rotation = generator.shift = None
    for i in range(3):
        fourier.weight.copy_(frequencies @ rotated(float(angles[i])))
        fourier.bias.copy_(phases + frequencies @ shifts[i])
        expected = generator.synthesis(w[i : i + 1], coords)[0]
        torch.testing.assert_close(turned[i], expected, **TOLERANCE)
        torch.testing.assert_close(by_pixel[i], expected, **TOLERANCE)
    fourier.weight.copy_(frequencies)
    fourier.bias.copy_(phases)
    assert (turned - generator.synthesis(w, coords)).abs().max() > 0.1  # without the rotation it is another picture


@torch.no_grad()
def test_without_a_table_the_whole_picture_turns() -> None:
    """A style that turns by a quarter shows at (x, y) what was at A (x, y): `torch.rot90` of the picture."""
    generator, _ = turning(embedding=None)
    assert generator.rotation is not None
    assert generator.rotation.affine.bias is not None
    w = torch.randn(2, 12)
    generator.rotation.affine.weight.zero_()
    generator.rotation.affine.bias.zero_()
    upright = generator.synthesize_native(w)
    generator.rotation.affine.bias.fill_(math.pi / 2)
    torch.testing.assert_close(generator.synthesize_native(w), torch.rot90(upright, 1, (2, 3)), **TOLERANCE)


@torch.no_grad()
def test_std_is_that_of_the_first_angles() -> None:
    torch.manual_seed(0)
    rotation = CIPSGenerator(16, 8, 8, 512, 1, fourier={"features": 8, "waves": "pairs"}, rotation=0.5).rotation
    assert rotation is not None
    angles = rotation.affine(torch.randn(4000, 512))
    assert angles.shape == (4000, 1)
    assert float(angles.std()) == pytest.approx(0.5, rel=0.1)


@torch.no_grad()
def test_none_at_first() -> None:
    """rotation=0 begins as the network that rotates nothing, and learns from there, in tiles as at once."""
    generator, _ = turning(rotation=0.0)
    assert generator.rotation is not None
    assert generator.rotation.affine.bias is not None
    generator.rotation.affine.bias.zero_()  # `build` moves every bias
    w = torch.randn(2, 12)
    gradients = []
    for tile in (None, 7):
        generator.zero_grad()
        with torch.enable_grad():
            picture = generator.synthesize_native(w, tile=tile)
            picture.square().sum().backward()
        gradient = generator.rotation.affine.weight.grad
        assert gradient is not None
        assert float(gradient.abs().max()) > 0
        gradients.append(gradient.clone())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-3)
    generator.rotation = None
    torch.testing.assert_close(generator.synthesize_native(w), picture, **TOLERANCE)


@pytest.mark.parametrize(
    "options",
    [
        {"fourier": {"features": 16}},
        {"fourier": {"features": 15, "waves": "pairs"}},
        {"fourier": None},
        {"surface": "cylinder"},
        {"rotation": -1.0},
    ],
)
def test_what_cannot_be_rotated(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"generator\.rotation"):
        CIPSGenerator(16, 8, 8, 8, 1, **{**ROTATION, **options})
