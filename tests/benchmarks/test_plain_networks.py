"""The benchmarks' plain networks compute what the fast ones do: a ratio between different things would mean nothing."""

import torch

from benchmarks import measure, reference
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.planning.meters import FlopCounter
from cips_lab.training.losses import r1_penalty


def randomised(network: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)


def test_generator() -> None:
    torch.manual_seed(0)
    generator = CIPSGenerator(
        16, width=24, z_dim=8, w_dim=8, mapping_layers=2, fourier={"features": 12}, embedding={"features": 12}
    )
    randomised(generator)
    w = generator.mapping(torch.randn(3, 8)).detach()
    gradient = torch.randn(3, 3, 16, 16)
    used = [p for name, p in generator.named_parameters() if not name.startswith("mapping.")]
    results = []
    for image in (generator.synthesize_native(w, tile=100), reference.synthesize(generator, w)):
        results.append([image.detach(), *torch.autograd.grad(image, used, gradient)])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-4 * float(plain.abs().max()), rtol=0)


def test_discriminator_and_penalty() -> None:
    torch.manual_seed(0)
    discriminator = ResidualDiscriminator(16, channel_base=128, channel_max=12)
    randomised(discriminator)
    images = torch.randn(8, 3, 16, 16)
    parameters = list(discriminator.parameters())
    results = []
    for forward in (discriminator, lambda x: reference.discriminate(discriminator, x)):
        logits = forward(images)
        penalty = r1_penalty(forward, images)  # type: ignore[arg-type]
        first = torch.autograd.grad(logits.square().sum(), parameters)
        second = torch.autograd.grad(penalty, parameters, allow_unused=True, materialize_grads=True)
        results.append([logits.detach(), penalty.detach(), *first, *second])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=2e-5 * max(1e-3, float(plain.abs().max())), rtol=0)


def test_flops_are_counted_through_a_double_backward() -> None:
    weight = torch.randn(5, 7, requires_grad=True)
    x = torch.randn(3, 5, requires_grad=True)
    with FlopCounter() as counter:
        y = x @ weight
    assert counter.total == 2 * 3 * 5 * 7
    with FlopCounter() as counter:
        (gradient,) = torch.autograd.grad((x @ weight).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
    assert counter.total > 2 * (2 * 3 * 5 * 7)
    assert y.shape == (3, 7)


def test_peak_memory_sees_what_a_part_allocates() -> None:
    used = measure.peak_memory(allocate_64_mb)
    assert 60 < used < 80


def allocate_64_mb() -> measure.Part:
    return lambda: torch.ones(16 * 2**20).sum()
