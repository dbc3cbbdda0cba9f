"""Precision and recall of large sets: ours beside torch-fidelity's, in one run.

    python -m benchmarks.manifolds [--count 20000] [--features 2048] [--threads N] [--output manifolds.json]

Standard normal features, in which distances are as alike as they can be: the hardest case for ours. Each runs in a
process of its own, so that its peak of memory is its own; ours computes density and coverage as well.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.measure import peak_of_process


def sets(count: int, features: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Generated and real features, float32 [count, features]."""
    generator = torch.Generator().manual_seed(0)
    generated, real = (torch.randn(count, features, generator=generator) for _ in range(2))
    return generated, real


def measure(which: str, count: int, features: int) -> dict[str, float]:
    """Seconds, the peak of memory in GB (10^9 bytes) of the whole process, and what was found."""
    generated, real = sets(count, features)
    if which == "ours":
        from cips_lab.metrics.manifold import manifold

        began = time.perf_counter()
        found = manifold(generated, real)
        precision, recall = found.precision.value, found.recall.value
    else:
        from torch_fidelity.metric_prc import prc_features_to_metric

        began = time.perf_counter()
        theirs = prc_features_to_metric(generated, real, verbose=False)
        precision, recall = theirs["precision"], theirs["recall"]
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_gb": peak_of_process(), "precision": precision, "recall": recall}


def in_own_process(which: str, count: int, features: int, threads: int | None = None) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.manifolds", "--one", which, "--count", str(count)]
    command += ["--features", str(features), "--threads", str(threads or torch.get_num_threads())]
    settings = {"GOMP_SPINCOUNT": "10000"} if which == "ours" else {}  # read when torch is imported
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | settings).stdout
    return dict(json.loads(printed.splitlines()[-1]))


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="samples in each set")
    parser.add_argument("--features", type=int, default=2048, help="features of a sample")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="write the rows as JSON")
    parser.add_argument("--one", choices=("ours", "torch-fidelity"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(measure(options.one, options.count, options.features)))
        return
    rows = {}
    for which in ("ours", "torch-fidelity"):
        rows[which] = in_own_process(which, options.count, options.features, options.threads)
        values = "  ".join(f"{name} {value:.5g}" for name, value in rows[which].items())
        print(f"{which:16} {values}", flush=True)
    print(f"{'ratio':16} {rows['torch-fidelity']['seconds'] / rows['ours']['seconds']:.2f} times faster")
    if options.output:
        options.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
