"""The blur, beside a correlation written with loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cips_lab.networks.resample import blur, blur_kernel

TAPS = np.array([1, 3, 3, 1]) / 8


def naive(x: np.ndarray, before: int, after: int) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    out = np.empty((*x.shape[:2], x.shape[2] - 3, x.shape[3] - 3))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = (x[:, :, i : i + 4, j : j + 4] * np.outer(TAPS, TAPS)).sum((2, 3))
    return out


@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(2, 7), st.integers(2, 7)),
    padding=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    gain=st.sampled_from([1.0, 4.0]),
    channels_last=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_blur(shape: tuple[int, ...], padding: tuple[int, int], gain: float, channels_last: bool) -> None:
    x = np.random.default_rng(sum(shape)).standard_normal(shape)
    tensor = torch.from_numpy(x)
    if channels_last:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    y = blur(tensor, padding, gain)
    assert y.dtype == torch.float64
    assert y.shape[2:] == (shape[2] + sum(padding) - 3, shape[3] + sum(padding) - 3)
    np.testing.assert_allclose(y.numpy(), gain * naive(x, *padding), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_kernel(dtype: torch.dtype) -> None:
    kernel = blur_kernel(dtype=dtype)
    assert kernel.dtype == dtype
    np.testing.assert_array_equal(kernel.double().numpy(), np.outer(TAPS, TAPS))  # exact: powers of two below
    assert float(kernel.sum()) == 1


def test_a_flat_picture_stays_flat_inside() -> None:
    y = blur(torch.full((1, 2, 8, 8), 0.75), (2, 1))
    torch.testing.assert_close(y[:, :, 2:-1, 2:-1], torch.full((1, 2, 5, 5), 0.75))
    assert float(y[0, 0, 0, 0]) < 0.75  # zeros come in from outside


def test_its_second_derivative() -> None:
    """R1 goes through the blur twice."""
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda t: blur(t, (2, 2)).square(), (x,))
