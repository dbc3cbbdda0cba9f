"""Counter-based noise: its distribution, its independence, and that it is a function of the pixel alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.noise import pixel_keys, pixel_noise

SIDE = 317  # 317^2 is about 1e5 draws; the standard error of a mean or correlation is 1 / 317
BOUND = 5 / SIDE


def field(layer: int = 0, seed: int = 0) -> Tensor:
    """Noise on a whole picture, [SIDE, SIDE]."""
    return pixel_noise(pixel_keys(image_grid(SIDE, SIDE), SIDE).flatten(), layer, seed).view(SIDE, SIDE)


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1])


@pytest.mark.parametrize(("layer", "seed"), [(0, 0), (3, 0), (0, 1), (14, 2**31 - 1)])
def test_it_is_standard_normal(layer: int, seed: int) -> None:
    noise = field(layer, seed).double()
    assert noise.isfinite().all()
    assert abs(float(noise.mean())) < BOUND
    assert abs(float(noise.square().mean()) - 1) < BOUND * 2**0.5
    assert abs(float(noise.pow(3).mean())) < BOUND * 15**0.5
    assert abs(float(noise.pow(4).mean()) - 3) < BOUND * 96**0.5
    # Kolmogorov and Smirnov's distance to the normal distribution; 1.95 / sqrt(n) is exceeded once in a thousand.
    uniform = torch.special.ndtr(noise.flatten()).sort().values
    expected = (torch.arange(SIDE**2, dtype=torch.float64) + 0.5) / SIDE**2
    assert float((uniform - expected).abs().max()) < 1.95 / SIDE
    assert float(noise.max()) > 3.7
    assert float(noise.min()) < -3.7


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (64, 0), (0, 64)])
def test_neighbours_are_uncorrelated(rows: int, columns: int) -> None:
    noise = field()
    shifted = noise.roll((rows, columns), (0, 1))
    assert abs(correlation(noise, shifted)) < BOUND
    assert abs(correlation(noise.square(), shifted.square())) < BOUND
    assert abs(correlation(noise, noise.t())) < BOUND


def test_layers_and_seeds_are_uncorrelated() -> None:
    pairs = ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2), (0, 2**30))
    fields = torch.stack([field(layer, seed) for layer, seed in pairs])
    count = len(pairs)
    others = ~torch.eye(count, dtype=torch.bool)
    for x, y in (
        (fields, fields),
        (fields.square(), fields.square()),
        (fields[:, 1:], fields[:, :-1]),  # one pixel's beside its neighbour's
    ):
        correlations = torch.corrcoef(torch.cat([x.flatten(1), y.flatten(1)]))[:count, count:]
        assert float(correlations[others].abs().max()) < BOUND


def test_no_two_layers_and_seeds_coincide() -> None:
    """A thousand (layer, seed) pairs: the first three draws of each differ from those of all others."""
    keys = pixel_keys(image_grid(1, 3), 16).flatten()
    draws = torch.stack([pixel_noise(keys, layer, seed) for layer in range(20) for seed in range(50)])
    assert len(draws.unique(dim=0)) == 1000


def test_pixels_do_not_share_noise() -> None:
    keys = pixel_keys(image_grid(256, 256), 256)
    assert keys.dtype == torch.int64
    assert int(keys.min()) >= 0
    assert int(keys.max()) < 2**32
    assert len(keys.unique()) >= 256**2 - 5  # half a collision of 32-bit hashes is expected
    assert abs(float(keys.double().mean()) / 2**32 - 0.5) < 5 / 256 / 12**0.5


@given(size=st.sampled_from([8, 16, 32]), every=st.integers(1, 4), layer=st.integers(0, 20), seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_a_pixel_has_its_noise_in_any_grid(size: int, every: int, layer: int, seed: int) -> None:
    native = pixel_noise(pixel_keys(image_grid(size, size), size).flatten(), layer, seed).view(size, size)
    finer_size = (size - 1) * every + 1
    finer = pixel_noise(pixel_keys(image_grid(finer_size, finer_size), size).flatten(), layer, seed)
    assert torch.equal(finer.view(finer_size, finer_size)[::every, ::every], native)
    first, last = size // 4, size // 2
    edges = [2 * i / (size - 1) - 1 for i in (first, first, last, last)]
    zoomed = pixel_keys(image_grid(last - first + 1, last - first + 1, edges), size)
    own = pixel_noise(zoomed.flatten(), layer, seed).view_as(zoomed)
    assert torch.equal(own, native[first : last + 1, first : last + 1])


@given(jitter=st.floats(-0.3, 0.3), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_rounding_does_not_change_a_pixels_noise(jitter: float, seed: int) -> None:
    """Native pixels lie in the middle of their cells: up to a third of a cell off, the noise is the same."""
    grid = image_grid(16, 16)
    cell = 2 / (64 * 15)
    assert torch.equal(pixel_keys(grid + jitter * cell, 16), pixel_keys(grid, 16))
    assert not bool((pixel_keys(grid + cell, 16) == pixel_keys(grid, 16)).any())


@given(seeds=st.lists(st.integers(0, 2**40), min_size=1, max_size=5), layer=st.integers(0, 20), own=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_seed_for_each_sample(seeds: list[int], layer: int, own: bool) -> None:
    coords = torch.rand(len(seeds), 6, 2) if own else torch.rand(6, 2)
    keys = pixel_keys(coords, 16)
    together = pixel_noise(keys, layer, torch.tensor(seeds))
    assert together.shape == (len(seeds), 6)
    for i, seed in enumerate(seeds):
        assert torch.equal(together[i], pixel_noise(keys[i] if own else keys, layer, seed))


def test_beyond_the_training_square() -> None:
    coords = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)) * 100
    noise = pixel_noise(pixel_keys(coords, 256), 0, 0)
    assert noise.isfinite().all()
    assert abs(float(noise.std()) - 1) < 0.1


def test_the_extremes_of_the_hash_are_finite() -> None:
    """log(0) would be infinite: the two hashes' whole range is mapped into the open interval (0, 1)."""
    keys = torch.arange(2**18)
    noise = pixel_noise(keys, 0, 0)
    assert float(noise.abs().max()) < 6  # sqrt(-2 log(2^-25)) = 5.9
