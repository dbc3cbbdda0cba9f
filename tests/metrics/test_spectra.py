"""Spectra against straight numpy transcriptions of the two recipes, and pictures whose spectrum is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cips_lab.metrics.spectra import (
    DurallSpectrum,
    PowerSpectrum,
    azimuthal_mean,
    closed,
    durall_curves,
    durall_profiles,
    mean_and_deviation,
    power,
    power_profiles,
    profile_distance,
    slices,
    sums_of,
    whole_radii,
)


def noise(count: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, 3, size, size, generator=generator) * 30 + 128).clamp(0, 255).round().byte()


def durall_by_hand(picture: np.ndarray) -> np.ndarray:
    """facts: grey, fft2, fftshift, + 1e-8, 20 ln |F|, mean over whole radii but the first and the last, to [0, 1]."""
    grey = 0.2989 * picture[0] + 0.5870 * picture[1] + 0.1140 * picture[2]
    levels = 20 * np.log(np.abs(np.fft.fftshift(np.fft.fft2(grey)) + 1e-8))
    size = len(grey)
    rings: dict[int, list[float]] = {}
    for i in range(size):
        for j in range(size):
            rings.setdefault(int(np.hypot(i - (size - 1) / 2, j - (size - 1) / 2)), []).append(levels[i, j])
    curve = np.array([np.mean(rings[r]) for r in sorted(rings)[1:-1]])
    return (curve - curve.min()) / (curve.max() - curve.min())


@pytest.mark.parametrize("size", [8, 15, 32])
def test_durall_is_the_recipe_written_out(size: int) -> None:
    images = noise(5, size)
    by_hand = np.stack([durall_by_hand(picture.numpy().astype(np.float64)) for picture in images])
    np.testing.assert_allclose(durall_profiles(images).numpy(), by_hand, atol=1e-9)
    spectrum = DurallSpectrum()
    spectrum.update(images[:2])
    spectrum.update(images[2:])
    found = spectrum.compute()
    np.testing.assert_allclose(found.mean.numpy(), by_hand.mean(0), atol=1e-9)
    np.testing.assert_allclose(found.std.numpy(), by_hand.std(0), atol=1e-7)
    assert found.pictures == 5


def power_by_hand(picture: np.ndarray, mean: float, std: float) -> np.ndarray:
    """facts: whiten, Kaiser window (beta 8, unit energy, separable), zero-pad 4 x, mean of |F|^2 over channels."""
    size = picture.shape[-1]
    kaiser = np.kaiser(size, 8.0)
    kaiser /= np.sqrt((kaiser**2).sum())
    found = np.zeros((4 * size, 4 * size))
    for channel in picture:
        padded = np.zeros((4 * size, 4 * size))
        padded[:size, :size] = (channel - mean) / std * np.outer(kaiser, kaiser)
        found += np.abs(np.fft.fft2(padded)) ** 2 / 3
    return found


def test_the_power_spectrum_is_the_recipe_written_out() -> None:
    images = noise(4, 16, seed=1)
    mean, std = mean_and_deviation(sums_of(images))
    assert mean == pytest.approx(images.double().mean().item())
    assert std == pytest.approx(images.double().std(correction=0).item())
    by_hand = np.stack([power_by_hand(picture.numpy().astype(np.float64), mean, std) for picture in images])
    np.testing.assert_allclose(power(images, mean, std).numpy(), by_hand, atol=1e-9)
    spectrum = PowerSpectrum(mean, std)
    spectrum.update(images[:3])
    spectrum.update(images[3:])
    levels, profile = spectrum.compute()
    np.testing.assert_allclose(levels.numpy(), np.fft.fftshift(10 * np.log10(by_hand.mean(0))), atol=1e-8)
    assert profile.pictures == 4
    assert len(profile.radius) == 9


def test_white_noise_lies_at_0_db() -> None:
    images = noise(200, 16, seed=2)
    spectrum = PowerSpectrum(*mean_and_deviation(sums_of(images)))
    spectrum.update(images)
    _, profile = spectrum.compute()
    assert profile.mean.abs().max() < 0.5


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 14), st.integers(0, 14))
def test_a_wave_is_found_at_its_frequency(across: int, down: int) -> None:
    size = 32
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    wave = torch.cos(2 * torch.pi * (across * x + down * y) / size)
    images = (128 + 100 * wave).round().byte().expand(2, 3, size, size)
    spectrum = PowerSpectrum(128.0, 50.0)
    spectrum.update(images)
    levels, profile = spectrum.compute()
    row, column = divmod(int(levels.argmax()), levels.shape[1])
    found = {(abs(column - 64) / 4, abs(row - 64) / 4)}
    assert found == {(across, down)}
    radius = float(np.hypot(across, down))
    if radius <= size // 2:
        assert abs(float(profile.radius[1:][profile.mean[1:].argmax()]) - radius) <= 1


def test_a_filter_shows_as_what_it_takes_away() -> None:
    """A mean of two neighbours has the gain cos^2 (pi f / N) along the row."""
    size, count = 32, 400
    generator = torch.Generator().manual_seed(3)
    plain = torch.randn(count, 3, size, size + 1, generator=generator, dtype=torch.float64) * 30 + 128
    smooth = (plain[..., 1:] + plain[..., :-1]) / 2
    before, after = PowerSpectrum(128.0, 30.0), PowerSpectrum(128.0, 30.0)
    before.update(plain[..., :-1].clamp(0, 255).round().byte())
    after.update(smooth.clamp(0, 255).round().byte())
    cycles, levels = slices(after.compute()[0])[0]
    gain = levels - slices(before.compute()[0])[0][1]
    expected = 20 * torch.log10(torch.cos(torch.pi * cycles / size).abs())
    seen = (cycles > 1) & (cycles < 12)  # nearer to the end the window's leakage is above the gain
    assert (gain - expected)[seen].abs().max() < 1.5


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 14), st.integers(1, 14))
def test_durall_finds_a_wave_at_its_radius(across: int, down: int) -> None:
    size = 32
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    wave = torch.cos(2 * torch.pi * (across * x + down * y).double() / size)
    curve = durall_curves((128 + 100 * wave).expand(1, 3, size, size))[0]
    # About (N - 1) / 2 the frequencies f and -f of a wave have two radii.
    radii = {int(np.hypot(across + half, down + half)) for half in (-0.5, 0.5)}
    away = [radius for radius in range(1, len(curve) + 1) if radius not in radii]
    peak = [radius for radius in radii if 1 <= radius <= len(curve)]
    level = 20 * np.log(1e-8)
    assert all(curve[radius - 1] == pytest.approx(level, abs=1) for radius in away)
    assert all(curve[radius - 1] > level + 5 for radius in peak)


def test_durall_of_white_noise_is_flat() -> None:
    """|F|^2 is exponential about its mean N^2 s^2, and the mean of its logarithm lies Euler's constant below."""
    size, count, deviation = 32, 300, 20.0
    generator = torch.Generator().manual_seed(4)
    images = 128 + deviation * torch.randn(count, 1, size, size, generator=generator, dtype=torch.float64)
    curve = durall_curves(images.expand(-1, 3, -1, -1)).mean(0)
    expected = 10 * (np.log(size**2 * (deviation * 0.9999) ** 2) - 0.5772157)
    assert curve[2:-3].sub(expected).abs().max() < 0.25
    assert curve.sub(expected).abs().max() < 1


