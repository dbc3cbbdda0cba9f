"""What is kept of a descent: its numbers at every step, and pictures along the way."""

import csv
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from torch import Tensor
from tqdm import tqdm

from cips_lab.inverting.descent import State
from cips_lab.inverting.objective import resized
from cips_lab.render.pictures import to_uint8

FRAMES = 96  # at most, of the film
LARGEST = 512  # pixels of a frame's longer side


def psnr(pixels: float) -> float:
    """Peak signal-to-noise ratio in dB, of a mean squared difference of colours in [-1, 1]."""
    return 10 * math.log10(4 / max(pixels, 1e-12))


def psnr_of(picture: np.ndarray, target: np.ndarray) -> float | None:
    """Of two pictures of 8 bits, uint8 [H, W, 3], in dB; None where they are equal."""
    error = float(np.square(picture.astype(np.float64) - target).mean())
    return None if error == 0 else 10 * math.log10(255**2 / error)


class Trace:
    """Numbers and frames of one picture's stages.

    Args:
        name: of the picture, for the progress bar.
        target: [1, 3, H, W] in [-1, 1], which PSNR is measured against.
        steps: of all stages together, their last looks included.
    """

    def __init__(self, name: str, target: Tensor, steps: int) -> None:
        self.target = target
        self.rows: list[dict[str, float | int | str]] = []
        self.frames: list[tuple[int, np.ndarray]] = []
        self.stages: list[int] = []  # the step at which each begins
        self._steps = steps
        self._every = max(1, -(-steps // FRAMES))
        self._stage = ""
        self._bar = tqdm(total=steps, desc=name, unit="step", disable=None)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What is watched belongs to it."""
        self._stage = name
        self.stages.append(len(self.rows))
        yield

    def watch(self, state: State) -> None:
        """Keep a state's numbers, and now and then its picture."""
        step, values = len(self.rows), [float(term) for term in state.terms]
        ratio = psnr(float((state.image.clamp(-1, 1) - self.target).square().mean()))
        numbers = dict(zip(("loss", "pixels", "features", "psnr"), [*values, ratio], strict=True))
        self.rows.append({"step": step, "stage": self._stage, **numbers})
        if step % self._every == 0 or step == self._steps - 1:
            self.frames.append((step, frame(state.image)))
        self._bar.set_postfix_str(f"{self._stage}, PSNR {ratio:.1f} dB", refresh=False)
        self._bar.update()

    def close(self) -> None:
        """The bar's end."""
        self._bar.close()

    @property
    def ratios(self) -> list[float]:
        """PSNR at every step, in dB."""
        return [float(row["psnr"]) for row in self.rows]

    def as_csv(self) -> str:
        """A row a step."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in self.rows)
        return text.getvalue()

    def chosen(self, count: int) -> list[tuple[int, np.ndarray]]:
        """So many of the frames, from the first to the last, closer at the beginning, where more happens."""
        places = np.unique(np.round((len(self.frames) - 1) * np.linspace(0, 1, count) ** 1.6).astype(int))
        return [self.frames[place] for place in places]


def frame(image: Tensor) -> np.ndarray:
    """[1, 3, H, W] -> uint8 [h, w, 3], at most `LARGEST` pixels a side."""
    height, width = image.shape[-2:]
    share = min(1.0, LARGEST / max(height, width))
    return to_uint8(resized(image, (max(1, round(height * share)), max(1, round(width * share)))))[0]
