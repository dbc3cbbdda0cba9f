"""The size of a picture in pixels: one number for a square, (height, width) for a rectangle."""

from collections.abc import Sequence

Size = int | tuple[int, int]


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width)."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return height, width


def size_of(height: int, width: int) -> Size:
    """As sizes are written: one number for a square."""
    return height if height == width else (height, width)


def size_name(size: int | Sequence[int]) -> str:
    """``64`` for a square, ``128x64`` (width, height) for a rectangle: in file names, records and tags."""
    height, width = sides(size)
    return str(width) if height == width else f"{width}x{height}"


def parse_size(name: str) -> Size:
    """What `size_name` wrote. Raises `ValueError` for anything else."""
    width, _, height = name.partition("x")
    return size_of(int(height or width), int(width))


def halvings(size: int | Sequence[int]) -> int:
    """How often the discriminator halves a picture: until its smaller side has 4 to 7 pixels."""
    return min(sides(size)).bit_length() - 3


def nearest_native(side: int, times: int) -> int:
    """The multiple of 2^times that is nearest to a side, at least 8."""
    step = 2 ** max(times, 1)
    return max(8, step, round(side / step) * step)


def is_native(size: int | Sequence[int]) -> bool:
    """Whether networks are built for this size: sides of at least 8 that can be halved `halvings` times."""
    return min(sides(size)) >= 8 and all(side % 2 ** halvings(size) == 0 for side in sides(size))


def check_native(size: int | Sequence[int], who: str = "") -> None:
    """Raise `ValueError` unless `is_native`; `who` begins the message."""
    if not is_native(size):
        height, width = sides(size)
        raise ValueError(
            f"{who}resolution must be a power of two of at least 8, or [height,width] of which both are multiples of "
            f"such a power as leaves 4 to 7 pixels of the smaller; not {size_of(height, width)}"
        )
