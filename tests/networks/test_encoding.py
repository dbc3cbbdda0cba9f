"""Fourier features and the coordinate embedding, beside sin(Bx + b) and torch's own bilinear sampling."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.encoding import CoordinateEmbedding, EncodingPart, FourierFeatures, Inputs, PositionalEncoding
from cips_lab.networks.modulated import PixelLayer


@pytest.mark.parametrize("initialization", ["uniform", "siren"])
@torch.no_grad()
def test_fourier_features(initialization: str) -> None:
    torch.manual_seed(0)
    fourier = FourierFeatures(7, initialization)
    coords = torch.randn(2, 3, 2)
    actual = fourier(coords)
    assert actual.shape == (2, 3, 7)
    for i in range(2):
        for j in range(3):
            x, y = coords[i, j].tolist()
            for k in range(7):
                bx, by = fourier.weight[k].tolist()
                assert abs(float(actual[i, j, k]) - math.sin(bx * x + by * y + float(fourier.bias[k]))) < 1e-5


@pytest.mark.parametrize(
    ("initialization", "weight_bound", "bias_bound"),
    [("uniform", math.sqrt(9 / 2), 1 / math.sqrt(2)), ("siren", 15.0, 30 / math.sqrt(2))],
)
def test_fourier_initialisation(initialization: str, weight_bound: float, bias_bound: float) -> None:
    torch.manual_seed(0)
    fourier = FourierFeatures(20_000, initialization)
    for parameter, bound in ((fourier.weight.detach(), weight_bound), (fourier.bias.detach(), bias_bound)):
        assert 0.999 * bound < float(parameter.abs().max()) <= bound
        assert abs(float(parameter.std()) - bound / math.sqrt(3)) < 0.02 * bound  # of a uniform distribution
        assert abs(float(parameter.mean())) < 0.03 * bound


def test_the_scale_of_the_frequencies() -> None:
    torch.manual_seed(0)
    plain = FourierFeatures(9)
    torch.manual_seed(0)
    finer = FourierFeatures(9, scale=2.5)
    torch.testing.assert_close(finer.weight, 2.5 * plain.weight)
    assert torch.equal(finer.bias, plain.bias)
    assert finer.weight.is_leaf
    assert finer.weight.requires_grad


@pytest.mark.parametrize("features", [6, 7])
@torch.no_grad()
def test_pairs_are_sine_and_cosine_of_the_same_wave(features: int) -> None:
    torch.manual_seed(0)
    fourier = FourierFeatures(features, waves="pairs")
    coords = torch.randn(5, 2)
    angles = coords @ fourier.weight.T + fourier.bias
    expected = torch.cat([torch.sin(angles), torch.sin(angles + math.pi / 2)], dim=1)
    assert fourier(coords).shape == (5, features)
    torch.testing.assert_close(fourier(coords), expected[:, :features], atol=1e-5, rtol=0)


@torch.no_grad()
def test_two_factors_move_a_wave_of_a_pair() -> None:
    """What modulation does with a pair, and cannot do with a sine: a sin(x) + b cos(x) is sin(x + phase)."""
    fourier = FourierFeatures(2, waves="pairs")
    coords, phase = torch.randn(9, 2), 0.7
    moved = fourier(coords) @ torch.tensor([math.cos(phase), math.sin(phase)])
    torch.testing.assert_close(moved, torch.sin((coords @ fourier.weight.T + fourier.bias)[:, 0] + phase))


def test_unknown_waves() -> None:
    with pytest.raises(ValueError, match=r"fourier\.waves must be sine or pairs"):
        FourierFeatures(4, waves="cosine")  # type: ignore[arg-type]


def test_an_unknown_initialisation() -> None:
    with pytest.raises(ValueError, match=r"fourier\.initialization"):
        FourierFeatures(4, "normal")


def grid_sample(table: Tensor, coords: Tensor, resolution: int, lookup: str) -> Tensor:
    """[P, features], by torch: a picture [1, features, R, R] read at [1, 1, P, 2]."""
    picture = table.view(resolution, resolution, -1).permute(2, 0, 1)[None]
    sampled = F.grid_sample(
        picture, coords.view(1, 1, -1, 2), mode="bilinear", padding_mode="border", align_corners=lookup == "aligned"
    )
    return sampled[0, :, 0].t()


@pytest.mark.parametrize("lookup", ["aligned", "official"])
@given(resolution=st.sampled_from([2, 3, 8, 16]), spread=st.sampled_from([0.5, 1.0, 3.0]), seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_embedding_is_bilinear_sampling(lookup: str, resolution: int, spread: float, seed: int) -> None:
    torch.manual_seed(seed)
    embedding = CoordinateEmbedding(resolution, 5, lookup=lookup)
    coords = (spread * torch.randn(40, 2)).requires_grad_(True)
    target = torch.randn(40, 5)
    actual = embedding(coords)
    expected = grid_sample(embedding.table, coords, resolution, lookup)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    inputs = [embedding.table, coords]
    gradients = torch.autograd.grad((actual * target).sum(), inputs)
    reference = torch.autograd.grad((expected * target).sum(), inputs)
    for a, e in zip(gradients, reference, strict=True):
        torch.testing.assert_close(a, e, atol=1e-4, rtol=1e-4)
    assert float(gradients[0].abs().max()) > 0


def test_corners_and_middles() -> None:
    """What the two lookups mean, in numbers, on a table 4 x 4 that holds (row, column)."""
    table = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij"), dim=-1).view(16, 2)
    points = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [0.0, 0.0], [-0.75, 5.0]])  # (x, y)
    aligned = [[0, 0], [0, 3], [3, 0], [1.5, 1.5], [3, 0.375]]
    official = [[0, 0], [0, 3], [3, 0], [1.5, 1.5], [3, 0.0]]
    for lookup, expected in (("aligned", aligned), ("official", official)):
        embedding = CoordinateEmbedding(4, 2, lookup=lookup)
        embedding.table.data.copy_(table)
        torch.testing.assert_close(embedding(points).detach(), torch.tensor(expected), atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_native_grid_reads_the_table() -> None:
    for resolution in (8, 64, 256):
        torch.manual_seed(0)
        embedding = CoordinateEmbedding(resolution, 3)
        looked_up = embedding(image_grid(resolution, resolution)).view(-1, 3)
        # A float32 coordinate is good to 6e-8, a position to that times R / 2, and rows differ by a few.
        torch.testing.assert_close(looked_up, embedding.table, atol=5e-7 * resolution, rtol=0)


@torch.no_grad()
def test_shapes_and_batches() -> None:
    embedding = CoordinateEmbedding(8, 3)
    coords = torch.rand(2, 5, 7, 2)
    batched = embedding(coords)
    assert batched.shape == (2, 5, 7, 3)
    assert torch.equal(batched.view(-1, 3), embedding(coords.view(-1, 2)))


@torch.no_grad()
def test_initial_std() -> None:
    torch.manual_seed(0)
    assert abs(float(CoordinateEmbedding(64, 16).table.std()) - 1) < 0.01
    assert abs(float(CoordinateEmbedding(64, 16, std=0.1).table.std()) - 0.1) < 0.001


@torch.no_grad()
def test_a_learning_rate_of_the_tables_own() -> None:
    """The first vectors are the same; a step of the table moves them by the multiplier times as much."""
    torch.manual_seed(0)
    plain = CoordinateEmbedding(8, 3, std=0.5)
    torch.manual_seed(0)
    slow = CoordinateEmbedding(8, 3, std=0.5, lr_multiplier=0.1)
    coords = torch.rand(5, 7, 2)
    torch.testing.assert_close(slow(coords), plain(coords))
    torch.testing.assert_close(slow.scaled(slow.table), plain.scaled(plain.table))
    before = slow.scaled(slow.table).clone(), slow(coords)
    slow.table += 1
    torch.testing.assert_close(slow.scaled(slow.table) - before[0], torch.full((64, 3), 0.1), atol=1e-5, rtol=0)
    torch.testing.assert_close(slow(coords) - before[1], torch.full((5, 7, 3), 0.1), atol=1e-5, rtol=0)


def test_a_low_pass_on_the_table_is_a_weighted_mean_of_neighbours() -> None:
    """Row by row, the naive formula; what was constant stays so at the edges, and a gradient reaches every entry."""
    torch.manual_seed(0)
    embedding = CoordinateEmbedding(8, 3, lowpass=0.7)
    table = embedding.table.detach().double().view(8, 8, 3)
    expected = torch.zeros_like(table)
    for y in range(8):
        for x in range(8):
            weights = torch.tensor(
                [[math.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * 0.7**2)) for j in range(8)] for i in range(8)],
                dtype=torch.float64,
            )
            expected[y, x] = (weights[..., None] * table).sum((0, 1)) / weights.sum()
    torch.testing.assert_close(embedding.filtered().double(), expected.flatten(0, 1), atol=1e-6, rtol=0)
    torch.testing.assert_close(embedding(image_grid(8, 8)).flatten(0, 1), embedding.filtered(), atol=1e-5, rtol=0)
    embedding(image_grid(8, 8)).sum().backward()
    assert embedding.table.grad is not None
    assert embedding.table.grad.ne(0).all()
    constant = CoordinateEmbedding(8, 1, lowpass=2.0)
    with torch.no_grad():
        constant.table.fill_(3.0)
    torch.testing.assert_close(constant.filtered(), constant.table)
    with pytest.raises(ValueError, match="lowpass must be 0 or more"):
        CoordinateEmbedding(8, 3, lowpass=-1)


def test_an_unknown_lookup() -> None:
    with pytest.raises(ValueError, match="embedding_lookup"):
        CoordinateEmbedding(8, 3, lookup="nearest")


@pytest.mark.parametrize("lookup", ["aligned", "official"])
@torch.no_grad()
def test_the_concatenation(lookup: str) -> None:
    fourier, embedding = FourierFeatures(6), CoordinateEmbedding(8, 3, lookup=lookup)
    coords = torch.rand(11, 2)
    both = PositionalEncoding({"fourier": fourier, "embedding": embedding})
    assert both.features == 9
    assert torch.equal(both(coords), torch.cat([fourier(coords), embedding(coords)], dim=1))
    both.train()
    assert embedding.reads_table_directly()
    both.eval()
    assert embedding.reads_table_directly() == (lookup == "aligned")
    only_fourier = PositionalEncoding({"fourier": fourier, "embedding": None})
    only_embedding = PositionalEncoding({"fourier": None, "embedding": embedding})
    assert (only_fourier.features, only_embedding.features) == (6, 3)
    assert torch.equal(only_fourier(coords), fourier(coords))
    assert torch.equal(only_embedding(coords), embedding(coords))
    assert only_fourier.embedding is None


def test_neither_is_refused() -> None:
    with pytest.raises(ValueError, match="Fourier features, a coordinate embedding"):
        PositionalEncoding({"fourier": None, "embedding": None})


class Polar(EncodingPart):
    """A newcomer's part: the distance from the middle, and a bias of its own at every native pixel."""

    features = 2

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([2.0]))
        self.offset = torch.nn.Parameter(torch.randn(resolution**2, 1))

    def inputs(self, native: bool) -> Inputs:
        return Inputs(shared=(self.scale,), by_row=(self.offset,)) if native else Inputs(shared=(self.scale,))

    def encode(self, coords: Tensor, inputs: Inputs) -> Tensor:
        radius = coords.norm(dim=-1, keepdim=True) * inputs.shared[0]
        return torch.cat([radius, inputs.by_row[0] if inputs.by_row else torch.zeros_like(radius)], dim=-1)


