"""Figure 4: spectra of encodings whose frequencies are known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import study, subject
from variants import composed

from cips_lab.analysis.encodings import EMBEDDING, FOURIER, EncodingMap, maps_of
from cips_lab.analysis.figures.encoding_spectrum import (
    BEGAN,
    FIGURE,
    TRAINED,
    compute,
    numbers,
    reading,
    rows,
    spectrum_of,
)
from cips_lab.analysis.subject import Subject, Unsuitable
from cips_lab.networks.encoding import FourierFeatures, PositionalEncoding
from cips_lab.reporting.figures import drawing


def noise(features: int, side: int, deviation: float = 1.0) -> torch.Tensor:
    return deviation * torch.randn(features, side, side, generator=torch.Generator().manual_seed(0))


def configured(variant: str, seed: int = 0) -> Subject:
    """A generator as training begins with it, with the configuration that says so."""
    from cips_lab.configuration import build

    torch.manual_seed(seed)
    options = composed(variant)
    return Subject(variant, build(options).eval(), dict(options), variant, 0.0, seed)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6), st.integers(-6, 6))
def test_a_fourier_feature_stands_at_its_frequency(across: int, down: int) -> None:
    """sin(w x) over a grid whose neighbours are 2 / (R - 1) apart has w R / (pi (R - 1)) cycles in R pixels."""
    side = 16
    one = FourierFeatures(1)
    with torch.no_grad():
        one.weight.copy_(torch.tensor([[across, down]]) * math.pi * (side - 1) / side)
        one.bias.fill_(0.3)
    (values,) = maps_of(subject("cips"), PositionalEncoding({"fourier": one}))
    found = spectrum_of(values, TRAINED)
    assert found.part == FOURIER
    row, column = divmod(int(found.levels.argmax()), 4 * side)
    sign = 1 if column >= 2 * side else -1  # the map is symmetric about its middle
    assert abs(sign * (column - 2 * side) / 4 - across) <= 0.5
    assert abs(sign * (row - 2 * side) / 4 - down) <= 0.5
    if abs(math.hypot(across, down) - side / 4) > 1.5:  # a window of 16 pixels blurs by as much
        assert found.high == pytest.approx(float(math.hypot(across, down) > side / 4), abs=0.05)


@pytest.mark.parametrize("deviation", [1.0, 0.02])
def test_white_noise_is_flat_at_its_variance(deviation: float) -> None:
    found = spectrum_of(EncodingMap("a", EMBEDDING, noise(600, 16, deviation)), BEGAN)
    # Its mean is taken from each feature, and the lowest frequencies with it.
    assert found.curve[2:].sub(20 * math.log10(deviation)).abs().max() < 0.4
    assert found.high == pytest.approx(1 - math.pi / 16, abs=0.01)  # of a square, what lies outside half its circle


def test_it_is_the_mean_over_features_and_each_ones_constant_is_left_out() -> None:
    maps = noise(5, 16)
    kaiser = np.kaiser(16, 8.0)
    kaiser /= np.sqrt((kaiser**2).sum())
    expected = np.zeros((64, 64))
    for one in maps.double().numpy():
        expected += np.abs(np.fft.fft2((one - one.mean()) * np.outer(kaiser, kaiser), s=(64, 64))) ** 2 / 5
    shifted = maps + 100 * torch.arange(5)[:, None, None]
    found = spectrum_of(EncodingMap("a", EMBEDDING, shifted), TRAINED)
    np.testing.assert_allclose(found.levels, np.fft.fftshift(10 * np.log10(expected)), atol=1e-2)
    cycles = np.abs(np.fft.fftfreq(64, 1 / 16))
    high = np.hypot(cycles[:, None], cycles[None, :]) > 4
    assert found.high == pytest.approx(expected[high].sum() / expected.sum(), abs=1e-5)


def test_maps_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = EncodingMap("a", EMBEDDING, noise(7, 16))
    whole = spectrum_of(values, TRAINED)
    monkeypatch.setattr("cips_lab.analysis.figures.encoding_spectrum.AT_ONCE", 3 * 16**2)
    torch.testing.assert_close(spectrum_of(values, TRAINED).levels, whole.levels)


def test_the_figure() -> None:
    """Models as they begin, one of them changed since: a table that was blurred."""
    trained, other = configured("cips"), configured("cips_no_fourier", 1)
    table = trained.pixelwise.encoding.get_submodule("embedding").get_parameter("table")
    with torch.no_grad():
        grid = table.unflatten(0, (16, 16))
        table.copy_(((grid + grid.roll(1, 0) + grid.roll(1, 1) + grid.roll((1, 1), (0, 1))) / 4).flatten(0, 1))
    ours = study(trained, subject("cips_ne"), subject("stylegan2"), other)
    data = FIGURE.compute(ours)
    assert [(one.subject, one.part, one.moment) for one in data] == [
        ("cips", FOURIER, BEGAN),
        ("cips", EMBEDDING, BEGAN),
        ("cips", FOURIER, TRAINED),
        ("cips", EMBEDDING, TRAINED),
        ("cips_ne", FOURIER, TRAINED),  # a file that does not say how it was made
        ("cips_no_fourier", EMBEDDING, BEGAN),
        ("cips_no_fourier", EMBEDDING, TRAINED),
    ]
    found = numbers(data)["share_above_quarter_of_sampling_rate"]
    assert found["cips"][FOURIER][BEGAN] == found["cips"][FOURIER][TRAINED]
    assert found["cips"][EMBEDDING][BEGAN] == pytest.approx(0.8, abs=0.06)
    assert found["cips"][EMBEDDING][TRAINED] < 0.6
    assert torch.equal(data[5].levels, data[6].levels)
    assert f"{EMBEDDING} {found['cips'][EMBEDDING][TRAINED]:.1%} (initialised: " in reading(data)
    assert len(rows(data)) == 7 * 9
    with drawing("test"):
        drawn = FIGURE.draw(data)
    assert sum(bool(axes.images) for axes in drawn.axes) == 7
    titles = [axes.get_title(loc="left") for axes in drawn.axes]
    assert [title.split(":")[0] for title in titles if title] == list(found)


def test_a_convolutional_model_is_unsuited() -> None:
    with pytest.raises(Unsuitable, match="have no encoding"):
        compute(study(subject("stylegan2")))
