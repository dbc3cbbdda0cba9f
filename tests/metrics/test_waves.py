"""Waves planted in real pictures are found where they are, with their frequency; in others none is."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cips_lab.data.blue_marble import load_tiles
from cips_lab.metrics.waves import (
    amplitudes_at,
    block_levels,
    block_side,
    block_window,
    spots_of,
    threshold,
    waves_of,
)

SIDE = 32


@pytest.fixture(scope="module")
def real() -> Tensor:
    """Training tiles, spread over the world."""
    return torch.from_numpy(load_tiles(SIDE, "train")[::30].copy())


@pytest.fixture(scope="module")
def limit(real: Tensor) -> float:
    return threshold(waves_of(real).score)


@pytest.fixture(scope="module")
def held_out() -> Tensor:
    return torch.from_numpy(load_tiles(SIDE, "test")[::7].copy())


def grid(side: int) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(side).double(), torch.arange(side).double(), indexing="ij")
    return y, x


def planted(
    images: Tensor, frequency: tuple[float, float], amplitude: float, centre: tuple[float, float] | None = None
) -> Tensor:
    """With a wave (right, down) of cycles a picture, all over or in a Gaussian of R / 8 about (x, y) pixels."""
    side = images.shape[-1]
    y, x = grid(side)
    wave = amplitude * torch.cos(2 * math.pi * (frequency[0] * x + frequency[1] * y) / side + 1)
    if centre is not None:
        wave = wave * torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * (side / 8) ** 2))
    return (images.double() + wave).clamp(0, 255).round().byte()


def distance(found: Tensor, frequency: tuple[float, float], side: int = SIDE) -> Tensor:
    """Of frequencies [B, 2], up to the sign and to what a grid of pixels cannot tell apart."""
    wanted = torch.tensor(frequency, dtype=torch.float64)
    differences = torch.stack([found - wanted, found + wanted])
    return ((differences + side / 2) % side - side / 2).norm(dim=2).amin(0)


def test_real_pictures_that_were_held_out_are_called_wave_like_as_often_as_real_ones(
    real: Tensor, held_out: Tensor, limit: float
) -> None:
    assert (waves_of(real).score > limit).double().mean() == pytest.approx(0.05, abs=0.01)
    # 196 tiles from a dozen regions, which overlap: more than the binomial's spread.
    assert 0.01 <= (waves_of(held_out).score > limit).double().mean() <= 0.11


@pytest.mark.parametrize("frequency", [(8.0, 0.0), (0.0, 11.5), (7.0, -6.0), (5.0, 9.3), (12.0, 4.0), (16.0, 16.0)])
def test_a_wave_all_over_is_found_with_its_frequency(
    held_out: Tensor, limit: float, frequency: tuple[float, float]
) -> None:
    before = (waves_of(held_out).score > limit).double().mean()
    shares = []
    for amplitude in (5, 10, 20):
        found = waves_of(planted(held_out, frequency, amplitude))
        shares.append(float((found.score > limit).double().mean()))
        called = found.score > limit
        assert distance(found.frequency[called], frequency).median() < 0.3
    assert shares == sorted(shares)
    assert shares[0] > before + 0.2
    assert shares[-1] > 0.97


@pytest.mark.parametrize("centre", [(9.0, 9.0), (22.0, 10.0), (16.0, 21.0)])
def test_a_local_wave_is_found_at_its_place(held_out: Tensor, limit: float, centre: tuple[float, float]) -> None:
    found = waves_of(planted(held_out, (10.0, 5.0), 30, centre))
    called = found.score > limit
    assert called.double().mean() > 0.8
    assert distance(found.frequency[called], (10.0, 5.0)).median() < 0.7
    middles = found.corner[called] + (block_side(SIDE) - 1) / 2
    away = (middles - torch.tensor(centre)).abs().amax(1)
    assert (away <= block_side(SIDE) / 2).double().mean() > 0.95


def test_the_median_over_the_whole_picture_which_one_tries_first_misses_local_waves(
    real: Tensor, held_out: Tensor
) -> None:
    """What the module says it is better than."""

    def first_try(images: Tensor) -> Tensor:
        values = images.double().mean(1)
        kaiser = torch.kaiser_window(SIDE, periodic=False, beta=8.0, dtype=torch.float64)
        values = (values - values.mean((1, 2), keepdim=True)) * kaiser[:, None] * kaiser
        power = torch.fft.fft2(values).abs().square().clamp(min=1e-12).log().flatten(1)
        steps = torch.fft.fftfreq(SIDE, 1 / SIDE).double()
        length = torch.hypot(steps[:, None], steps[None, :]).flatten()
        kept = (length >= 3) & (length <= SIDE / 2)
        best = []
        for ring in range(3, SIDE // 2 + 1):
            near = kept & ((length - ring).abs() <= 1)
            best.append(power[:, near].amax(1) - power[:, near].median(1).values)
        return torch.stack(best).amax(0)

    waves = planted(held_out, (9.0, -5.0), 15, (18.0, 15.0))
    shares = [
        float((score(waves) > torch.quantile(score(real), 0.95)).double().mean())
        for score in (first_try, lambda images: waves_of(images).score)
    ]
    assert shares[1] > shares[0] + 0.2


def test_smooth_pictures_have_no_waves(limit: float) -> None:
    """Flat ones, slopes, hills, one edge: all below the real pictures' threshold; the flat ones have nothing."""
    y, x = grid(SIDE)
    pictures = torch.stack(
        [
            torch.full_like(x, 90),
            7 * x,
            3 * x + 4 * y,
            200 * torch.exp(-((x - 14) ** 2 + (y - 17) ** 2) / 60),
            220.0 * (x + 0.6 * y > 22),
            128 + 60 * torch.sin(x / 6) * torch.cos(y / 7),
        ]
    )
    found = waves_of(pictures.round().byte()[:, None].expand(-1, 3, -1, -1))
    assert (found.score < limit).all()
    assert found.score[0] == 0
    assert (found.frequency[0] == 0).all()


