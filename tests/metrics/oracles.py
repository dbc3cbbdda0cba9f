"""The definitions, written as loops, in float64: slow, and easy to compare with the papers."""

import numpy as np

Array = np.ndarray


def distance(a: Array, b: Array) -> float:
    return float(np.sqrt(((a.astype(np.float64) - b.astype(np.float64)) ** 2).sum()))


def radii(points: Array, k: int) -> list[float]:
    """Distance from each point to its k-th nearest other."""
    return [sorted(distance(p, q) for j, q in enumerate(points) if j != i)[k - 1] for i, p in enumerate(points)]


def prdc(generated: Array, real: Array, k: int, k_density: int) -> dict[str, float]:
    """Kynkaanniemi et al. 2019, equation 1 and 2; Naeem et al. 2020, equation 4 and 7."""
    of_generated, of_real, of_real_open = radii(generated, k), radii(real, k), radii(real, k_density)
    precision = [any(distance(g, r) <= radius for r, radius in zip(real, of_real, strict=True)) for g in generated]
    recall = [any(distance(g, r) <= radius for g, radius in zip(generated, of_generated, strict=True)) for r in real]
    density = [sum(distance(g, r) < radius for r, radius in zip(real, of_real_open, strict=True)) for g in generated]
    coverage = [any(distance(g, r) < radius for g in generated) for r, radius in zip(real, of_real_open, strict=True)]
    return {
        "precision": float(np.mean(precision)),
        "recall": float(np.mean(recall)),
        "density": float(np.mean(density)) / k_density,
        "coverage": float(np.mean(coverage)),
    }


def kid(x: Array, y: Array) -> float:
    """Binkowski et al. 2018, equation 4, with the kernel of section 4."""

    def k(a: Array, b: Array) -> float:
        return (float(a.astype(np.float64) @ b.astype(np.float64)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)
