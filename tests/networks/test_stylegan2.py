"""StyleGAN2Generator against naive formulas: the weights of each sample, zero insertion, parameter counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cips_lab.configuration import conf_folder
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.stylegan2 import ModulatedConv2d, StyledLayer, StyleGAN2Generator, upsample

RESOLUTION = 16
CONF = Path(__file__).parents[2] / "conf" / "generator" / "stylegan2.yaml"


def build(seed: int = 0, *, noise_strength: float = 0.3, randomise: bool = False, **options) -> StyleGAN2Generator:
    """A small generator; noise on by default, for a strength of 0 would hide it."""
    torch.manual_seed(seed)
    small = {"z_dim": 16, "w_dim": 12, "mapping_layers": 2, "channel_base": 128, "channel_max": 24}
    generator = StyleGAN2Generator(RESOLUTION, **{**small, **options})
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, noise_strength)
        elif randomise and name.endswith("bias"):  # zeros at first, which would hide a forgotten bias
            torch.nn.init.normal_(parameter)
    return generator.eval()


@pytest.fixture
def generator() -> StyleGAN2Generator:
    return build()


def naive_filter(x: np.ndarray, before: int, after: int, gain: float) -> np.ndarray:
    """Pad with zeros, then correlate with the outer product of [1, 3, 3, 1] / 8, entry by entry."""
    taps = np.array([1, 3, 3, 1]) / 8
    x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    out = np.zeros((*x.shape[:2], x.shape[2] - 3, x.shape[3] - 3))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = (x[:, :, i : i + 4, j : j + 4] * np.outer(taps, taps)).sum((2, 3)) * gain
    return out


def naive_modulated(conv: ModulatedConv2d, x: Tensor, w: Tensor) -> Tensor:
    """Equations 1 and 3 of the paper with the weights of each sample, in float64: one grouped convolution."""
    out_channels, in_channels, k, _ = conv.weight.shape
    affine = conv.affine.weight.detach().double() / w.shape[1] ** 0.5
    style = w.double() @ affine.T + conv.affine.bias.detach().double()
    weight = conv.weight.detach().double() / (in_channels * k * k) ** 0.5
    weight = weight[None] * style[:, None, :, None, None]  # [B, out, in, k, k]
    if conv.demodulate:
        weight = weight / (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    batch, _, height, width = x.shape
    x = x.double().reshape(1, batch * in_channels, height, width)
    if not conv.upsample:
        y = F.conv2d(x, weight.flatten(0, 1), padding=k // 2, groups=batch)
        return y.view(batch, out_channels, height, width)
    y = F.conv_transpose2d(x, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=batch)
    y = y.view(batch, out_channels, 2 * height + 1, 2 * width + 1)
    return torch.from_numpy(naive_filter(y.numpy(), 1, 1, gain=4))


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize(("kernel_size", "up"), [(1, False), (3, False), (3, True)])
@torch.no_grad()
def test_modulated_convolution_equals_modulated_weights(kernel_size: int, up: bool, demodulate: bool) -> None:
    torch.manual_seed(1)
    conv = ModulatedConv2d(5, 7, kernel_size, 6, demodulate=demodulate, upsample=up)
    x, w = torch.randn(3, 5, 8, 6), torch.randn(3, 6) * 2
    expected = naive_modulated(conv, x, w)
    actual = conv(x, w)
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual.double(), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_demodulated_output_has_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    conv = ModulatedConv2d(64, 64, 3, 8)
    y = conv(torch.randn(4, 64, 32, 32), torch.randn(4, 8) * torch.tensor([[0.01], [1], [10], [100]]))
    assert torch.allclose(y[:, :, 1:-1, 1:-1].std((1, 2, 3)), torch.ones(4), atol=0.05)


@torch.no_grad()
def test_a_new_style_layer_is_neutral_at_w_zero() -> None:
    """The affine style begins with bias 1: without w nothing is scaled, and a fresh layer is a plain convolution."""
    style, demodulation = ModulatedConv2d(4, 5, 3, 8).coefficients(torch.zeros(2, 8))
    assert torch.equal(style, torch.ones(2, 4))
    assert demodulation is not None
    assert demodulation.shape == (2, 5)


@torch.no_grad()
def test_zero_style_gives_zero_and_no_nan() -> None:
    conv = ModulatedConv2d(4, 4, 3, 8)
    conv.affine.bias.zero_()
    assert torch.equal(conv(torch.randn(2, 4, 8, 8), torch.zeros(2, 8)), torch.zeros(2, 4, 8, 8))


@torch.no_grad()
def test_upsampling_is_zero_insertion_and_blur() -> None:
    x = torch.randn(2, 3, 5, 7)
    zeros = np.zeros((2, 3, 10, 14))
    zeros[:, :, ::2, ::2] = x.numpy()
    expected = naive_filter(zeros, 2, 1, gain=4)
    np.testing.assert_allclose(upsample(x).numpy(), expected, atol=1e-5)
    # A constant stays one, away from the zeros beyond the edge.
    assert torch.allclose(upsample(torch.ones(1, 3, 8, 8))[..., 2:-2, 2:-2], torch.tensor(1.0))


@torch.no_grad()
def test_styled_layer_is_convolution_noise_bias_activation() -> None:
    torch.manual_seed(2)
    layer = StyledLayer(5, 6, 4, upsample=False, noise=True)
    layer.noise_strength.fill_(0.7)
    layer.bias.normal_()
    x, w, noise = torch.randn(2, 5, 4, 4), torch.randn(2, 4), torch.randn(2, 1, 4, 4)
    y = naive_modulated(layer.conv, x, w).float() + 0.7 * noise + layer.bias.view(1, 6, 1, 1)
    expected = torch.where(y > 0, y, 0.2 * y) * 2**0.5
    torch.testing.assert_close(layer(x, w, noise), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_image_is_the_sum_of_upsampled_rgb_outputs() -> None:
    """The whole network by the naive formulas; style i to convolution i, and to-RGB shares the next one's style."""
    generator = build(randomise=True)
    w = torch.randn(2, generator.num_layers, generator.w_dim)
    x = generator.constant.repeat(2, 1, 1, 1)
    rgb = torch.zeros(2, 3, 2, 2)
    index = 0
    for level in range(3):  # 4, 8, 16
        for _ in range(2 if level else 1):
            layer = generator.layers[index]
            y = naive_modulated(layer.conv, x, w[:, index]).float() + layer.bias.view(1, -1, 1, 1)
            y = y + 0.3 * generator._noise(index, 5, torch.device("cpu"))
            x = torch.where(y > 0, y, 0.2 * y) * 2**0.5
            index += 1
        zeros = np.zeros((2, 3, 4 << level, 4 << level))
        zeros[:, :, ::2, ::2] = rgb.numpy()
        to_rgb = generator.to_rgb[level]
        rgb = torch.from_numpy(naive_filter(zeros, 2, 1, gain=4)).float() + to_rgb.bias.view(1, 3, 1, 1)
        rgb = rgb + naive_modulated(to_rgb.conv, x, w[:, index]).float()
    assert index == len(generator.layers)
    assert [layer.conv.demodulate for layer in generator.layers] == [True] * 5
    assert [layer.conv.demodulate for layer in generator.to_rgb] == [False] * 3
    torch.testing.assert_close(generator.synthesize_native(w, noise_seed=5), rgb, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("resolution", "noise"), [(256, True), (256, False), (64, True), (1024, True)])