def test_durall_of_filtered_pictures_is_the_filter_added() -> None:
    """ln |H F| = ln |H| + ln |F|, where the filter goes round the picture's edges."""
    size = 16
    images = noise(3, size, seed=5).double()
    filtered = 0.5 * images + 0.3 * images.roll(1, -1) + 0.1 * images.roll(-2, -2)
    kernel = torch.zeros(size, size, dtype=torch.float64)
    kernel[0, 0], kernel[0, 1], kernel[-2, 0] = 0.5, 0.3, 0.1
    response = 20 * torch.log(torch.fft.fftshift(torch.fft.fft2(kernel)).abs())
    added = azimuthal_mean(response[None], whole_radii(size, size, (7.5, 7.5), "cpu"))[0, 1:-1]
    torch.testing.assert_close(durall_curves(filtered) - durall_curves(images), added.expand(3, -1), atol=1e-6, rtol=0)


def test_slices_reach_the_last_frequency() -> None:
    """As StyleGAN3's: to N / 2 along the row, to N / sqrt 2 along the diagonal; the spectrum goes on periodically."""
    levels = torch.randn(32, 32, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    whole = np.concatenate([levels.numpy(), levels.numpy()[:1, :]], axis=0)
    whole = np.concatenate([whole, whole[:, :1]], axis=1)
    np.testing.assert_array_equal(closed(levels).numpy(), whole)
    (across, along), (diagonal, down) = slices(levels)[0], slices(levels)[45]
    np.testing.assert_allclose(across.numpy(), np.linspace(0, 8 / 2, 17))
    np.testing.assert_allclose(diagonal.numpy(), np.linspace(0, 8 / np.sqrt(2), 17))
    np.testing.assert_array_equal(along.numpy(), whole[16, np.arange(16, 33)])
    np.testing.assert_array_equal(down.numpy(), whole[np.arange(16, 33), np.arange(16, 33)])


def test_spectra_of_one_set_have_no_distance_and_blur_has_one() -> None:
    images = noise(8, 16)
    same, other = DurallSpectrum(), DurallSpectrum()
    same.update(images)
    flat = images.float()
    blurred = ((flat + flat.roll(1, -1) + flat.roll(1, -2)) / 3).round().byte()
    other.update(blurred)
    assert profile_distance(same.compute(), same.compute()) == 0.0
    assert profile_distance(same.compute(), other.compute()) > 0.05
    smaller = DurallSpectrum()
    smaller.update(noise(2, 8))
    with pytest.raises(ValueError, match="differ in size"):
        profile_distance(same.compute(), smaller.compute())


def test_a_picture_of_one_colour_has_a_spectrum() -> None:
    plain = torch.full((1, 3, 8, 8), 7, dtype=torch.uint8)
    assert durall_profiles(plain).isfinite().all()
    assert power_profiles(power(plain, 7.0, 1.0)).eq(0).all()


def test_the_spectrum_of_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="no picture"):
        DurallSpectrum().compute()
    with pytest.raises(ValueError, match="no picture"):
        PowerSpectrum(0.0, 1.0).compute()
