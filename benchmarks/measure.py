"""Honest measurements on noisy machines: interleaved repeats, medians, and memory in a process of its own."""

import gc
import multiprocessing
import os
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from cips_lab.processes import runtime

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


class Worker:
    """A part in a process of its own, so that each side has the settings that its users have.

    Args:
        setup: makes the part, in the process.
        tuned: whether the process is set up as our commands are (`cips_lab.processes.runtime`). The reference is not:
            it is what
            one gets who types the formulas into PyTorch.
    """

    def __init__(self, setup: Callable[[], Part], tuned: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(setup, tuned, theirs), daemon=True)
        before = os.environ.pop("GOMP_SPINCOUNT", None)
        if tuned:
            runtime.sleep_at_barriers()  # in the environment, for the process reads it with its first import
        self._process.start()
        theirs.close()
        os.environ.pop("GOMP_SPINCOUNT", None)
        if before is not None:
            os.environ["GOMP_SPINCOUNT"] = before
        self._receive()

    def __call__(self) -> None:
        """Run the part once."""
        self._ask("run")

    def peak_memory(self) -> float:
        """MB that a first run needs beyond what is resident after the setup."""
        return self._ask("peak")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def _ask(self, question: str) -> float:
        self._pipe.send(question)
        return self._receive()

    def _receive(self) -> float:
        answer = self._pipe.recv()  # EOFError where the process died
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return float(answer)


def peak_memory(setup: Callable[[], Part], tuned: bool = True) -> float:
    """MB that a part needs beyond what is resident after its setup, in a fresh process."""
    worker = Worker(setup, tuned)
    try:
        return worker.peak_memory()
    finally:
        worker.close()


def _serve(setup: Callable[[], Part], tuned: bool, pipe: Connection) -> None:
    try:
        if tuned:
            runtime.keep_freed_memory()
        part = setup()
        pipe.send(0.0)
        while True:
            pipe.send(_peak(part) if pipe.recv() == "peak" else float(part() is part))
    except EOFError:
        return
    except Exception:
        pipe.send(traceback.format_exc())


def _peak(part: Part) -> float:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here (Linux)
    before = _status_kib("VmRSS")
    part()
    return (_status_kib("VmHWM") - before) / 1024


def _status_kib(field: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1])


def peak_of_process() -> float:
    """The most memory that this process has held, GB (10^9 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