def test_a_new_part_is_one_class() -> None:
    """Its shared tensors and its rows go through the tiles, forward and backward, beside the parts that were there."""
    torch.manual_seed(0)
    generator = CIPSGenerator(8, width=8, z_dim=4, w_dim=4, mapping_layers=1, fourier={"features": 3}, embedding=None)
    polar = Polar(8)
    generator.encoding = PositionalEncoding({"fourier": generator.encoding.fourier, "polar": polar})
    generator.first = PixelLayer(generator.encoding.features, 8, 4)
    w, seed = torch.randn(2, 4), torch.tensor([0, 0])
    native = generator.encoding.inputs(native=True)
    encoded = generator.encoding.encode(generator.native_coords, native)
    assert torch.equal(encoded[:, 4:], polar.offset)
    at_once = generator.run(generator.program(w), encoded, generator.native_coords, seed).unflatten(2, (8, 8))
    inputs = [polar.scale, polar.offset, generator.encoding.fourier.weight]
    expected = torch.autograd.grad(at_once.square().sum(), inputs)
    tiled = generator.synthesize_native(w, tile=13)
    torch.testing.assert_close(tiled, at_once, atol=1e-5, rtol=1e-5)
    for actual, wanted in zip(torch.autograd.grad(tiled.square().sum(), inputs), expected, strict=True):
        assert float(wanted.abs().max()) > 0
        torch.testing.assert_close(actual, wanted, atol=1e-4, rtol=1e-4)
