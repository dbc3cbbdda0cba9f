"""docs/explorer.webp, a walk through an explorer's page, as a browser shows it: `python -m benchmarks.filming`.

Needs a Chromium (`apt-get install chromium`). Each frame is computed to its last pixel before it is taken.
"""

import argparse
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from tqdm import tqdm

from benchmarks.explorer import BROWSERS, QUICKSTART
from cips_lab.explorer.export import export

WINDOW = {"width": 1120, "height": 640}
SHOWN = (784, 448)
PAUSE = 90  # milliseconds a frame


def eased(frames: int) -> Iterator[float]:
    """From above 0 to 1, slow at both ends."""
    for frame in range(1, frames + 1):
        share = frame / frames
        yield share * share * (3 - 2 * share)


def scenes() -> Iterator[dict[str, float]]:
    """What changes from frame to frame: out of the frame and along the world, to another seed, and near."""
    yield {"seed": 34, "other": 31, "x": 0.0, "y": 0.0, "span": 1.1}
    for share in eased(14):
        yield {"span": 1.1 * 2.4**share}
    for share in eased(12):
        yield {"x": 1.4 * share, "y": -0.3 * share}
    for share in eased(16):
        yield {"walk": share}
    for share in eased(14):
        yield {"span": 2.64 * 0.3**share, "x": 1.4 - 1.1 * share, "y": -0.3 + 0.1 * share}
    for fovea in (0.25, 0.25, 0.25, 0.05, 0.05, 0.05, 1, 1, 1, 1):
        yield {"fovea": fovea}


def main() -> None:
    """Make the page, walk, and write the film."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", default=QUICKSTART, help="what is walked in (default: %(default)s)")
    parser.add_argument("--output", default="docs/explorer.webp", type=Path, help="the film (default: %(default)s)")
    given = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        parser.error("there is no Chromium here: apt-get install chromium")
    frames = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "explorer.html"
        export(str(given.ckpt), page_file, "Satellite landscapes")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW)  # type: ignore[arg-type]
        page.goto(f"{page_file.as_uri()}#engine=wasm")
        page.evaluate("explorer.ready")
        for changes in tqdm(list(scenes()), "Filming", unit=" frames"):
            page.evaluate("async (changes) => { explorer.state.set(changes); await explorer.settled(); }", changes)
            taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            frames.append(taken.resize(SHOWN, Image.Resampling.LANCZOS))
        browser.close()
    frames[0].save(given.output, save_all=True, append_images=frames[1:], duration=PAUSE, loop=0, quality=60, method=6)
    print(f"{given.output}: {len(frames)} frames, {given.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
