"""Honest measurements on noisy machines: interleaved repeats, medians, and memory in a process of its own."""

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

Part = Callable[[], object]


def matrix_product() -> Callable[[], torch.Tensor]:
    """What the machine does best: the product of which a synthesis at width 512 is made, with nothing around it."""
    a, b, out = torch.randn(4096, 512), torch.randn(512, 512), torch.empty(4096, 512)
    return lambda: torch.mm(a, b, out=out)


LONG_SECONDS = 5.0  # what takes longer needs no warm-up
MATRIX_PRODUCT_FLOPS = 2 * 4096 * 512 * 512


def interleaved(parts: dict[str, Part], repeats: int) -> dict[str, float]:
    """Median seconds of each part, run in turn: A B C A B C ...

    A part of less than 5 s is run before, uncounted; one much shorter than the longest is repeated within its turn, up
    to 20 times.
    """
    first: dict[str, float] = {}
    for name, part in parts.items():
        for _ in range(2):
            began = time.perf_counter()
            part()
            first[name] = time.perf_counter() - began
            if first[name] > LONG_SECONDS:
                break
    longest = max(first.values())
    times = {name: [seconds] if seconds > LONG_SECONDS else [] for name, seconds in first.items()}
    for _ in range(repeats):
        for name, part in parts.items():
            if len(times[name]) >= repeats and first[name] > LONG_SECONDS:
                continue  # its first run counted
            for _ in range(max(1, min(20, int(longest / first[name] / 4)))):
                began = time.perf_counter()
                part()
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory(setup: Callable[[], Part]) -> float:
    """MB that a part needs beyond what is resident after its setup, in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # unlike Pool, says when a child dies
        return pool.submit(_peak, setup).result()


def _peak(setup: Callable[[], Part]) -> float:
    part = setup()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here (Linux)
    before = _status_kib("VmRSS")
    part()
    return (_status_kib("VmHWM") - before) / 1024


def _status_kib(field: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1])
