from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cips_lab.data.sampler import InfiniteSampler

lengths = st.integers(1, 40)
seeds = st.integers(0, 2**32)
worlds = st.integers(1, 9)


def take(count: int, *args: int) -> list[int]:
    return list(islice(InfiniteSampler(*args), count))


@settings(deadline=None)
@given(lengths, seeds, st.integers(0, 5))
def test_every_picture_comes_once_per_epoch(length: int, seed: int, epoch: int) -> None:
    stream = take((epoch + 1) * length, length, seed)
    assert sorted(stream[epoch * length :]) == list(range(length))


@settings(deadline=None)
@given(lengths, seeds, worlds, st.integers(0, 60), st.data())
def test_resuming_continues_the_same_stream(
    length: int, seed: int, world: int, per_rank: int, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(0, world - 1))
    whole = take(per_rank + 50, length, seed, rank, world, 0)
    assert take(50, length, seed, rank, world, per_rank * world) == whole[per_rank:]


@settings(deadline=None)
@given(lengths, seeds, worlds, st.integers(0, 20))
def test_ranks_interleave_to_the_stream_of_one_process(length: int, seed: int, world: int, per_rank: int) -> None:
    begin = per_rank * world
    ranks = [take(30, length, seed, rank, world, begin) for rank in range(world)]
    interleaved = [index for step in zip(*ranks, strict=True) for index in step]
    assert interleaved == take(30 * world, length, seed, 0, 1, begin)


def test_epochs_and_seeds_give_different_orders() -> None:
    stream = take(200, 100, 0)
    assert stream[:100] != stream[100:]
    assert stream[:100] != list(range(100))
    assert stream[:100] != take(100, 100, 1)
    # A generator seeded with seed + epoch would repeat epoch 1 of seed 0 as epoch 0 of seed 1.
    assert stream[100:] != take(100, 100, 1)


def test_the_order_is_the_same_each_time_it_is_iterated() -> None:
    sampler = InfiniteSampler(10, 3)
    assert list(islice(sampler, 25)) == list(islice(sampler, 25))


def test_indices_are_plain_ints_and_there_is_no_length() -> None:
    assert type(next(iter(InfiniteSampler(5, 0)))) is int
    with pytest.raises(TypeError):
        len(InfiniteSampler(5, 0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0, 0), "length"),
        ((5, -1), "seed"),
        ((5, 0, 2, 2), "rank"),
        ((5, 0, -1, 2), "rank"),
        ((5, 0, 0, 4, 6), "images_seen"),
        ((5, 0, 0, 4, -4), "images_seen"),
    ],
)
def test_impossible_arguments_are_refused(arguments: tuple[int, ...], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        InfiniteSampler(*arguments)
