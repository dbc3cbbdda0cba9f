"""The distance at larger sizes, of every model that has a grid."""

import pytest
import torch
from studies import study, subject

from cips_lab.analysis.enlarging import LANCZOS, draw_larger
from cips_lab.analysis.figures import resolution_distance
from cips_lab.analysis.figures.resolution_distance import ResolutionDistance
from cips_lab.analysis.subject import Unsuitable
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.reporting.figures import drawing


@pytest.fixture(scope="module")
def computed() -> list[ResolutionDistance]:
    ours = study(subject(), subject("stylegan2"), subject("cips_ne"), count=20, quick=True)
    data = resolution_distance.compute(ours)
    assert ours.left_out == ["stylegan2 is convolutional: it draws its native grid only"]
    return data


def test_every_model_at_every_size(computed: list[ResolutionDistance]) -> None:
    assert [(one.subject, one.factor, one.side) for one in computed] == [
        (label, factor, 16 * factor) for label in ("cips", "cips_ne") for factor in (1, 2, 4)
    ]
    assert all(one.count == 20 for one in computed)
    assert all(one.drawn == one.enlarged for one in computed if one.factor == 1)
    assert all(one.drawn != one.enlarged for one in computed if one.factor > 1)


def test_distances_are_those_of_the_sets(computed: list[ResolutionDistance]) -> None:
    ours = study(subject(), count=20, quick=True)
    model = ours.subjects[0]
    w = ours.styles(model, range(20))
    native = torch.cat(list(ours.samples(model)))
    at_32 = draw_larger(model.generator, w, 2, LANCZOS)
    for one, images, value in ((computed[0], native, "drawn"), (computed[1], at_32, "enlarged")):
        real = torch.stack([ours.finer(one.side)[i] for i in range(20)])  # type: ignore[index]
        expected = frechet_distance(ours.gaussian(images.split(16)), ours.gaussian(real.split(16)))
        # Native pixels are drawn as any others, so a few values are rounded otherwise.
        assert getattr(one, value) == pytest.approx(expected, rel=0.01)


def test_what_is_told(computed: list[ResolutionDistance]) -> None:
    with drawing("test"):
        resolution_distance.draw(computed)
    assert resolution_distance.rows(computed)[1]["side"] == 32
    assert len(resolution_distance.numbers(computed)["sizes"]) == 6
    assert "cips_ne at 64: " in resolution_distance.reading(computed)
    assert "at 32: " not in resolution_distance.reading(computed)


def test_unsuitable() -> None:
    ours = study(count=12)
    ours.finer = lambda side: None
    with pytest.raises(Unsuitable, match="more than 16 pixels"):
        resolution_distance.compute(ours)
    with pytest.raises(Unsuitable, match="no data set"):
        resolution_distance.compute(study(real=False))
    with pytest.raises(Unsuitable, match="convolutional"):
        resolution_distance.compute(study(subject("stylegan2")))