def test_parameter_count(resolution: int, noise: bool) -> None:
    """Configuration F counted from its table of channels, not from the module."""
    widths = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
    count = 8 * (512 * 512 + 512) + 512 * 4 * 4
    previous = 512
    for size in (s for s in widths if s <= resolution):
        width = widths[size]
        for inputs in (previous, width) if size > 4 else (previous,):
            count += 9 * inputs * width + width + (512 + 1) * inputs + noise  # weight, bias, affine style, strength
        count += 3 * width + 3 + (512 + 1) * width  # to-RGB
        previous = width
    with torch.device("meta"):
        generator = StyleGAN2Generator(resolution, noise=noise)
    assert sum(p.numel() for p in generator.parameters()) == count
    if resolution == 256 and noise:
        assert count == 30_034_338  # the public port's generator at 256, mapping network included


@pytest.mark.parametrize("resolution", [4, 9, 100, 0])
def test_resolution_must_be_a_power_of_two(resolution: int) -> None:
    with pytest.raises(ValueError, match="power of two of at least 8"):
        StyleGAN2Generator(resolution)


@torch.no_grad()
def test_shapes_and_attributes(generator: StyleGAN2Generator) -> None:
    assert (generator.resolution, generator.z_dim, generator.w_dim) == (RESOLUTION, 16, 12)
    assert generator.native_only is True
    assert generator.num_layers == 6
    images = generator(torch.randn(3, 16))
    assert images.shape == (3, 3, RESOLUTION, RESOLUTION)
    assert images.isfinite().all()
    assert generator(torch.randn(0, 16)).shape == (0, 3, RESOLUTION, RESOLUTION)


