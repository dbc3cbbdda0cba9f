"""Aligned cartoon faces, drawn here: a stand-in for FFHQ, wherever position matters, that needs no download.

`python-avatars` (MIT; the avatars of Pablo Stanley's "Avataaars") knows the parts of a face, `resvg-py` renders them.
Every face stands in the same place, cut to the head, on a plain background of random colour: a function of its seed.

Training faces are those of the seeds 0, 1, ..., held-out ones those of the seeds from 2 ** 20 on. What each face wears
is kept beside the pictures: `labels`.
"""

import csv
import hashlib
import importlib.metadata
import io
import multiprocessing
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from cips_lab.data.dataset import check_resolution
from cips_lab.data.prepared import prepared
from cips_lab.errors import UserError
from cips_lab.files.cache import cache_folder
from cips_lab.files.whole import replacing
from cips_lab.processes.cores import usable_cores

Split = Literal["train", "test"]

VERSION = 1  # raise it when a change below changes the faces: the cache files of other versions are not read
COUNTS: dict[str, int] = {"train": 20_000, "test": 2_000}
FIRST_SEED: dict[str, int] = {"train": 0, "test": 2**20}
MAX_RESOLUTION = 256
HEAD = (32, 20, 232, 220)  # left, top, right, bottom of the drawing's 264 x 280 units
BACKGROUND = (60, 230)  # lowest and highest value of each channel
PART = 100  # faces that a process draws between two signs of life
# Attribute -> the package's enumeration, and the share of faces that are drawn without one.
PARTS: dict[str, tuple[str, float]] = {
    "hair": ("HairType", 0.0),
    "eyebrows": ("EyebrowType", 0.0),
    "eyes": ("EyeType", 0.0),
    "nose": ("NoseType", 0.0),
    "mouth": ("MouthType", 0.0),
    "facial_hair": ("FacialHairType", 0.6),
    "accessory": ("AccessoryType", 0.5),
    "skin_color": ("SkinColor", 0.0),
    "hair_color": ("HairColor", 0.0),
    "facial_hair_color": ("HairColor", 0.0),
    "clothing": ("ClothingType", 0.0),
    "clothing_color": ("ClothingColor", 0.0),
}


def load_faces(resolution: int, split: Split, cache: str | Path | None = None) -> np.ndarray:
    """The faces of a split, a memory-mapped uint8 array [N, 3, R, R], RGB in [0, 255]; drawn once, in minutes.

    Args:
        resolution: a power of two in [8, 256].
        split: ``train`` (20,000) or ``test`` (2,000, of other seeds).
        cache: folder, see `cache_folder`.

    Raises:
        UserError: another resolution, an unwritable cache, a damaged file, or the packages are not installed.
    """
    path = _path(resolution, split, cache)

    def draw() -> np.ndarray:
        seeds = seeds_of(split)
        faces = draw_faces(seeds, resolution)
        _write_labels(path.with_suffix(".csv"), seeds)
        return faces

    return prepared(path, draw)


def labels(resolution: int, split: Split, cache: str | Path | None = None) -> list[dict[str, str]]:
    """What each face wears, in the order of `load_faces`: ``{"hair": "BOB", "accessory": "NONE", ...}``."""
    load_faces(resolution, split, cache)
    with _path(resolution, split, cache).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def seeds_of(split: Split) -> range:
    """Of the faces of a split, in their order."""
    return range(FIRST_SEED[split], FIRST_SEED[split] + COUNTS[split])


def check_face_resolution(resolution: int) -> None:
    """Raise `UserError` unless `resolution` is a power of two in [8, 256]."""
    check_resolution(resolution)
    if resolution > MAX_RESOLUTION:
        raise UserError(f"resolution={resolution}: data=avatars has at most {MAX_RESOLUTION} pixels a side")


