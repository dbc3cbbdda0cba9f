"""A style moves the waves: the first layer's turned matrix beside waves with other phases, and beside other places."""

from typing import Any

import pytest
import torch
from variants import SHIFT, with_waves

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.encoding import FourierFeatures

TOLERANCE = {"rtol": 0.0, "atol": 2e-5}  # float32, pictures of about 1
CASES: dict[str, dict[str, Any]] = {
    "modulated": {},
    "unmodulated": {"modulation": False},
    "cylinder": {"surface": "cylinder", "turns": 3},
    "without a table": {"embedding": None},
}


def moving(**options: Any) -> tuple[CIPSGenerator, FourierFeatures]:
    return with_waves(**{**SHIFT, **options})


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_a_shift_is_another_phase_of_every_wave(case: str) -> None:
    """sin(B (p + t) + b) = sin(B p + (b + B t)): the definition, in a generator that moves nothing."""
    generator, fourier = moving(**CASES[case])
    w, coords = torch.randn(3, 12), torch.rand(50, 2) * 4 - 2
    moved = generator.synthesis(w, coords)
    by_pixel = generator.synthesis(w[:, None, None].expand(-1, 1, 50, -1), coords)
    assert generator.shift is not None
    shifts, phases = generator.shift.affine(w), fourier.bias.clone()
    generator.shift = None
    for i in range(3):
        fourier.bias.copy_(phases + fourier.weight @ shifts[i])
        expected = generator.synthesis(w[i : i + 1], coords)[0]
        torch.testing.assert_close(moved[i], expected, **TOLERANCE)
        torch.testing.assert_close(by_pixel[i], expected, **TOLERANCE)
    fourier.bias.copy_(phases)
    assert (moved - generator.synthesis(w, coords)).abs().max() > 0.1  # without the shift it is another picture


@torch.no_grad()
def test_without_a_table_the_whole_picture_moves() -> None:
    generator, _ = moving(embedding=None)
    assert generator.shift is not None
    assert generator.shift.affine.bias is not None
    w, coords, by = torch.randn(2, 12), torch.rand(50, 2) * 2 - 1, torch.tensor([0.3, -0.8])
    generator.shift.affine.weight.zero_()
    generator.shift.affine.bias.copy_(by)
    moved = generator.synthesis(w, coords)
    generator.shift.affine.bias.zero_()
    torch.testing.assert_close(moved, generator.synthesis(w, coords + by), **TOLERANCE)


@torch.no_grad()
def test_without_wave_modulation_styles_move_the_waves_and_weigh_none() -> None:
    """Two styles differ, as far as the first layer, in the place alone: one's waves moved by the other's lead."""
    generator, _ = moving(embedding=None, wave_modulation=False)
    assert generator.shift is not None
    w, coords = torch.randn(2, 12), torch.rand(50, 2) * 2 - 1
    first, second = (generator.program(style[None]).first.affine for style in w)
    ours, theirs = generator.shift.affine(w)
    encoding = generator.encoding(coords)
    torch.testing.assert_close(second(encoding), first(generator.encoding(coords + theirs - ours)), **TOLERANCE)
    assert (second(encoding) - first(encoding)).abs().max() > 0.1
    modulated, _ = moving(embedding=None)
    first, second = (modulated.program(style[None]).first.affine for style in w)
    assert modulated.shift is not None
    ours, theirs = modulated.shift.affine(w)
    moved = first(modulated.encoding(coords + theirs - ours))
    assert (second(modulated.encoding(coords)) - moved).abs().max() > 0.1


@torch.no_grad()
def test_std_is_that_of_the_first_shifts() -> None:
    torch.manual_seed(0)
    shift = CIPSGenerator(16, 8, 8, 512, 1, fourier={"features": 8, "waves": "pairs"}, shift=0.5).shift
    assert shift is not None
    shifts = shift.affine(torch.randn(4000, 512))
    assert shifts.shape == (4000, 2)
    assert float(shifts.std()) == pytest.approx(0.5, rel=0.1)


@torch.no_grad()
def test_none_at_first() -> None:
    """shift=0 begins as the network that moves nothing, and learns from there."""
    generator, _ = moving(shift=0.0)
    assert generator.shift is not None
    assert generator.shift.affine.bias is not None
    generator.shift.affine.bias.zero_()  # `build` moves every bias
    w = torch.randn(2, 12)
    picture = generator.synthesize_native(w)
    with torch.enable_grad():
        generator.synthesize_native(w).square().sum().backward()
    gradient = generator.shift.affine.weight.grad
    assert gradient is not None
    assert float(gradient.abs().max()) > 0
    generator.shift = None
    assert torch.equal(picture, generator.synthesize_native(w))


@pytest.mark.parametrize(
    "options",
    [
        {"fourier": {"features": 16}},
        {"fourier": {"features": 15, "waves": "pairs"}},
        {"fourier": None},
        {"shift": -1.0},
    ],
)
def test_what_cannot_be_moved(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"generator\.shift"):
        CIPSGenerator(16, 8, 8, 8, 1, **{**SHIFT, **options})
