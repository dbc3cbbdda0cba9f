"""The metrics of features that the field compares generators by; the mathematics is in the modules that they import.

Imported when they are computed: the list of metrics is read by commands that need neither torch nor torchmetrics.
"""

from collections.abc import Sequence

from cips_lab.metrics.metric import Comparison, Metric
from cips_lab.metrics.options import Limit, Options


def frechet(pair: Comparison) -> dict[str, float]:
    """Heusel et al., NeurIPS 2017."""
    from cips_lab.metrics.frechet import frechet_estimate

    found = frechet_estimate(pair.generated.features, pair.generated.gaussian, pair.real.gaussian)
    return {"fd": found.value, "fd_se": found.se}


def intra_frechet(pair: Comparison) -> dict[str, float]:
    """Miyato & Koyama, ICLR 2018: of each class, and their mean."""
    from cips_lab.metrics.frechet import frechet_by_class

    assert pair.generated.labels is not None
    assert pair.real.labels is not None
    found = frechet_by_class(pair.generated.features, pair.generated.labels, pair.real.features, pair.real.labels)
    mean = sum(one.value for one in found.values()) / len(found)
    error = sum(one.se**2 for one in found.values()) ** 0.5 / len(found)
    return {"intra_fd": mean, "intra_fd_se": error, **{f"intra_fd/{label}": one.value for label, one in found.items()}}


def kid(pair: Comparison) -> dict[str, float]:
    """Binkowski et al., ICLR 2018: over random subsets with their spread, or over all pairs."""
    from cips_lab.metrics.kernel import full_kernel_distance, kernel_distance

    features = pair.generated.features, pair.real.features
    if pair.options.kid_subsets is None:
        value, error = full_kernel_distance(*features)
        return {"kid": value, "kid_se": error}
    found = kernel_distance(*features, pair.options.kid_subsets, pair.options.kid_subset_size)
    return {"kid": found.mean, "kid_se": found.se, "kid_std": found.std}


def kid_limits(options: Options) -> Sequence[Limit]:
    """The unbiased estimate of a subset needs two pictures of either set; all pairs need no subsets."""
    return () if options.kid_subsets is None else (Limit("kid_subset_size", least=2),)


def inception_score(pair: Comparison) -> dict[str, float]:
    """Salimans et al., NeurIPS 2016. Real pictures play no part."""
    from cips_lab.metrics.inception_score import inception_score

    assert pair.generated.logits is not None
    found = inception_score(pair.generated.logits, pair.options.isc_splits)
    return {"isc": found.mean, "isc_se": found.se, "isc_std": found.std}


def manifolds(pair: Comparison) -> dict[str, float]:
    """All four, from one pass over the pairs."""
    from cips_lab.metrics.manifold import manifold

    options = pair.options
    found = manifold(pair.generated.features, pair.real.features, options.neighbours, options.density_neighbours)
    values = {name: estimate.value for name, estimate in found._asdict().items()}
    return values | {f"{name}_se": estimate.se for name, estimate in found._asdict().items()}


def manifold_limits(options: Options) -> Sequence[Limit]:
    """A ball reaches to the k-th nearest *other* picture; each of the four is computed with both k."""
    too_few = "are too few for the {value} nearest neighbours of {option}"
    return tuple(Limit(name, spare=1, too_few=too_few) for name in ("neighbours", "density_neighbours"))


def at_infinity(pair: Comparison) -> dict[str, float]:
    """Chong & Forsyth, CVPR 2020: the Frechet distance over 1 / N, extrapolated to 0."""
    from cips_lab.metrics.infinity import frechet_at_infinity

    found = frechet_at_infinity(pair.generated.features, pair.real.gaussian)
    points = {f"fd_inf/{count}": distance for count, distance in found.distances.items()}
    return {"fd_inf": found.value, "fd_inf_se": found.se, **points}


def authpct(pair: Comparison) -> dict[str, float]:
    """Alaa et al., ICML 2022: against copies."""
    from cips_lab.metrics.authenticity import authentic_share

    found = authentic_share(pair.generated.features, pair.real.features)
    return {"authpct": found.value, "authpct_se": found.se}


def cmmd(pair: Comparison) -> dict[str, float]:
    """Jayasumana et al., CVPR 2024; in their paper of CLIP ViT-L/14@336."""
    from cips_lab.metrics.cmmd import clip_mmd

    found = clip_mmd(pair.generated.features, pair.real.features)
    return {"cmmd": found.value, "cmmd_se": found.se}


def train_gap(pair: Comparison) -> dict[str, float]:
    """Against copies, with held-out pictures as the measure of chance."""
    from cips_lab.metrics.generalisation import training_gap

    assert pair.held_out is not None
    found = training_gap(pair.generated.features, pair.real.features, pair.held_out.features)
    return {"train_gap": found.value, "train_gap_se": found.se}


def of_manifold(name: str, title: str, headline: bool = False) -> Metric:
    """One of the four; Kynkaanniemi et al., NeurIPS 2019, and Naeem et al., ICML 2020."""
    return Metric(name, "higher", title, manifolds, "manifold features", manifold_limits, headline=headline)


FRECHET = Metric(
    "fd",
    "lower",
    "Fréchet distance, {network}",
    frechet,
    keyed_by_network=True,
    own_keys={"inception": ("fid", "FID"), "inception_clean": ("fid_clean", "FID, clean-fid's resizing")},
    log_axis=True,
    headline=True,
)
INTRA_FRECHET = Metric(
    "intra_fd",
    "lower",
    "Mean Fréchet distance of a class, {network}",
    intra_frechet,
    keyed_by_network=True,
    own_keys={"inception": ("intra_fid", "Intra-FID")},
    log_axis=True,
    usual=False,
    of_classes=True,
)
KID = Metric("kid", "lower", "KID", kid, limits=kid_limits, headline=True)
INCEPTION_SCORE = Metric(
    "isc", "higher", "Inception Score", inception_score, "logits", lambda options: (Limit("isc_splits"),)
)
PRECISION = of_manifold("precision", "Precision", headline=True)
RECALL = of_manifold("recall", "Recall", headline=True)
DENSITY = of_manifold("density", "Density")
COVERAGE = of_manifold("coverage", "Coverage")
FRECHET_AT_INFINITY = Metric(
    "fd_inf",
    "lower",
    "Fréchet distance at infinity, {network}",
    at_infinity,
    keyed_by_network=True,
    own_keys={"inception": ("fd_inf_inception", "FID at infinity")},
    log_axis=True,
    usual=False,
)
AUTHPCT = Metric("authpct", "higher", "Authentic samples, %", authpct, "manifold features", usual=False)
TRAIN_GAP = Metric(
    "train_gap",
    "lower",
    "Nearest to training pictures beyond chance",
    train_gap,
    "manifold features",
    usual=False,
    of_held_out=True,
)
CMMD = Metric("cmmd", "lower", "CMMD, {network}", cmmd, keyed_by_network=True, usual=False)
