"""The residual discriminator and its minibatch standard deviation, beside loops."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from variants import randomise

from cips_lab.networks.discriminator import ResidualBlock, ResidualDiscriminator, minibatch_stddev
from cips_lab.networks.resample import blur

FORMAT = Path(__file__).parents[1] / "data" / "official_checkpoint_format.json"


def build(**options: int) -> ResidualDiscriminator:
    torch.manual_seed(0)
    return randomise(ResidualDiscriminator(**{"resolution": 16, "channel_base": 128, "channel_max": 12, **options}))


# ------------------------------------------------------------------ minibatch standard deviation


def naive_stddev(x: Tensor, group_size: int) -> list[float]:
    """The appended value of each sample, with groups as lists of samples."""
    batch = len(x)
    groups = math.ceil(batch / group_size)
    if group_size > 1 and batch > 1:
        groups = min(groups, batch // 2)
    values = [0.0] * batch
    for group in range(groups):
        members = [i for i in range(batch) if i % groups == group]
        assert len(members) <= max(group_size, 3 if group_size == 2 else 0)
        features = x[members].double().flatten(1)
        mean = sum(features) / len(members)
        variance = sum((row - mean) ** 2 for row in features) / len(members)
        for i in members:
            values[i] = float((variance + 1e-8).sqrt().mean())
    return values


@pytest.mark.parametrize("group_size", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("batch", range(1, 10))
def test_minibatch_stddev_is_a_loop_over_groups(batch: int, group_size: int) -> None:
    x = torch.randn(batch, 3, 2, 4, generator=torch.Generator().manual_seed(batch))
    y = minibatch_stddev(x, group_size)
    assert y.shape == (batch, 4, 2, 4)
    assert torch.equal(y[:, :3], x)
    for i, value in enumerate(naive_stddev(x, group_size)):
        torch.testing.assert_close(y[i, 3], torch.full((2, 4), value), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("batch", "group"), [(4, 4), (8, 4), (12, 4), (32, 4), (6, 2), (3, 4), (2, 4), (1, 4)])
def test_minibatch_stddev_is_stylegan2s_where_that_is_defined(batch: int, group: int) -> None:
    x = torch.randn(batch, 3, 2, 2, generator=torch.Generator().manual_seed(batch))
    y = x.view(min(group, batch), -1, 1, 3, 2, 2)  # the released code, line by line
    y = torch.sqrt(y.var(0, unbiased=False) + 1e-8)
    y = y.mean([2, 3, 4], keepdims=True).squeeze(2)
    y = y.repeat(min(group, batch), 1, 2, 2)
    torch.testing.assert_close(minibatch_stddev(x, group), torch.cat([x, y], 1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("group_size", [2, 3, 4, 8])
@pytest.mark.parametrize("batch", range(2, 12))
def test_no_sample_is_alone(batch: int, group_size: int) -> None:
    """Alone, a sample's deviation is 0, which would tell the discriminator something about the batch's size."""
    x = torch.randn(batch, 3, 4, 4, generator=torch.Generator().manual_seed(batch))
    assert float(minibatch_stddev(x, group_size)[:, 3].min()) > 0.1


def test_minibatch_stddev_keeps_half_precision_and_computes_in_float32() -> None:
    torch.manual_seed(0)
    x = (3 * torch.randn(4, 3, 2, 2) + 100).to(torch.bfloat16)
    y = minibatch_stddev(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, minibatch_stddev(x.float()).to(torch.bfloat16))


# ------------------------------------------------------------------ the network


@torch.no_grad()
def test_the_residual_block() -> None:
    torch.manual_seed(1)
    block = randomise(ResidualBlock(3, 5))
    x = torch.randn(2, 3, 8, 8)

    def conv(layer, x: Tensor, **options) -> Tensor:
        bias = layer.bias
        return F.conv2d(x, layer.weight / math.sqrt(layer.weight[0].numel()), bias, **options)

    def lrelu(x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.2) * math.sqrt(2)

    y = lrelu(conv(block.conv1, x, padding=1))
    y = lrelu(conv(block.conv2, blur(y, (2, 2)), stride=2))
    skip = conv(block.skip, blur(x, (1, 1)), stride=2)
    assert block.skip.bias is None
    torch.testing.assert_close(block(x), (y + skip) / math.sqrt(2), atol=1e-5, rtol=1e-5)
    assert block(x).shape == (2, 5, 4, 4)


@torch.no_grad()
def test_the_whole_is_its_parts() -> None:
    discriminator = build(group_size=2)
    images = torch.randn(6, 3, 16, 16)
    x = F.leaky_relu(discriminator.from_rgb(images), 0.2) * math.sqrt(2)
    for block in discriminator.blocks:
        x = block(x)
    assert x.shape == (6, 12, 4, 4)
    values = torch.tensor(naive_stddev(x, 2)).view(6, 1, 1, 1).expand(6, 1, 4, 4)
    x = F.leaky_relu(discriminator.final_conv(torch.cat([x, values], 1)), 0.2) * math.sqrt(2)
    x = x.reshape(6, -1)  # channel, row, column
    x = F.leaky_relu(discriminator.final_linear(x), 0.2) * math.sqrt(2)
    expected = discriminator.logit(x)
    torch.testing.assert_close(discriminator(images), expected, atol=1e-5, rtol=1e-4)
    assert float(expected.std()) > 0.01


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8])
def test_any_batch_size(batch: int) -> None:
    logits = build()(torch.randn(batch, 3, 16, 16))
    assert logits.shape == (batch, 1)
    assert logits.isfinite().all()


@given(order=st.permutations(range(4)))
@settings(max_examples=5, deadline=None)
@torch.no_grad()
def test_the_order_within_a_group_does_not_matter(order: list[int]) -> None:
    discriminator, images = build(), torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(discriminator(images[order]), discriminator(images)[order], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_logits_do_not_depend_on_memory_format() -> None:
    discriminator, images = build(), torch.randn(4, 3, 16, 16)
    expected = discriminator(images)
    wide = torch.randn(4, 3, 16, 32)
    wide[..., ::2] = images
    layouts = {
        "channels last": images.contiguous(memory_format=torch.channels_last),
        "pixel list": images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),  # what a generator returns
        "strided": wide[..., ::2],
        "transposed": images.transpose(2, 3).contiguous().transpose(2, 3),
    }
    for name, layout in layouts.items():
        torch.testing.assert_close(discriminator(layout), expected, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 32, 32), (2, 1, 16, 16), (2, 3, 16, 8), (3, 16, 16)])
def test_images_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[B, 3, 16, 16\]"):
        build()(torch.zeros(shape))


@pytest.mark.parametrize("resolution", [0, 4, 9, 100, -8])
def test_wrong_resolutions_are_refused(resolution: int) -> None:
    with pytest.raises(ValueError, match="resolution"):
        ResidualDiscriminator(resolution)


def test_the_released_size_and_channels() -> None:
    with torch.device("meta"):
        discriminator = ResidualDiscriminator(256)
    released = json.loads(FORMAT.read_text())["Discriminator-256"]
    expected = sum(math.prod(shape) for name, shape in released.items() if not name.endswith("kernel"))
    assert sum(p.numel() for p in discriminator.parameters()) == expected
    channels = [block.conv1.weight.shape[1] for block in discriminator.blocks]
    assert channels == [128, 256, 512, 512, 512, 512]  # at 256, 128, 64, 32, 16, 8


@pytest.mark.parametrize("batch", [1, 4])
def test_the_double_backward_is_finite(batch: int) -> None:
    discriminator = build()
    # The same picture in the whole group: the standard deviation's root is taken at zero.
    real = torch.randn(1, 3, 16, 16).expand(batch, -1, -1, -1).clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    gradient.square().sum().backward()
    reached = 0
    for name, parameter in discriminator.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), name
            reached += int(float(parameter.grad.abs().max()) > 0)
    assert reached >= 10


def test_gradients_reach_every_parameter_and_the_image() -> None:
    discriminator = build()
    images = torch.randn(4, 3, 16, 16, requires_grad=True)
    discriminator(images).square().sum().backward()
    for name, parameter in (*discriminator.named_parameters(), ("images", images)):
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name
