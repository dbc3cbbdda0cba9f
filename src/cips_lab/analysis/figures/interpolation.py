"""Figure 10: from one picture to another: in styles or in latents, along a line or along the sphere, block by block.

The perceptual path length (Karras et al. 2019, equation 2, and 2020 for w) is measured with the study's judge in the
place of VGG16's LPIPS: the mean squared distance of its features over a small step, divided by the step squared. It
compares models and ways under the same judge; it is not the number that papers print.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cips_lab.analysis import films
from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.figures.styles import blocks_of
from cips_lab.analysis.programs import drawn, swapped
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject
from cips_lab.metrics.collect import home_of
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.generator import Generator
from cips_lab.processes.collectives import mine, total
from cips_lab.render.pictures import quantize

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

STEPS = 9  # pictures in a row
FRAMES = 48  # of the film, there and back
LINEAR_W, SPHERICAL_W = "w, linear", "w, spherical"
LINEAR_Z, SPHERICAL_Z = "z, linear", "z, spherical"
PARTS = ("first", "middle", "last")  # thirds of the blocks
OF_PARTS = {f"w of the {part} blocks": number for number, part in enumerate(PARTS)}
# Features see pictures of 8 bits. On cartoon faces of 32 pixels rounding adds 1 % to a whole way's length at this step
# and 16 % at 0.01; where a third of the blocks changes little, a third.
EPSILON = 0.05
PATHS = 96  # whose lengths are averaged: those between seeds 0 and 1, 2 and 3, ...


@dataclass(frozen=True)
class Interpolation:
    """Of one model.

    Attributes:
        subject: its label.
        seeds: of the two ends.
        lines: way -> pictures from the one end to the other, uint8 [STEPS, 3, R, R]. Where only some blocks' styles
            go, the others keep those of the first end.
        film: uint8 [FRAMES, 3, R, R], along a line in w, there and back.
        path_length: way -> the judge's perceptual path length, in squared units of its features.
        paths: that it is the mean of.
    """

    subject: str
    seeds: tuple[int, int]
    lines: dict[str, Tensor]
    film: Tensor
    path_length: dict[str, float]
    paths: int


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """a + t (b - a): [..., D] and t broadcast against [..., 1]; at 0 and 1 exactly a and b."""
    return torch.where(t == 1, b, a + t * (b - a))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Along the great circle between directions (Shoemake 1985), lengths linearly; at 0 and 1 exactly a and b.

    Between opposite directions, of which no circle is the shortest, one of the circles is taken.
    """
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    start = a / length_a
    across = b / length_b - (b / length_b * start).sum(-1, keepdim=True) * start  # of b, what is at right angles to a
    sine, cosine = across.norm(dim=-1, keepdim=True), (b / length_b * start).sum(-1, keepdim=True)
    angle = torch.atan2(sine, cosine)
    aside = torch.where(sine > 1e-6, across / sine.clamp(min=1e-30), _at_right_angles(start))
    between = (t * angle).cos() * start + (t * angle).sin() * aside
    found = between * lerp(length_a, length_b, t)
    return torch.where(t == 0, a, torch.where(t == 1, b, found))


def _at_right_angles(direction: Tensor) -> Tensor:
    axis = torch.zeros_like(direction).scatter(-1, direction.abs().argmin(-1, keepdim=True), 1.0)
    aside = axis - (axis * direction).sum(-1, keepdim=True) * direction
    return aside / aside.norm(dim=-1, keepdim=True)


