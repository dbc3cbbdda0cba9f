"""What figures are made of."""

import pytest
import torch
from studies import study, subject

from cips_lab.analysis.subject import Unsuitable, lacks_encoding, lacks_grid, lacks_outputs


def test_subjects_that_lack_what_is_needed_are_left_out_with_a_sentence() -> None:
    ours = study(subject("cips"), subject("cips_base"), subject("stylegan2"))
    assert [one.label for one in ours.suited(lacks_grid)] == ["cips", "cips_base"]
    assert ours.left_out == ["stylegan2 is convolutional: it draws its native grid only"]
    assert [one.label for one in ours.suited(lacks_encoding, lacks_outputs)] == ["cips"]
    with pytest.raises(Unsuitable, match="stylegan2 is convolutional"):
        study(subject("stylegan2")).suited(lacks_encoding)


def test_samples_are_those_of_the_seeds() -> None:
    """The first samples are what `synthesize seeds=0-2` draws, whatever the batch."""
    ours = study(count=20)
    one = ours.subjects[0]
    pictures = ours.everything(ours.samples(one))
    assert pictures.shape == (20, 3, 16, 16)
    drawn = one.generator.synthesize_native(ours.styles(one))
    levels = (drawn.clamp(-1, 1) * 127.5 + 127.5).round()
    assert (pictures[:3].float() - levels).abs().max() <= 1
    again = study(count=20)
    again.batch = 7
    assert torch.equal(again.everything(again.samples(one)), pictures)


def test_real_pictures_are_spread_over_the_set() -> None:
    """The first of a sorted set are all of a kind; all of them are all of them, in their order."""
    ours = study(count=40)
    whole = torch.stack([ours.with_real_pictures()[i] for i in range(40)])
    assert torch.equal(torch.cat(list(ours.real_pictures())), whole)
    assert torch.equal(torch.cat(list(ours.real_pictures(16))), whole[[i * 40 // 16 for i in range(16)]])
    assert torch.equal(torch.cat(list(ours.pictures(ours.with_real_pictures(), 100))), whole)


def test_without_real_pictures() -> None:
    ours = study(real=False)
    assert ours.count == 48
    with pytest.raises(Unsuitable, match="no data set is known"):
        ours.with_real_pictures()


def test_what_several_figures_share_is_computed_once() -> None:
    ours = study(subject("cips"), subject("cips_ne"), count=16)
    first, second = ours.subjects
    assert ours.gaussian_of(first) is ours.gaussian_of(first)
    assert torch.equal(ours.gaussian_of(first).mean, ours.gaussian(ours.samples(first)).mean)
    assert not torch.equal(ours.gaussian_of(first).mean, ours.gaussian_of(second).mean)
    calls: list[int] = []
    assert ours.once("none", lambda: calls.append(1)) is None
    assert ours.once("none", lambda: calls.append(1)) is None
    assert calls == [1]
