"""Views: real pictures that encode their own coordinates show that real and generated samples are seen at one place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import MemoryDataModule, build_gan, make_trainer
from torch import Tensor

from cips_lab.data.sampler import InfiniteSampler
from cips_lab.data.windows import Window, WindowDataset, WindowsOf, seen_through
from cips_lab.errors import UserError
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.training.draws import draw_flips
from cips_lab.training.views import AnyResolution, Cylinder, Full, Patch, View, WindowReader, cut, draw

SIZES = [(16, 16), (24, 40)]


def grid_as_pictures(height: int, width: int, count: int) -> Tensor:
    """[count, 3, H, W] whose first two channels are the coordinates of their pixels."""
    grid = image_grid(height, width).movedim(-1, 0)
    return torch.cat([grid, torch.zeros(1, height, width)])[None].expand(count, -1, -1, -1)


# ------------------------------------------------------------------ real and generated samples at one place


@given(
    seed=st.integers(0, 2**31), seen=st.integers(0, 10**7), frame=st.sampled_from(SIZES), scale=st.sampled_from([1, 2])
)
@settings(deadline=None, max_examples=30)
def test_a_patch_shows_the_same_pixels_of_real_and_generated_pictures(
    seed: int, seen: int, frame: tuple[int, int], scale: int
) -> None:
    view = Patch(frame, 8, scale=scale)
    shown = view.shown(draw(seed, seen, 5))
    assert shown.coords is not None
    assert shown.windows is not None
    patches = cut(grid_as_pictures(*frame, 5), shown.windows, view.sides)
    assert torch.equal(patches[:, :2].movedim(1, -1), shown.coords)
    native = {tuple(pair) for pair in image_grid(*frame).flatten(0, 1).tolist()}
    assert {tuple(pair) for pair in shown.coords.flatten(0, 2).tolist()} <= native
    assert torch.equal(shown.place, shown.coords)


def test_every_place_of_a_patch_comes() -> None:
    view = Patch((12, 16), 8, scale=1)
    shown = view.shown(draw(0, 0, 4000))
    assert shown.windows is not None
    assert set(shown.windows[:, 0].tolist()) == set(range(9))
    assert set(shown.windows[:, 1].tolist()) == set(range(5))
    strided = Patch(16, 8, scale=2).shown(draw(0, 0, 400)).windows
    assert strided is not None
    assert set(strided[:, 0].tolist()) == {0, 1}


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("frame", SIZES)
def test_windows_of_any_resolution_show_the_coordinates_that_are_synthesised(
    frame: tuple[int, int], flip: bool
) -> None:
    """Pictures of mixed sizes and proportions whose colours are their coordinates, read as the loader reads them."""
    height, width = frame
    sizes = [(height * 4, width * 4), (height * 2 + 5, width * 3), (height, width), (height * 9, width * 5 + 3)]
    view = AnyResolution(frame, whole=0.25)
    batch = 12
    reader = WindowReader(view, seed=3, batch_size=batch, flip=flip)
    dataset = WindowDataset(Ramps(sizes, frame), WindowsOf(view.frame, view.sides, reader))
    scales = set()
    for iteration in range(6):
        seen = iteration * batch
        items = [dataset[(n % len(sizes), n)] for n in range(seen, seen + batch)]
        windows = torch.stack([window for _, window in items])
        flips = draw_flips(3, seen, batch) if flip else torch.zeros(batch, dtype=torch.bool)
        colours = torch.stack([picture for picture, _ in items]).float() / 127.5 - 1
        mirrored = torch.where(flips[:, None, None, None], colours.flip(-1), colours)
        mirrored[flips, 0] *= -1  # the mirrored picture's own coordinate
        shown = view.shown(draw(3, seen, batch), windows)
        assert shown.coords is not None
        # Nearer than a pixel of the finest frame that this window is of, and colours' steps.
        for real, coords, window in zip(mirrored, shown.coords, windows, strict=True):
            pixel = torch.tensor([2 / (int(window[3]) - 1), 2 / (int(window[4]) - 1)])
            away = (real[:2].movedim(0, -1) - coords).abs()
            assert bool((away <= 0.6 * pixel + 1.5 / 127.5).all()), (window, away.amax((0, 1)))
            scales.add(round(int(window[3]) / width, 1))
            assert int(window[3]) >= width
            assert int(window[4]) >= height
    assert len(scales) > 5
    assert max(scales) > 3


class Ramps:
    """Pictures whose colours are the coordinates of the frame in them: red x, green y."""

    def __init__(self, sizes: list[tuple[int, int]], frame: tuple[int, int]) -> None:
        self.sizes, self.frame = sizes, frame

    def __len__(self) -> int:
        return len(self.sizes)

    def picture(self, index: int) -> Image.Image:
        height, width = self.sizes[index]
        scale = min(height / self.frame[0], width / self.frame[1])
        rows, columns = round(self.frame[0] * scale), round(self.frame[1] * scale)
        top, left = (height - rows) // 2, (width - columns) // 2
        picture = np.zeros((height, width, 3), np.uint8)
        grid = image_grid(rows, columns).numpy()
        picture[top : top + rows, left : left + columns, :2] = ((grid + 1) * 127.5).round()
        return Image.fromarray(picture)

    def called(self, index: int) -> str:
        return f"ramp{index}.png"


def test_a_window_is_a_part_of_the_picture_brought_to_the_frame() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    whole = np.asarray(picture.resize((60, 45), Image.Resampling.LANCZOS)).astype(int)
    part = np.asarray(seen_through(picture, Window(20, 7, 1, 60, 45), (16, 24))).astype(int)
    assert np.abs(part - whole[7:23, 20:44]).max() <= 1
    same = seen_through(picture, Window(0, 0, 1, 120, 90), (90, 120))
    assert np.array_equal(np.asarray(same), np.asarray(picture))


def test_scales_are_uniform_by_octaves_and_no_picture_is_enlarged() -> None:
    view = AnyResolution(16, whole=0.5)
    windows = [view.window(d.tolist(), 128, 200) for d in draw(1, 0, 4000)]
    whole = [window for window in windows if window == (0, 0, 1, 16, 16)]
    assert 0.5 < len(whole) / len(windows) < 0.54  # and some of the others, at the coarsest scale
    octaves = np.log2([window.rows / 16 for window in windows if window.rows > 16])
    assert max(window.rows for window in windows) <= 128
    assert np.allclose(np.quantile(octaves, [0.25, 0.5, 0.75]), [0.8, 1.5, 2.25], atol=0.12)
    limited = [AnyResolution(16, largest=40).window(d.tolist(), 128, 200) for d in draw(1, 0, 500)]
    assert max(window.rows for window in limited) <= 40
    assert {AnyResolution(16).window(d.tolist(), 16, 16) for d in draw(1, 0, 50)} == {Window(0, 0, 1, 16, 16)}


def test_a_picture_that_would_be_enlarged_is_refused() -> None:
    view = AnyResolution(16)
    reader = WindowReader(view, 0, 4, flip=False)
    dataset = WindowDataset(Ramps([(15, 40)], (16, 16)), WindowsOf(view.frame, view.sides, reader))
    with pytest.raises(UserError, match=r"ramp0\.png: 15 x 15 pixels .* enlarges no picture to the 16 x 16"):
        dataset[(0, 0)]


def test_frames_of_a_cylinder_lie_at_any_angle() -> None:
    view = Cylinder(16, turns=3)
    shown = view.shown(draw(0, 0, 600))
    assert shown.coords is not None
    moved = shown.coords - image_grid(16, 16)
    assert float(moved[..., 1].abs().max()) == 0
    turn = moved[:, 0, 0, 0]
    torch.testing.assert_close(moved[..., 0], turn[:, None, None].expand(-1, 16, 16), atol=1e-6, rtol=0)
    assert 0 <= float(turn.min()) < 0.1
    assert 5.9 < float(turn.max()) < 6
    assert shown.windows is None  # real pictures are shown as they are
    assert torch.equal(shown.place[0], image_grid(16, 16))


def test_what_the_discriminator_is_told() -> None:
    view = AnyResolution((8, 16), size=8, whole=0)
    windows = torch.tensor([[3, 2, 1, 32, 16], [0, 0, 1, 16, 8]])
    shown = view.shown(draw(0, 0, 2), windows)
    told = shown.telling("where_and_scale")[0]
    assert told is not None
    assert told.shape == (2, 3, 8, 8)
    assert told[0, 0, 0, 0] == torch.tensor(2 * 3 / 31 - 1)
    assert told[0, 1, 0, 0] == torch.tensor(2 * 2 / 15 - 1)
    assert told[:, 2].flatten(1).unique(dim=1).tolist() == [[1.0], [0.0]]
    where = shown.telling("where")[0]
    assert where is not None
    assert torch.equal(where, told[:, :2])
    assert shown.telling("none") == ()
    full = Full(8).shown(draw(0, 0, 3)).telling("where_and_scale")[0]
    assert full is not None
    assert full.shape == (1, 3, 8, 8)


@pytest.mark.parametrize("told", ["where", "where_and_scale"])
def test_a_discriminator_that_is_told_looks_at_it(told: Any) -> None:
    torch.manual_seed(0)
    discriminator = ResidualDiscriminator(8, channel_base=64, channel_max=8, told=told)
    images, channels = torch.randn(2, 3, 8, 8), 2 if told == "where" else 3
    here, there = torch.zeros(1, channels, 8, 8), torch.ones(2, channels, 8, 8)
    assert discriminator(images, here).shape == (2, 1)
    assert (discriminator(images, here) - discriminator(images, there)).detach().abs().min() > 0
    with pytest.raises(ValueError, match=f"told={told}"):
        discriminator(images)
    with pytest.raises(ValueError, match="told=none"):
        ResidualDiscriminator(8, channel_base=64, channel_max=8)(images, here)


# ------------------------------------------------------------------ a run with each


class Pictures16(MemoryDataModule):
    """Noise pictures 16 x 16."""

    def setup(self, stage: str | None = None) -> None:
        from cips_lab.data.dataset import ArrayDataset

        array = np.random.default_rng(0).integers(0, 256, (22, 3, 16, 16), dtype=np.uint8)
        self.train_dataset = ArrayDataset(array)


def trained(folder: Path, view: View | None, iterations: int = 3, **options: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    gan = build_gan(**options)
    torch.manual_seed(0)
    generator = CIPSGenerator(16, width=8, z_dim=6, w_dim=7, mapping_layers=2, noise=True)
    side = 16 if view is None else view.size
    discriminator = ResidualDiscriminator(side, channel_base=64, channel_max=8)
    made = type(gan)(generator, discriminator, gan.objective, batch_size=8, view=view)
    make_trainer(folder, iterations).fit(made, datamodule=Pictures16())
    return {name: value.detach().clone() for name, value in made.state_dict().items()}


def test_a_patch_of_the_whole_size_trains_as_the_whole_does(tmp_path: Path) -> None:
    whole, patch = trained(tmp_path / "a", Full(16)), trained(tmp_path / "b", Patch(16, 16))
    bare, begun = trained(tmp_path / "c", None), trained(tmp_path / "d", Full(16), iterations=1)
    assert all(torch.equal(whole[name], bare[name]) for name in whole)
    moved = 0
    for name, value in whole.items():
        if value.is_floating_point():
            # Adam moves every weight by its learning rate: rounding in a gradient near 0 shows.
            assert float((value - patch[name]).norm()) <= 1e-3 * float(value.norm()) + 1e-6, name
            moved += bool((value - begun[name]).abs().max() > 1e-3)
    assert moved > 10


def test_the_gradients_of_a_patch_of_the_whole_size() -> None:
    torch.manual_seed(0)
    generator = CIPSGenerator(16, width=8, z_dim=6, w_dim=7, mapping_layers=2, noise=True)
    shown = Patch(16, 16).shown(draw(0, 0, 3))
    assert shown.coords is not None
    w, target = generator.mapping(torch.randn(3, 6)).detach(), torch.randn(3, 3, 16, 16)
    seeds = torch.tensor([1, 2, 3])
    parameters = [p for name, p in generator.named_parameters() if not name.startswith("mapping")]
    whole = torch.autograd.grad((generator.synthesize_native(w, seeds) * target).sum(), parameters)
    patch = torch.autograd.grad((generator.synthesize_at(w, shown.coords, seeds) * target).sum(), parameters)
    for a, b in zip(whole, patch, strict=True):
        assert float((a - b).norm()) <= 1e-4 * float(a.norm())


def test_the_stream_is_numbered_as_draws_count_it() -> None:
    plain = InfiniteSampler(5, 0, rank=1, world_size=2, images_seen=8)
    pairs = zip(plain.numbered(), InfiniteSampler(5, 0, rank=1, world_size=2, images_seen=8), strict=False)
    for place, ((index, number), expected) in zip(range(12), pairs, strict=False):
        assert index == expected
        assert number == 9 + 2 * place


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Patch(16, 32), r"view\.size=32 is larger than the picture \(resolution=16\)"),
        (lambda: Patch((16, 32), (16, 40)), r"view\.size=\(16, 40\) is larger than the picture"),
        (lambda: Patch(16, 8, scale=3), r"view\.scale=3: 8 pixels at this distance are 22, larger than the picture"),
        (lambda: Patch(16, 8, scale=0), r"view\.scale=0"),
        (lambda: Full(16, 8), "view=full shows whole pictures: view=patch view.size=8 shows parts"),
        (lambda: Full(16, fade_kimg=-1), "fade_kimg must be at least 0"),
        (lambda: Cylinder(16, 8), "view=cylinder shows whole frames"),
        (lambda: AnyResolution(16, whole=2), r"view\.whole is a share"),
        (lambda: AnyResolution(16, largest=8), r"view\.largest=8 is smaller than resolution=16"),
    ],
)
def test_views_that_cannot_be(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_views_that_a_generator_cannot_be_seen_in() -> None:
    sizes: dict[str, Any] = {"z_dim": 4, "w_dim": 4, "mapping_layers": 1}
    plane = CIPSGenerator(16, width=4, **sizes)
    around = CIPSGenerator(16, width=4, surface="cylinder", turns=4, **sizes)
    convolutional = StyleGAN2Generator(16, channel_base=16, channel_max=4, **sizes)
    for view in (Full(16), Patch(16, 8), AnyResolution(16)):
        view.check(plane)
        with pytest.raises(ValueError, match="surface=cylinder needs view=cylinder"):
            view.check(around)
    Cylinder(16, turns=4).check(around)
    Full(16).check(convolutional)
    for generator, view in [(plane, Cylinder(16)), (around, Cylinder(16, turns=6)), (convolutional, Cylinder(16))]:
        with pytest.raises(ValueError, match="view=cylinder needs a generator with surface=cylinder"):
            view.check(generator)
    with pytest.raises(ValueError, match="view=patch needs pixels at any coordinates"):
        Patch(16, 8).check(convolutional)
