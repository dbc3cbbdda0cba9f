"""ModFC against equation 3 of the paper: loops over samples and over every entry of B-hat."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from variants import randomise

from cips_lab.networks.cips import PixelBlock
from cips_lab.networks.encoding import FourierFeatures
from cips_lab.networks.modulated import SILU_GAIN, Affine, ModulatedLinear, PixelLayer, run_layer
from cips_lab.networks.noise import pixel_keys, pixel_noise

W_DIM = 5


def naive_weight(linear: ModulatedLinear, w: Tensor) -> Tensor:
    """B-hat [out, in] for one style, entry by entry, in float64."""
    out_features, in_features = linear.weight.shape
    b = linear.weight.detach().double() / math.sqrt(in_features)
    if linear.affine is None:
        return b
    a = linear.affine.weight.detach().double() / math.sqrt(len(w))
    s = [float(a[j] @ w.double()) + float(linear.affine.bias[j]) for j in range(in_features)]
    hat = torch.empty(out_features, in_features, dtype=torch.float64)
    for i in range(out_features):
        power = sum((s[k] * float(b[i, k])) ** 2 for k in range(in_features))
        for j in range(in_features):
            hat[i, j] = s[j] * b[i, j]
            if linear.demodulate:
                hat[i, j] /= math.sqrt(power + 1e-8)
    return hat


def apply(
    layer: PixelLayer, x: Tensor, w: Tensor, keys: Tensor | None = None, seed: int | Tensor = 0, index: int = 0
) -> Tensor:
    return run_layer(layer.specialise(w), x, layer.activation, keys, seed, index)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), atol=1e-5, rtol=1e-5)


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 6)),
    demodulate=st.booleans(),
    modulated=st.booleans(),
    shared=st.booleans(),
)
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_modulated_linear(sizes: tuple[int, int, int, int], demodulate: bool, modulated: bool, shared: bool) -> None:
    in_features, out_features, batch, pixels = sizes
    torch.manual_seed(sum(sizes))
    linear = randomise(ModulatedLinear(in_features, out_features, W_DIM, demodulate=demodulate, modulated=modulated))
    w = 2 * torch.randn(batch, W_DIM)
    x = torch.randn(pixels, in_features) if shared else torch.randn(batch, pixels, in_features)
    y = linear.specialise(w)(x)
    for sample in range(batch):
        expected = naive_weight(linear, w[sample])
        own_x = (x if shared else x[sample]).double()
        if modulated:
            close(linear.specialise(w).weight[sample].t(), expected)
        own_y = y[sample] if y.dim() == 3 else y
        close(own_y, own_x @ expected.t() + linear.bias.double())


@torch.no_grad()
def test_rows_of_a_demodulated_weight_are_of_unit_length() -> None:
    torch.manual_seed(0)
    linear = randomise(ModulatedLinear(32, 20, W_DIM))
    weight = linear.specialise(3 * torch.randn(6, W_DIM)).weight
    assert weight.shape == (6, 32, 20)
    close(weight.square().sum(1), torch.ones(6, 20))
    free = ModulatedLinear(32, 20, W_DIM, demodulate=False)
    assert float((free.specialise(torch.randn(6, W_DIM)).weight.square().sum(1) - 1).abs().max()) > 0.1


@torch.no_grad()
def test_a_style_of_zero_is_no_division_by_zero() -> None:
    linear = ModulatedLinear(8, 4, W_DIM)
    nn.init.zeros_(linear.affine.bias)
    affine = linear.specialise(torch.zeros(2, W_DIM))
    assert torch.equal(affine.weight, torch.zeros(2, 8, 4))


@torch.no_grad()
def test_unmodulated_does_not_look_at_the_style() -> None:
    layer = PixelLayer(8, 4, W_DIM, modulated=False)
    assert layer.linear.affine is None
    x = torch.randn(2, 3, 8)
    one, other = (apply(layer, x, torch.randn(2, W_DIM)) for _ in range(2))
    assert torch.equal(one, other)
    close(one, F.leaky_relu(x @ layer.linear.weight.t() / math.sqrt(8), 0.2) * math.sqrt(2))


@pytest.mark.parametrize(
    ("weight_shape", "bias_shape", "x_shape"),
    [
        ((3, 4, 5), (5,), (7, 4)),
        ((3, 4, 5), (3, 1, 5), (7, 4)),
        ((3, 4, 5), (3, 1, 5), (3, 7, 4)),
        ((4, 5), (3, 1, 5), (7, 4)),
        ((4, 5), (5,), (3, 7, 4)),
    ],
)
def test_affine(weight_shape: tuple[int, ...], bias_shape: tuple[int, ...], x_shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(weight_shape), torch.randn(bias_shape), torch.randn(x_shape)
    y = Affine(weight, bias)(x)
    assert y.shape == (3, 7, 5)
    for b in range(3):
        own_weight, own_x = (t[b] if t.dim() == 3 else t for t in (weight, x))
        own_bias = bias[b, 0] if bias.dim() == 3 else bias
        for p in range(7):
            expected = [sum(own_x[p, j] * own_weight[j, i] for j in range(4)) + own_bias[i] for i in range(5)]
            close(y[b, p], torch.stack(expected))


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("activation", ["lrelu", "sine", "siren", "sinrelu", "silu"])
@torch.no_grad()
def test_pixel_layer(activation: str, noise: bool) -> None:
    torch.manual_seed(1)
    layer = randomise(PixelLayer(6, 4, W_DIM, activation=activation, noise=noise))
    w, x, coords = torch.randn(2, W_DIM), torch.randn(2, 5, 6), torch.rand(5, 2)
    keys = pixel_keys(coords, 16)
    seeds = torch.tensor([1, 2])
    y = apply(layer, x, w, keys, seeds, index=3)
    for sample in range(2):
        for p in range(5):
            expected = naive_weight(layer.linear, w[sample]) @ x[sample, p].double()
            if activation == "siren":
                expected *= math.sqrt(2)
            expected += layer.linear.bias
            if noise:
                expected += float(layer.noise_strength) * float(pixel_noise(keys[p : p + 1], 3, int(seeds[sample])))
            leaky = torch.where(expected > 0, 1, 0.2) * expected * 2**0.5
            if activation == "lrelu":
                expected = leaky
            elif activation == "sinrelu":
                expected = torch.stack([leaky[0], leaky[2], expected[1].sin() * 2**0.5, expected[3].sin() * 2**0.5])
            elif activation == "silu":
                expected = expected / (1 + (-expected).exp()) * SILU_GAIN
            else:
                expected = expected.sin()
            close(y[sample, p], expected)


def test_the_gain_of_silu_keeps_the_variance() -> None:
    """By quadrature over a standard normal: E[silu^2] is its gain's inverse square."""
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    assert float(torch.trapezoid((x * x.sigmoid()).square() * density, x)) ** -0.5 == pytest.approx(SILU_GAIN, abs=1e-4)


