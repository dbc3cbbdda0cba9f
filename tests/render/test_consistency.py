"""Likeness of a generator to itself on finer grids, and seams of turns."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from variants import build

from cips_lab.errors import UserError
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.mapping import latents_of_seeds
from cips_lab.render.consistency import check_consistency, consistency, seams, subdivided

CPU = torch.device("cpu")


def test_a_finer_grid_has_the_native_one_in_its_middle() -> None:
    """Each native pixel is the mean of the places of its own."""
    finer = subdivided((5, 9), 4, "cpu")
    blocks = finer.view(5, 4, 9, 4, 2).mean((1, 3))
    torch.testing.assert_close(blocks, image_grid(5, 9), rtol=0, atol=1e-6)
    steps = finer[0].diff(dim=0)[:, 0]
    torch.testing.assert_close(steps, torch.full_like(steps, 2 / 8 / 4), rtol=0, atol=1e-6)


def similarity(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, equation 13: a Gaussian window of 11 with deviation 1.5; of pictures [3, H, W], range 2."""

    def local(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(values, (0, 1.5, 1.5), mode="mirror", radius=5)

    a, b = local(x), local(y)
    first, second = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    covariance, variances = local(x * y) - a * b, local(x * x) - a * a + local(y * y) - b * b
    ratios = (2 * a * b + first) * (2 * covariance + second) / ((a * a + b * b + first) * (variances + second))
    return float(ratios.mean())


@torch.no_grad()
def test_it_is_the_formula() -> None:
    generator = build("cips")
    found = consistency(generator, 3, CPU)
    expected = []
    for seed in range(3):
        w = generator.mapping(latents_of_seeds([seed], generator.z_dim))
        native = generator.synthesize_native(w)[0].clamp(-1, 1).double().numpy()
        finer = generator.render(w, subdivided((16, 16), 2, CPU))[0].clamp(-1, 1)
        expected.append(similarity(finer.view(3, 16, 2, 16, 2).mean((2, 4)).double().numpy(), native))
    assert found["self_ssim_2"] == pytest.approx(np.mean(expected), abs=1e-3)
    assert found["self_ssim_2_se"] == pytest.approx(np.std(expected) / 3**0.5, abs=1e-3)
    assert found.keys() == {"self_ssim_2", "self_ssim_4", "self_ssim_2_se", "self_ssim_4_se"}


def test_smooth_pictures_are_alike_on_all_grids_and_noise_is_not() -> None:
    """What waves between the pixels is not what they show."""
    slow, fast = (build("cips_ne", fourier={"features": 16, "scale": scale}) for scale in (0.5, 40.0))
    assert consistency(slow, 3, CPU)["self_ssim_4"] > 0.95
    assert consistency(fast, 3, CPU)["self_ssim_4"] < 0.5


def test_a_turn_has_no_seam_and_its_plane_has() -> None:
    found = consistency(build("cips", surface="cylinder", turns=2), 4, CPU)
    assert found["seam"] == pytest.approx(1, abs=0.5)
    ramp = torch.linspace(0, 1, 11).expand(2, 3, 4, 11)
    assert seams(ramp).tolist() == pytest.approx([10.0, 10.0])
    wave = torch.sin(torch.arange(64) * 2 * torch.pi / 64).expand(1, 3, 4, 64)
    assert 0.9 < float(seams(wave)) < 1.7  # where a sine is steepest


def test_what_cannot_be_measured() -> None:
    check_consistency(build("cips"))
    with pytest.raises(UserError, match="is convolutional"):
        check_consistency(build("stylegan2"))
