"""A found picture as a folder: pictures, styles, numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from cips_lab.analysis import films
from cips_lab.files.whole import replace_text, replacing
from cips_lab.inverting.descent import State
from cips_lab.inverting.search import Found
from cips_lab.inverting.sheets import Cell, sheet, with_curve
from cips_lab.inverting.targets import Target
from cips_lab.inverting.trace import psnr_of
from cips_lab.render.inverted import Inversion, save_inversion
from cips_lab.render.pictures import save_picture, to_uint8

AMPLIFIED = 4  # times, in the picture of the difference
STRIP = 8  # pictures of the path
HOLD = 20  # frames that the film stays at its end
WIDE = 192  # pixels of a picture with words above it


def numbers_of(state: State, target: np.ndarray, features: bool) -> dict[str, float | None]:
    """PSNR of its picture in 8 bits, and its distances."""
    return {
        "psnr": psnr_of(to_uint8(state.image)[0], target),
        "feature_distance": float(state.terms.features) if features else None,
        "loss": state.loss,
    }


def write_outcome(
    folder: Path, target: Target, found: Found, inversion: Inversion, edits: np.ndarray | None, more: dict[str, Any]
) -> dict[str, Any]:
    """Write the files, and return what is in ``inversion.json``.

    Args:
        folder: that is there.
        target: what was looked for.
        found: what came out.
        inversion: the same, to be kept.
        edits: a sheet; None: none.
        more: what else belongs into the numbers.
    """
    features = bool(inversion.settings.get("features"))
    end, mean, start = (numbers_of(state, target.pixels, features) for state in (found.state, found.mean, found.start))
    reconstruction = to_uint8(found.state.image)[0]
    save_picture(target.pixels, folder / "target.png")
    save_picture(reconstruction, folder / "reconstruction.png")
    save_picture(_comparison(target.pixels, reconstruction, end["psnr"]), folder / "comparison.png")
    save_picture(_path(found), folder / "path.png")
    if films.can_mp4():
        with replacing(folder / "path.mp4") as partial:
            partial.write_bytes(films.mp4(_film(found, target.pixels)))
    if edits is not None:
        save_picture(edits, folder / "edits.png")
    save_inversion(inversion, folder / "inversion.safetensors")
    replace_text(folder / "curve.csv", found.trace.as_csv())
    numbers = {
        "image": target.source,
        **end,
        "mean_psnr": mean["psnr"],
        "mean_feature_distance": mean["feature_distance"],
        "gain_db": None if end["psnr"] is None or mean["psnr"] is None else end["psnr"] - mean["psnr"],
        "start_psnr": start["psnr"],
        "stages": {name: numbers_of(state, target.pixels, features) for name, state in found.stages.items()},
        **more,
    }
    replace_text(folder / "inversion.json", json.dumps(numbers, indent=2) + "\n")
    return numbers


def in_decibels(ratio: float | None) -> str:
    """A PSNR in words."""
    return "identical" if ratio is None else f"{ratio:.1f} dB"


def _comparison(target: np.ndarray, reconstruction: np.ndarray, ratio: float | None) -> np.ndarray:
    away = np.abs(target.astype(int) - reconstruction) * AMPLIFIED
    cells = [
        Cell(target, "target"),
        Cell(reconstruction, f"reconstruction, {in_decibels(ratio)}"),
        Cell(away.clip(0, 255).astype(np.uint8), f"difference x {AMPLIFIED}"),
    ]
    return sheet([("", cells)], smallest=WIDE, largest=None)


def _path(found: Found) -> np.ndarray:
    trace = found.trace
    cells = [Cell(picture, f"{step:,}: {trace.ratios[step]:.1f} dB") for step, picture in trace.chosen(STRIP)]
    strip = sheet([("", cells)], largest=256)
    stages = ", ".join(f"{name} from {first:,}" for name, first in zip(found.stages, trace.stages, strict=True))
    marks = [*trace.stages, len(trace.ratios) - 1]
    return with_curve(strip, trace.ratios, f"PSNR in dB by step ({stages})", marks)


def _film(found: Found, target: np.ndarray) -> np.ndarray:
    frames = [picture for _, picture in found.trace.frames]
    held = np.stack([*frames, *[frames[-1]] * HOLD])
    if target.shape != frames[-1].shape:  # larger than a frame
        return films.side_by_side({"reconstruction": held})
    return films.side_by_side({"target": np.broadcast_to(target, held.shape), "reconstruction": held})
