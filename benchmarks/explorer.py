"""What the explorer's page takes to draw a view by WebAssembly, beside torch for the same pixels on the same cores.

The quickstart's generator in a headless Chromium, by the page's own clock: from a new seed to the picture of every
eighth pixel of every eighth row, and to that of all. Torch is `CIPSGenerator.render` at the view's own coordinates,
with the settings that our commands have. Both in turn, medians; the pictures of both are compared.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cips_lab import load_generator
from cips_lab.explorer.packing import pack
from cips_lab.explorer.page import build_page
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.processes import runtime
from cips_lab.render.pictures import quantize

QUICKSTART = Path(__file__).parents[1] / "experiments" / "checkpoints" / "quickstart" / "vision_aided.safetensors"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
WORST = 2  # of 255, between the page's pixels and torch's: its weights are in half precision


class NoBrowser(Exception):
    """Says what is missing."""


def measure(side: int, repeats: int, source: Path = QUICKSTART) -> dict[str, float]:
    """Median seconds of a view of `side` x `side` pixels, of which each repeat has another seed.

    Returns:
        ``coarse`` and ``full`` of the page, ``torch``, and ``worst``, the largest difference of two pixels.

    Raises:
        NoBrowser: there is none here, or nothing that drives it.
    """
    generator = load_generator(source)
    assert isinstance(generator, CIPSGenerator)
    runtime.keep_freed_memory()
    found: dict[str, list[float]] = {"coarse": [], "full": [], "torch": [], "worst": []}
    with opened(generator, side) as page:
        grid = grid_of(page)
        assert grid.shape == (side, side, 2), grid.shape
        for seed in range(repeats + 1):
            shown = drawn(page, seed)
            began = time.perf_counter()
            expected = rendered(generator, seed, grid)
            took = time.perf_counter() - began
            worst = float(np.abs(pixels_of(page, side).astype(int) - expected).max())
            if seed == 0:  # workers start, torch makes what it keeps
                continue
            for name, value in {**shown, "torch": took, "worst": worst}.items():
                found[name].append(value)
    worst = max(found.pop("worst"))
    assert worst <= WORST, f"the page and torch draw different pictures: {worst} of 255"
    return {name: statistics.median(values) for name, values in found.items()} | {"worst": worst}


@contextmanager
def opened(generator: CIPSGenerator, side: int) -> Iterator[Any]:
    """The page in a browser, with a view of so many pixels whatever the window leaves for it."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise NoBrowser("playwright is not installed: pip install 'cips-lab[dev]'") from None
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise NoBrowser("no Chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "explorer.html"
        file.write_text(build_page(pack(generator), "bench", {}), encoding="utf-8")
        chromium = playwright.chromium.launch(executable_path=browser, args=list(FLAGS))
        try:
            page = chromium.new_page(viewport={"width": 1000, "height": 600})
            page.goto(f"{file.as_uri()}#engine=wasm")
            page.evaluate("(async () => { await explorer.ready; })()")
            page.evaluate(f"explorer.measure = () => [{side}, {side}]; explorer.resize();")
            yield page
        finally:
            chromium.close()


def drawn(page: Any, seed: int) -> dict[str, float]:
    """Let the page draw a seed that it does not show; what it says that it took, in seconds."""
    page.evaluate(
        f"(async () => {{ await explorer.settled(); explorer.state.set({{ seed: {seed + 1} }});"
        " await explorer.settled(); })()"
    )
    stats = page.evaluate("({ ...explorer.stats, kind: explorer.engine.kind })")
    assert stats["kind"] == "wasm", stats["kind"]
    assert stats["done"] == stats["pixels"], stats
    return {name: stats[name] / 1000 for name in ("coarse", "full")}


@torch.no_grad()
def rendered(generator: CIPSGenerator, seed: int, grid: Tensor) -> np.ndarray:
    """What torch makes of the same seed there, [H, W, 3] of 0 to 255."""
    w = generator.mapping(generator.mapping.latents([seed + 1]))
    return quantize(generator.render(w, grid))[0].permute(1, 2, 0).numpy().astype(int)


def grid_of(page: Any) -> Tensor:
    """The coordinates of the view's pixels, [H, W, 2]."""
    axes = page.evaluate(
        "(l => [[...Array(l.width).keys()].map(i => l.x(l.left + i)),"
        " [...Array(l.height).keys()].map(j => l.y(l.top + j))])(explorer.painter.lattice)"
    )
    x, y = (torch.tensor(axis, dtype=torch.float64) for axis in axes)
    return torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1).float()


def pixels_of(page: Any, side: int) -> np.ndarray:
    """What is computed of the view, uint8 [side, side, 3]."""
    numbers = np.array(page.evaluate("Array.from(explorer.painter.pixels)"), dtype="<u4")
    return numbers.view(np.uint8).reshape(side, side, 4)[..., :3]
