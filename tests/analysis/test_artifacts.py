"""Figure 12: scores against the bootstrap's oracles, cuts that are known by hand, sources that were planted."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import study, subject
from torch import Tensor, nn
from variants import build

from cips_lab.analysis.cuts import cuts_of, signs_of, turnover
from cips_lab.analysis.figures import artifacts
from cips_lab.analysis.picture_spectra import HELD_OUT
from cips_lab.analysis.subject import Unsuitable
from cips_lab.analysis.wave_scores import compare, dithered, rank_of, scored
from cips_lab.analysis.wave_sources import GAIN, left_without, shares_of_outputs, smooth
from cips_lab.metrics.waves import Waves, waves_of
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.reporting.figures import drawing

# ---------------------------------------------------------------- scores


def test_errors_are_those_of_a_share() -> None:
    """With many real pictures the threshold is known, and a share's error is sqrt(p (1 - p) / N)."""
    draw = torch.Generator().manual_seed(0)
    real = torch.randn(20_000, generator=draw, dtype=torch.float64)
    sets = {
        "same": torch.randn(500, generator=draw, dtype=torch.float64),
        "waves": torch.randn(500, generator=draw, dtype=torch.float64) + 1,
    }
    found = compare(real, sets)
    assert found.threshold == pytest.approx(1.645, abs=0.05)
    for name, share in found.shares.items():
        assert share.value == float((sets[name] > found.threshold).double().mean())
        assert share.se == pytest.approx(math.sqrt(share.value * (1 - share.value) / 500), rel=0.2)
    assert abs(found.ranks["same"].value - 0.5) < 3 * found.ranks["same"].se + 0.01
    assert found.ranks["waves"].value == pytest.approx(0.76, abs=0.03)  # P(N(1, 2) > 0)
    difference = found.differences["waves", "same"]
    assert difference.value == pytest.approx(found.shares["waves"].value - found.shares["same"].value)
    assert difference.value > 4 * difference.se
    assert found == compare(real, sets)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_a_rank_is_the_mean_over_all_pairs(scores: list[int], real: list[int]) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a in scores for b in real]
    values = torch.tensor(scores, dtype=torch.float64), torch.tensor(real, dtype=torch.float64)
    assert rank_of(*values) == pytest.approx(sum(pairs) / len(pairs))


def test_the_score_of_a_set_is_that_of_its_pictures() -> None:
    ours = study(count=20)
    found = scored(ours, ours.real_pictures(20), 20)
    expected = waves_of(torch.cat(list(ours.real_pictures(20))))
    for column, other in zip(found, expected, strict=True):
        assert torch.equal(column, other)


def test_a_dither_is_told_from_a_longer_wave() -> None:
    """Of 32 pixels: alternating columns (16 cycles), a wave of 8, and alternating rows that are too faint to count."""
    pixel = torch.arange(32)
    fast = (100 * (pixel % 2) + 70).expand(3, 32, 32)
    slow = (127 + 50 * torch.cos(2 * math.pi * pixel / 4)).round().long().expand(3, 32, 32)
    waves = waves_of(torch.stack([fast, slow, fast.mT, fast]).to(torch.uint8))
    assert dithered(waves, float(waves.score.min()) - 1, 32) == 0.75
    assert dithered(waves._replace(score=torch.tensor([9.0, 9.0, 1.0, 9.0])), 6.0, 32) == 0.5


# ---------------------------------------------------------------- cuts


