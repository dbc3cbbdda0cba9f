"""A step at any size takes the memory of a tile and of a few pictures, where one graph takes that of all layers."""

import subprocess
import sys

import pytest

SIDE, WIDTH, TILE = 448, 64, 4096
PROGRAM = """
import resource, sys, torch
from cips_lab.inverting.descent import Schedule, descend
from cips_lab.inverting.objective import Objective
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.render.inverted import draw_styles

side, width, tile = (int(text) for text in sys.argv[2:])
generator = CIPSGenerator(32, width, 8, 8, 2).eval().requires_grad_(False)
grid, target = image_grid(side, side), torch.zeros(1, 3, side, side)

def draw(w):
    if sys.argv[1] == "whole":
        return generator.synthesize_at_once(w, coords=grid)
    return draw_styles(generator, w, grid, tile=tile)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak()
descend([torch.randn(1, 8)], draw, Objective(target, (1.0, 0.0), None), Schedule(1, 0.1), lambda state: None)
print(peak() - before, generator.features_per_pixel)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts KiB on Linux")
def test_memory_is_a_tiles() -> None:
    def taken(how: str) -> tuple[int, int]:
        arguments = [sys.executable, "-c", PROGRAM, how, *map(str, (SIDE, WIDTH, TILE))]
        grown, features = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()
        return int(grown), int(features)

    (tiled, features), (whole, _) = taken("tiled"), taken("whole")
    picture, graph = 4 * 3 * SIDE**2, 4 * features * SIDE**2
    keep = 256 * 2**20  # graphs up to this size are kept: `tiling.KEEP_BYTES`
    assert graph > 2 * keep
    assert whole > graph
    # Coordinates, image, target, gradients and what Adam is shown: pictures; a tile's graph, forward and backward.
    assert tiled < 20 * picture + 8 * 4 * features * TILE + 32 * 2**20
    assert tiled < whole / 5
