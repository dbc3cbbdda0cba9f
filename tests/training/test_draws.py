"""Draws are functions of their arguments, and shares partition a batch into whole groups."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cips_lab.networks.discriminator import minibatch_stddev
from cips_lab.training.draws import Latents, Share, draw_flips, draw_latents, share_of, stream


def fields(latents: Latents) -> list[Tensor]:
    return [latents.z, latents.noise_seed, latents.z_mixed, latents.crossover]


def shares_of_all(processes: int, passes: int) -> list[Share]:
    """As `GAN._shares` makes them on each process."""
    return [Share(rank + processes * i, processes * passes) for rank in range(processes) for i in range(passes)]


@given(processes=st.integers(1, 6), passes=st.integers(1, 6), each=st.integers(1, 5))
def test_shares_partition_the_global_batch(processes: int, passes: int, each: int) -> None:
    batch = torch.arange(processes * passes * each)
    parts = [share.of(batch).tolist() for share in shares_of_all(processes, passes)]
    assert sorted(index for part in parts for index in part) == batch.tolist()
    assert {len(part) for part in parts} == {each}


@given(processes=st.integers(1, 6), passes=st.integers(1, 6), each=st.integers(1, 5))
def test_a_micro_batch_of_a_process_is_a_share_of_the_whole(processes: int, passes: int, each: int) -> None:
    """`real[i :: passes]` of what a process reads is what its latents' shares are of the global batch."""
    batch = torch.arange(processes * passes * each)
    for rank in range(processes):
        own = Share(rank, processes).of(batch)
        for i in range(passes):
            assert torch.equal(own[i::passes], Share(rank + processes * i, processes * passes).of(batch))


@given(
    processes=st.integers(1, 4),
    passes=st.integers(1, 3),
    groups=st.integers(1, 3),
    group_size=st.sampled_from([1, 2, 4]),
)
@settings(max_examples=40, deadline=None)
def test_a_share_holds_whole_groups_of_the_minibatch_stddev(
    processes: int, passes: int, groups: int, group_size: int
) -> None:
    """Where each pass has a multiple of group_size samples, a sample's deviation is that of the global batch."""
    count = processes * passes
    x = torch.randn(count * groups * group_size, 2, 2, 2, generator=torch.Generator().manual_seed(count))
    whole = minibatch_stddev(x, group_size)
    for share in shares_of_all(processes, passes):
        torch.testing.assert_close(minibatch_stddev(share.of(x), group_size), share.of(whole))


@given(seed=st.integers(0, 2**40), images_seen=st.integers(0, 10**9), batch=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_draws_are_functions_of_their_arguments(seed: int, images_seen: int, batch: int) -> None:
    first = draw_latents(seed, "generator", images_seen, batch, 5)
    state = torch.get_rng_state()
    torch.rand(3)
    again = draw_latents(seed, "generator", images_seen, batch, 5)
    for a, b in zip(fields(first), fields(again), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(draw_flips(seed, images_seen, batch), draw_flips(seed, images_seen, batch))
    torch.set_rng_state(state)
    draw_latents(seed, "generator", images_seen, batch, 5)
    draw_flips(seed, images_seen, batch)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone


def test_other_arguments_draw_otherwise() -> None:
    drawn = {}
    for seed in (0, 1):
        for purpose in ("generator", "discriminator"):
            for images_seen in (0, 8, 16):
                latents = draw_latents(seed, purpose, images_seen, 4, 5)
                drawn[seed, purpose, images_seen] = latents.z
                assert not torch.equal(latents.z, latents.z_mixed)
    flat = torch.stack([z.flatten() for z in drawn.values()])
    assert len(flat.unique(dim=0)) == len(drawn) == 12
    # "1" + "2/..." and "12" + "/..." must not meet: arguments are separated.
    assert stream(1, "a", 23).initial_seed() != stream(1, "a2", 3).initial_seed()
    assert stream(1, "a", 23).initial_seed() != stream(12, "a", 3).initial_seed()


def test_distributions() -> None:
    latents = draw_latents(0, "generator", 0, 10_000, 8)
    assert abs(float(latents.z.mean())) < 5 / 80_000**0.5
    assert abs(float(latents.z.var()) - 1) < 0.03
    assert latents.noise_seed.dtype == torch.int64
    assert len(latents.noise_seed.unique()) > 9_990
    assert 0 <= float(latents.crossover.min()) <= float(latents.crossover.max()) < 1
    assert abs(float(latents.crossover.mean()) - 0.5) < 0.02
    flips = draw_flips(0, 0, 10_000)
    assert flips.dtype == torch.bool
    assert abs(float(flips.float().mean()) - 0.5) < 0.025


def test_shares_of_latents() -> None:
    latents = draw_latents(3, "generator", 8, 12, 5)
    share = Share(1, 3)
    part = share_of(latents, share, torch.device("cpu"))
    for whole, own in zip(fields(latents), fields(part), strict=True):
        assert torch.equal(own, whole[[1, 4, 7, 10]])
