"""Both distances of every variant: planted ones whose readings are known, and those of small models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from studies import study, subject

from cips_lab.analysis.figures import spectrum
from cips_lab.analysis.figures.spectrum_ablation import (
    COMPONENTS,
    FIGURE,
    MEASURES,
    Ablation,
    Distances,
    Variant,
    compute,
    draw,
    numbers,
    reading,
    rows,
    spearman,
)
from cips_lab.analysis.subject import Unsuitable
from cips_lab.configuration import conf_folder
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.reporting.figures import drawing


def planted(name: str, *seeds: tuple[float, float, float]) -> Variant:
    """durall, stylegan3, features of each seed."""
    return Variant(
        name, [Distances(f"{name} {i}", dict(zip(MEASURES, seed, strict=True))) for i, seed in enumerate(seeds)]
    )


# The paper's riddle: the nearest spectrum has the largest feature distance.
RIDDLE = Ablation(
    [
        planted("cips", (0.08, 4.0, 10.0), (0.10, 6.0, 14.0)),
        planted("cips_base", (0.07, 3.0, 20.0), (0.05, 5.0, 26.0)),
        planted("cips_no_fourier", (0.05, 3.5, 30.0)),
        planted("cips_ne", (0.01, 1.0, 60.0)),
    ],
    None,
    1000,
)


def test_the_riddle_is_read_off() -> None:
    found = numbers(RIDDLE)
    assert found["nearest"] == {"durall": "cips_ne", "stylegan3": "cips_ne", "features": "cips"}
    assert found["rank_correlation"] == {"durall": pytest.approx(-1), "stylegan3": pytest.approx(-1)}
    assert found["variants"]["cips"]["features"] == {"mean": 12.0, "std": pytest.approx(8**0.5)}
    assert found["variants"]["cips_ne"]["features"] == {"mean": 60.0, "std": None}
    assert reading(RIDDLE) == (
        "Smallest feature distance: cips (12). Nearest spectrum: by durall cips_ne (60), 0.010 from real; by stylegan3 "
        "cips_ne (60), 1.00 dB from real. Rank correlation of the two distances over 4 variants: durall -1.00, "
        "stylegan3 -1.00."
    )
    fewer = Ablation(RIDDLE.variants[:3], None, 1000)
    assert "Rank correlation" not in reading(fewer)
    agreeing = Ablation([planted("a", (0.1, 1, 1)), planted("b", (0.2, 2, 2))], None, 9)
    assert "by durall the same, 0.100 from real" in reading(agreeing)


def test_effects_are_what_a_component_adds() -> None:
    skip, embedding = RIDDLE.effects[2], RIDDLE.effects[0]
    assert [effect.component for effect in RIDDLE.effects] == [
        "coordinate embedding",
        "Fourier features",
        "RGB after every pair (skip)",
    ]
    assert (embedding.present, embedding.absent) == ("cips_base", "cips_ne")
    assert embedding.change["features"] == pytest.approx(23 - 60)
    assert embedding.deviation["features"] is None
    assert skip.change["durall"] == pytest.approx(0.09 - 0.06)
    # Variances add: 8 of cips, 18 of cips_base.
    assert skip.deviation["features"] == pytest.approx(26**0.5)


def test_components_compare_variants_that_differ_in_them_only() -> None:
    """By their files: one of the two is the other's default, or both have the same, and one thing is set besides."""
    from variants import composed

    for component, (present, absent) in COMPONENTS.items():
        assert (conf_folder() / "generator" / f"{present}.yaml").is_file(), component
        one, other = composed(present), composed(absent)
        assert sum(one.get(key) != other.get(key) for key in one.keys() | other.keys()) == 1, component


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=9))
def test_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(values, dtype=float) for values in zip(*pairs, strict=True))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert spearman(first, second) == 0
    else:
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_distances_are_those_of_the_other_figures() -> None:
    """Several seeds of a variant are one entry; subjects of one seed, such as two moments of a run, are not."""
    seeds = [subject("cips", seed=number, label=f"cips, seed {number}") for number in (0, 1)]
    moments = [subject("cips_ne", seed=3, label=f"cips_ne, {kimg} kimg") for kimg in (1, 2)]
    ours = study(*seeds, *moments, subject("stylegan2"), count=16, quick=True)
    data = compute(ours)
    assert [variant.name for variant in data.variants] == [
        "cips",
        "stylegan2",
        "cips_ne, 1 kimg",
        "cips_ne, 2 kimg",
    ]
    found = spectrum.numbers(spectrum.compute(ours))["distance"]
    for one in (model for variant in data.variants for model in variant.models):
        for recipe in ("durall", "stylegan3"):
            assert one.values[recipe] == found[recipe][one.label]
    features = frechet_distance(ours.gaussian(ours.samples(seeds[1])), ours.real_gaussian)
    assert data.variants[0].models[1].values["features"] == pytest.approx(features)
    assert data.held_out is not None
    assert data.held_out.values["stylegan3"] == found["stylegan3"]["real, held out"]


def test_the_figure() -> None:
    variants = ("cips", "cips_base", "cips_ne", "stylegan2", "cips_residual", "cips_sine", "cips_silu", "cips_lowpass")
    data = FIGURE.compute(study(*map(subject, variants), count=16, quick=True))
    table = rows(data)
    assert len({tuple(row) for row in table}) == 1
    kinds = [row["kind"] for row in table]
    assert kinds == ["variant"] * 8 + ["component"] * 6 + ["model"] * 8 + ["real"]
    for shown in (data, RIDDLE, Ablation(RIDDLE.variants[1:3:2], None, 5)):
        with drawing("test"):
            drawn = draw(shown)
        assert len(drawn.axes) == 3 + (3 if shown.effects else 0)


def test_one_variant_is_unsuited() -> None:
    with pytest.raises(Unsuitable, match="only cips: give others"):
        compute(study(subject("cips", 0, "a"), subject("cips", 1, "b"), count=16, quick=True))
    with pytest.raises(Unsuitable, match="no data set"):
        compute(study(subject("cips"), subject("cips_ne"), real=False))
