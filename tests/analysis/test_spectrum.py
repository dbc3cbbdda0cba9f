"""Figure 7 of models whose spectra are known."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import ndimage
from studies import study, subject
from torch import Tensor

from cips_lab.analysis.figures.spectrum import FIGURE, compute, draw, numbers, reading, rows, smoothed
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject, Unsuitable
from cips_lab.data.blue_marble import load_tiles
from cips_lab.data.dataset import ArrayDataset
from cips_lab.metrics.spectra import DurallSpectrum, PowerSpectrum, mean_and_deviation, sums_of
from cips_lab.reporting.figures import drawing


class Copyist(Study):
    """Its models draw the real pictures; the one called ``blurred`` blurs them, along the rows only."""

    def samples(
        self, subject: Subject, truncation: float = 1.0, resolution: int | None = None, count: int | None = None
    ) -> Iterator[Tensor]:
        for images in self.real_pictures(count):
            flat = images.float()
            blurred = (flat + flat.roll(1, -1)) / 2
            yield blurred.round().byte() if subject.label == "blurred" else images


def copyist() -> Study:
    models = [subject("cips_ne", label="copying"), subject("cips_ne", label="blurred")]
    ours = Copyist(**{name: value for name, value in vars(study(*models)).items() if name != "_known"})
    ours.held_out = ArrayDataset(load_tiles(16, "test")[48:96].copy())
    return ours


def test_copies_have_no_distance_and_a_blur_shows_where_it_blurs() -> None:
    data = compute(copyist())
    copying, blurred = data.models
    found = numbers(data)
    assert found["pictures"] == 48
    for recipe in ("durall", "stylegan3"):
        assert found["distance"][recipe]["copying"] == 0
        assert found["distance"][recipe]["real, held out"] > 0
    assert found["distance"]["durall"]["blurred"] > 0.05
    assert found["distance"]["stylegan3"]["blurred"] > 1
    assert torch.equal(copying.levels, data.real.levels)
    lost = (blurred.levels - data.real.levels)[32]  # along the rows, [64]
    assert lost[32].abs() < 0.5
    assert lost[0] < -10
    down = (blurred.levels - data.real.levels)[:, 32]
    assert down[[32, 48, 56]].abs().max() < 1.5
    assert "nearest first: by durall copying 0.000, blurred" in reading(data)


def test_curves_are_those_of_all_samples_at_once() -> None:
    ours = study(subject("cips"), count=20)
    found = compute(ours).models[0]
    real = torch.cat(list(ours.real_pictures()))
    images = torch.cat(list(ours.samples(ours.subjects[0])))
    power, durall = PowerSpectrum(*mean_and_deviation(sums_of(real))), DurallSpectrum()
    power.update(images)
    durall.update(images)
    levels, profile = power.compute()
    torch.testing.assert_close(found.levels, levels, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.stylegan3.mean, profile.mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.durall.mean, durall.compute().mean, atol=1e-9, rtol=0)


def test_heat_maps_are_smoothed_as_stylegan3_does() -> None:
    """facts: sigma = 1.25 cycles a picture, that is 5 places of the padded spectrum; beyond its edges the nearest."""
    levels = torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = np.pad(levels.numpy(), ((0, 1), (0, 1)), mode="wrap")
    np.testing.assert_allclose(smoothed(levels), ndimage.gaussian_filter(whole, sigma=5.0, mode="nearest"))


@pytest.mark.parametrize("models", [("cips",), ("cips", "cips_base", "cips_ne", "stylegan2", "siren", "cips_sine")])
def test_the_figure(models: tuple[str, ...]) -> None:
    data = FIGURE.compute(study(*map(subject, models), count=16))
    table = rows(data)
    assert len({tuple(row) for row in table}) == 1
    sets = {row["set"] for row in table}
    assert sets == {"real", "real, held out", *models}
    # 16 pixels: 8 + 1 rings and 2 x 33 places of slices, and by durall the radii 1 to 9.
    assert len(table) == len(sets) * (9 + 9 + 2 * 33)
    assert all(np.isfinite(row["value"]) for row in table)
    with drawing("test"):
        drawn = draw(data)
    maps = [axes for axes in drawn.axes if axes.images]
    assert [axes.get_title() for axes in maps] == ["real", *models]


def test_without_real_pictures_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(Unsuitable, match="no data set is known"):
        compute(study(real=False))


def test_without_held_out_pictures() -> None:
    ours = study(count=16)
    ours.held_out = None
    data = compute(ours)
    assert set(numbers(data)["distance"]["durall"]) == {"cips"}
    assert "other real pictures" not in reading(data)
    with drawing("test"):
        draw(data)
