"""Truncation at its ends, where what must come out is known."""

import pytest
import torch
from studies import study, subject

from cips_lab.analysis.figures import truncation
from cips_lab.analysis.subject import Unsuitable
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.manifold import manifold
from cips_lab.reporting.figures import drawing


def test_psi_1_is_the_plain_samples() -> None:
    ours = study(quick=True)
    one = ours.subjects[0]
    found = truncation._of(ours, one, 1.0)
    assert torch.equal(found.images, ours.everything(ours.samples(one))[:3])
    shares = manifold(ours.collected(ours.samples(one)).features, ours.collected(ours.real_pictures()).features)
    assert (found.precision, found.recall) == (shares.precision, shares.recall)
    expected = frechet_distance(ours.gaussian(ours.samples(one)), ours.real_gaussian)
    assert found.distance == pytest.approx(expected)


def test_psi_0_is_one_picture_without_recall() -> None:
    ours = study(quick=True)
    found = truncation._of(ours, ours.subjects[0], 0.0)
    assert (found.images == found.images[:1]).all()
    assert found.recall.value == 0.0
    assert found.precision.value in (0.0, 1.0)


def test_pictures_come_nearer_to_the_mean_picture_as_psi_falls() -> None:
    ours = study(quick=True)
    mean = truncation._of(ours, ours.subjects[0], 0.0).images[0].double()
    away = [float((one.images.double() - mean).square().mean()) for one in truncation.compute(ours)]
    assert away == sorted(away)
    assert away[0] < away[-1] / 2


def test_several_models_and_what_is_told_of_them() -> None:
    data = truncation.compute(study(subject("cips"), subject("stylegan2"), quick=True))
    assert [(one.subject, one.psi) for one in data] == [
        (name, psi) for name in ("cips", "stylegan2") for psi in truncation.PSI
    ]
    table = truncation.rows(data)
    assert all(0 <= row["precision"] <= 1 and 0 <= row["recall"] <= 1 for row in table)
    told = truncation.numbers(data)
    own = {row["psi"]: row["distance"] for row in table if row["model"] == "stylegan2"}
    assert told["best_psi"]["stylegan2"] == min(own, key=lambda psi: own[psi])
    assert "stylegan2: precision" in truncation.reading(data)
    with drawing("test"):
        truncation.draw(data)
        truncation.draw(data[: len(truncation.PSI)])


def test_without_real_pictures() -> None:
    with pytest.raises(Unsuitable, match="no data set is known"):
        truncation.compute(study(real=False))
