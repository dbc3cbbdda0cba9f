"""Colours of single pixels, drawn with torch for a page that has no weights."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cips_lab.explorer.choices import Choices, program_of
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.program import PixelProgram
from cips_lab.render.pictures import quantize

MOST_PIXELS = 8192  # of a request; also its most columns, and rows
HEADER = 16  # bytes: the numbers of columns, rows and pixels as uint32, and nothing
MOST_BYTES = HEADER + 8 * 2 * MOST_PIXELS + 4 * MOST_PIXELS
PART = 1024  # pixels at a time, after which it is asked whether they are still wanted
FARTHEST = 1e9  # beyond which a coordinate is refused; float32 has lost the pixels long before


class TooLarge(ValueError):
    """More pixels than are drawn at once."""


class Job(NamedTuple):
    """Pixels of a tile. xs: float64 [columns]; ys: float64 [rows]; picks: uint32 [pixels], row * columns + column."""

    xs: np.ndarray
    ys: np.ndarray
    picks: np.ndarray


def read_job(body: bytes) -> Job:
    """Little endian, as a page's typed arrays are: `HEADER`, xs, ys, picks.

    Raises:
        TooLarge: more than `MOST_PIXELS` columns, rows or pixels.
        ValueError: anything else that is no job.
    """
    if len(body) < HEADER:
        raise ValueError(f"a job has {HEADER} bytes at least, this one has {len(body)}")
    columns, rows, pixels, _ = (int(number) for number in np.frombuffer(body, "<u4", 4))
    if max(columns, rows, pixels) > MOST_PIXELS:
        raise TooLarge(f"{columns} columns, {rows} rows, {pixels} pixels: at most {MOST_PIXELS} of each at once")
    if not (columns and rows and pixels) or len(body) != HEADER + 8 * (columns + rows) + 4 * pixels:
        raise ValueError(f"{columns} columns, {rows} rows and {pixels} pixels are not what {len(body)} bytes can hold")
    places = np.frombuffer(body, "<f8", columns + rows, HEADER)
    picks = np.frombuffer(body, "<u4", pixels, HEADER + places.nbytes)
    if not (np.abs(places) <= FARTHEST).all():
        raise ValueError(f"a coordinate is no number from -{FARTHEST:g} to {FARTHEST:g}")
    if int(picks.max()) >= columns * rows:
        raise ValueError("a pixel lies outside its tile")
    return Job(places[:columns], places[columns:], picks)


class Drawer:
    """Draws jobs, one at a time: styles are filled in once for all tiles of a view.

    Args:
        generator: in evaluation mode, on its device.
        kept: programs of the choices that were drawn last; each has the size of the layers' weights.

    Attributes:
        key: of the weights, so that a page that is still open does not show another generator's pixels as its own.
    """

    def __init__(self, generator: CIPSGenerator, kept: int = 4) -> None:
        self.generator, self.kept = generator, kept
        self.key = _key_of(generator)
        self._programs: OrderedDict[Choices, PixelProgram] = OrderedDict()

    @torch.no_grad()
    def draw(self, choices: Choices, job: Job, is_wanted: Callable[[], bool] = lambda: True) -> bytes:
        """RGBA bytes of the job's pixels, in their order; of the first ones only, once they are not wanted any more.

        Raises:
            PictureNotFinite: a colour is no number.
        """
        program, coords = self._program(choices), self._coords(job)
        pixels = np.full((len(coords), 4), 255, np.uint8)
        for start in range(0, len(coords), PART):
            if not is_wanted():
                return pixels[:start].tobytes()
            part = coords[start : start + PART]
            rgb = self.generator.run(program, self.generator.encoding(part), part)  # [1, 3, P]
            pixels[start : start + PART, :3] = quantize(rgb[:, :, None])[0, :, 0].T.cpu().numpy()
        return pixels.tobytes()

    def _coords(self, job: Job) -> Tensor:
        columns = len(job.xs)
        places = np.stack([job.xs[job.picks % columns], job.ys[job.picks // columns]], axis=1)
        return torch.from_numpy(places).float().to(self.generator.native_coords.device)

    def _program(self, choices: Choices) -> PixelProgram:
        program = self._programs.pop(choices, None) or program_of(self.generator, choices)
        self._programs[choices] = program  # behind all others: what was not asked for longest goes first
        if len(self._programs) > self.kept:
            self._programs.popitem(last=False)
        return program


def _key_of(generator: CIPSGenerator) -> str:
    digest = hashlib.sha256()
    for tensor in generator.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]
