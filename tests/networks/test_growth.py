"""Growth: what a larger network makes at first is what the smaller one makes on the finer grid."""

from typing import Any

import pytest
import torch
from torch import Tensor
from variants import randomise

from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.growth import doublings, grow_discriminator, grown_generator

SIZES: dict[str, Any] = {"width": 12, "z_dim": 6, "w_dim": 7, "mapping_layers": 2}
CASES: dict[str, dict[str, Any]] = {
    "cips": {},
    "no_table": {"embedding": None},
    "no_fourier": {"fourier": None},
    "residual": {"blocks": "residual"},
    "slow_table": {"embedding": {"features": 5, "lr_multiplier": 0.1}},
    "rectangle": {"resolution": (8, 16)},
    "cylinder": {"surface": "cylinder", "turns": 3},
}


def generator(resolution: Any, **options: Any) -> CIPSGenerator:
    return CIPSGenerator(resolution, **{**SIZES, **options})


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_grown_picture_is_the_smaller_one_on_the_finer_grid(case: str, times: int) -> None:
    torch.manual_seed(0)
    options = dict(CASES[case])
    height, width = (8, 8) if "resolution" not in options else options.pop("resolution")
    small = randomise(generator((height, width), **options)).eval()
    large = generator((height << times, width << times), **options)
    before = [p.clone() for p in large.blocks[-1].parameters()]
    large.load_state_dict(grown_generator(small, large))
    large.eval()
    w = small.mapping(torch.randn(3, 6))
    torch.testing.assert_close(large.mapping.w_mean, small.mapping.w_mean)
    expected = small.render(w, image_grid(height << times, width << times))
    torch.testing.assert_close(large.synthesize_native(w), expected, atol=2e-5, rtol=1e-4)
    assert all(torch.equal(p, q) for p, q in zip(before, large.blocks[-1].parameters(), strict=True))


def test_a_grown_generator_learns_in_its_new_layers() -> None:
    torch.manual_seed(0)
    small, large = generator(8), generator(16)
    large.load_state_dict(grown_generator(small, large))
    optimizer = torch.optim.Adam(large.parameters(), lr=0.01)
    for _ in range(2):  # the first step moves the output, the second what is behind it
        optimizer.zero_grad()
        large(torch.randn(4, 6)).square().mean().backward()
        optimizer.step()
    new = [p for name, p in large.named_parameters() if name.startswith(f"blocks.{len(small.blocks)}.")]
    assert new
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in new)


@pytest.mark.parametrize(
    ("small", "large", "told"),
    [
        ({}, {"width": 16}, r"first\.linear\.weight is \[12, 24\].*\[16, 32\]|is \[12"),
        ({}, {"output": "last"}, r"to_rgb\.0"),
        ({"output": "last"}, {"output": "last"}, "growth needs generator.output=skip"),
        ({}, {"resolution": (16, 32)}, "8 cannot be doubled to 32x16"),
        ({}, {"surface": "cylinder"}, r"encoding\.fourier\.weight"),
    ],
)
def test_what_cannot_grow(small: dict[str, Any], large: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        grown_generator(generator(8, **small), generator(**{"resolution": 16, **large}))


def test_doublings() -> None:
    assert doublings((8, 8), (32, 32)) == 2
    assert doublings((8, 16), (16, 32)) == 1
    assert doublings((24, 16), (48, 32)) == 1
    assert doublings((8, 8), (8, 8)) == doublings((16, 16), (8, 8)) == doublings((8, 8), (16, 32)) == 0


def discriminator(resolution: Any, **options: Any) -> ResidualDiscriminator:
    return ResidualDiscriminator(resolution, **{"channel_base": 128, "channel_max": 12, **options})


@pytest.mark.parametrize("times", [1, 2])
def test_a_grown_discriminator_begins_as_the_smaller_one(times: int) -> None:
    torch.manual_seed(0)
    small = randomise(discriminator(8))
    large = randomise(discriminator(8 << times))
    new = {
        name: value.clone() for name, value in large.state_dict().items() if name.startswith(("from_rgb", "blocks.0"))
    }
    assert grow_discriminator(small.state_dict(), large)
    images = torch.randn(4, 3, 8 << times, 8 << times)
    shrunk = images.unflatten(3, (8, -1)).unflatten(2, (8, -1)).mean((3, 5))
    large.fade.fill_(0)
    torch.testing.assert_close(large(images), small(shrunk), atol=1e-4, rtol=1e-4)
    # At the end it is an ordinary one of its size, which the old input has no part in.
    large.fade.fill_(1)
    plain = discriminator(8 << times)
    plain.load_state_dict({n: v for n, v in large.state_dict().items() if not n.startswith("faded")})
    torch.testing.assert_close(large(images), plain(images), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, large.state_dict()[name]) for name, value in new.items())
    # Half-way both have gradients, and so keep all processes in step at every share.
    large.fade.fill_(0.5)
    large(images).sum().backward()
    assert all(p.grad is not None for p in large.parameters())


def test_one_that_has_grown_grows_again() -> None:
    torch.manual_seed(0)
    small, middle, large = (discriminator(side) for side in (8, 16, 32))
    assert grow_discriminator(small.state_dict(), middle)
    middle.fade.fill_(1)
    assert grow_discriminator(middle.state_dict(), large)
    images = torch.randn(4, 3, 32, 32)
    shrunk: Tensor = torch.nn.functional.avg_pool2d(images, 2)
    torch.testing.assert_close(large(images), middle(shrunk), atol=1e-5, rtol=1e-4)


def test_a_discriminator_of_other_channels_does_not_fit() -> None:
    large = discriminator(16)
    state = {name: value.clone() for name, value in large.state_dict().items()}
    assert not grow_discriminator(discriminator(8, channel_max=8).state_dict(), large)
    assert not grow_discriminator(discriminator(8, told="where").state_dict(), large)
    assert not grow_discriminator(discriminator(32).state_dict(), large)
    assert large.faded is None
    assert all(torch.equal(value, state[name]) for name, value in large.state_dict().items())
