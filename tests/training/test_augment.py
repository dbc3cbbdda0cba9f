"""What is done to pictures before the discriminator sees them: nothing at 0, gradients twice, and ADA's controller."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from cips_lab.training.augment import (
    Ada,
    Augment,
    Blur,
    DiffAugment,
    Fixed,
    Numbers,
    coloured,
    colours,
    low_pass,
    motion,
    warped,
)
from cips_lab.training.losses import certainty

KINDS: dict[str, Any] = {
    "none": Augment,
    "blur": lambda: started(Blur(1.5, 100.0), 10_000),
    "diffaugment": DiffAugment,
    "fixed": lambda: Fixed(0.9),
    "ada": lambda: raised(Ada(), 0.9),
}


def started(augment: Augment, images_seen: int) -> Augment:
    augment.begin(images_seen)
    return augment


def raised(augment: Fixed, probability: float) -> Fixed:
    augment.probability.fill_(probability)
    return augment


def pictures(count: int = 4, height: int = 12, width: int = 16) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_function_of_pictures_and_draws(kind: str) -> None:
    augment = KINDS[kind]()
    draws = augment.draw(0, "real", 64, 4)
    assert draws.shape == (4, augment.numbers)
    assert torch.equal(draws, augment.draw(0, "real", 64, 4))
    if augment.numbers:
        others = [augment.draw(1, "real", 64, 4), augment.draw(0, "fake", 64, 4), augment.draw(0, "real", 128, 4)]
        assert not any(torch.equal(draws, other) for other in others)
    images = pictures().float()
    found = augment(images, draws)
    assert found.shape == images.shape
    assert torch.equal(found, augment(images, draws))
    alone = torch.cat([augment(images[i : i + 1], draws[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone, found, rtol=0, atol=1e-5)
    assert (kind == "none") == torch.equal(found, images)


@pytest.mark.parametrize(
    "augment", [Augment(), Blur(0.0), DiffAugment(0.0), Fixed(0.0), Ada(), started(Blur(2.0, 10.0), 10_000)]
)
def test_at_strength_0_pictures_are_left_alone(augment: Augment) -> None:
    images = pictures()
    assert torch.equal(augment(images, augment.draw(0, "real", 0, 4)), images)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_twice(kind: str) -> None:
    augment = KINDS[kind]()
    draws = augment.draw(3, "real", 0, 2).double()
    images = pictures(2, 8, 8).requires_grad_(True)

    def function(x: Tensor) -> Tensor:
        return augment(x, draws).sin()  # whose second derivative is not 0

    assert torch.autograd.gradcheck(function, images)
    assert torch.autograd.gradgradcheck(function, images)


def test_no_motion_is_the_picture_and_a_flip_its_mirror_image() -> None:
    images = pictures()
    still = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]], dtype=torch.float64).repeat(4, 1, 1)
    torch.testing.assert_close(warped(images, still), images, rtol=0, atol=1e-12)
    flipped = still.clone()
    flipped[:, 0, 0] = -1
    torch.testing.assert_close(warped(images, flipped), images.flip(3), rtol=0, atol=1e-12)
    moved = still.clone()
    moved[:, 0, 2] = 2 * 3 / 16  # three pixels of 16
    torch.testing.assert_close(warped(images, moved)[..., :-3], images[..., 3:], rtol=0, atol=1e-12)
    torch.testing.assert_close(warped(images, moved)[..., -3:], images[..., -3:].flip(3), rtol=0, atol=1e-12)


def test_a_quarter_turn() -> None:
    turned = torch.tensor([[[0.0, 1, 0], [-1, 0, 0]]], dtype=torch.float64)
    images = pictures(1, 8, 8)
    torch.testing.assert_close(warped(images, turned), images.rot90(-1, (2, 3)), rtol=0, atol=1e-12)


def test_a_rotation_is_scipys() -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    image, middle = pictures(1, 16, 16), np.full(2, 7.5)
    matrix = np.array([[c, s], [-s, c]])  # of (row, column)
    offset = middle - matrix @ middle
    expected = [ndimage.affine_transform(one, matrix, offset, order=1, mode="reflect") for one in image[0].numpy()]
    found = warped(image, torch.tensor([[[c, -s, 0], [s, c, 0]]]))[0].numpy()
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-9)


def test_angles_are_those_of_pixels() -> None:
    """On a rectangle too: a rotation keeps distances, measured in pixels."""
    numbers = torch.full((1, 28), 0.999)
    numbers[0, [7 + 2, 7 + 3]] = torch.tensor([0.0, 0.625])  # before: happens, by a quarter of pi
    gates = Numbers(numbers, 0.5)
    linear = motion(gates, 0.5, 8, 16)[0, :, :2]
    pixels = torch.diag(torch.tensor([2.0, 1.0])) @ linear @ torch.diag(torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(pixels @ pixels.T, torch.eye(2), rtol=0, atol=1e-5)
    assert abs(float(pixels[0, 1])) > 0.5


def test_whole_shifts_are_whole() -> None:
    numbers = torch.full((1, 28), 0.999)
    numbers[0, [4, 5, 6]] = torch.tensor([0.0, 0.99, 0.3])  # happens; by nearly an eighth, and by a twentieth back
    found = motion(Numbers(numbers, 0.5), 0.5, 32, 64)[0]
    assert found[:, 2].tolist() == pytest.approx([8 * 2 / 64, -2 * 2 / 32])
    assert torch.equal(found[:, :2], torch.eye(2))


def test_colours_one_by_one() -> None:
    """Each alone, by its formula."""

    def only(which: int, value: float) -> Tensor:
        draws = torch.full((1, 10), 0.999)
        draws[0, 2 * which], draws[0, 2 * which + 1] = 0.0, value
        return coloured(pictures(1).float(), colours(Numbers(draws, 0.5)))

    x = pictures(1).float()
    grey = x.mean(1, keepdim=True)
    sigma = 0.8413447  # one standard deviation
    close: dict[str, float] = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(only(0, sigma), x + 0.2, **close)
    torch.testing.assert_close(only(1, sigma), x * 2**0.5, **close)
    torch.testing.assert_close(only(2, 0.1), x - 2 * grey, **close)
    torch.testing.assert_close(only(3, 1 / 3 * 0.5 + 0.5 + 1 / 6), x.roll(1, 1), **close)  # by a third of a turn
    torch.testing.assert_close(only(4, sigma), grey + 2 * (x - grey), **close)


def test_a_low_pass_is_scipys() -> None:
    image = pictures(1, 16, 16)
    found = low_pass(image, 1.2)[0].numpy()
    expected = ndimage.gaussian_filter(image[0].numpy(), (0, 1.2, 1.2), mode="mirror", radius=(0, 4, 4))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_blur_fades_out() -> None:
    blur = Blur(2.0, 100.0)
    found = []
    for images_seen in (0, 50_000, 100_000, 200_000):
        blur.begin(images_seen)
        found.append(blur.sigma)
    assert found == [2.0, 1.0, 0.0, 0.0]


def test_diffaugment_shifts_cuts_and_colours() -> None:
    """What its authors' code does, on a picture of ones: an eighth at most, half a side's hole."""
    augment, images = DiffAugment(), torch.ones(200, 3, 16, 16)
    found = augment(images, augment.draw(0, "real", 0, 200))
    black = (found == 0).all(1).double().mean((1, 2))
    assert black.max() <= 0.25 + 2 * 2 / 16
    assert black.min() > 0.05
    brightness = torch.stack([one[:, (one != 0).all(0)].mean() for one in found])
    assert brightness.min() > 0.49
    assert brightness.max() < 1.51
    assert brightness.std() == pytest.approx(1 / 12**0.5, rel=0.15)


# ------------------------------------------------------------------ ADA


def test_the_controller_is_the_papers() -> None:
    """Batch 8, a step every 2 iterations, 1 kimg from 0 to 1: by 16 / 1000, up above 0.6, else down to 0."""
    ada = Ada(target=0.6, speed_kimg=1.0, interval=2)
    sure, unsure = torch.ones(8, 1), torch.tensor([[1.0]] * 6 + [[-1.0]] * 2)  # r = 1 and 0.5
    expected = [(sure, 0.0), (sure, 0.016), (unsure, 0.016), (sure, 0.032), (unsure, 0.032), (unsure, 0.016)]
    expected += [(unsure, 0.016), (unsure, 0.0), (unsure, 0.0), (unsure, 0.0)]  # the fourth: r = 0.75
    for number, (logits, probability) in enumerate(expected):
        ada.begin(8 * number)
        ada.observe(logits[:4])  # two micro-batches
        ada.observe(logits[4:])
        ada.end(8)
        assert float(ada.probability) == pytest.approx(probability, abs=1e-6), number
    assert float(ada.statistics()["augment/r"]) == 0.5


def test_logits_count_as_they_do_in_the_loss() -> None:
    """Three of four pictures right by the first logit, none by the others, which weigh 0.1 each."""
    ada = Ada(interval=1)
    ada.begin(0)
    ada.observe(torch.tensor([[1.0, -1.0, -1.0]] * 3 + [[-1.0] * 3]), torch.tensor([1.0, 0.1, 0.1]))
    ada.end(4)
    assert float(ada.r) == pytest.approx((0.5 * 1.0 - 0.1 - 0.1) / 1.2)


@pytest.mark.parametrize(("loss", "r"), [("logistic", -1.0), ("hinge", -1.0), ("relativistic", 1.0)])
def test_a_loss_of_pairs_is_sure_of_pairs(loss: str, r: float) -> None:
    """All logits below zero, real ones above generated ones: right about every pair, and about no real picture."""
    ada = Ada(interval=1)
    ada.begin(0)
    ada.observe(certainty(loss, torch.full((4, 1), -5.0), torch.full((4, 1), -6.0)))
    ada.end(4)
    assert float(ada.r) == r


def test_its_probability_is_the_share_of_pictures_that_change() -> None:
    augment, images = raised(Ada(), 0.1), pictures(2000, 16, 16).float()
    changed = (augment(images, augment.draw(0, "real", 0, 2000)) - images).abs().amax((1, 2, 3)) > 1e-3
    # Eight gates of 0.1, of which two flips do nothing half of the time, a quarter turn one time in four, and two
    # rotations that happen with 0.1 together.
    expected = 1 - 0.95**2 * 0.925 * 0.9**3 * 0.9 * 0.9 * 0.9**4
    assert float(changed.double().mean()) == pytest.approx(expected, abs=0.04)