def attributes_of(seed: int) -> dict[str, str]:
    """Names of the parts of a face; a part that it lacks is ``NONE``."""
    avatars = _package()
    draw = random.Random(f"face {seed}")  # a text is hashed the same in every process; Python's hash() is not
    found = {}
    for attribute, (kind, share_without) in PARTS.items():
        names = sorted(member.name for member in getattr(avatars, kind))
        without, name = draw.random() < share_without, draw.choice(names)
        found[attribute] = "NONE" if without and "NONE" in names else name
    return found


def draw_face(seed: int, resolution: int) -> np.ndarray:
    """Face `seed` on its background: uint8 [3, R, R], RGB in [0, 255]."""
    import resvg_py

    avatars = _package()
    chosen = {
        {"hair": "top"}.get(attribute, attribute): getattr(avatars, PARTS[attribute][0])[name]
        for attribute, name in attributes_of(seed).items()
    }
    drawing = avatars.Avatar(
        style=avatars.AvatarStyle.TRANSPARENT,
        shirt_graphic=avatars.ClothingGraphic.NONE,
        shirt_text="",
        **chosen,
    ).render()
    scale = max(1.0, resolution / (HEAD[2] - HEAD[0]))
    encoded = resvg_py.svg_to_bytes(svg_string=drawing, width=round(264 * scale), skip_system_fonts=True)
    with Image.open(io.BytesIO(bytes(encoded))) as image:
        left, top, right, bottom = (round(edge * scale) for edge in HEAD)
        cut_out = image.convert("RGBA").crop((left, top, right, bottom))
    draw = random.Random(f"background {seed}")
    colour = tuple(draw.randint(*BACKGROUND) for _ in range(3))
    face = Image.alpha_composite(Image.new("RGBA", cut_out.size, colour), cut_out).convert("RGB")
    face = face.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(face).transpose(2, 0, 1)


def draw_faces(seeds: range, resolution: int) -> np.ndarray:
    """Faces uint8 [N, 3, R, R], by as many processes as there are cores, with a progress bar."""
    parts = [(seeds[start : start + PART], resolution) for start in range(0, len(seeds), PART)]
    faces = np.empty((len(seeds), 3, resolution, resolution), np.uint8)
    with tqdm(total=len(seeds), desc="Drawing avatars", unit=" faces", delay=2, disable=None) as bar:
        for start, part in zip(range(0, len(seeds), PART), _in_parallel(parts), strict=True):
            faces[start : start + len(part)] = part
            bar.update(len(part))
    return faces


def _in_parallel(parts: list[tuple[range, int]]) -> Iterator[np.ndarray]:
    processes = min(usable_cores(), len(parts))
    if processes == 1:
        yield from map(_draw_part, parts)
        return
    # Not forked: whoever prepares data may have started threads, which a forked child would inherit locked.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_draw_part, parts)


def _draw_part(part: tuple[range, int]) -> np.ndarray:
    seeds, resolution = part
    return np.stack([draw_face(seed, resolution) for seed in seeds])


def _path(resolution: int, split: Split, cache: str | Path | None) -> Path:
    check_face_resolution(resolution)
    if split not in COUNTS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    return cache_folder(cache) / f"avatars_{resolution}_{split}_{recipe_key()}.npy"


def _write_labels(path: Path, seeds: range) -> None:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["seed", *PARTS])
        writer.writeheader()
        writer.writerows({"seed": seed, **attributes_of(seed)} for seed in seeds)


def recipe_key() -> str:
    """Changes with anything that changes the faces, the packages' versions included."""
    _package()
    versions = [importlib.metadata.version(package) for package in ("python-avatars", "resvg-py")]
    recipe = (VERSION, COUNTS, FIRST_SEED, HEAD, BACKGROUND, PARTS, versions)
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:8]


def _package() -> Any:
    try:
        import python_avatars
        import resvg_py  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f"data=avatars needs python-avatars and resvg-py ({error}): pip install 'cips-lab[avatars]'"
        ) from error
    return python_avatars
