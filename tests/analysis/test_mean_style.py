"""Figure 3: the picture at the mean style, and the detail in it."""

import pytest
import torch
from studies import study, subject

from cips_lab.analysis.figures.mean_style import FIGURE, compute, detail_of, numbers, reading, rows
from cips_lab.reporting.figures import drawing


@pytest.mark.parametrize("variant", ["cips", "cips_ne", "stylegan2"])
def test_it_is_the_picture_of_truncation_to_nothing(variant: str) -> None:
    ours = study(subject(variant), real=False)
    (found,) = compute(ours)
    one = ours.subjects[0]
    generator = one.generator
    assert generator.mapping.w_mean.abs().max() > 0
    picture = generator.synthesize_native(generator.truncate(ours.styles(one, [11]), 0.0))[0]
    torch.testing.assert_close(found.image, picture, atol=1e-5, rtol=1e-5)
    assert found.detail == pytest.approx(detail_of(picture[None].clamp(-1, 1)), abs=1e-3)


def test_detail_is_power_above_an_eighth_of_the_sampling_rate() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(64, 3, 32, 32, generator=generator)
    assert detail_of(noise) == pytest.approx(0, abs=0.2)  # white noise of deviation 1
    assert detail_of(noise / 10) == pytest.approx(detail_of(noise) - 20, abs=1e-6)
    place = torch.arange(32) / 32
    coarse = torch.cos(2 * torch.pi * place).expand(1, 3, 32, 32)
    fine = torch.cos(2 * torch.pi * 9 * place).expand(1, 3, 32, 32)
    assert detail_of(coarse + 5) < -40 < -3 < detail_of(fine)  # -42 dB pass the window


def test_the_figure() -> None:
    variants = ("cips", "cips_base", "cips_ne", "stylegan2", "siren", "cips_sine", "cips_silu")
    data = FIGURE.compute(study(*map(subject, variants), real=False))
    assert [row["model"] for row in rows(data)] == list(variants)
    found = {label: one["detail_db"] for label, one in numbers(data).items()}
    told = reading(data)
    places = [told.index(f" {label} ") for label in sorted(found, key=lambda label: -found[label])]
    assert places == sorted(places)
    with drawing("test"):
        drawn = FIGURE.draw(data)
    assert [axes.get_title() for axes in drawn.axes if axes.images] == list(variants)
    with drawing("test"):
        FIGURE.draw(data[:1])
