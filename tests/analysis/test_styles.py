"""Styles mixed by blocks, against a forward pass written out, and models in which one block decides everything."""

import math

import pytest
import torch
import torch.nn.functional as F
from studies import study, subject
from torch import Tensor

from cips_lab.analysis.figures.styles import FIGURE, blocks_of, compute, mixtures, numbers, reading, rows
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.generator import Generator
from cips_lab.reporting.figures import drawing


def two_styles(generator: Generator, count: int = 2) -> tuple[Tensor, Tensor]:
    z = torch.randn(2, count, generator.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return generator.mapping(z[0]), generator.mapping(z[1])


def written_out(generator: CIPSGenerator, styles: list[Tensor]) -> Tensor:
    """CIPS with a style [B, w_dim] for each of its `num_layers` layers; an RGB output has that of the layer before."""

    def modulated(layer: torch.nn.Module, x: Tensor, w: Tensor) -> Tensor:
        scale = w @ layer.affine.weight.t() * layer.affine.scale + layer.affine.bias * layer.affine.lr_multiplier
        weight = layer.weight[None] * layer.scale * scale[:, None, :]  # [B, out, in]
        if layer.demodulate:
            weight = weight / (weight.square().sum(2, keepdim=True) + 1e-8).sqrt()
        return torch.einsum("bpi,boi->bpo", x, weight) + layer.bias

    def activated(layer: torch.nn.Module, x: Tensor, w: Tensor) -> Tensor:
        return F.leaky_relu(modulated(layer.linear, x, w), 0.2) * math.sqrt(2)

    x = generator.encoding(generator.native_coords).expand(len(styles[0]), -1, -1)
    x = activated(generator.first, x, styles[0])
    picture = torch.zeros(len(x), x.shape[1], 3)
    for number, block in enumerate(generator.blocks):
        for place, layer in enumerate((block.first, block.second)):
            x = activated(layer, x, styles[1 + 2 * number + place])
        if str(number) in generator.to_rgb:
            picture = picture + modulated(generator.to_rgb[str(number)], x, styles[2 + 2 * number])
    side = generator.resolution
    return picture.mT.unflatten(2, (side, side))


@pytest.mark.parametrize("variant", ["cips", "cips_base", "cips_ne"])
def test_cips_mixtures_are_its_layers_with_their_own_styles(variant: str) -> None:
    generator = subject(variant).pixelwise
    first, second = two_styles(generator)
    found = list(mixtures(generator, first, second))
    blocks = blocks_of(generator)
    assert list(blocks) == ["first layer", "pair 1", "pair 2", "pair 3"]
    assert [layer for layers in blocks.values() for layer in layers] == list(range(generator.num_layers))
    expected = [
        written_out(generator, [second if layer in layers else first for layer in range(generator.num_layers)])
        for layers in [[], *blocks.values(), range(generator.num_layers)]
    ]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["cips_residual", "cips_sine", "stylegan2"])
def test_the_first_and_last_mixtures_are_the_two_seeds(variant: str) -> None:
    generator = subject(variant).generator
    first, second = two_styles(generator)
    found = list(mixtures(generator, first, second))
    assert len(found) == len(blocks_of(generator)) + 2
    torch.testing.assert_close(found[0], generator.synthesize_native(first), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[-1], generator.synthesize_native(second), atol=1e-5, rtol=1e-5)
    for one in found[1:-1]:
        assert (one - found[0]).abs().mean() > 1e-3


def test_stylegan2s_blocks_are_those_of_style_mixing() -> None:
    generator = subject("stylegan2").generator
    first, second = two_styles(generator)
    assert blocks_of(generator) == {"4 x 4": [0], "8 x 8": [1, 2], "16 x 16": [3, 4, 5]}
    found = list(mixtures(generator, first, second))
    torch.testing.assert_close(found[3], generator.synthesize_native(generator.mix(first, second, 3)))
    torch.testing.assert_close(found[1], generator.synthesize_native(generator.mix(second, first, 1)))


@pytest.mark.parametrize("decisive", [0, 1, 2, 3])
def test_a_block_that_decides_everything_has_the_whole_share(decisive: int) -> None:
    """All others' styles have no weight."""
    one = subject("cips_base")
    generator = one.pixelwise
    layers = [[generator.first.linear], *([block.first.linear, block.second.linear] for block in generator.blocks)]
    layers[-1].extend(generator.to_rgb.values())
    with torch.no_grad():
        for number, block in enumerate(layers):
            for layer in block if number != decisive else []:
                layer.affine.weight.zero_()
    (found,) = compute(study(one, count=16, quick=True))
    assert found.pixels == pytest.approx([float(number == decisive) for number in range(4)], abs=1e-6)
    assert found.features == pytest.approx([float(number == decisive) for number in range(4)], abs=1e-6)


def test_without_modulation_the_first_layer_decides() -> None:
    (found,) = compute(study(subject("cips", modulation=False), count=8, quick=True))
    assert found.pixels == pytest.approx([1, 0, 0, 0])


def test_shares_are_those_of_all_pairs_at_once() -> None:
    ours = study(subject("cips"), count=20, quick=True)  # pairs of seeds (0, 1), (2, 3), ..., in two batches
    (found,) = compute(ours)
    one = ours.subjects[0]
    first, second = (ours.styles(one, range(place, 40, 2)) for place in (0, 1))
    levels = [(images.clamp(-1, 1) * 127.5 + 127.5).round().byte() for images in mixtures(one.generator, first, second)]
    for shares, see in (
        (found.pixels, lambda images: images.float().flatten(1)),
        (found.features, lambda images: ours.judge(images).features),
    ):
        changes = [(see(images) - see(levels[0])).square().sum() for images in levels[1:]]
        assert shares == pytest.approx([float(change / changes[-1]) for change in changes[:-1]], rel=1e-3)
    assert found.pairs == 20


@pytest.mark.parametrize("seeds", [(5,), (0, 1, 2), (0, 1, 2, 3, 4, 5)])
def test_the_figure(seeds: tuple[int, ...]) -> None:
    ours = study(subject("cips"), subject("stylegan2"), count=8, quick=True)
    ours.seeds = seeds
    data = FIGURE.compute(ours)
    pairs = {1: 1, 3: 1, 6: 2}[len(seeds)]
    assert [tuple(one.images.shape) for one in data] == [(pairs, 6, 3, 16, 16), (pairs, 5, 3, 16, 16)]
    assert [row["block"] for row in rows(data)] == [*data[0].blocks, *data[1].blocks]
    assert numbers(data)["cips"]["pixels"]["sum"] == pytest.approx(sum(data[0].pixels))
    most = data[0].blocks[data[0].pixels.index(max(data[0].pixels))]
    assert f"cips: {most}" in reading(data)
    with drawing("test"):
        drawn = FIGURE.draw(data)
    assert sum(bool(axes.images) for axes in drawn.axes) == pairs * (6 + 5)
