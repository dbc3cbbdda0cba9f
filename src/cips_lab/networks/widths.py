"""How wide the layers of the released code's generators are."""

from typing import Literal


def official_widths(width: int, pairs: int, blocks: Literal["plain", "residual"]) -> list[int]:
    """Layer widths of the released code: constant at first, then halved; its residual variant halves a little less."""
    times = (0, 0, 0, 0, 0, 1, 2, 3, 4) if blocks == "plain" else (0, 0, 0, 0, 0, 1, 2, 2, 3)
    if pairs > len(times):
        raise ValueError(f"generator.widths=official ends at resolution 1024; use constant for {2 ** (pairs + 1)}")
    return [max(1, width >> halved) for halved in times[:pairs]]
