"""Colours and spectra: beside the definitions, their errors beside the spread over draws, and what each sees."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sets import spoiled, tiles
from torch import Tensor

from cips_lab.metrics import per_picture
from cips_lab.metrics.frechet import frechet_distance
from cips_lab.metrics.metric import Metric, PictureSums
from cips_lab.metrics.pixel_metrics import COLOUR, SPECTRUM_DISTANCE, SPECTRUM_DISTANCE_DURALL
from cips_lab.metrics.spectra import DurallSpectrum, PowerSpectrum, profile_distance
from cips_lab.metrics.statistics import gaussian_of

METRICS = (COLOUR, SPECTRUM_DISTANCE_DURALL, SPECTRUM_DISTANCE)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.from_numpy(tiles(400).copy())


def sums(metric: Metric, images: Tensor, batch: int = 64) -> Any:
    assert isinstance(metric.needs, PictureSums)
    accumulator = metric.needs.make((images.shape[-2], images.shape[-1]), len(images))
    for numbers in torch.arange(len(images)).split(batch):
        accumulator.update(images[numbers], numbers)
    return SimpleNamespace(sums=accumulator.compute())


def of(metric: Metric, generated: Tensor, real: Tensor, batch: int = 64) -> tuple[float, float]:
    pair: Any = SimpleNamespace(generated=sums(metric, generated, batch), real=sums(metric, real))
    found = metric.compute(pair)
    return found[metric.name], found[f"{metric.name}_se"]


@pytest.mark.parametrize("part", [slice(None), slice(20)], ids=["square", "rectangle"])
def test_spectra_are_those_of_the_figure(pictures: Tensor, part: slice) -> None:
    """`analyze figure=spectrum` draws the curves whose distances these are."""
    real, generated = pictures[:150, :, part], (pictures[150:250, :, part] * 0.8 + 20).byte()
    mean, std = float(real.double().mean()), float(real.double().std())
    powers, shapes = [], []
    for images in (generated, real):
        power, shape = PowerSpectrum(mean, std), DurallSpectrum()
        power.update(images)
        shape.update(images)
        powers.append(power.compute()[1])
        shapes.append(shape.compute())
    assert of(SPECTRUM_DISTANCE, generated, real)[0] == pytest.approx(profile_distance(*powers), rel=1e-5)
    assert of(SPECTRUM_DISTANCE_DURALL, generated, real)[0] == pytest.approx(profile_distance(*shapes), rel=1e-5)


def test_colours_are_the_distance_of_moments(pictures: Tensor) -> None:
    generated, real = pictures[:100], pictures[100:]

    def moments(images: Tensor) -> Tensor:
        values = images.numpy().astype(np.float64).reshape(len(images), 3, -1)
        return torch.from_numpy(np.concatenate([values.mean(2), values.std(2)], axis=1))

    expected = frechet_distance(gaussian_of(moments(generated)), gaussian_of(moments(real)))
    assert of(COLOUR, generated, real)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_error_is_the_spread_over_draws(metric: Metric, pictures: Tensor) -> None:
    real, others = sums(metric, pictures[:200]), sums(metric, torch.from_numpy(spoiled(pictures[200:].numpy())))
    generator, values = torch.Generator().manual_seed(0), others.sums["values"]
    found = []
    for _ in range(60):
        drawn = values[torch.randint(len(values), (100,), generator=generator)]
        pair: Any = SimpleNamespace(generated=SimpleNamespace(sums=others.sums | {"values": drawn}), real=real)
        found.append(list(metric.compute(pair).values()))
    rows = torch.tensor(found)
    assert rows[:, 1].mean() == pytest.approx(float(rows[:, 0].std()), rel=0.3)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_set_and_itself_in_another_order_do_not_differ(metric: Metric, pictures: Tensor) -> None:
    real = pictures[:100]
    assert of(metric, real.flip(0), real)[0] == pytest.approx(0, abs=1e-4)
    other = of(metric, pictures[100:200], real)[0]
    assert of(metric, pictures[100:200], real, batch=7)[0] == pytest.approx(other, rel=1e-9)
    assert other > 1e-3


@pytest.mark.parametrize("metric", METRICS[1:], ids=lambda metric: metric.name)
def test_pictures_spread_over_the_set_are_enough(
    metric: Metric, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sets lie in an order: Blue Marble's tiles from the north to the south."""
    monkeypatch.setattr(per_picture, "PICTURES", 50)
    found = sums(metric, pictures[:120]), sums(metric, pictures[:120:3])
    assert torch.equal(found[0].sums["values"], found[1].sums["values"])


def test_all_pictures_have_colours(pictures: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_picture, "PICTURES", 50)
    assert len(sums(COLOUR, pictures[:120]).sums["values"]) == 120


def test_each_sees_what_it_is_for(pictures: Tensor) -> None:
    """In errors of a change: a cast is a colour, blur and noise are spectra."""
    real, others = pictures[::2], pictures[1::2]
    cast = (others.int() + torch.tensor([12, 0, -12])[:, None, None]).clamp(0, 255).byte()
    soft = torch.from_numpy(spoiled(others.numpy(), radius=0.5))
    grainy = torch.from_numpy(spoiled(others.numpy(), radius=0.0, noise=12.0))
    plain = {metric.name: of(metric, others, real)[0] for metric in METRICS}
    change = {
        (fault, metric.name): of(metric, images, real)[0] - plain[metric.name]
        for fault, images in (("cast", cast), ("soft", soft), ("grainy", grainy))
        for metric in METRICS
    }
    assert change["cast", "colour"] > 100
    assert abs(change["cast", "spectrum_distance_durall"]) < 0.002
    assert abs(change["cast", "spectrum_distance"]) < 0.2
    for fault in ("soft", "grainy"):
        assert change[fault, "colour"] < change["cast", "colour"] / 2
        assert change[fault, "spectrum_distance_durall"] > 0.004
        assert change[fault, "spectrum_distance"] > 0.5