@torch.no_grad()
def test_noise_is_a_function_of_seed_and_layer(generator: StyleGAN2Generator) -> None:
    z = torch.randn(2, 16)
    first = generator(z, noise_seed=3)
    generator(torch.randn(5, 16), noise_seed=4)  # no state: what was asked before does not matter
    torch.manual_seed(123)
    assert torch.equal(generator(z, noise_seed=3), first)
    assert not torch.allclose(generator(z, noise_seed=4), first, atol=1e-2)

    cpu = torch.device("cpu")
    noises = [generator._noise(i, 3, cpu) for i in range(len(generator.layers))]
    assert [n.shape[-1] for n in noises] == [4, 8, 8, 16, 16]
    for a, b in ((1, 2), (3, 4)):  # the two layers of one resolution: independent, not the same
        correlation = torch.corrcoef(torch.stack([noises[a].flatten(), noises[b].flatten()]))[0, 1]
        assert abs(correlation) < 0.35
    assert abs(noises[4].mean()) < 0.2
    assert abs(noises[4].std() - 1) < 0.2


@torch.no_grad()
def test_each_layer_adds_its_own_noise() -> None:
    generator = build(noise_strength=0.0)
    z = torch.randn(1, 16)
    without = generator(z)
    for layer in generator.layers:
        layer.noise_strength.fill_(0.5)
        assert not torch.allclose(generator(z), without, atol=1e-3)
        layer.noise_strength.zero_()


