"""A headless Chromium with WebGPU in software, on an explorer's page: opens it, reads its pixels, walks about."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from browser import Browser
from torch import Tensor

from cips_lab.explorer.packing import pack
from cips_lab.explorer.page import build_page
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.render.pictures import quantize

FLAGS = (
    "--headless=new",
    "--enable-unsafe-webgpu",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
)
WIDTH, HEIGHT = 800, 200  # with the panel beside it and pixels of 8 x 8, a view of 58 x 25


class Walker(Browser):
    """One page. `complaints`: exceptions and errors of the console; `requests`: all addresses asked for."""

    flags = FLAGS
    ignored: ClassVar = ["--headless", "--disable-gpu"]  # Playwright's own --headless is the old one, without WebGPU
    touch = True
    held = (*Browser.held, "blob:")

    def open(
        self, file: Path | str, fragment: str = "", width: int = WIDTH, height: int = HEIGHT, scheme: Any = "light"
    ) -> None:
        super().open(file, f"#{fragment}", width, height, scheme)
        self.evaluate("explorer.ready")
        self.settle()

    def evaluate(self, expression: str) -> Any:
        """The value of an expression; functions and what they hold come back as nothing."""
        return self.page.evaluate(
            f"(async () => {{ const value = await ({expression}); return value === explorer ? 0 : value; }})()"
        )

    def settle(self) -> None:
        """Wait until nothing is left to compute, what was asked for in the last picture's time included."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 30)))")
        self.evaluate("explorer.settled()")

    def stats(self) -> dict[str, Any]:
        return dict(self.evaluate("({...explorer.stats, kind: explorer.engine.kind})"))

    def pixels(self) -> np.ndarray:
        """What is computed of the view, uint8 [H, W, 4]."""
        width, height = self.evaluate("[explorer.painter.lattice.width, explorer.painter.lattice.height]")
        numbers = np.array(self.evaluate("Array.from(explorer.painter.pixels)"), dtype="<u4")
        return numbers.view(np.uint8).reshape(height, width, 4)

    def grid(self) -> Tensor:
        """The coordinates of the view's pixels, [H, W, 2]."""
        lattice = "explorer.painter.lattice"
        xs, ys = self.evaluate(
            f"(l => [[...Array(l.width).keys()].map(i => l.x(l.left + i)),"
            f" [...Array(l.height).keys()].map(j => l.y(l.top + j))])({lattice})"
        )
        x, y = torch.tensor(xs, dtype=torch.float64), torch.tensor(ys, dtype=torch.float64)
        return torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1).float()


def save_page(generator: CIPSGenerator, file: Path, title: str = "test") -> Path:
    file.write_text(build_page(pack(generator), title, {"kimg": 1.0}), encoding="utf-8")
    return file


def difference(walker: Walker, generator: CIPSGenerator, w: Tensor) -> int:
    """How far the view is from what `render` makes of styles [1, w_dim] or [1, L, w_dim] there, of 255."""
    expected = quantize(generator.render(w, walker.grid()))[0].permute(1, 2, 0).numpy().astype(int)
    assert expected.std() > 3, "a picture of one colour would hide mistakes"
    return int(np.abs(walker.pixels()[..., :3].astype(int) - expected).max())
