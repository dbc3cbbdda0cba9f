"""Equalised layers: the naive formula, and what they are for."""

import math

import pytest
import torch
import torch.nn.functional as F

from cips_lab.networks.equalized import EqualizedConv2d, EqualizedLinear, scaled_leaky_relu


@pytest.mark.parametrize("lr_multiplier", [1.0, 0.01])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_linear(bias: bool, lr_multiplier: float) -> None:
    torch.manual_seed(0)
    layer = EqualizedLinear(5, 3, bias=bias, bias_init=0.5, lr_multiplier=lr_multiplier)
    x = torch.randn(2, 4, 5)
    y = layer(x)
    assert (layer.bias is not None) == bias
    for i in range(3):
        expected = sum(x[..., j] * layer.weight[i, j] for j in range(5)) * lr_multiplier / math.sqrt(5)
        if bias:
            expected = expected + 0.5  # bias_init is the bias that acts, whatever the multiplier
        torch.testing.assert_close(y[..., i], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (3, 2, 0), (1, 2, 0)])
@torch.no_grad()
def test_convolution(kernel: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    layer = EqualizedConv2d(3, 2, kernel, stride=stride, padding=padding)
    layer.bias.normal_()
    x = torch.randn(2, 3, 7, 6)
    y = layer(x)
    padded = F.pad(x, (padding,) * 4)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            window = padded[:, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            for out in range(2):
                expected = (window * layer.weight[out]).sum((1, 2, 3)) / math.sqrt(3 * kernel**2) + layer.bias[out]
                torch.testing.assert_close(y[:, out, i, j], expected, atol=1e-5, rtol=1e-5)
    assert y.shape[2] == (7 + 2 * padding - kernel) // stride + 1


@torch.no_grad()
def test_variance_is_preserved() -> None:
    torch.manual_seed(0)
    x = torch.randn(512, 256)
    for multiplier in (1.0, 0.01):
        y = EqualizedLinear(256, 256, lr_multiplier=multiplier)(x)
        assert abs(float(y.var()) - 1) < 0.03
        # The leaky ReLU's second moment: 2 (1 + 0.2^2) / 2 of a normal input's.
        assert abs(float(scaled_leaky_relu(y).square().mean()) - 1.04 * float(y.var())) < 0.03
    z = EqualizedConv2d(32, 64, 3)(torch.randn(4, 32, 18, 18))
    assert abs(float(z.var()) - 1) < 0.05


def test_a_step_of_adam_is_relative_to_he() -> None:
    """Adam moves each stored weight by its learning rate; what acts moves by multiplier / sqrt(in) times that."""
    for size, multiplier in ((16, 1.0), (64, 1.0), (64, 0.01)):
        torch.manual_seed(0)
        layer = EqualizedLinear(size, 4, lr_multiplier=multiplier)
        x = torch.eye(size)
        before = layer(x).detach() - layer.bias.detach() * multiplier
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01, eps=0.0)
        layer(x).sum().backward()
        optimizer.step()
        moved = before - (layer(x).detach() - layer.bias.detach() * multiplier)
        torch.testing.assert_close(
            moved, torch.full_like(moved, 0.01 * multiplier / math.sqrt(size)), atol=1e-5, rtol=1e-2
        )


def test_scaled_leaky_relu() -> None:
    x = torch.tensor([-2.0, -0.5, 0.0, 1.0, 3.0])
    expected = torch.tensor([-0.4, -0.1, 0.0, 1.0, 3.0]) * math.sqrt(2)
    torch.testing.assert_close(scaled_leaky_relu(x), expected)