def test_blur_noise_and_contrast_make_no_waves(held_out: Tensor, limit: float) -> None:
    values = held_out.double()
    noise = 8 * torch.randn(values.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(values, (1, 0, 1, 0), mode="replicate"), 2, 1)
    for changed in (blurred, values + noise, 128 + (values - 128) / 2):
        share = (waves_of(changed.clamp(0, 255).round().byte()).score > limit).double().mean()
        assert share <= 0.11


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1300), st.sampled_from(["mirror", "upside down", "transpose", "negative"]))
def test_turned_pictures_have_the_same_score_and_the_turned_frequency(number: int, way: str) -> None:
    picture = torch.from_numpy(load_tiles(SIDE, "test")[number][None].copy())
    turned = {
        "mirror": picture.flip(-1),
        "upside down": picture.flip(-2),
        "transpose": picture.mT,
        "negative": 255 - picture,
    }[way]
    before, after = waves_of(picture), waves_of(turned)
    assert after.score == pytest.approx(before.score, abs=1e-6)
    right, down = before.frequency[0].tolist()
    expected = {"mirror": (-right, down), "upside down": (right, -down), "transpose": (down, right)}
    assert distance(after.frequency, expected.get(way, (right, down))) < 1e-4
    left, top = before.corner[0].tolist()
    last = SIDE - block_side(SIDE)
    places = {"mirror": (last - left, top), "upside down": (left, last - top), "transpose": (top, left)}
    assert after.corner[0].tolist() == list(places.get(way, (left, top)))


def test_waves_of_a_colour_count() -> None:
    """Equally bright red and green: grey would not show them."""
    wave = 30 * torch.cos(2 * math.pi * 9 * grid(SIDE)[1] / SIDE)
    picture = (128 + torch.stack([wave, -wave, 0 * wave])).round().byte()[None]
    found = waves_of(picture)
    assert found.score > 10
    assert distance(found.frequency, (9.0, 0.0)) < 0.1


@pytest.mark.parametrize("side", [8, 16, 24, 64])
def test_any_size(side: int) -> None:
    generator = torch.Generator().manual_seed(side)
    images = (128 + 20 * torch.randn(3, 3, side, side, generator=generator)).clamp(0, 255).byte()
    cycles = (side * 0.4, side * 0.1)
    found = waves_of(planted(images, cycles, 100))
    assert distance(found.frequency, cycles, side).max() < 0.1 * side / block_side(side) * 3
    assert torch.equal(waves_of(images[1:2]).score, waves_of(images).score[1:2])


def test_a_spot_against_the_formula_written_out() -> None:
    """Of one block: dB above the strongest of the eight frequencies two cycles away, by a plain Fourier sum."""
    side = 16
    generator = torch.Generator().manual_seed(1)
    block = (128 + 30 * torch.randn(1, 3, side, side, generator=generator)).clamp(0, 255).byte()
    window = block_window(side)
    assert window.sum() == pytest.approx(1.0)
    values = block[0].double()
    values = (values - (values * window).sum((-2, -1), keepdim=True)) * window
    y, x = grid(side)

    def level(right: float, down: float) -> float:
        wave = torch.exp(-2j * math.pi * (right * x + down * y) / side)
        return 10 * math.log10(float((values * wave).sum((-2, -1)).abs().square().mean()) + 1.0)

    spots = spots_of(side)
    levels = block_levels(block.double(), window)[0, 0, 0]
    best = 0.0
    for (right, down), place in zip(spots.cycles.tolist(), spots.places.tolist(), strict=True):
        assert levels[place] == pytest.approx(level(right, down))
        if math.hypot(right, down) > 5.5:  # nearer to Nyquist's frequency some of the eight are the wave's alias
            continue
        circle = []
        for eighth in range(8):
            angle = math.atan2(down, right) + eighth * math.pi / 4
            circle.append(
                level(*(round(2 * (v + 2 * d)) / 2 for v, d in ((right, math.cos(angle)), (down, math.sin(angle)))))
            )
        best = max(best, level(right, down) - max(circle))
    whole = waves_of(block)
    if whole.frequency.norm() < 5:
        assert whole.score == pytest.approx(best)
    else:
        assert whole.score >= best - 1e-9


@settings(max_examples=20, deadline=None)
@given(st.floats(-15, 15), st.floats(-15, 15), st.floats(1, 50), st.integers(0, 2), st.integers(0, 2))
def test_a_waves_amplitude_is_read_off(right: float, down: float, size: float, i: int, j: int) -> None:
    """A complex wave's amplitude is exact but for its mean's, which is taken away; and terms add up to their sum's."""
    y, x = grid(SIDE)
    phase = 2 * math.pi * (right * x + down * y) / SIDE
    corner = torch.tensor([[8 * i, 8 * j]])
    waves = torch.stack([size * torch.cos(phase), size * torch.sin(phase)])[None]
    frequency = torch.tensor([[right, down]], dtype=torch.float64)
    found = amplitudes_at(waves, frequency, corner)
    whole = amplitudes_at(waves[:, :1] + waves[:, 1:], frequency, corner)
    assert whole[0, 0] == pytest.approx(complex(found[0, 0] + found[0, 1]), abs=1e-9)
    if math.hypot(right, down) > 8 and max(abs(right), abs(down)) < 12:  # neither its mean nor its alias is near
        assert abs(found[0, 0] + 1j * found[0, 1]) == pytest.approx(size, rel=0.02)
