"""Frechet and kernel distances and the Inception Score: beside formulas, scipy, and torch-fidelity's functions."""

import numpy as np
import pytest
import scipy.linalg
import torch
from oracles import kid
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from cips_lab.metrics import kernel
from cips_lab.metrics.frechet import factorize, frechet_distance
from cips_lab.metrics.inception_score import inception_score
from cips_lab.metrics.kernel import full_kernel_distance, kernel_distance
from cips_lab.metrics.statistics import Gaussian, gaussian_of


def two_sets(n: int, m: int, dimension: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    scale = torch.logspace(0, -2, dimension)
    a = torch.randn(n, dimension, generator=generator) * scale
    b = torch.randn(m, dimension, generator=generator) * scale.flip(0) + 0.1
    return a.relu(), b.relu()


def by_scipy(a: Gaussian, b: Gaussian) -> float:
    root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real
    return float((a.mean - b.mean).square().sum() + np.trace(a.covariance + b.covariance - 2 * root))


class TestFrechet:
    def test_is_scipys_matrix_root(self) -> None:
        a, b = map(gaussian_of, two_sets(500, 700))
        assert frechet_distance(a, b) == pytest.approx(by_scipy(a, b), rel=1e-9)
        assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)

    def test_is_the_formula_in_one_dimension(self) -> None:
        a = Gaussian(9, torch.tensor([1.0]).double(), torch.tensor([[4.0]]).double())
        b = Gaussian(9, torch.tensor([3.0]).double(), torch.tensor([[25.0]]).double())
        assert frechet_distance(a, b) == pytest.approx((3 - 1) ** 2 + (5 - 2) ** 2, rel=1e-14)

    def test_is_that_of_commuting_covariances(self) -> None:
        p, q = torch.rand(30).double() + 0.1, torch.rand(30).double() + 0.1
        basis = torch.linalg.qr(torch.randn(30, 30).double()).Q
        a, b = (Gaussian(9, torch.zeros(30).double(), basis @ x.diag() @ basis.T) for x in (p, q))
        assert frechet_distance(a, b) == pytest.approx(float((p.sqrt() - q.sqrt()).square().sum()), rel=1e-10)

    @pytest.mark.parametrize("n", [12, 400], ids=["singular", "regular"])
    def test_is_the_nuclear_norm_of_the_samples(self, n: int) -> None:
        # tr (S_a S_b)^(1/2) is the sum of singular values of A B^T for S_a = A^T A: no root of rounding errors.
        x, y = two_sets(n, n + 3)
        a, b = ((s.double() - s.double().mean(0)) / (len(s) - 1) ** 0.5 for s in (x, y))
        mean = (x.double().mean(0) - y.double().mean(0)).square().sum()
        expected = mean + a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum()
        assert frechet_distance(gaussian_of(x), gaussian_of(y)) == pytest.approx(float(expected), rel=1e-6)

    @pytest.mark.parametrize("n", [12, 400])
    def test_of_a_set_and_itself_is_nothing(self, n: int) -> None:
        gaussian = gaussian_of(two_sets(n, n)[0])
        assert abs(frechet_distance(gaussian, gaussian)) < 1e-6 * float(gaussian.covariance.trace())

    @pytest.mark.parametrize("n", [12, 400])
    def test_factors(self, n: int) -> None:
        covariance = gaussian_of(two_sets(n, n)[0]).covariance
        factor = factorize(covariance)
        torch.testing.assert_close(factor @ factor.T, covariance, rtol=1e-9, atol=1e-14)

    def test_is_torch_fidelitys(self) -> None:
        a, b = two_sets(500, 700)
        theirs = fid_statistics_to_metric(fid_features_to_statistics(a), fid_features_to_statistics(b), False)
        ours = frechet_distance(gaussian_of(a), gaussian_of(b))
        assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)

    def test_sizes_must_agree(self) -> None:
        with pytest.raises(ValueError, match=r"\[40\] and \[39\]"):
            frechet_distance(gaussian_of(two_sets(50, 50)[0]), gaussian_of(two_sets(50, 50, 39)[0]))


class TestKernel:
    def test_over_all_pairs_is_the_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernel, "TILE", 8)  # tiles that end before the sets do
        a, b = two_sets(19, 30)
        assert full_kernel_distance(a, b).value == pytest.approx(kid(a.numpy(), b.numpy()), rel=1e-5)

    def test_one_subset_of_everything_is_the_loop(self) -> None:
        a, b = two_sets(20, 20)
        assert kernel_distance(a, b, 2, 20).mean == pytest.approx(kid(a.numpy(), b.numpy()), rel=1e-5)

    def test_subsets_are_torch_fidelitys(self) -> None:
        a, b = two_sets(300, 400)
        theirs = kid_features_to_metric(a, b, kid_subsets=10, kid_subset_size=50, verbose=False)
        ours = kernel_distance(a, b, subsets=10, subset_size=50)
        assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
        assert ours.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)
        # With other subsets it would differ by a spread.
        other = kernel_distance(a.flip(0), b, subsets=10, subset_size=50)
        assert other.mean != pytest.approx(ours.mean, rel=1e-3)

    def test_is_unbiased(self) -> None:
        # Two samples of one distribution: the mean over many draws is 0 within its error; biased, it would be positive.
        pairs = [torch.randn(2, 12, 8, generator=seeded(seed)).unbind() for seed in range(400)]
        values = [full_kernel_distance(*pair).value for pair in pairs]
        assert abs(np.mean(values)) < 3 * np.std(values) / 20

    def test_a_subset_larger_than_the_set_is_refused(self) -> None:
        with pytest.raises(ValueError, match="subsets of 50 need as many samples, got 49 and 60"):
            kernel_distance(*two_sets(49, 60), subset_size=50)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestInceptionScore:
    def test_is_torch_fidelitys(self) -> None:
        logits = 3 * torch.randn(205, 30, generator=seeded(0))
        theirs = isc_features_to_metric(logits)
        ours = inception_score(logits)
        assert ours.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
        assert ours.std == pytest.approx(theirs["inception_score_std"], rel=1e-12)

    def test_bounds(self) -> None:
        certain = 1000 * torch.eye(5).repeat(40, 1)
        assert inception_score(certain, splits=1).mean == pytest.approx(5)
        assert inception_score(certain[::5], splits=2).mean == pytest.approx(1)

    def test_more_splits_than_samples_are_refused(self) -> None:
        with pytest.raises(ValueError, match="10 splits need at least as many samples, got 9"):
            inception_score(torch.zeros(9, 4))
