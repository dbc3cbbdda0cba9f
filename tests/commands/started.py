"""Commands that tests start, watch and interrupt, and what their run folders hold."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

SLOW_MACHINE = 400.0  # seconds that a test waits for what takes ten


class Start:
    """start("experiment=debug", ...) -> the running `cips_lab.train`, its output in FOLDER/N.log."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "CIPS_LAB_CACHE": str(cache),
            "OMP_NUM_THREADS": "1",
            "WANDB_MODE": "offline",
            "WATCHED": str(folder / "watched"),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        }
        self.logs: list[Path] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Start":
        return self

    def __exit__(self, *exception: object) -> None:
        """Of a test that failed, nothing goes on: each process began a session, which holds all that it started."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def __call__(self, *overrides: str, program: tuple[str, ...] = (), **environment: str) -> "subprocess.Popen[bytes]":
        log = self.folder / f"{len(self.logs)}.log"
        self.logs.append(log)
        command = [sys.executable, *(("-m", *program) if program else ()), "-m", "cips_lab.train", *overrides]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def finish(self, *overrides: str, status: int = 0, **environment: str) -> str:
        """Run to the end, and return what was printed."""
        process = self(*overrides, **environment)
        log = self.logs[-1]
        assert process.wait(SLOW_MACHINE) == status, log.read_text()
        return log.read_text()


def until(condition: Callable[[], bool], what: str, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Wait for a condition, as long as a process lives."""
    deadline = time.monotonic() + SLOW_MACHINE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        assert process is None or process.poll() is None, f"the process ended before {what}"
        time.sleep(0.05)


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def ranks(run: Path) -> dict[int, dict[str, Any]]:
    """What `watching.Ranks` left."""
    return {int(path.stem): json.loads(path.read_text()) for path in sorted((run / "ranks").iterdir())}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(max(run.glob("checkpoints/kimg-*")) / "generator.safetensors")


def status_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


def lines(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the clock and the machine."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if not k.startswith(("time/", "memory/"))} for record in records]
