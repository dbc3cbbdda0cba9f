"""The terms of the sum that a skip generator's picture is."""

from typing import Any

import pytest
import torch
from studies import study, subject

from cips_lab.analysis.figures.layers import FIGURE, compute, numbers, reading, rows, summary
from cips_lab.analysis.programs import terms_of
from cips_lab.analysis.subject import Unsuitable
from cips_lab.reporting.figures import drawing

CASES: dict[str, dict[str, Any]] = {
    "skip": {},
    "residual": {"blocks": "residual"},
    "sine": {"activation": "sine"},
    "noise": {"noise": True},
    "unmodulated": {"modulation": False},
    "official lookup": {"embedding_lookup": "official"},
}


@pytest.mark.parametrize("case", CASES)
def test_terms_add_up_to_the_picture(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cips_lab.analysis.programs.AT_ONCE", 100)  # in parts, the last one shorter
    generator = subject("cips", **CASES[case]).pixelwise
    w = generator.mapping(torch.randn(3, generator.z_dim, generator=torch.Generator().manual_seed(1)))
    outputs, terms = terms_of(generator, w)
    assert outputs == [1, 2, 3]
    assert terms.shape == (3, 3, 3, 16, 16)
    torch.testing.assert_close(terms.sum(0), generator.synthesize_native(w), atol=2e-5, rtol=1e-5)


def test_an_output_of_zeros_adds_nothing() -> None:
    generator = subject("cips").pixelwise
    silent = generator.to_rgb["1"]
    with torch.no_grad():
        for name in ("weight", "bias"):
            silent.get_parameter(name).zero_()
    _, terms = terms_of(generator, generator.mapping(torch.zeros(1, generator.z_dim)))
    assert terms[1].eq(0).all()
    assert terms[0].abs().max() > 0


def test_the_summary_of_terms_that_are_known() -> None:
    """A constant has no variance; alternating columns are fine through and through; a ramp is not at all."""
    side = 16
    columns = torch.arange(side).expand(side, side).double()
    pictures = torch.stack([torch.full((side, side), 0.7).double(), 1 - 2 * (columns % 2), columns / side])
    power, variances, fine = summary(pictures[:, None, None].expand(-1, 2, 3, -1, -1))
    assert power.shape == (3, 9)
    assert variances[0] == pytest.approx(0, abs=1e-12)
    assert variances[1] == pytest.approx(1)
    assert variances[2] == pytest.approx(float((torch.arange(side).double() / side).var(correction=0)))
    # 3 x 3 pixels of alternating columns have a mean of a third, with the other sign.
    assert fine.tolist() == pytest.approx([0, (4 / 3) ** 2, 0], abs=1e-12)
    assert int(power[1].argmax()) == side // 2
    assert int(power[2].argmax()) <= 1


def test_the_figure() -> None:
    ours = study(subject("cips"), subject("cips_base"), subject("stylegan2"), subject("cips", 1, "other", width=24))
    data = FIGURE.compute(ours)
    assert [one.subject for one in data] == ["cips", "other"]
    assert len(ours.left_out) == 2
    table = rows(data)
    assert len(table) == 2 * 3 * 9
    for one in numbers(data).values():
        assert sum(one["share"].values()) == pytest.approx(1)
        assert sum(one["share_of_fine"].values()) == pytest.approx(1)
    first = ours.subjects[0].pixelwise
    drawn = first.synthesize_native(ours.styles(ours.subjects[0], [0]))
    torch.testing.assert_close(data[0].sums[-1], drawn[0], atol=2e-5, rtol=1e-5)
    shares = numbers(data)["cips"]["share"]
    assert f"cips: most after pair {max(shares, key=shares.__getitem__)} of 3" in reading(data)
    with drawing("test"):
        figure = FIGURE.draw(data)
    assert sum(bool(axes.images) for axes in figure.axes) == 2 * 3 * 2


def test_a_model_with_one_output_is_unsuited() -> None:
    with pytest.raises(Unsuitable, match="reads RGB once"):
        compute(study(subject("cips_base")))
