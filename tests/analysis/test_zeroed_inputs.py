"""Figure 6 of models of which it is known what each input does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from studies import study, subject

from cips_lab.analysis.encodings import EMBEDDING, FOURIER, zeroed
from cips_lab.analysis.figures.zeroed_inputs import BANDS, FIGURE, WHOLE, changes, compute, numbers, reading, rows
from cips_lab.analysis.subject import Unsuitable
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.spectra import PowerSpectrum
from cips_lab.reporting.figures import drawing


def test_an_input_that_the_model_ignores_changes_nothing() -> None:
    """With the embedding's weights at zero, and a strong Fourier part."""
    one = subject("cips")
    with torch.no_grad():
        one.pixelwise.first.linear.weight[:, 16:] = 0
    ours = study(one, count=32, quick=True)
    (model,) = compute(ours).models
    whole, without_embedding, without_fourier = model
    assert [part.zeroed for part in model] == [WHOLE, EMBEDDING, FOURIER]
    torch.testing.assert_close(without_embedding.images, whole.images, atol=1e-5, rtol=0)
    assert without_embedding.distance == pytest.approx(0, abs=0.05)
    assert all(abs(change) < 0.05 for change in changes(without_embedding, whole).values())
    # Without the Fourier features all pixels are alike.
    assert without_fourier.images.flatten(2).std(2).max() < 1e-5
    assert changes(without_fourier, whole)["high"] < -20
    assert without_fourier.distance > 1
    assert whole.distance == 0


def test_numbers_are_of_all_samples() -> None:
    ours = study(subject("cips_base"), count=20, quick=True)
    (model,) = compute(ours).models
    one = ours.subjects[0]
    before, after = one.generator, zeroed(one.pixelwise, FOURIER)
    pictures = []
    for generator in (before, after):
        pictures.append(torch.cat(list(ours.samples(replace(one, generator=generator)))))
    whole, changed = (ours.gaussian(part.split(16), 20) for part in pictures)
    assert model[2].distance == pytest.approx(frechet_distance(changed, whole), rel=1e-4)
    assert model[2].to_real == pytest.approx(frechet_distance(changed, ours.real_gaussian), rel=1e-4)
    spectrum = PowerSpectrum(0.0, 1.0)
    spectrum.update(pictures[1])
    # Whitening is another level, and another mean: which the window keeps to the lowest frequencies.
    difference = (spectrum.compute()[1].mean - model[2].curve.mean)[4:]
    assert difference.std() < 0.01


def test_bands_are_those_of_the_curve() -> None:
    ours = study(subject("cips"), count=16, real=False, quick=True)
    (model,) = compute(ours).models
    powers = [10 ** (part.curve.mean.numpy() / 10) for part in model]
    expected = {  # of 16 pixels: 1 to 2, 2 to 4 and 4 to 8 cycles a picture
        "low": 10 * np.log10(powers[1][1:3].mean() / powers[0][1:3].mean()),
        "middle": 10 * np.log10(powers[1][2:5].mean() / powers[0][2:5].mean()),
        "high": 10 * np.log10(powers[1][4:9].mean() / powers[0][4:9].mean()),
    }
    assert changes(model[1], model[0]) == pytest.approx(expected)
    assert list(BANDS) == list(expected)


@pytest.mark.parametrize("real", [True, False])
def test_the_figure(real: bool) -> None:
    variants = ("cips", "stylegan2", "cips_ne", "cips_base")
    ours = study(*map(subject, variants), count=16, real=real, quick=True)
    data = FIGURE.compute(ours)
    assert [model[0].subject for model in data.models] == ["cips", "cips_base"]
    assert ours.left_out == [
        "stylegan2 is convolutional: its pixels have no encoding",
        "cips_ne has one encoding, the Fourier features: without it nothing tells its pixels apart",
    ]
    table = rows(data)
    assert [row["zeroed"] for row in table] == ["none", EMBEDDING, FOURIER] * 2
    assert (table[0]["distance_to_real"] is None) is not real
    found = numbers(data)
    assert set(found["cips"]) == {"whole", EMBEDDING, FOURIER}
    told = reading(data)
    more, less = sorted((EMBEDDING, FOURIER), key=lambda part: -found["cips"][part]["distance"])
    assert told.index(more) < told.index(less)
    with drawing("test"):
        drawn = FIGURE.draw(data)
    assert sum(bool(axes.images) for axes in drawn.axes) == 2 * 3 * 3
    assert sum(bool(axes.lines) for axes in drawn.axes) == 2


def test_a_model_with_one_part_is_unsuited() -> None:
    with pytest.raises(Unsuitable, match="one encoding"):
        compute(study(subject("cips_ne")))