@torch.no_grad()
def test_noise_seed_per_sample(generator: StyleGAN2Generator) -> None:
    z = torch.randn(1, 16).expand(3, -1)
    images = generator(z, noise_seed=torch.tensor([7, 8, 7]))
    torch.testing.assert_close(images[0], images[2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(images[0], images[1], atol=1e-2)
    for image, seed in zip(images, (7, 8, 7), strict=True):
        torch.testing.assert_close(image[None], generator(z[:1], noise_seed=seed), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_no_noise_means_no_dependence_on_the_seed() -> None:
    z = torch.randn(2, 16)
    fresh = StyleGAN2Generator(8, z_dim=16, w_dim=12, channel_max=8)
    assert torch.equal(fresh(z, noise_seed=1), fresh(z, noise_seed=2))  # strengths begin at 0
    off = build(noise=False)
    assert torch.equal(off(z, noise_seed=1), off(z, noise_seed=2))
    assert not any("noise" in name for name in off.state_dict())


@torch.no_grad()
def test_style_mixing(generator: StyleGAN2Generator) -> None:
    first, second = torch.randn(2, 12), torch.randn(2, 12)
    for crossover in range(generator.num_layers + 1):
        expected = torch.stack([first if i < crossover else second for i in range(generator.num_layers)], dim=1)
        assert torch.equal(generator.mix(first, second, crossover), expected)
    mixed = generator.mix(first, second, torch.tensor([1, 4]))
    assert torch.equal(mixed[0], generator.mix(first, second, 1)[0])
    assert torch.equal(mixed[1], generator.mix(first, second, 4)[1])

    image = generator.synthesize_native
    assert torch.equal(image(generator.mix(first, second, 6)), image(first))
    assert torch.equal(image(generator.mix(first, second, 0)), image(second))
    changes = [(image(generator.mix(first, second, i)) - image(first)).abs().max() for i in range(6)]
    assert min(changes) > 1e-3  # every layer uses its style


@torch.no_grad()
def test_synthesis_of_the_native_grid(generator: StyleGAN2Generator) -> None:
    z = torch.randn(2, 16)
    w, seed = generator.mapping(z), torch.tensor([1, 2])
    images = generator(z, seed)
    grid = image_grid(RESOLUTION, RESOLUTION)
    assert torch.equal(generator.synthesize_native(w, seed), images)
    assert torch.equal(generator.render(w, grid, tile=7, noise_seed=seed), images)
    axis = torch.linspace(-1, 1, RESOLUTION)  # another rounding of the same grid
    rounded = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    for coords in (grid.view(-1, 2), rounded.view(-1, 2), grid.view(1, -1, 2).expand(2, -1, -1)):
        pixels = generator.synthesis(w, coords, seed)
        assert pixels.shape == (2, RESOLUTION**2, 3)
        assert torch.equal(pixels[:, 3 * RESOLUTION + 5], images[:, :, 3, 5])


def test_render_is_inference_only(generator: StyleGAN2Generator) -> None:
    w = torch.randn(1, 12, requires_grad=True)
    assert not generator.render(w, image_grid(RESOLUTION, RESOLUTION)).requires_grad
    assert generator.synthesis(w, image_grid(RESOLUTION, RESOLUTION).view(-1, 2)).requires_grad


def test_free_coordinates_raise(generator: StyleGAN2Generator) -> None:
    w = torch.randn(2, 12)
    grid = image_grid(RESOLUTION, RESOLUTION)
    pixels = grid.view(-1, 2)
    free = [
        pixels[:-1],
        pixels.flip(0),  # another order
        grid.transpose(0, 1).flatten(0, 1),  # column by column
        pixels * 0.5,
        pixels + 1e-3,
        image_grid(8, 32).view(-1, 2),  # as many pixels, another picture
        pixels.expand(3, -1, -1),  # for another number of samples
        torch.full_like(pixels, float("nan")),
        torch.stack([pixels, pixels.flip(0)]),  # one of the two is not native
    ]
    for coords in free:
        with pytest.raises(ValueError, match="cannot synthesise free coordinates"):
            generator.synthesis(w, coords)
    for bad in (image_grid(32, 32), image_grid(8, 32), image_grid(16, 16, region=(-0.5, -0.5, 0.5, 0.5)), pixels[None]):
        with pytest.raises(ValueError, match="cannot synthesise free coordinates"):
            generator.render(w, bad)


def test_styles_of_another_shape_raise(generator: StyleGAN2Generator) -> None:
    for shape in ((2, 13), (2, 5, 12), (12,)):
        with pytest.raises(ValueError, match="styles must be"):
            generator.synthesize_native(torch.randn(shape))


@torch.no_grad()
def test_truncation(generator: StyleGAN2Generator) -> None:
    generator.mapping.w_mean.normal_()
    w = generator.mapping(torch.randn(3, 16))
    mean_image = generator.synthesize_native(generator.mapping.w_mean[None])
    images = generator.synthesize_native(generator.truncate(w, 0.0))
    torch.testing.assert_close(images, mean_image.expand(3, -1, -1, -1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(generator.truncate(w, 1.0), w)
    layered = w[:, None].expand(-1, generator.num_layers, -1)
    torch.testing.assert_close(generator.truncate(layered, 0.3)[:, 2], generator.truncate(w, 0.3))


def test_gradients_reach_every_parameter(generator: StyleGAN2Generator) -> None:
    z = torch.randn(2, 16, requires_grad=True)
    images = generator.train()(z)
    (images * torch.randn_like(images)).sum().backward()
    for name, tensor in [("z", z), *generator.named_parameters()]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.abs().max() > 0, name


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(generator: StyleGAN2Generator) -> None:
    z, seeds = torch.randn(4, 16), torch.arange(4)
    images = generator(z, seeds)
    for i in range(4):
        torch.testing.assert_close(images[i : i + 1], generator(z[i : i + 1], seeds[i : i + 1]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_layers_keep_channels_last(generator: StyleGAN2Generator) -> None:
    formats = []
    for layer in generator.layers:
        layer.register_forward_hook(
            lambda _module, _args, y: formats.append(y.is_contiguous(memory_format=torch.channels_last))
        )
    generator(torch.randn(2, 16))
    assert formats == [True] * 5


def test_device_is_followed() -> None:
    """No GPU is needed: fake tensors refuse to mix devices as real ones do."""
    with FakeTensorMode(), torch.device("cuda"):
        generator = StyleGAN2Generator(32)
        z = torch.randn(2, 512)
        for seed in (0, torch.tensor([1, 2]), torch.tensor([1, 2], device="cpu")):
            images = generator(z, seed)
            assert images.shape == (2, 3, 32, 32)
            assert images.device.type == "cuda"
        w = generator.mapping(z)
        assert generator.mix(w, w, torch.tensor([1, 2], device="cpu")).device.type == "cuda"


@pytest.mark.parametrize("seed", [3, torch.tensor([3, 4])])
def test_noise_takes_no_float64_on_its_device(generator: StyleGAN2Generator, seed: int | Tensor) -> None:
    """MPS has none. The device `meta` stands for it: coordinates may be rounded from float64 on the CPU, no more."""
    seen: set[tuple[str, torch.dtype]] = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            seen.update((t.device.type, t.dtype) for t in tree_leaves(result) if isinstance(t, Tensor))
            return result

    with Watch():
        noise = generator._noise(3, seed, torch.device("meta"))
    assert noise is not None
    assert ("meta", torch.float32) in seen
    assert ("meta", torch.float64) not in seen


def test_autocast_keeps_demodulation_in_float32(generator: StyleGAN2Generator) -> None:
    z = torch.randn(2, 16)
    w = generator.mapping(z)
    conv = generator.layers[1].conv
    expected = conv.coefficients(w)
    images = generator(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = conv.coefficients(w)
        halved = generator(z)
        assert generator.layers[1](torch.randn(2, 24, 4, 4), w).dtype == torch.bfloat16  # it is in use
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)
    assert halved.dtype == torch.float32  # the sum of the RGB outputs
    to_rgb, x = generator.to_rgb[1], torch.zeros(2, 16, 8, 8)
    rgb = torch.randn(2, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = to_rgb(x, w, rgb)
    assert torch.equal(got, upsample(rgb))  # not rounded on its way up either
    assert halved.isfinite().all()
    assert (halved - images).abs().mean() < 0.05 * images.abs().mean()
    halved.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in generator.parameters())


def test_config_names_every_option() -> None:
    config = OmegaConf.load(CONF)
    assert config.pop("_target_") == "cips_lab.networks.stylegan2.StyleGAN2Generator"
    model = OmegaConf.load(conf_folder() / "train.yaml").model
    root = OmegaConf.create({"resolution": 256, "model": model, "generator": config})
    options = OmegaConf.to_container(root.generator, resolve=True)
    code = StyleGAN2Generator.__init__.__code__
    assert list(options) == list(code.co_varnames[1 : code.co_argcount])
    with torch.device("meta"):
        generator = StyleGAN2Generator(**options)
    assert generator.resolution == 256
    defaults = dict(zip(list(options)[1:], StyleGAN2Generator.__init__.__defaults__, strict=True))
    assert {k: v for k, v in options.items() if k != "resolution"} == defaults
