"""The encodings as maps, as they began, and without one of their parts."""

from pathlib import Path

import pytest
import torch
from studies import subject

from cips_lab.analysis.encodings import EMBEDDING, FOURIER, as_it_began, maps_of, parts_of, zeroed
from cips_lab.analysis.opening import open_subject
from cips_lab.analysis.subject import Subject
from cips_lab.interop.native import save_generator
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.encoding import EncodingPart

VARIANTS = ["cips", "cips_base", "cips_residual", "cips_sine", "cips_lowpass"]


def test_maps_are_the_encoding_of_each_pixel() -> None:
    one = subject("cips")
    fourier, embedding = maps_of(one, one.pixelwise.encoding)
    assert (fourier.part, embedding.part) == (FOURIER, EMBEDDING)
    whole = one.pixelwise.encoding(image_grid(16, 16))  # [16, 16, features]
    assert torch.equal(torch.cat([fourier.values, embedding.values]), whole.permute(2, 0, 1))
    table = one.pixelwise.encoding.get_submodule("embedding").get_parameter("table")
    torch.testing.assert_close(embedding.values[:, 3, 5], table[3 * 16 + 5], atol=1e-4, rtol=0)  # row 3, column 5
    assert maps_of(one, one.pixelwise.encoding, 24)[1].values.shape == (16, 24, 24)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("part", [EMBEDDING, FOURIER])
@pytest.mark.parametrize("modulation", [True, False])
def test_zeroing_a_part_is_deleting_its_columns_of_the_modulated_weight(
    variant: str, part: str, modulation: bool
) -> None:
    """Of B-hat, whose demodulation goes on counting them; and not of B, where modulated."""
    generator = subject(variant, modulation=modulation).pixelwise
    w = generator.mapping(torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(0)))
    found = zeroed(generator, part).synthesize_native(w)
    coords, kept = generator.native_coords, without(generator, part)
    program = generator.program(w)
    assert program.first.affine.weight.shape[-2] == len(kept)
    affine = program.first.affine._replace(weight=program.first.affine.weight[..., kept, :])
    cut = program._replace(first=program.first._replace(affine=affine))
    drawn = generator.run(cut, generator.encoding(coords)[:, kept], coords)
    torch.testing.assert_close(found.flatten(2), drawn, atol=1e-5, rtol=1e-5)
    assert (found - generator.synthesize_native(w)).abs().mean() > 0.01
    # Deleted before the demodulation, the other columns would count for more.
    first = generator.first.linear
    if first.affine is not None:
        style = first.affine(w)
        weight = style[:, :, None] * first.weight.t() * first.scale
        again = weight[:, kept] / (weight[:, kept].square().sum(1, keepdim=True) + 1e-8).sqrt()
        larger = program.first.affine.weight[:, kept].norm(dim=1) / again.norm(dim=1) / generator.first.gain
        assert larger.max() < 0.99


@pytest.mark.parametrize("part", [EMBEDDING, FOURIER])
@pytest.mark.parametrize("motion", [{"shift": 1.0}, {"rotation": 1.0}, {"shift": 1.0, "rotation": 1.0}])
def test_parts_are_zeroed_where_styles_move_the_waves(part: str, motion: dict[str, float]) -> None:
    """The same: rows of the first layer's matrix, which no motion mixes with those of the other part."""
    generator = subject("cips_base", fourier={"features": 16, "waves": "pairs"}, **motion).pixelwise
    w = generator.mapping(torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(0)))
    program, coords = generator.program(w), generator.native_coords
    weight = program.first.affine.weight * without(generator, part)[:, None]
    cut = program._replace(first=program.first._replace(affine=program.first.affine._replace(weight=weight)))
    drawn = generator.run(cut, generator.encoding(coords), coords)
    found = zeroed(generator, part).synthesize_native(w)
    torch.testing.assert_close(found.flatten(2), drawn, atol=1e-5, rtol=1e-5)


def without(generator: CIPSGenerator, part: str) -> torch.Tensor:
    """Whether each input feature of the first layer belongs to another part, bool [features]."""
    return torch.cat([torch.full((own.features,), name != part) for name, own in parts_of(generator.encoding).items()])


def test_a_part_is_zeroed_on_any_grid_and_the_generator_is_left_alone() -> None:
    generator = subject("cips").pixelwise
    w = generator.mapping(torch.zeros(1, generator.z_dim))
    before = generator.synthesize_native(w)
    coords = image_grid(3, 4).view(-1, 2)
    expected = generator.encoding(coords)
    expected[:, :16] = 0
    assert torch.equal(zeroed(generator, FOURIER).encoding(coords), expected)
    picture = zeroed(zeroed(generator, FOURIER), EMBEDDING).render(w, image_grid(7, 9))
    assert picture.shape == (1, 3, 7, 9)
    assert torch.allclose(picture, picture[..., :1, :1].expand_as(picture), atol=1e-6)  # nothing tells pixels apart
    assert torch.equal(generator.synthesize_native(w), before)


def test_the_beginning_of_a_run_is_what_training_begins_with(tmp_path: Path) -> None:
    """Built as a run builds its networks, on any state of the global generator."""
    from hydra import compose, initialize_config_dir

    from cips_lab.configuration import conf_folder
    from cips_lab.launch.networks import build_gan
    from cips_lab.training.guard import Guard

    small = ["model.width=16", "model.z_dim=8", "model.w_dim=8", "model.channel_base=128", "model.channel_max=16"]
    for generator in ("cips", "cips_lowpass"):
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = compose("train", [f"generator={generator}", "resolution=16", "seed=7", "name=test", *small])
        torch.manual_seed(1234)
        gan = build_gan(cfg, Guard(), flip=False)
        run = Subject("run", gan.generator, gan.generator_config, seed=7)
        torch.manual_seed(99)
        state = torch.random.get_rng_state()
        began = as_it_began(run)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert began is not None
        assert tensors(began) == tensors(gan.generator.encoding)
        other = as_it_began(Subject("run", gan.generator, gan.generator_config, seed=8))
        assert tensors(other) != tensors(gan.generator.encoding)
    # A file that tells its configuration and no seed: another draw of the same distribution.
    save_generator(gan.generator, tmp_path / "g.safetensors", gan.generator_config, kimg=0.0)
    assert as_it_began(open_subject(tmp_path / "g.safetensors")) is not None
    assert as_it_began(subject("cips")) is None  # no configuration


def tensors(encoding: object) -> dict[str, list[float]]:
    assert isinstance(encoding, torch.nn.Module)
    return {name: value.flatten().tolist() for name, value in encoding.state_dict().items()}


def test_parts_have_names() -> None:
    parts = parts_of(subject("cips").pixelwise.encoding)
    assert list(parts) == [FOURIER, EMBEDDING]
    assert all(isinstance(part, EncodingPart) for part in parts.values())
    assert list(parts_of(subject("cips_ne").pixelwise.encoding)) == [FOURIER]
    assert list(parts_of(subject("cips_no_fourier").pixelwise.encoding)) == [EMBEDDING]
