"""Which real pictures are looked at: spread over a sorted set, not all of its first kind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sets import noise_pictures, tiny_extractor

from cips_lab.data.dataset import ArrayDataset
from cips_lab.data.labels import Classes
from cips_lab.errors import UserError
from cips_lab.metrics.choice import chosen, labels_of, spread
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.results import is_better, table

KIND, COUNT = 40, 30  # pictures of each of two kinds, and how many of both are looked at


def two_kinds() -> ArrayDataset:
    """Sorted: pale ones, then those of high contrast."""
    return ArrayDataset(np.concatenate([noise_pictures(KIND, 1, 0.2), noise_pictures(KIND, 2, 2.0)]))


def judge(cache: Path, **options: object) -> Evaluator:
    return Evaluator("tiny", num_samples=COUNT, num_real=COUNT, kid_subset_size=10, cache=cache, **options)  # type: ignore[arg-type]


@given(size=st.integers(1, 400), count=st.integers(1, 500))
def test_places(size: int, count: int) -> None:
    places = spread(size, count)
    assert len(places) == min(size, count)
    assert places[0] == 0
    gaps = np.diff([*places, size])  # to the set's end too
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1  # nowhere denser than elsewhere
    if count >= size:
        assert places == list(range(size))


@given(size=st.integers(1, 60), count=st.integers(1, 60))
def test_a_choice_is_a_set_of_those_pictures(size: int, count: int) -> None:
    pictures = ArrayDataset(np.arange(size * 3, dtype=np.uint8).repeat(4).reshape(size, 3, 2, 2))
    count = min(count, size)
    seen = chosen(pictures, count, "spread")
    assert [int(seen[number][0, 0, 0]) for number in range(count)] == [
        int(pictures[place][0, 0, 0]) for place in spread(size, count)
    ]
    assert (seen.location, seen.resolution) == (pictures.location, pictures.resolution)
    assert (seen.fingerprint() == pictures.fingerprint()) == (count == size)
    assert chosen(pictures, count, "first") is pictures


def test_the_reference_holds_both_kinds(tiny: str, tmp_path: Path) -> None:
    pictures, network = two_kinds(), tiny_extractor()
    features = network(torch.stack([pictures[number] for number in range(2 * KIND)])).features
    even, first = judge(tmp_path), judge(tmp_path, real_choice="first")
    real, others = even.reference(pictures), first.reference(pictures)
    torch.testing.assert_close(real.main.features, features[spread(2 * KIND, COUNT)])
    torch.testing.assert_close(others.main.features, features[:COUNT])
    assert real.main.path != others.main.path  # neither is taken for the other
    torch.testing.assert_close(even.reference(pictures).main.features, real.main.features)  # from the cache
    # What the kinds are named for: a generator that makes both is told so by the one alone.
    both = ArrayDataset(np.concatenate([noise_pictures(15, 3, 0.2), noise_pictures(15, 4, 2.0)]))
    pale = ArrayDataset(noise_pictures(30, 3, 0.2))
    assert even.evaluate_pictures(both, real)["fd_tiny"] < even.evaluate_pictures(pale, real)["fd_tiny"]
    assert first.evaluate_pictures(both, others)["fd_tiny"] > first.evaluate_pictures(pale, others)["fd_tiny"]


def test_samples_and_held_out_pictures_are_spread_too(tiny: str, tmp_path: Path) -> None:
    pictures, evaluator = two_kinds(), judge(tmp_path)
    real = evaluator.reference(pictures)
    # The same 30 of 80: nothing is between them.
    assert evaluator.evaluate_pictures(pictures, real)["fd_tiny"] == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(evaluator.held_out(pictures).main.features, real.main.features)


def test_classes_are_those_of_the_same_pictures(tiny: str, tmp_path: Path) -> None:
    pictures = two_kinds()
    classes = Classes(("pale", "strong"), np.arange(2 * KIND) // KIND)
    for choice, expected in (("spread", [0] * 15 + [1] * 15), ("first", [0] * 30)):
        evaluator = judge(tmp_path, real_choice=choice)
        known = evaluator.with_classes(evaluator.reference(pictures), classes)
        assert known.labels is not None
        assert known.labels.tolist() == expected
        assert labels_of(classes.of, COUNT, choice).tolist() == expected  # type: ignore[arg-type]
    assert evaluator.with_classes(evaluator.reference(pictures), None).labels is None


def test_records_say_so_and_are_not_mixed(tiny: str, tmp_path: Path) -> None:
    pictures = two_kinds()
    records = []
    for evaluator in (judge(tmp_path), judge(tmp_path, real_choice="first")):
        records.append({"kimg": 1.0} | evaluator.evaluate_pictures(pictures, evaluator.reference(pictures)))
    even, first = records
    assert even["real_choice"] == "spread"
    assert "real_choice" not in first  # as in records of before there was a choice
    assert not is_better(even | {"kid": -1.0}, "kid", first)
    assert table([even, first]).count("samples against") == 2
    everything = Evaluator("tiny", num_samples=COUNT, num_real=2 * KIND, kid_subset_size=10, cache=tmp_path)
    assert "real_choice" not in everything.evaluate_pictures(pictures, everything.reference(pictures))


def test_an_unknown_choice_is_named(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics.real_choice=last: spread or first"):
        judge(tmp_path, real_choice="last")
