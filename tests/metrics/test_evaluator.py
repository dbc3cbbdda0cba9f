"""The whole evaluation: beside torch-fidelity on the same folders, its dict, its options, its messages, its config."""

import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from prdc import compute_prdc
from sets import dataset, noise_pictures, save, spoiled, tiles
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from cips_lab.configuration import conf_folder
from cips_lab.data.dataset import ArrayDataset
from cips_lab.errors import UserError
from cips_lab.metrics.evaluator import Evaluator, Results
from cips_lab.metrics.extractors import load_extractor
from cips_lab.metrics.real import Real
from cips_lab.metrics.registry import keys_of, network_of_key
from cips_lab.metrics.results import curves
from cips_lab.metrics.statistics import Estimate

PAIRS = {
    "kid": "kernel_inception_distance_mean",
    "kid_std": "kernel_inception_distance_std",
    "isc": "inception_score_mean",
    "isc_std": "inception_score_std",
}


class Lite(FeatureExtractorBase):
    """EfficientNet-Lite0 as torch-fidelity wants it."""

    def __init__(self, name: str, features_list: list[str], **options: Any) -> None:
        super().__init__(name, features_list)
        self.network = load_extractor("efficientnet_lite0")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features, logits = self.network(images)
        return tuple({"features": features, "logits": logits}[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"


@pytest.fixture
def lite(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "efficientnet-lite0", Lite)
    return "efficientnet-lite0"


def by_torch_fidelity(generated: Path, real: Path, **options: Any) -> dict[str, float]:
    return torch_fidelity.calculate_metrics(
        input1=str(generated), input2=str(real), cuda=False, batch_size=16, save_cpu_ram=True, cache=False,
        verbose=False, isc=True, fid=True, kid=True, prc=True, **options,
    )  # fmt: skip


def assert_agree(ours: Results, theirs: dict[str, float], distance: str) -> None:
    assert ours[distance] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    for name, their_name in PAIRS.items():
        assert ours[name] == pytest.approx(theirs[their_name], rel=1e-4), name
    for name in ("precision", "recall"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-6), name  # theirs is a float32


def two_folders(tmp_path: Path, count: int) -> tuple[Path, Path]:
    generated = save(spoiled(tiles(count, offset=1), noise=12), tmp_path / "generated")
    return generated, save(tiles(count), tmp_path / "real")


def evaluate_folders(generated: Path, real: Path, cache: Path, **options: Any) -> tuple[Evaluator, Real, Results]:
    evaluator = Evaluator(cache=cache, batch_size=16, **options)
    statistics = evaluator.reference(dataset(real))
    return evaluator, statistics, evaluator.evaluate_pictures(dataset(generated), statistics)


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_efficientnet_beside_torch_fidelity_and_prdc(tmp_path: Path, lite: str, count: int) -> None:
    generated, real = two_folders(tmp_path, count)
    size = min(1000, count // 2)
    theirs = by_torch_fidelity(generated, real, feature_extractor=lite, kid_subset_size=size)
    evaluator, statistics, ours = evaluate_folders(
        generated, real, tmp_path, extractor="efficientnet_lite0", kid_subset_size=size
    )
    assert_agree(ours, theirs, "fd_efficientnet_lite0")
    assert "fid" not in ours
    assert 0 < ours["precision"] < 1
    images = torch.from_numpy(np.stack([dataset(generated)[i] for i in range(count)]))
    features = torch.cat([evaluator.extractors[0](part).features for part in images.split(16)])
    authors = compute_prdc(statistics.main.features.double().numpy(), features.double().numpy(), nearest_k=5)
    assert ours["density"] == pytest.approx(authors["density"], abs=1e-9)
    assert ours["coverage"] == pytest.approx(authors["coverage"], abs=1e-9)


@pytest.mark.parametrize("count", [24, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_inception_beside_torch_fidelity(tmp_path: Path, inception_weights: Path, count: int) -> None:
    generated, real = two_folders(tmp_path, count)
    size = min(1000, count // 2)
    theirs = by_torch_fidelity(
        generated,
        real,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(inception_weights),
        kid_subset_size=size,
    )
    _, _, ours = evaluate_folders(
        generated, real, tmp_path, extractor="inception", weights=inception_weights, kid_subset_size=size
    )
    assert_agree(ours, theirs, "fid")


# ---------------------------------------------------------------------- on an extractor that takes no time


@pytest.fixture
def options(tiny: str, tmp_path: Path) -> dict[str, Any]:
    return {"extractor": tiny, "num_samples": 60, "kid_subset_size": 30, "cache": tmp_path, "batch_size": 16}


REAL = ArrayDataset(noise_pictures(80, seed=0))
GENERATED = noise_pictures(60, seed=1, contrast=0.8)


def of(evaluator: Evaluator, pictures: np.ndarray) -> Iterator[Tensor]:
    for numbers in evaluator.batches():
        yield torch.from_numpy(pictures)[numbers]


def test_the_dict_is_flat_and_says_what_it_is(options: dict[str, Any]) -> None:
    evaluator = Evaluator(**options)
    results = evaluator.evaluate(of(evaluator, GENERATED), evaluator.reference(REAL))
    assert list(results) == [
        "fd_tiny", "fd_tiny_se", "kid", "kid_se", "kid_std", "isc", "isc_se", "isc_std", "precision", "precision_se",
        "recall", "recall_se", "density", "density_se", "coverage", "coverage_se", "swd", "swd_se", "swd/8",
        "colour", "colour_se", "spectrum_distance_durall", "spectrum_distance_durall_se",
        "spectrum_distance", "spectrum_distance_se",
        "num_samples", "num_real", "resolution", "extractor", "manifold_extractor", "weights", "canonical_weights",
    ]  # fmt: skip
    assert results["num_samples"] == 60
    assert results["num_real"] == 80
    assert results["extractor"] == results["manifold_extractor"] == "tiny"
    assert {type(value) for value in results.values()} == {float, int, str, bool}


def test_batches_have_no_influence(options: dict[str, Any]) -> None:
    evaluator = Evaluator(**options)
    real = evaluator.reference(REAL)
    expected = evaluator.evaluate(of(evaluator, GENERATED), real)
    for parts in ([60], [1] * 60, [7, 0, 13, 40]):
        found = evaluator.evaluate(torch.from_numpy(GENERATED).split(parts), real)
        for name, value in expected.items():
            assert found[name] == (pytest.approx(value, rel=1e-6, abs=1e-7) if isinstance(value, float) else value)


def test_only_what_is_asked_for(options: dict[str, Any]) -> None:
    evaluator = Evaluator(**options, names=["precision", "kid"])
    results = evaluator.evaluate(of(evaluator, GENERATED), evaluator.reference(REAL))
    assert list(results)[:5] == ["kid", "kid_se", "kid_std", "precision", "precision_se"]
    assert not {"fd_tiny", "isc", "recall", "density"} & set(results)


def test_all_pairs_need_no_subsets(options: dict[str, Any]) -> None:
    evaluator = Evaluator(**options | {"kid_subset_size": 1000}, kid_subsets=None, names=["kid"])
    results = evaluator.evaluate(of(evaluator, GENERATED), evaluator.reference(REAL))
    assert "kid_std" not in results
    subsets = Evaluator(**options, names=["kid"])
    expected = subsets.evaluate(of(subsets, GENERATED), subsets.reference(REAL))
    assert abs(results["kid"] - expected["kid"]) < 3 * expected["kid_std"] / 10**0.5


def test_two_extractors(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = Evaluator(**options | {"extractor": "efficientnet_lite0"}, manifold_extractor="tiny")
    real = evaluator.reference(REAL)
    results = evaluator.evaluate(of(evaluator, GENERATED), real)
    alone = Evaluator(**options)
    assert results["recall"] == alone.evaluate(of(alone, GENERATED), alone.reference(REAL))["recall"]
    assert "fd_efficientnet_lite0" in results
    assert (results["extractor"], results["manifold_extractor"]) == ("efficientnet_lite0", "tiny")
    assert real.main.features.shape == (80, 1280)
    assert real.references["tiny"].features.shape == (80, 24)
    assert results["weights/tiny"] == evaluator.extractors[1].weights_hash


def test_a_distance_of_each_network_from_one_pass(options: dict[str, Any]) -> None:
    names = ["fd", "fd_tiny", "kid"]
    evaluator = Evaluator(**options | {"extractor": "efficientnet_lite0"}, names=names)
    results = evaluator.evaluate(of(evaluator, GENERATED), evaluator.reference(REAL))
    assert keys_of(results) == ["fd_efficientnet_lite0", "fd_tiny", "kid"]
    alone = Evaluator(**options, names=["fd"])
    assert results["fd_tiny"] == alone.evaluate(of(alone, GENERATED), alone.reference(REAL))["fd_tiny"]
    assert [network_of_key(results, key) for key in keys_of(results)] == [
        "efficientnet_lite0", "tiny", "efficientnet_lite0",
    ]  # fmt: skip
    assert {"efficientnet_lite0-60/fd_efficientnet_lite0", "tiny-60/fd_tiny"} <= set(curves(results | {"kimg": 1}))
    assert [extractor.name for extractor in evaluator.extractors] == ["efficientnet_lite0", "tiny"]
    assert evaluator.recorded("memory", 8) is not None
    with pytest.raises(
        UserError, match=r"names=\['fd_resnet'\]: choose from .*; fd, .* may name a network.*one of incept"
    ):
        Evaluator(names=["fd_resnet"])


def test_one_network_is_loaded_once(options: dict[str, Any], tmp_path: Path) -> None:
    evaluator = Evaluator(**options, manifold_extractor=options["extractor"])
    assert len(evaluator.extractors) == 1
    real = evaluator.reference(REAL)
    assert list(real.references) == [options["extractor"]]
    evaluator.to("meta")
    assert evaluator.extractors[0].device.type == "meta"


def test_better_pictures_score_better(options: dict[str, Any]) -> None:
    evaluator = Evaluator(**options)
    real = evaluator.reference(REAL)
    same = evaluator.evaluate(of(evaluator, noise_pictures(60, seed=2)), real)
    pale = evaluator.evaluate(of(evaluator, noise_pictures(60, seed=2, contrast=0.3)), real)
    assert same["fd_tiny"] < pale["fd_tiny"]
    assert same["kid"] < pale["kid"]
    assert same["coverage"] > pale["coverage"]


def test_pictures_that_are_gone(options: dict[str, Any], tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", noise_pictures(80, seed=0))
    pictures = ArrayDataset(np.load(tmp_path / "real.npy", mmap_mode="r"))
    evaluator = Evaluator(**options)
    assert evaluator.recorded(pictures.location, 8) is None
    expected = evaluator.evaluate(of(evaluator, GENERATED), evaluator.reference(pictures))
    again = Evaluator(**options)
    real = again.recorded(pictures.location, 8)
    assert real is not None
    assert again.evaluate(of(again, GENERATED), real) == expected


def test_fewer_pictures_in_a_folder_than_the_option_says(options: dict[str, Any]) -> None:
    evaluator = Evaluator(**options)
    results = evaluator.evaluate_pictures(ArrayDataset(GENERATED[:40]), evaluator.reference(REAL))
    assert results["num_samples"] == 40


class TestMistakes:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"names": ["fids"]}, r"metrics\.names=\['fids'\]: choose from fd, kid, isc"),
            ({"names": []}, r"metrics\.names=\[\]: choose from"),
            ({"num_samples": 0}, r"metrics\.num_samples=0: must be at least 1"),
            ({"kid_subset_size": 1}, r"metrics\.kid_subset_size=1: must be at least 2"),  # its estimate would be 0 / 0
            (
                {"names": ["fidd"], "isc_splits": 0, "neighbours": -1},
                r"(?s)metrics\.names=\['fidd'\].*\nmetrics\.isc_splits=0: must be.*\nmetrics\.neighbours=-1: must be",
            ),
        ],
    )
    def test_values(self, options: dict[str, Any], change: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            Evaluator(**options | change)

    def test_an_option_of_a_metric_that_is_not_wanted_does_not_matter(self, options: dict[str, Any]) -> None:
        Evaluator(**options | {"kid_subset_size": 1, "names": ["fd"]}).check(REAL)
        Evaluator(**options | {"kid_subset_size": 1, "kid_subsets": None}).check(REAL)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kid_subset_size": 61}, r"metrics\.num_samples: 60 are fewer than metrics\.kid_subset_size=61; set"),
            ({"neighbours": 60}, r"60 are too few for the 60 nearest neighbours"),
            ({"isc_splits": 61}, r"60 are fewer than metrics\.isc_splits=61"),
        ],
    )
    def test_counts(self, options: dict[str, Any], change: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            Evaluator(**options | change).check(REAL)

    def test_all_that_small_sets_need_is_told_at_once_and_what_is_told_is_enough(self, options: dict[str, Any]) -> None:
        few = ArrayDataset(noise_pictures(4, seed=0))
        options |= {"num_samples": 7, "kid_subset_size": 1000}
        with pytest.raises(UserError) as refused:
            Evaluator(**options).check(few)
        lines = str(refused.value).splitlines()
        assert len(lines) == 6  # KID and the score of either set, and of the real one density's neighbours; the remedy
        remedy = lines[-1].removeprefix("all together: ")
        assert remedy == "metrics.kid_subset_size=4 metrics.isc_splits=4 metrics.density_neighbours=3"
        pairs = (part.removeprefix("metrics.").split("=") for part in remedy.split())
        mended = Evaluator(**options | {name: int(value) for name, value in pairs})
        mended.check(few)
        seven = [torch.from_numpy(GENERATED[:7])]
        assert mended.evaluate(seven, mended.reference(few))["num_samples"] == 7

    def test_too_few_real_pictures(self, options: dict[str, Any]) -> None:
        with pytest.raises(UserError, match=r"memory: pictures: 20 are fewer than metrics\.kid_subset_size=30"):
            Evaluator(**options).reference(ArrayDataset(noise_pictures(20, seed=0)))

    @pytest.mark.parametrize("count", [59, 61])
    def test_another_number_of_pictures(self, options: dict[str, Any], count: int) -> None:
        evaluator = Evaluator(**options)
        with pytest.raises(ValueError, match=f"process 0 was given {count} pictures; its share of 60 is 60"):
            evaluator.evaluate([torch.from_numpy(noise_pictures(count, seed=0))], evaluator.reference(REAL))

    def test_another_resolution(self, options: dict[str, Any]) -> None:
        evaluator = Evaluator(**options)
        with pytest.raises(UserError, match="generated pictures of 16 x 16 cannot be compared with real ones of 8 x 8"):
            evaluator.evaluate([torch.zeros(60, 3, 16, 16).byte()], evaluator.reference(REAL))

    def test_a_metric_that_is_no_number_is_named(
        self, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cips_lab.metrics.frechet.frechet_estimate", lambda *given: Estimate(float("nan"), 0.0))
        evaluator = Evaluator(**options, names=["fd", "kid"])
        with pytest.raises(UserError, match=r"^fd_tiny is nan: no number"):
            evaluator.evaluate(of(evaluator, GENERATED), evaluator.reference(REAL))

    def test_no_classifier(self, options: dict[str, Any], tmp_path: Path) -> None:
        from torchvision.models import vgg16

        torch.save(vgg16().state_dict(), tmp_path / "vgg16.pth")
        evaluator = Evaluator(**options | {"extractor": "vgg16", "weights": tmp_path / "vgg16.pth", "names": ["isc"]})
        with pytest.raises(UserError, match=r"metrics\.names: isc needs a classifier, and vgg16 is none"):
            evaluator.reference(REAL)

    def test_other_weights_are_said_to_be_others(
        self, tmp_path: Path, inception_weights: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        evaluator = Evaluator("inception", weights=inception_weights, cache=tmp_path)
        with caplog.at_level(logging.WARNING):
            assert not evaluator.extractors[0].canonical
        assert "is not the published file of inception: compare fid only with results of the same file" in caplog.text


class TestConfig:
    def composed(self, name: str) -> dict[str, Any]:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            config = compose(overrides=[f"+metrics={name}", "+paths.cache=null"])
        return OmegaConf.to_container(config, resolve=True)["metrics"]  # type: ignore[return-value, call-overload, index]

    def test_every_file_builds(self) -> None:
        names = [path.stem for path in (conf_folder() / "metrics").glob("*.yaml")]
        assert set(names) == {
            "inception", "canonical", "standard2026", "clean", "efficientnet_lite0", "vgg16", "clip", "dinov2",
        }  # fmt: skip
        for name in names:
            options = self.composed(name)
            assert options.pop("_target_") == "cips_lab.metrics.evaluator.Evaluator"
            of_others = {"canonical": "inception", "standard2026": "inception", "clean": "inception_clean"}
            assert Evaluator(**options).extractor == of_others.get(name, name)

    def test_the_first_file_is_the_defaults(self) -> None:
        parameters = inspect.signature(Evaluator).parameters
        options = self.composed("inception")
        assert set(options) == set(parameters) - {"device"} | {"_target_"}
        for name, value in options.items():
            if name not in ("_target_", "num_workers"):
                assert value == parameters[name].default, name

    def test_canonical_is_what_the_authors_used(self) -> None:
        options = self.composed("canonical")
        assert (options["extractor"], options["manifold_extractor"]) == ("inception", "vgg16")
