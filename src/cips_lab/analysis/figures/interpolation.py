"""Figure 10: from one picture to another: in styles or in latents, along a line or along the sphere, layer by layer.

The perceptual path length (Karras et al. 2019, equation 2, and 2020 for w) is measured with the study's judge in place
of VGG16's LPIPS: mean squared distance of features over small steps, divided by the step squared. It compares models
under the same judge and is not the number that papers print.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cips_lab.analysis.figure import Figure, Row
from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject
from cips_lab.networks.mapping import latents_of_seeds
from cips_lab.render.pictures import quantize

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

STEPS = 9  # pictures in a row
FRAMES = 48  # of the film, there and back
LINEAR_W, LINEAR_Z, SPHERICAL_Z = "w, linear", "z, linear", "z, spherical"
EPSILON = 1e-2  # of the path length; features of 8-bit pictures do not see 1e-4
PATHS = 256  # random places on random paths


@dataclass(frozen=True)
class Interpolation:
    """Of one model.

    Attributes:
        subject: its label.
        rows: way -> pictures from the first of the study's seeds to the second, uint8 [STEPS, 3, R, R].
        film: uint8 [FRAMES, 3, R, R], in w, there and back.
        path_length: way -> the judge's perceptual path length.
    """

    subject: str
    rows: dict[str, Tensor]
    film: Tensor
    path_length: dict[str, float]


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """a + t (b - a): [..., D] and t broadcast against [..., 1]; at 0 and 1 exactly a and b."""
    return torch.where(t == 1, b, a + t * (b - a))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Along the great circle between directions, the length in between linearly; at 0 and 1 exactly a and b."""
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    one, other = a / length_a, b / length_b
    angle = torch.arccos((one * other).sum(-1, keepdim=True).clamp(-1, 1))
    away = angle.sin().clamp(min=1e-7)
    between = ((1 - t) * angle).sin() / away * one + (t * angle).sin() / away * other
    between = torch.where(angle < 1e-4, lerp(one, other, t), between)
    found = between * lerp(length_a, length_b, t)
    return torch.where(t == 0, a, torch.where(t == 1, b, found))


WAYS: dict[str, tuple[str, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    LINEAR_W: ("w", lerp),
    LINEAR_Z: ("z", lerp),
    SPHERICAL_Z: ("z", slerp),
}


@torch.no_grad()
def styles_between(study: Study, subject: Subject, way: str, z: Tensor, t: Tensor) -> Tensor:
    """Styles on the ways between latents z[0] and z[1], [B, z_dim] each, at t [B]: [B, w_dim]."""
    space, between = WAYS[way]
    mapping = subject.generator.mapping
    a, b, place = z[0].to(study.device), z[1].to(study.device), t[:, None].to(study.device)
    return between(mapping(a), mapping(b), place) if space == "w" else mapping(between(a, b, place))


@torch.no_grad()
def compute(study: Study) -> list[Interpolation]:
    """Every model, from the study's first seed to its second."""
    found = []
    ends = study.seeds[:2] if len(study.seeds) > 1 else (study.seeds[0], study.seeds[0] + 1)
    for subject in study.subjects:
        generator = subject.generator
        z = latents_of_seeds(list(ends), generator.z_dim)[:, None]
        places = torch.linspace(0, 1, STEPS)
        lines = {
            way: quantize(generator.synthesize_native(styles_between(study, subject, way, z, places))).cpu()
            for way in WAYS
        }
        there_and_back = 0.5 - 0.5 * torch.cos(torch.arange(FRAMES) / FRAMES * 2 * torch.pi)
        film = quantize(generator.synthesize_native(styles_between(study, subject, LINEAR_W, z, there_and_back)))
        lengths = {way: path_length(study, subject, way) for way in WAYS}
        found.append(Interpolation(subject.label, lines, film.cpu(), lengths))
    return found


@torch.no_grad()
def path_length(study: Study, subject: Subject, way: str) -> float:
    """Mean squared distance of the judge's features between places `EPSILON` apart, over EPSILON squared."""
    generator, total = subject.generator, 0.0
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(2, PATHS, generator.z_dim, generator=draws)
    t = torch.rand(PATHS, generator=draws) * (1 - EPSILON)
    for part in torch.arange(PATHS).split(study.batch):
        features = [
            study.judge(quantize(generator.synthesize_native(styles_between(study, subject, way, z[:, part], place))))
            for place in (t[part], t[part] + EPSILON)
        ]
        total += float((features[0].features - features[1].features).square().sum())
    return total / PATHS / EPSILON**2


def rows(data: list[Interpolation]) -> list[Row]:
    """model, way, path_length."""
    return [
        {"model": one.subject, "way": way, "path_length": value}
        for one in data
        for way, value in one.path_length.items()
    ]


def numbers(data: list[Interpolation]) -> Row:
    """Path lengths."""
    return {"path_length": {one.subject: one.path_length for one in data}, "epsilon": EPSILON, "paths": PATHS}


def reading(data: list[Interpolation]) -> str:
    """Which way changes least."""
    told = "; ".join(
        f"{one.subject}: " + ", ".join(f"{way} {value:,.0f}" for way, value in one.path_length.items()) for one in data
    )
    return f"Perceptual path length by the judge's features, shorter is smoother: {told}."


def draw(data: list[Interpolation]) -> "Drawing":
    """A row for each model and way."""
    import matplotlib.pyplot as plt

    lines = [(one.subject, way, images) for one in data for way, images in one.rows.items()]
    size = (1.15 * STEPS + 1.4, 1.2 * len(lines))
    figure, grid = plt.subplots(len(lines), STEPS, figsize=size, squeeze=False, constrained_layout=True)
    for line, (subject, way, images) in zip(grid, lines, strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(f"{subject}\n{way}", fontsize=8, rotation=0, ha="right", va="center")
    return figure


def films(data: list[Interpolation]) -> dict[str, bytes]:
    """An animated GIF and an MP4 of the models side by side, at least 128 pixels high."""
    frames = torch.cat([one.film for one in data], dim=-1).permute(0, 2, 3, 1).numpy()
    scale = max(1, -(-128 // frames.shape[1]))
    frames = np.repeat(np.repeat(frames, scale, axis=1), scale, axis=2)
    pictures = [Image.fromarray(frame) for frame in frames]
    gif = io.BytesIO()
    pictures[0].save(gif, "GIF", save_all=True, append_images=pictures[1:], duration=60, loop=0)
    found = {"interpolation.gif": gif.getvalue()}
    film = mp4(frames)
    return found | ({} if film is None else {"interpolation.mp4": film})


def mp4(frames: np.ndarray, rate: int = 16) -> bytes | None:
    """uint8 [N, H, W, 3] as H.264; None where PyAV is not installed (pip install 'cips-lab[video]')."""
    try:
        import av
    except ModuleNotFoundError:
        return None
    height, width = (side // 2 * 2 for side in frames.shape[1:3])  # H.264's chroma has half the pixels
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return target.getvalue()


FIGURE = Figure(
    name="interpolation",
    title="From one picture to another",
    place="Figure 10",
    compute=compute,
    draw=draw,
    rows=rows,
    numbers=numbers,
    reading=reading,
    files=films,
)
