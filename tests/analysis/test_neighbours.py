"""Nearest real pictures against the naive search, and copies that were planted."""

from typing import Any

import pytest
import torch
from studies import study, subject
from torch import Tensor

from cips_lab.analysis.figures import neighbours
from cips_lab.analysis.nearest import nearest_of, neighbours_of
from cips_lab.analysis.picture_spectra import HELD_OUT
from cips_lab.analysis.study import Study, spread
from cips_lab.analysis.subject import Unsuitable
from cips_lab.data.dataset import ArrayDataset
from cips_lab.reporting.figures import drawing


def points(count: int, seed: int) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_are_those_of_the_naive_search() -> None:
    some, others = points(30, 0), points(40, 1)
    distance, place = nearest_of(some, others, 5)
    naive = (some[:, None].double() - others[None].double()).norm(dim=2)
    expected = naive.sort(dim=1)
    assert torch.equal(place, expected.indices[:, :5])
    assert torch.allclose(distance, expected.values[:, :5])


def test_ratios_are_the_formula_written_out() -> None:
    generated, real, turned = points(12, 2), points(15, 3), points(15, 4)
    found = neighbours_of(generated, real, turned, 3)

    def far(a: Tensor, b: Tensor) -> float:
        return float((a.double() - b.double()).norm())

    for i, sample in enumerate(generated):
        nearer = [min(far(sample, real[j]), far(sample, turned[j])) for j in range(15)]
        order = sorted(range(15), key=lambda j: nearer[j])[:3]
        assert found.places[i].tolist() == order
        assert found.mirrored[i].tolist() == [far(sample, turned[j]) < far(sample, real[j]) for j in order]
        first = order[0]
        own = min(min(far(real[first], real[j]), far(real[first], turned[j])) for j in range(15) if j != first)
        assert found.ratios[i] == pytest.approx(nearer[first] / own)


def test_a_picture_that_is_there_twice_does_not_hide_a_copy() -> None:
    real = torch.cat([points(20, 5), points(20, 5)[:1]])
    copy = real[:1] + 1e-3
    found = neighbours_of(copy, real, points(21, 6), 1)
    assert found.ratios[0] < 0.01


def planted(mirror: bool) -> tuple[Study, Tensor]:
    """A study whose third real picture is the model's sample 5, or its mirror image."""
    ours = study(quick=True)
    copied = ours.everything(ours.samples(ours.subjects[0]))[5]
    pictures = torch.stack([ours.with_real_pictures()[i] for i in range(48)])
    pictures[2] = copied.flip(-1) if mirror else copied
    ours.real = ArrayDataset(pictures.numpy())
    return ours, pictures


@pytest.mark.parametrize("mirror", [False, True])
def test_a_planted_copy_is_found_in_both_spaces(mirror: bool) -> None:
    ours, pictures = planted(mirror)
    found = [one for one in neighbours.compute(ours) if one.subject != HELD_OUT]
    assert [one.space for one in found] == [neighbours.FEATURES, neighbours.PIXELS]
    for one in found:
        assert one.samples[0] == 5
        assert one.ratios[5] < 1e-3
        assert bool(one.mirrored[0, 0]) == mirror
        shown = pictures[2].flip(-1) if mirror else pictures[2]
        assert torch.equal(one.nearest[0, 0], shown)
        assert torch.equal(one.images[0], shown)
        assert not torch.equal(one.nearest[0, 1], shown)


def test_held_out_pictures_that_are_training_pictures_would_show() -> None:
    """The control is compared as samples are: the tests' training tiles are the first half of the held-out ones."""
    ours = study(quick=True)
    control = {one.space: one for one in neighbours.compute(ours) if one.subject == HELD_OUT}
    assert len(control[neighbours.PIXELS].ratios) == 48
    twice = [place < 48 for place in spread(96, 48)]
    assert ((control[neighbours.PIXELS].ratios == 0) == torch.tensor(twice)).all()


def test_several_models_and_what_is_told_of_them() -> None:
    ours = study(subject("cips"), subject("stylegan2"), quick=True)
    data = neighbours.compute(ours)
    told = neighbours.numbers(data)
    assert set(told) == {HELD_OUT, "cips", "stylegan2"}
    cips: Any = told["cips"][neighbours.PIXELS]
    ratios = [row["ratio"] for row in neighbours.rows(data) if (row["model"], row["space"]) == ("cips", "pixels")]
    assert len(ratios) == 48
    assert cips["smallest"] == min(ratios)
    assert cips["nearer_than_own_neighbour"] == sum(ratio < 1 for ratio in ratios) / 48
    assert cips["training_pictures"] == 48
    assert "stylegan2" in neighbours.reading(data)
    with drawing("test"):
        neighbours.draw(data)


def test_without_held_out_pictures_and_without_any() -> None:
    ours = study(quick=True)
    ours.held_out = None
    data = neighbours.compute(ours)
    assert neighbours.numbers(data)["cips"]["pixels"]["below_held_out_1_percent"] is None
    with drawing("test"):
        neighbours.draw(data)
    with pytest.raises(Unsuitable, match="no data set is known"):
        neighbours.compute(study(real=False))
