"""Frechet distance between two Gaussians: FID where the features are Inception's (Heusel et al., NeurIPS 2017)."""

import torch
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.metrics.statistics import Estimate, Gaussian, gaussian_of

CHUNK = 4096  # features whose influences are computed at once


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), equation 6 of the paper; >= 0 up to rounding.

    With S_a = L L^T the eigenvalues of S_a S_b are those of the symmetric L^T S_b L: real, and >= 0 but for rounding,
    so that the trace of the root is the sum of their square roots; no matrix root and no complex number is needed.

    Raises `ValueError` if the dimensions differ.
    """
    factor = factorize(a.covariance)
    return _distance(a, b, torch.linalg.eigvalsh(product(factor, a, b)))


def frechet_estimate(features: Tensor, a: Gaussian, b: Gaussian) -> Estimate:
    """The distance and its standard error over the samples behind `a`, those behind `b` taken as given.

    The infinitesimal jackknife (Efron 1982): a sample x moves the distance by its influence, over N,

        2 (m_a - m_b).(x - m_a) + (x - m_a)^T (1 - T) (x - m_a) - tr((1 - T) S_a),

    for the distance's derivative by S_a is 1 - T, where T = L^-T (L^T S_b L)^(1/2) L^-1 is the optimal map from
    N(0, S_a) to N(0, S_b). The error is the influences' deviation over sqrt N. With fewer samples than dimensions it is
    up to a third too large (`tests/metrics/test_errors.py`). The bias, upwards and roughly as 1 / N, is no part of it.

    Args:
        features: [N, D], what `a` is the Gaussian of.
        a, b: of generated, and of real pictures.
    """
    factor = factorize(a.covariance)
    eigenvalues, vectors = torch.linalg.eigh(product(factor, a, b))
    root = (vectors * eigenvalues.clamp(min=0).sqrt()) @ vectors.T
    basis, triangle = torch.linalg.qr(factor)  # L^-1 on the samples, which lie in L's range
    inverse = torch.linalg.solve_triangular(triangle, basis.T, upper=True)
    influences = []
    for part in features.split(CHUNK):
        x = part.to(factor) - a.mean
        z = x @ inverse.T
        influences.append(2 * x @ (a.mean - b.mean) + x.square().sum(1) - ((z @ root) * z).sum(1))
    deviation = torch.cat(influences).std(correction=0)
    return Estimate(_distance(a, b, eigenvalues), float(deviation) / len(features) ** 0.5)


def frechet_by_class(generated: Tensor, of_generated: Tensor, real: Tensor, of_real: Tensor) -> dict[int, Estimate]:
    """The distance within each class of the real pictures.

    Args:
        generated, real: features [N, D], [M, D].
        of_generated, of_real: their classes, int64 [N], [M].

    Raises:
        UserError: a class has fewer than two pictures in one of the sets.
    """
    found = {}
    for label in of_real.unique().tolist():
        parts = generated[of_generated == label], real[of_real == label]
        for name, option, part in zip(("generated", "real"), ("num_samples", "num_real"), parts, strict=True):
            if len(part) < 2:
                raise UserError(
                    f"intra_fd: {len(part)} {name} picture(s) of class {label} are too few for a distance; raise "
                    f"metrics.{option}, or leave intra_fd out of metrics.names"
                )
        found[label] = frechet_estimate(parts[0], *(gaussian_of(part) for part in parts))
    return found


def product(factor: Tensor, a: Gaussian, b: Gaussian) -> Tensor:
    """L^T S_b L, [rank, rank], for L L^T = S_a. Raises `ValueError` if the dimensions differ."""
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of different sizes: {list(a.mean.shape)} and {list(b.mean.shape)}")
    return factor.T @ b.covariance @ factor


def _distance(a: Gaussian, b: Gaussian, eigenvalues: Tensor) -> float:
    root_trace = eigenvalues.clamp(min=0).sqrt().sum()
    return float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * root_trace)


def factorize(covariance: Tensor) -> Tensor:
    """L with L L^T = S, float64 [D, rank], for a positive semidefinite S.

    Cholesky where S has full rank, with pivots where it has not, as with fewer samples than dimensions: LAPACK's dpstrf
    stops at the rank, and what is left of S then is its rounding (Higham 1990). What is computed from L is the smaller
    for it: with 8 samples of 1,280 features an eigenvalue problem of 7 instead of 1,280.
    """
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return factor
    from scipy.linalg.lapack import dpstrf

    packed, pivots, rank, _ = dpstrf(covariance.cpu().numpy(), lower=1)
    pivoted = torch.from_numpy(packed).tril()[:, :rank]
    return torch.empty_like(pivoted).index_copy_(0, torch.from_numpy(pivots).long() - 1, pivoted).to(covariance.device)
