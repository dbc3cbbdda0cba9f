"""What `cips_lab.prepare` takes on this machine's cores, beside one process of plain Pillow that does the same.

    python -m benchmarks.preparing [--count 10000] [--output preparing.json]
    python -m benchmarks.preparing --shrink       # what libjpeg's shrink-on-load would save, and change

JPEGs of 640 x 480, cut from NASA's Blue Marble, become 256 x 256 in StyleGAN's zip. Plain Pillow opens each, crops it,
resizes it with Lanczos, and stores the same uncompressed PNG in a zip: no check, no journal, no list of what failed.
The pictures of both are compared, byte by byte.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from cips_lab.data.blue_marble import BLUE_MARBLE, read_picture
from cips_lab.data.fitting import fit

WIDTH, HEIGHT, SIDE = 640, 480, 256

PLAIN = """
import io, sys, zipfile
from pathlib import Path
from PIL import Image
source, output, side = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with zipfile.ZipFile(output, "w") as archive:
    for number, path in enumerate(sorted(source.rglob("*.jpg"))):
        image = Image.open(path).convert("RGB")
        part = min(image.size)
        left, top = (image.width - part) // 2, (image.height - part) // 2
        image = image.crop((left, top, left + part, top + part)).resize((side, side), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        image.save(stream, "PNG", compress_level=0)
        name = f"{number:08d}"
        archive.writestr(f"{name[:5]}/img{name}.png", stream.getvalue())
"""


def windows(count: int, height: int, width: int) -> Iterator[Image.Image]:
    """Parts of the map at random places, the same each time."""
    world = read_picture(BLUE_MARBLE)
    rng = np.random.default_rng(0)
    for _ in range(count):
        top, left = int(rng.integers(world.shape[0] - height)), int(rng.integers(world.shape[1] - width))
        yield Image.fromarray(world[top : top + height, left : left + width])


def write_pictures(folder: Path, count: int) -> None:
    """The pictures that are prepared."""
    for number, picture in enumerate(windows(count, HEIGHT, WIDTH)):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)


def seconds_of(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def measure(count: int) -> dict[str, float]:
    """Seconds of both, the start of their processes included, and the pictures that differ."""
    with tempfile.TemporaryDirectory() as place:
        folder, ours, plain = Path(place) / "pictures", Path(place) / "ours.zip", Path(place) / "plain.zip"
        write_pictures(folder, count)
        command = ["-m", "cips_lab.prepare", f"source={folder}", f"output={ours}", f"resolution={SIDE}", "labels=false"]
        found = {
            "plain": seconds_of([sys.executable, "-c", PLAIN, str(folder), str(plain), str(SIDE)]),
            "ours": seconds_of([sys.executable, *command]),
        }
        with zipfile.ZipFile(ours) as one, zipfile.ZipFile(plain) as other:
            names = other.namelist()
            found["differing"] = sum(one.read(name) != other.read(name) for name in names)
        return found | {"count": len(names)}


def shrink_on_load(count: int = 100) -> dict[str, float]:
    """JPEGs of 1280 x 960 to 256 x 256, whole and by libjpeg's scaled decoding (Pillow's `draft`; libvips' too)."""
    files = []
    for picture in windows(count, 960, 1280):
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=90)
        files.append(stream.getvalue())

    def decoded(content: bytes, draft: bool) -> np.ndarray:
        image = Image.open(io.BytesIO(content))
        if draft:
            image.draft("RGB", (SIDE, SIDE))
        return np.asarray(fit(image.convert("RGB"), SIDE)).astype(int)

    seconds = {}
    pictures = {}
    for draft in (False, True):
        began = time.perf_counter()
        pictures[draft] = [decoded(content, draft) for content in files]
        seconds[draft] = time.perf_counter() - began
    differences = [np.abs(one - other) for one, other in zip(pictures[False], pictures[True], strict=True)]
    return {
        "speedup": seconds[False] / seconds[True],
        "largest_difference": float(max(difference.max() for difference in differences)),
        "mean_difference": float(np.mean([difference.mean() for difference in differences])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="pictures (default: 10,000)")
    parser.add_argument("--output", type=Path, default=Path("preparing.json"), help="the numbers")
    parser.add_argument("--shrink", action="store_true", help="shrink-on-load, of which prepare makes no use")
    args = parser.parse_args()
    if args.shrink:
        print(json.dumps(shrink_on_load()))
        return
    found = measure(args.count)
    print(
        f"{args.count:,} JPEGs of {WIDTH} x {HEIGHT} to {SIDE} x {SIDE}: plain Pillow {found['plain']:.1f} s, prepare "
        f"{found['ours']:.1f} s: {found['plain'] / found['ours']:.2f} x; {found['differing']} pictures differ"
    )
    args.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