SPACES: dict[str, tuple[str, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    LINEAR_W: ("w", lerp),
    SPHERICAL_W: ("w", slerp),
    LINEAR_Z: ("z", lerp),
    SPHERICAL_Z: ("z", slerp),
}
WAYS = (*SPACES, *OF_PARTS)


@torch.no_grad()
def with_blocks_of(generator: Generator, first: Tensor, second: Tensor, part: int) -> Tensor:
    """Pictures [B, 3, R, R] of styles `first`, but one third of the blocks has those of `second`, [B, w_dim] each."""
    blocks = list(blocks_of(generator).values())
    chosen = np.array_split(np.arange(len(blocks)), len(PARTS))[part].tolist()
    if isinstance(generator, CIPSGenerator):
        program, other = generator.program(first), generator.program(second)
        for block in chosen:
            program = swapped(program, other, block)
        return drawn(generator, program, len(first))
    mixed = first[:, None].repeat(1, generator.num_layers, 1)
    for block in chosen:
        mixed[:, blocks[block]] = second[:, None]
    return generator.synthesize_native(mixed)


@torch.no_grad()
def pictures_between(generator: Generator, way: str, a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Pictures on the ways between latents, at places t [B] in [0, 1].

    Args:
        generator: in evaluation mode.
        way: one of `WAYS`.
        a, b: [B, z_dim], or [1, z_dim], on the generator's device.
        t: [B], there.

    Returns:
        uint8 [B, 3, R, R].
    """
    place = t[:, None]
    if way in OF_PARTS:
        first = generator.mapping(a)
        there = lerp(first, generator.mapping(b), place)
        return quantize(with_blocks_of(generator, first.expand_as(there), there, OF_PARTS[way]))
    space, between = SPACES[way]
    if space == "w":
        return quantize(generator.synthesize_native(between(generator.mapping(a), generator.mapping(b), place)))
    here, there = (x.split([generator.z_dim, generator.mapping.classes], dim=1) for x in (a, b))
    latents = torch.cat([between(here[0], there[0], place), lerp(here[1], there[1], place)], dim=1)  # and classes
    return quantize(generator.synthesize_native(generator.mapping(latents)))


def compute(study: Study) -> list[Interpolation]:
    """Every model, from the study's first seed to its second."""
    seeds = (study.seeds[0], study.seeds[1] if len(study.seeds) > 1 else study.seeds[0] + 1)
    places = torch.linspace(0, 1, STEPS, device=study.device)
    there_and_back = 0.5 - 0.5 * torch.cos(torch.arange(FRAMES, device=study.device) / FRAMES * 2 * torch.pi)
    found = []
    for subject in study.subjects:
        generator = subject.generator
        a, b = generator.mapping.latents(seeds).split(1)
        lines = {way: pictures_between(generator, way, a, b, places).cpu() for way in WAYS}
        film = torch.cat([pictures_between(generator, LINEAR_W, a, b, t).cpu() for t in there_and_back.split(8)])
        lengths = {way: path_length_of(study, subject, way) for way in WAYS}
        found.append(Interpolation(subject.label, seeds, lines, film, lengths, paths_of(study)))
    return found


def path_length_of(study: Study, subject: Subject, way: str) -> float:
    """A model's, by the study's judge, over `paths_of` paths."""
    latents = subject.generator.mapping.latents

    def features(numbers: Tensor, t: Tensor) -> Tensor:
        a, b = (latents((2 * numbers + end).tolist()) for end in (0, 1))
        return study.judge(pictures_between(subject.generator, way, a, b, t.to(study.device))).features

    return path_length(features, paths_of(study), EPSILON, study.batch, home_of(study.device))


def paths_of(study: Study) -> int:
    """How many: `PATHS`, unless the study is of fewer samples."""
    return min(PATHS, study.count)


def path_length(
    features: Callable[[Tensor, Tensor], Tensor], paths: int, epsilon: float, batch: int, device: torch.device | str
) -> float:
    """The mean over paths of |f(t + epsilon) - f(t)|^2 / epsilon^2, at a uniformly random t of each.

    Args:
        features: numbers of paths, int64 [b], and a place on each, [b] in [0, 1] -> [b, D].
        paths: of all processes together, each of which computes its share.
        epsilon: the step.
        batch: paths at once.
        device: where the sum is kept.
    """
    places = torch.rand(paths, generator=torch.Generator().manual_seed(0)) * (1 - epsilon)
    summed = torch.zeros((), dtype=torch.float64, device=device)
    for numbers in torch.arange(paths)[mine()].split(batch):
        now, then = (features(numbers, places[numbers] + step).to(summed) for step in (0.0, epsilon))
        summed += (then - now).square().sum()
    return float(total(summed)) / paths / epsilon**2


def rows(data: list[Interpolation]) -> list[Row]:
    """model, way, path_length."""
    return [
        {"model": one.subject, "way": way, "path_length": value}
        for one in data
        for way, value in one.path_length.items()
    ]


def numbers(data: list[Interpolation]) -> Row:
    """Path lengths."""
    return {"path_length": {one.subject: one.path_length for one in data}, "epsilon": EPSILON, "paths": data[0].paths}


def reading(data: list[Interpolation]) -> str:
    """How smooth the ways are, and which blocks' styles change most."""
    told = []
    for one in data:
        parts = ", ".join(f"{one.path_length[way]:,.0f} of the {PARTS[part]}" for way, part in OF_PARTS.items())
        text = f"{one.subject} {one.path_length[LINEAR_W]:,.0f} in w, {one.path_length[SPHERICAL_Z]:,.0f} in z"
        told.append(f"{text}, with the styles of a third of the blocks {parts}")
    note = "" if films.can_mp4() else f" {films.MP4_MISSING}"
    return f"Perceptual path length by the judge's features (smaller is smoother): {'; '.join(told)}.{note}"


def draw(data: list[Interpolation]) -> "Drawing":
    """A row for each way, with its path length; several models two abreast."""
    import matplotlib.pyplot as plt

    columns = min(2, len(data))
    lines = -(-len(data) // columns)
    figure = plt.figure(figsize=(9.4 * columns, 6.3 * lines), constrained_layout=True)
    parts: Any = figure.subfigures(lines, columns, squeeze=False)
    for part, one in zip(parts.flat, data, strict=False):
        part.suptitle(f"{one.subject}: from picture {one.seeds[0]} to {one.seeds[1]}", fontsize=11)
        for line, (way, images) in zip(part.subplots(len(WAYS), STEPS), one.lines.items(), strict=True):
            for axes, image in zip(line, images, strict=True):
                axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
                axes.set_xticks([])
                axes.set_yticks([])
            text = f"{way}\nlength {one.path_length[way]:,.0f}"
            line[0].set_ylabel(text, fontsize=9, rotation=0, ha="right", va="center")
    return figure


def files(data: list[Interpolation]) -> dict[str, bytes]:
    """The models side by side on the line in w: an animated GIF, and an MP4 where PyAV is installed."""
    frames = films.side_by_side({one.subject: one.film.permute(0, 2, 3, 1).numpy() for one in data})
    makers = {"interpolation.gif": films.gif} | ({"interpolation.mp4": films.mp4} if films.can_mp4() else {})
    return {name: make(frames) for name, make in makers.items()}


FIGURE = Figure(
    name="interpolation",
    title="From one picture to another",
    place="Figure 10",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
    files=files,
)
