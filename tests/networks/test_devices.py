"""No forward pass makes a tensor on the wrong device (fake tensors tell, without a GPU); bf16 stays near float32."""

from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from variants import VARIANTS, build, composed, randomise

from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.discriminator import ResidualDiscriminator

CUDA = torch.device("cuda")
noises = pytest.mark.parametrize("noise", [False, True])


def on_cuda(network: nn.Module) -> Any:
    """`network.to("cuda")`, which cannot swap fake tensors: parameters and buffers move, and nothing else does."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().to(CUDA))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(CUDA)
    return network


@pytest.mark.parametrize("name", VARIANTS)
@noises
def test_generators_on_cuda(name: str, noise: bool) -> None:
    composed(name)  # cached: Hydra has no business in the fake mode
    with FakeTensorMode(), torch.no_grad():
        generator = on_cuda(build(name, noise=noise))
        size = generator.resolution
        z = torch.randn(2, generator.z_dim, device=CUDA)
        seeds = torch.tensor([3, 4], device=CUDA)
        w = generator.truncate(generator.mapping(z), 0.7)
        native = image_grid(size, size, device=CUDA)
        for mode in (True, False):
            generator.train(mode)
            outputs = [generator(z), generator(z, seeds), generator.synthesize_native(w, seeds)]
        if not generator.native_only:
            outputs += [generator.render(w, native, noise_seed=seeds), generator.render(w, native, tile=100)]
            for coords in (torch.rand(9, 2, device=CUDA), torch.rand(2, 9, 2, device=CUDA)):
                for seed in (0, 5, seeds):
                    colours = generator.synthesis(w, coords, seed)
                    assert colours.shape == (2, 9, 3)
                    assert colours.device.type == "cuda"
        for output in outputs:
            assert output.shape == (2, 3, size, size)
            assert output.device.type == "cuda"
        generator.mapping.track_mean(w)
        assert generator.mapping.w_mean.device.type == "cuda"


@pytest.mark.parametrize("options", [{"modulation": False}, {"embedding_lookup": "official"}])
def test_other_options_on_cuda(options: dict[str, object]) -> None:
    composed("cips")
    with FakeTensorMode(), torch.no_grad():
        generator = on_cuda(build("cips", noise=True, **options))
        assert generator(torch.randn(2, generator.z_dim, device=CUDA)).device.type == "cuda"


def test_the_discriminator_on_cuda() -> None:
    with FakeTensorMode():
        discriminator = on_cuda(ResidualDiscriminator(16, channel_base=128, channel_max=12))
        for batch in (1, 3, 8):
            logits = discriminator(torch.randn(batch, 3, 16, 16, device=CUDA))
            assert logits.shape == (batch, 1)
            assert logits.device.type == "cuda"


def test_the_fake_mode_sees_a_wrong_device() -> None:
    """Else the tests above would prove nothing."""
    with FakeTensorMode(), torch.no_grad():
        generator = on_cuda(build("cips"))
        with pytest.raises(RuntimeError, match="device"):
            generator.synthesis(torch.randn(2, generator.w_dim, device=CUDA), torch.rand(9, 2))


@pytest.mark.parametrize("name", VARIANTS)
@noises
def test_generators_under_bfloat16(name: str, noise: bool) -> None:
    generator = build(name, noise=noise).train()
    z = torch.randn(4, generator.z_dim)
    seeds = torch.arange(4)
    expected = generator(z, seeds).detach()
    with torch.autocast("cpu", torch.bfloat16):
        images = generator(z, seeds)
    assert images.dtype == torch.float32  # RGB is summed in full precision
    assert images.isfinite().all()
    error = (images.detach() - expected).square().mean().sqrt()
    assert 0 < float(error) < 0.1 * float(expected.square().mean().sqrt())
    images.square().mean().backward()
    for parameter_name, parameter in generator.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


def test_the_discriminator_under_bfloat16() -> None:
    torch.manual_seed(0)
    discriminator = randomise(ResidualDiscriminator(16, channel_base=128, channel_max=12))
    images = torch.randn(8, 3, 16, 16)
    expected = discriminator(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = discriminator(images)
    assert logits.isfinite().all()
    assert 0 < float((logits.float() - expected).detach().abs().max()) < 0.15