@torch.no_grad()
def test_noise_begins_at_zero_strength() -> None:
    layer = PixelLayer(6, 4, W_DIM, noise=True)
    assert float(layer.noise_strength) == 0
    assert PixelLayer(6, 4, W_DIM).noise_strength is None


def test_an_unknown_activation() -> None:
    with pytest.raises(ValueError, match=r"generator\.activation"):
        PixelLayer(6, 4, W_DIM, activation="gelu")


@torch.no_grad()
def test_sirens_pre_activations_have_unit_variance() -> None:
    """Sitzmann et al. 2020, theorem 1.8: sines in (variance 1/2), normal of variance about 1 before the next sine."""
    torch.manual_seed(0)
    features = 512
    layer = PixelLayer(features, features, W_DIM, activation="siren")
    weight = layer.linear.weight
    assert float(weight.abs().max()) <= math.sqrt(3)
    assert float(weight.abs().max()) > 0.999 * math.sqrt(3)
    assert abs(float(weight.mean())) < 0.01
    quarters = torch.histc(weight, bins=4, min=-math.sqrt(3), max=math.sqrt(3)) / weight.numel()
    assert float((quarters - 0.25).abs().max()) < 0.005  # uniform
    # With omega_0 = 30 folded in, SIREN's bias is 30 times uniform in +-1/sqrt(in).
    assert float(layer.linear.bias.abs().max()) <= 30 / math.sqrt(features)
    assert abs(float(layer.linear.bias.std()) - 30 / math.sqrt(3 * features)) < 0.1
    x = torch.sin(math.pi * (2 * torch.rand(256, features) - 1))
    assert abs(float(x.var()) - 0.5) < 0.01
    for modulated in (True, False):
        layer = PixelLayer(features, features, W_DIM, activation="siren", modulated=modulated)
        affine = layer.linear.specialise(torch.randn(1, W_DIM) if modulated else torch.zeros(1, W_DIM), layer.gain)
        y = Affine(affine.weight, torch.zeros(features))(x)
        # Each row of the weight has its own variance, exact with demodulation; the mean over rows is meant.
        assert abs(float(y.var()) - 1) < 0.02


