"""What an evaluation takes with all metrics, beside what it takes with those of features alone: time and memory.

    python -m benchmarks.evaluation [--count 1000] [--extractor projection] [--output evaluation.json]

``projection`` is no network but a random projection to 2048 numbers, in no time: with --count 50000 it shows what the
metrics themselves take at the field's usual number. Each set of metrics runs in a process of its own, so that its peak
of memory is its own; the real pictures' statistics are there already, as in every evaluation but the first.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.measure import peak_of_process
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.extractors import EXTRACTORS, Extractor
from cips_lab.metrics.registry import names, usual_names

SIDE, FEATURES = 32, 2048
SETS = {
    "features": ["fd", "kid", "precision", "recall", "density", "coverage"],
    "usual": [name for name in usual_names() if name != "isc"],
    "all": [name for name in names() if name != "isc"],
}


class Projection(nn.Module):
    """[B, 3, S, S] -> features [B, FEATURES], always the same."""

    def __init__(self) -> None:
        super().__init__()
        drawn = torch.randn(3 * SIDE**2, FEATURES, generator=torch.Generator().manual_seed(0))
        self.weights = nn.Parameter(drawn / SIDE, requires_grad=False)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return (images.flatten(1).float() / 64 @ self.weights).relu(), None


EXTRACTORS["projection"] = lambda weights, option: Extractor("projection", Projection(), FEATURES, None, True)


class Pictures:
    """Smooth noise; number i is always the same picture.

    Args:
        count: pictures.
        seed: of the first.
    """

    resolution = SIDE
    location = "noise"

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        coarse = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(self.seed + index))
        smooth = nn.functional.interpolate(coarse, SIDE, mode="bilinear")[0]
        return (128 + 60 * smooth).clamp(0, 255).byte()

    def fingerprint(self) -> str:
        return f"{self.count} {self.seed}"


def measure(which: str, count: int, extractor: str, cache: Path) -> dict[str, float]:
    """Seconds of an evaluation whose real pictures are known, and the peak of memory in GB (10^9 bytes)."""
    options = {"num_samples": count, "num_real": count, "kid_subset_size": min(1000, count), "cache": cache}
    evaluator = Evaluator(extractor, names=SETS[which], **options)  # type: ignore[arg-type]
    real, held_out = evaluator.reference(Pictures(count, 0)), evaluator.held_out(Pictures(count, count))
    made = Pictures(count, 2 * count)

    def batches() -> Iterator[Tensor]:
        for numbers in evaluator.batches():
            yield torch.stack([made[number] for number in numbers.tolist()])

    began = time.perf_counter()
    evaluator.evaluate(batches(), real, held_out=held_out)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_gb": peak_of_process()}


def in_own_process(which: str, count: int, extractor: str, cache: Path) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.evaluation", "--one", which, "--count", str(count)]
    command += ["--extractor", extractor, "--cache", str(cache)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(printed.splitlines()[-1]))


def evaluations(count: int, extractor: str) -> dict[str, dict[str, float]]:
    """Of each set of metrics; the first evaluation fills the cache, and is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        in_own_process("all", count, extractor, Path(folder))
        return {which: in_own_process(which, count, extractor, Path(folder)) for which in SETS}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="samples, and real pictures")
    parser.add_argument("--extractor", default="efficientnet_lite0", help="or projection")
    parser.add_argument("--output", type=Path, default=Path("evaluation.json"), help="the numbers")
    parser.add_argument("--one", choices=sorted(SETS), help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one, options.count, options.extractor, options.cache)))
        return
    found = evaluations(options.count, options.extractor)
    for which, numbers in found.items():
        print(f"{which:10} {numbers['seconds']:8.1f} s  {numbers['peak_gb']:6.2f} GB")
    options.output.write_text(json.dumps({"count": options.count, "extractor": options.extractor, **found}, indent=2))


if __name__ == "__main__":
    main()
