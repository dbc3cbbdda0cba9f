"""CMMD: the authors' formula written out, and what scale and order do to it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cips_lab.metrics import kernel
from cips_lab.metrics.cmmd import clip_mmd


def embeddings(count: int, seed: int, offset: float = 0.0) -> Tensor:
    return torch.randn(count, 24, generator=torch.Generator().manual_seed(seed)) + offset


def by_the_formula(x: np.ndarray, y: np.ndarray) -> float:
    """Gretton et al. 2012, equation 5: the biased estimate; embeddings of length 1, sigma 10, times 1,000."""
    x, y = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (x, y))

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[np.exp(-((p - q) ** 2).sum() / (2 * 10**2)) for q in b] for p in a]))

    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def test_it_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "TILE", 8)
    x, y = embeddings(19, 0, 0.3), embeddings(30, 1)
    expected = by_the_formula(x.double().numpy(), y.double().numpy())
    assert clip_mmd(x, y).value == pytest.approx(expected, abs=1e-5)
    assert clip_mmd(3 * x, y).value == pytest.approx(expected, abs=1e-5)
    assert abs(clip_mmd(x, x.flip(0)).value) < 1e-6


def test_its_error_is_the_spread_over_draws() -> None:
    real = embeddings(400, 1000)
    found = torch.tensor([clip_mmd(embeddings(150, seed, 0.3), real) for seed in range(60)])
    assert found[:, 1].mean() == pytest.approx(float(found[:, 0].std()), rel=0.25)
