"""Sheets of pictures with words: rows with a name each, and a caption above every picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL = 128  # pixels: smaller pictures are repeated, so that each of theirs is a square
LARGEST = 384  # larger ones are made smaller, where only looked at
CAPTION, GAP = 20, 6  # pixels
INK, FAINT, CURVE = "#23272e", "#c9ced6", "#0072b2"


@dataclass(frozen=True)
class Cell:
    """A picture, uint8 [H, W, 3], and what is written above it."""

    picture: np.ndarray
    caption: str = ""


def shown(picture: np.ndarray, smallest: int = CELL, largest: int | None = LARGEST) -> np.ndarray:
    """uint8 [H, W, 3] at a size to be looked at: whole times larger, or resized where it is too large."""
    height, width = picture.shape[:2]
    scale = max(1, -(-smallest // min(height, width)))
    if scale > 1:
        return picture.repeat(scale, axis=0).repeat(scale, axis=1)
    if largest is None or max(height, width) <= largest:
        return picture
    share = largest / max(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def sheet(
    rows: Sequence[tuple[str, Sequence[Cell]]], smallest: int = CELL, largest: int | None = LARGEST
) -> np.ndarray:
    """uint8 [H, W, 3]: row by row, the name of each before it; pictures have one size."""
    font = ImageFont.load_default(13)
    cells = [[(shown(cell.picture, smallest, largest), cell.caption) for cell in cells] for _, cells in rows]
    height, width = cells[0][0][0].shape[:2]
    names = [name for name, _ in rows]
    margin = GAP + max((max(font.getlength(line) for line in name.split("\n")) for name in names if name), default=0)
    left = round(margin) + (GAP if any(names) else 0)
    tall = CAPTION + height + GAP
    across = max(len(row) for row in cells)
    canvas = Image.new("RGB", (left + across * (width + GAP), GAP + len(rows) * tall), "white")
    pen = ImageDraw.Draw(canvas)
    for number, (name, row) in enumerate(zip(names, cells, strict=True)):
        top = GAP + number * tall
        if name:
            pen.multiline_text((left - GAP, top + CAPTION + height / 2), name, INK, font, anchor="rm", align="right")
        for column, (picture, caption) in enumerate(row):
            x = left + column * (width + GAP)
            pen.text((x + width / 2, top + CAPTION / 2), caption, INK, font, anchor="mm")
            canvas.paste(Image.fromarray(picture), (x, top + CAPTION))
    return np.asarray(canvas)


def with_curve(picture: np.ndarray, values: Sequence[float], words: str, marks: Sequence[int] = ()) -> np.ndarray:
    """A picture with a curve below it.

    Args:
        picture: uint8 [H, W, 3].
        values: at 0, 1, ..., two or more.
        words: what they are.
        marks: where a line stands upright, such as where a stage begins.
    """
    font, height, left, right = ImageFont.load_default(13), 150, 60, 12
    canvas = Image.new("RGB", (picture.shape[1], height), "white")
    pen = ImageDraw.Draw(canvas)
    top, bottom, width = 28, height - 26, picture.shape[1] - left - right
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def place(step: int, value: float) -> tuple[float, float]:
        return left + width * step / (len(values) - 1), bottom - (bottom - top) * (value - low) / span

    for value in (low, high):
        y = place(0, value)[1]
        pen.line([(left, y), (left + width, y)], FAINT)
        pen.text((left - GAP, y), f"{value:.1f}", INK, font, anchor="rm")
    for mark in marks:
        pen.line([place(mark, low), place(mark, high)], FAINT)
        pen.text((place(mark, low)[0], bottom + 12), f"{mark:,}", INK, font, anchor="mm")
    pen.line([place(step, value) for step, value in enumerate(values)], CURVE, 2)
    pen.text((left, top - 14), words, INK, font, anchor="lm")
    return np.concatenate([picture, np.asarray(canvas)])
