"""Wave-like artifacts in single pictures: a frequency that stands out from those around it, somewhere in the picture.

The paper's Figure 12 shows waves over parts of pictures and blames the sine and the leaky ReLU; it measures nothing.
Here a picture is cut into overlapping blocks under a Hann window. A wave is one spot in a block's power spectrum,
whereas an edge is a ray through its middle and texture has no spot: so a block's score is by how many dB its strongest
spot exceeds the *strongest* of eight places on a circle around it, as wide as the window's main lobe. The picture's is
that of its best block. What counts as much is decided by real pictures: see `threshold`.

Chosen by planting waves (8 and 20 grey levels of amplitude, 2.7 to 5.5 pixels long, in any direction) in 400 held-out
pictures of 32 x 32 and counting those above the 95th percentile of 1,000 real ones. Cartoon faces: 66 % of waves all
over the picture and 15 % of those over a Gaussian of R / 8 were found, with 6 % false alarms; satellite tiles: 91, 36
and 8 %. What one tries first, the ratio to the median of all frequencies of that length over the whole picture, found
22 and 6 % (faces) and 69 and 17 % (tiles): the rays of edges lie far above that median. Narrower or wider circles and
smaller blocks found less, whole pictures in place of blocks missed the local waves; blurring the pictures, adding
noise or halving their contrast raised no more false alarms.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 16  # pixels a side of a block, of pictures that have as many
SHARE = 2  # a larger picture's side has that many blocks' sides
STEPS = 2  # blocks begin that many times in a block's side
PADDING = 2  # with zeros, times a block's side: places of the spectrum for each cycle a block
LOWEST = 3.0  # cycles a block: longer waves are shapes
LOBE = 2.0  # cycles a block from the middle of the Hann window's main lobe to its first zero
VISIBLE = 2.0  # grey levels: waves of less amplitude are not told from rounding
PERCENTILE = 95.0  # of real pictures' scores: what lies above is called wave-like
AT_ONCE = 2**24  # places of spectra computed at once


class Waves(NamedTuple):
    """Of each picture.

    Attributes:
        score: dB, float64 [B].
        frequency: of the strongest, cycles a picture (to the right, down), [B, 2]; in the right half-plane.
        corner: of the block where it is, pixels (from the left, from the top), [B, 2]; see `block_side`.
    """

    score: Tensor
    frequency: Tensor
    corner: Tensor


def block_side(resolution: int) -> int:
    """Pixels a side of the blocks of a picture of so many."""
    return min(resolution, max(SMALLEST, resolution // SHARE))


def block_window(side: int, device: torch.device | str = "cpu") -> Tensor:
    """A Hann window over a block, float64 [side, side], of sum 1: a wave of amplitude A has power A^2 / 4 under it."""
    hann = torch.hann_window(side + 2, periodic=False, dtype=torch.float64, device=device)[1:-1]
    hann = hann / hann.sum()
    return hann[:, None] * hann[None, :]


class Spots(NamedTuple):
    """The frequencies that are looked at, and the circles around them, as places of a block's half spectrum.

    Attributes:
        cycles: a block (to the right, down), float64 [F, 2].
        places: of the frequencies, int64 [F]. around: of eight frequencies each, [F, 8]; its own where one of the eight
            is so near to the wave's alias that it is part of the wave.
        aside: of the frequency one place to the left, right, above, below, [F, 4].
        own: whether a place of `around` is the frequency's own, bool [F, 8].
    """

    cycles: Tensor
    places: Tensor
    around: Tensor
    aside: Tensor
    own: Tensor


def spots_of(side: int, device: torch.device | str = "cpu") -> Spots:
    """Of blocks of `side` pixels."""
    size = PADDING * side

    def place(right: Tensor, down: Tensor) -> Tensor:  # the spectrum of a real block is even: half of it is kept
        column, row = right.round().long() % size, down.round().long() % size
        mirrored = column > size // 2
        row, column = torch.where(mirrored, -row % size, row), torch.where(mirrored, size - column, column)
        return row * (size // 2 + 1) + column

    # In places, to Nyquist's frequency: on its row and column both of a frequency's aliases, whose circles differ.
    axis = torch.arange(-side, side + 1, dtype=torch.float64, device=device)
    down, right = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    kept = (torch.hypot(right, down) >= LOWEST * PADDING) & ((right > 0) | ((right == 0) & (down > 0)))
    down, right = down[kept], right[kept]
    angles = torch.atan2(down, right)[:, None] + torch.arange(8, device=device).double() * (math.pi / 4)
    x = (right[:, None] + LOBE * PADDING * angles.cos()).round()
    y = (down[:, None] + LOBE * PADDING * angles.sin()).round()

    def wrapped(values: Tensor) -> Tensor:
        return (values + side) % size - side

    alias = torch.hypot(wrapped(x + right[:, None]), wrapped(y + down[:, None]))
    own = alias < LOBE * PADDING - 1
    places = place(right, down)
    around = torch.where(own, places[:, None], place(x, y))
    aside = torch.stack(
        [place(right - 1, down), place(right + 1, down), place(right, down - 1), place(right, down + 1)]
    )
    return Spots(torch.stack([right, down], dim=1) / PADDING, places, around, aside.T, own)


@torch.no_grad()
def waves_of(images: Tensor) -> Waves:
    """Scores of uint8 [B, 3, N, N]; a picture without any contrast has score 0 and frequency 0.

    Powers are means over the three channels, so that waves of a colour count too.
    """
    side = block_side(images.shape[-1])
    spots, window = spots_of(side, images.device), block_window(side, images.device)
    blocks = max(1, (images.shape[-1] - side) // max(1, side // STEPS) + 1) ** 2
    at_once = max(1, AT_ONCE // (blocks * 3 * (PADDING * side) ** 2))
    found = [_waves_of(part, spots, window) for part in images.split(at_once)]
    return Waves(*(torch.cat(column) for column in zip(*found, strict=True)))


def _waves_of(images: Tensor, spots: Spots, window: Tensor) -> Waves:
    side, step = len(window), max(1, len(window) // STEPS)
    levels = block_levels(images.double(), window)  # [B, rows, columns, places]
    rows, columns = levels.shape[1:3]
    strongest = torch.full_like(levels[..., spots.places], -torch.inf)
    for around, own in zip(spots.around.T, spots.own.T, strict=True):
        strongest = torch.maximum(strongest, levels[..., around].masked_fill(own, -torch.inf))
    above = levels[..., spots.places] - strongest
    score, index = above.flatten(1).max(1)
    block, spot = index // len(spots.places), index % len(spots.places)
    best = levels.flatten(1, 2)[torch.arange(len(images), device=images.device), block]  # [B, places]
    left, right, up, down = best.gather(1, spots.aside[spot]).unbind(1)
    middle = best.gather(1, spots.places[spot][:, None])[:, 0]
    shift = torch.stack([summit(left, middle, right), summit(up, middle, down)], dim=1)
    frequency = (spots.cycles[spot] + shift / PADDING) * images.shape[-1] / side
    turned = (frequency[:, :1] < 0) | ((frequency[:, :1] == 0) & (frequency[:, 1:] < 0))
    frequency = torch.where(turned, -frequency, frequency)
    corner = torch.stack([block % columns, block // columns], dim=1) * step
    flat = score <= 1e-9
    assert rows == columns
    return Waves(score.masked_fill(flat, 0.0), frequency.masked_fill(flat[:, None], 0.0), corner)


def block_levels(values: Tensor, window: Tensor) -> Tensor:
    """Spectra of overlapping blocks, dB of grey levels squared: float64 [B, C, N, N] -> [B, rows, columns, places].

    The mean over channels, and never below a wave of the amplitude `VISIBLE`.
    """
    side = len(window)
    blocks = values.unfold(-2, side, max(1, side // STEPS)).unfold(-2, side, max(1, side // STEPS))
    blocks = (blocks - (blocks * window).sum((-2, -1), keepdim=True)) * window
    power = torch.fft.rfft2(blocks, s=(PADDING * side, PADDING * side)).abs().square().mean(1)
    return 10 * torch.log10(power + VISIBLE**2 / 4).flatten(-2)


def summit(before: Tensor, middle: Tensor, after: Tensor) -> Tensor:
    """Where a parabola through three neighbouring levels has its top, in places from the middle: within +-1/2."""
    bend = before - 2 * middle + after
    shift = 0.5 * (before - after) / torch.where(bend < 0, bend, -torch.inf)
    return shift.clamp(-0.5, 0.5)


def amplitudes_at(values: Tensor, frequency: Tensor, corner: Tensor) -> Tensor:
    """The complex amplitude of one wave in each picture, in its block: [B, C, N, N] and two [B, 2] -> [B, C].

    A cosine of amplitude A has |amplitude| A / 2. Linear in the pictures: those of a sum's terms add up to the sum's.
    """
    resolution = values.shape[-1]
    side = block_side(resolution)
    window = block_window(side, values.device)
    steps = torch.arange(side, device=values.device)
    found = []
    for picture, (right, down), (left, top) in zip(values, frequency.tolist(), corner.long().tolist(), strict=True):
        block = picture[:, top : top + side, left : left + side].double()
        block = block - (block * window).sum((-2, -1), keepdim=True)
        phase = -2 * math.pi / resolution * (right * (left + steps)[None, :] + down * (top + steps)[:, None])
        found.append((block * window * torch.polar(torch.ones_like(phase), phase)).sum((-2, -1)))
    return torch.stack(found)


def threshold(real_scores: Tensor) -> float:
    """The score above which a picture is called wave-like: so few real ones lie above it."""
    return float(torch.quantile(real_scores.double(), PERCENTILE / 100))