class Plain(nn.Module):
    """Coordinates themselves, in the place of an encoding: the network is then linear in pieces of the plane."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, coords: Tensor) -> Tensor:
        return torch.cat([coords, coords.new_zeros(*coords.shape[:-1], self.features - 2)], dim=-1)


def plain(variant: str, **options: Any) -> tuple[CIPSGenerator, Tensor]:
    generator = build(variant, **options)
    assert isinstance(generator, CIPSGenerator)
    generator.encoding = Plain(generator.encoding.features)  # type: ignore[assignment]
    w = torch.randn(1, generator.w_dim, generator=torch.Generator().manual_seed(3))
    return generator.requires_grad_(False), w


def test_the_first_layer_cuts_along_lines_that_are_known() -> None:
    """Unit u changes its sign on a_u x + b_u y + c_u = 0: along a row, where x = -(b_u y + c_u) / a_u."""
    generator, w = plain("cips")
    grid = image_grid(5, 400)
    cuts = cuts_of(generator, w, grid)[0]
    affine = generator.program(w).first.affine
    a, b = affine.weight[0, 0], affine.weight[0, 1]
    c = affine.bias.flatten()
    for row, y in enumerate(grid[:, 0, 1].tolist()):
        crossings = -(b * y + c) / a
        expected = int((crossings.abs() < 1).sum())
        signs = signs_of(generator, w, grid[row])[0]
        assert int((signs[1:] ^ signs[:-1]).sum()) == expected
    last = cuts[-1]  # no row below
    assert int(last.sum()) == expected
    assert expected > 0


@pytest.mark.parametrize("variant", ["cips", "cips_residual"])
def test_between_cuts_the_network_is_linear(variant: str) -> None:
    """The second difference of the picture is 0 wherever no unit of any layer changes its sign, and else is not."""
    generator, w = plain(variant)
    line = image_grid(1, 400, (-1, 0.3, 1, 0.31))
    rgb = generator.run(generator.program(w), generator.encoding(line[0]), line[0])[0].double()  # [3, P]
    bend = (rgb[:, 2:] - 2 * rgb[:, 1:-1] + rgb[:, :-2]).abs().amax(0)
    changes = cuts_of(generator, w, line).sum(0)[0]
    cut = (changes[:-2] + changes[1:-1]) > 0
    assert 20 < int(cut.sum()) < 350
    assert bend[~cut].max() < 4e-6 * max(1.0, float(rgb.abs().max()))  # float32's rounding
    assert bend[cut].median() > 10 * bend[~cut].median()


def test_sinrelu_has_kinks_in_every_second_unit_and_smooth_activations_have_none() -> None:
    coords = image_grid(4, 4).view(-1, 2)
    mixed = build("cips", activation="sinrelu")
    assert isinstance(mixed, CIPSGenerator)
    w = torch.randn(1, mixed.w_dim)
    assert all(signs.shape == (16, mixed.width // 2) for signs in signs_of(mixed, w, coords))
    smoothed = build("cips_silu")
    assert isinstance(smoothed, CIPSGenerator)
    with pytest.raises(ValueError, match="silu has no kink"):
        signs_of(smoothed, w, coords)


def test_turnover_is_the_share_of_units_that_switch() -> None:
    generator, w = plain("cips")
    grid = image_grid(8, 8)
    fine = image_grid(15, 15)  # every second place is one of the grid's
    assert turnover(generator, w, fine, 2) == pytest.approx(turnover(generator, w, grid, 1))
    signs = signs_of(generator, w, grid.view(-1, 2))[0].unflatten(0, (8, 8))
    pairs = [signs[i, j] != signs[i, j + 1] for i in range(8) for j in range(7)]
    pairs += [signs[i, j] != signs[i + 1, j] for i in range(7) for j in range(8)]
    assert turnover(generator, w, grid, 1)[0] == pytest.approx(float(torch.stack(pairs).float().mean()))


def test_the_drawn_plane_covers_its_pixels() -> None:
    """Its places' means over a pixel are that pixel's coordinate."""
    from cips_lab.analysis.wave_sources import FINE, part_drawn, plane

    left, top, side = part_drawn(32, [8, 16])
    grid = plane(32, [8, 16], torch.device("cpu"))
    means = grid.view(side, FINE, side, FINE, 2).mean((1, 3))
    assert torch.allclose(means, image_grid(32, 32)[top : top + side, left : left + side], atol=1e-5)


# ---------------------------------------------------------------- sources


def one_wave(count: int = 1, frequency: tuple[float, float] = (5.0, 3.0)) -> Waves:
    return Waves(
        torch.zeros(count), torch.tensor([frequency] * count, dtype=torch.float64), torch.zeros(count, 2).long()
    )


def test_contributions_add_up_to_the_wave_and_energies_are_shares() -> None:
    generator = build("cips", resolution=16)
    assert isinstance(generator, CIPSGenerator)
    w = torch.randn(3, generator.w_dim, generator=torch.Generator().manual_seed(1))
    outputs, energy, contribution = shares_of_outputs(generator, w, one_wave(3))
    assert outputs == [1, 2, 3]
    assert torch.allclose(contribution.sum(1), torch.ones(3).double())
    assert torch.allclose(energy.sum(1), torch.ones(3).double())
    assert (energy >= 0).all()


def test_an_output_that_draws_nothing_has_no_share() -> None:
    generator = build("cips", resolution=16).requires_grad_(False)
    assert isinstance(generator, CIPSGenerator)
    generator.to_rgb["1"].weight.zero_()  # type: ignore[operator, union-attr]
    w = torch.randn(2, generator.w_dim)
    _, energy, contribution = shares_of_outputs(generator, w, one_wave(2))
    assert energy[:, 1].max() < 1e-9
    assert contribution[:, 1].abs().max() < 1e-6


@pytest.mark.parametrize("cycles", [(8, 0), (0, 6), (6, 6)])
def test_smoothing_leaves_a_tenth_of_a_wave(cycles: tuple[int, int]) -> None:
    y, x = torch.meshgrid(torch.arange(32).double(), torch.arange(32).double(), indexing="ij")
    wave = torch.cos(2 * math.pi * (cycles[0] * x + cycles[1] * y) / 32)
    slow = torch.cos(2 * math.pi * x / 32)
    smoothed = smooth(torch.stack([wave, slow], dim=-1).view(-1, 2), 32, math.hypot(*cycles)).view(32, 32, 2)
    middle = slice(8, 24)  # the filter is another one at the edges
    assert torch.allclose(smoothed[middle, middle, 0], GAIN * wave[middle, middle], atol=2e-3)
    assert (smoothed[..., 1] - slow)[middle, middle].abs().max() < 0.1
    assert torch.equal(smooth(wave.view(-1, 1), 32, 0.0), wave.view(-1, 1))


def test_a_wave_that_passes_straight_through_falls_to_the_filters_gain() -> None:
    """Where every unit is positive the network is linear: a wave in the table is left to a tenth."""
    generator = build("cips_no_fourier", resolution=32).requires_grad_(False)
    assert isinstance(generator, CIPSGenerator)
    y, x = torch.meshgrid(torch.arange(32).float(), torch.arange(32).float(), indexing="ij")
    wave = torch.cos(2 * math.pi * (8 * x + 4 * y) / 32).view(-1, 1)
    direction = torch.randn(generator.encoding.features, generator=torch.Generator().manual_seed(2))
    generator.encoding.embedding.table.copy_(wave * direction)  # type: ignore[operator, union-attr]
    for module in generator.modules():
        if hasattr(module, "linear"):
            module.linear.bias += 1000.0  # type: ignore[union-attr, operator]
    w = torch.randn(2, generator.w_dim, generator=torch.Generator().manual_seed(1))
    assert all(signs.all() for signs in signs_of(generator, w[:1], generator.native_coords)[:1])
    at = one_wave(2, (8.0, 4.0))._replace(corner=torch.tensor([[8, 8], [8, 8]]))
    left = left_without(generator, w, at)
    assert list(left) == ["coordinate embedding"]
    linear = all(
        bool((signs == signs[:1]).all())
        for i in range(2)
        for signs in signs_of(generator, w[i : i + 1], generator.native_coords)
    )
    assert linear
    assert torch.allclose(left["coordinate embedding"], torch.full((2,), GAIN).double(), atol=0.01)


def test_what_is_not_smoothed_is_all_left() -> None:
    """A part that is constant loses nothing, and smoothing all of two parts is then smoothing the other."""
    generator = build("cips", resolution=16).requires_grad_(False)
    assert isinstance(generator, CIPSGenerator)
    generator.encoding.embedding.table.copy_(generator.encoding.embedding.table[:1].clone())  # type: ignore
    left = left_without(generator, torch.randn(2, generator.w_dim), one_wave(2))
    assert torch.allclose(left["coordinate embedding"], torch.ones(2).double(), atol=1e-3)
    assert torch.allclose(left["all inputs"], left["Fourier features"], atol=1e-3)


# ---------------------------------------------------------------- the figure


def test_models_of_every_kind_side_by_side() -> None:
    ours = study(subject("cips"), subject("cips_silu"), subject("stylegan2"), subject("cips", seed=1, label="again"))
    data = artifacts.compute(ours)
    with drawing("test"):
        drawn = artifacts.draw(data)
        texts = {text.get_text() for part in drawn.subfigs for axes in part.axes for text in axes.texts}
    assert any("silu has no kinks" in text for text in texts)
    assert any("convolutional" in text for text in texts)
    cips, silu, convolutional, _ = data.models
    assert cips.source is not None
    assert cips.source.layers == [1, 4, 7]
    assert len(cips.source.turnover) == 7
    assert silu.source is not None
    assert silu.source.layers == []
    assert convolutional.source is None
    assert torch.equal(cips.waves.score[cips.samples].sort(descending=True).values, cips.waves.score[cips.samples])
    assert torch.equal(cips.images, ours.everything(ours.samples(ours.subjects[0]))[cips.samples])
    table = artifacts.rows(data)
    assert len(table) == 48 * 6
    told = artifacts.numbers(data)
    limit = told["threshold_db"]
    above = [row["score"] > limit for row in table if row["set"] == "stylegan2"]
    assert told["models"]["stylegan2"]["share_above"] == pytest.approx(sum(above) / 48)
    assert sum(told["models"]["cips"]["frequency_lengths"].values()) == round(
        48 * told["models"]["cips"]["share_above"]
    )
    assert set(told["models"]) == {HELD_OUT, "cips", "cips_silu", "stylegan2", "again"}
    assert told["variants"]["cips"]["seeds"] == 2
    assert "again - cips" in told["differences"]
    assert HELD_OUT in artifacts.reading(data)


def test_without_held_out_pictures_and_without_any() -> None:
    ours = study()
    ours.held_out = None
    data = artifacts.compute(ours)
    assert HELD_OUT not in artifacts.numbers(data)["models"]
    with drawing("test"):
        artifacts.draw(data)
    with pytest.raises(Unsuitable, match="no data set is known"):
        artifacts.compute(study(real=False))
