"""Frechet distance between two Gaussians: FID where the features are Inception's (Heusel et al., NeurIPS 2017)."""

import torch
from torch import Tensor

from cips_lab.metrics.statistics import Gaussian


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), equation 6 of the paper; >= 0 up to rounding.

    With S_a = L L^T the eigenvalues of S_a S_b are those of the symmetric L^T S_b L: real, and >= 0 but for rounding,
    so that the trace of the root is the sum of their square roots; no matrix root and no complex number is needed.

    Raises `ValueError` if the dimensions differ.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of different sizes: {list(a.mean.shape)} and {list(b.mean.shape)}")
    factor = factorize(a.covariance)
    eigenvalues = torch.linalg.eigvalsh(factor.T @ b.covariance @ factor)
    root_trace = eigenvalues.clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * root_trace
    return float(distance)


def factorize(covariance: Tensor) -> Tensor:
    """L with L L^T = S, float64 [D, D], for a positive semidefinite S.

    Cholesky where S has full rank; the eigendecomposition, several times slower, where it has not: as with fewer
    samples than dimensions.
    """
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return factor
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    return vectors * eigenvalues.clamp(min=0).sqrt()
