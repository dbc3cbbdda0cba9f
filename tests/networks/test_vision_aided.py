"""A discriminator of pixels beside one that looks through a frozen network: logits, their weights, penalties."""

import pytest
import torch
from pyramid import Pyramid

from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.projected import ProjectedDiscriminator
from cips_lab.networks.vision_aided import VisionAidedDiscriminator
from cips_lab.training.augment import Augment
from cips_lab.training.draws import Share
from cips_lab.training.judging import Judge, Look
from cips_lab.training.losses import discriminator_loss, generator_loss, r1_penalty
from cips_lab.training.views import Shown

SHOWN = Shown(None, None, torch.zeros(1, 1, 1, 2), torch.zeros(1))


def build(projected_weight: float = 0.1) -> VisionAidedDiscriminator:
    torch.manual_seed(0)
    residual = ResidualDiscriminator(8, channel_base=64, channel_max=8, group_size=2)
    projected = ProjectedDiscriminator(Pyramid(), 8, 32, channels=4, head_channels=8)
    return VisionAidedDiscriminator(residual, projected, projected_weight)


def asked(discriminator: VisionAidedDiscriminator) -> tuple[Judge, Look]:
    judge = Judge(discriminator, Augment())
    return judge, judge.look(0, "real", 0, 4, Share(0, 1), torch.zeros(1))


def test_logits_are_those_of_its_parts() -> None:
    discriminator, images = build(), torch.randn(4, 3, 8, 8)
    logits = discriminator(images)
    assert torch.equal(logits[:, :1], discriminator.residual(images))
    assert torch.equal(logits[:, 1:], discriminator.projected(images))


@pytest.mark.parametrize("name", ["logistic", "relativistic", "hinge"])
def test_the_loss_is_the_residual_ones_and_a_share_of_the_heads(name: str) -> None:
    """Kumari et al. 2022, equation 2, with a weight."""
    discriminator, weight = build(0.3), 0.3
    judge, look = asked(discriminator)
    real, fake = (judge.logits(torch.randn(4, 3, 8, 8), SHOWN, look) for _ in range(2))
    for loss in (discriminator_loss, generator_loss):
        expected = loss(name, real[:, :1], fake[:, :1]) + weight * loss(name, real[:, 1:], fake[:, 1:])
        torch.testing.assert_close(loss(name, real, fake, judge.weights), expected)


def test_penalties_are_of_the_residual_one_alone() -> None:
    discriminator, images = build(), torch.randn(4, 3, 8, 8)
    judge, look = asked(discriminator)
    expected = r1_penalty(discriminator.residual, images)
    torch.testing.assert_close(judge.penalty(images, SHOWN, look), expected)
    logits, penalty = judge.logits_and_penalty(images, SHOWN, look)
    torch.testing.assert_close(penalty, expected)
    torch.testing.assert_close(logits, discriminator(images))


def test_weights_follow_the_device_and_are_not_saved() -> None:
    discriminator = build()
    assert "logit_weights" not in discriminator.state_dict()
    assert discriminator.to("meta").logit_weights.device.type == "meta"


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_out_of_range_is_named(weight: float) -> None:
    with pytest.raises(ValueError, match=r"discriminator.projected_weight must be above 0"):
        build(weight)