@torch.no_grad()
def test_demodulation_keeps_unit_variance() -> None:
    torch.manual_seed(0)
    linear = ModulatedLinear(256, 256, W_DIM)
    y = linear.specialise(torch.randn(4, W_DIM))(torch.randn(4, 256, 256))
    assert abs(float(y.var()) - 1) < 0.03


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("in_features", "out_features"), [(6, 6), (6, 4)])
@torch.no_grad()
def test_pixel_block(in_features: int, out_features: int, residual: bool) -> None:
    torch.manual_seed(2)
    first = randomise(PixelLayer(in_features, out_features, W_DIM))
    second = randomise(PixelLayer(out_features, out_features, W_DIM))
    block = PixelBlock(first, second, residual=residual)
    assert (block.skip is not None) == (residual and in_features != out_features)
    if block.skip is not None:
        assert block.skip.weight.shape == (out_features, in_features)
        assert block.skip.bias is None


@torch.no_grad()
def test_under_autocast_weights_and_encodings_stay_float32() -> None:
    torch.manual_seed(3)
    layer = randomise(PixelLayer(16, 16, W_DIM, activation="siren"))
    fourier = FourierFeatures(16, "siren")
    w, coords = torch.randn(2, W_DIM), torch.rand(9, 2) * 2 - 1
    plain, plain_features = layer.specialise(w).affine, fourier(coords)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, mixed_features = layer.specialise(w).affine, fourier(coords)
        output = mixed(plain_features)
    assert torch.equal(mixed.weight, plain.weight)
    assert torch.equal(mixed.bias, plain.bias)
    assert torch.equal(mixed_features, plain_features)
    assert mixed.weight.dtype == mixed_features.dtype == torch.float32
    assert output.dtype == torch.bfloat16  # the product over pixels is what autocast is for
    torch.testing.assert_close(output.float(), plain(plain_features), atol=0.1, rtol=0.02)


def test_gradients_are_the_naive_formulas() -> None:
    """d(sum y * t) / d(B, A, b, w) through the fast path, and through equation 3 written with broadcasting."""
    torch.manual_seed(4)
    linear = randomise(ModulatedLinear(4, 3, W_DIM))
    w, x, target = torch.randn(2, W_DIM, requires_grad=True), torch.randn(2, 5, 4), torch.randn(2, 5, 3)
    inputs = [w, linear.weight, linear.bias, linear.affine.weight, linear.affine.bias]
    actual = torch.autograd.grad((linear.specialise(w)(x) * target).sum(), inputs)
    style = w @ linear.affine.weight.t() / math.sqrt(W_DIM) + linear.affine.bias
    hat = style[:, None, :] * linear.weight[None] / 2
    hat = hat / (hat.square().sum(-1, keepdim=True) + 1e-8).sqrt()
    expected = torch.autograd.grad(((torch.einsum("bij,bpj->bpi", hat, x) + linear.bias) * target).sum(), inputs)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, atol=2e-5, rtol=2e-5)
