"""The explorer's server as a process of the command itself, and clients of it, honest and other."""

import http.client
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

import numpy as np
import torch
from variants import build, composed

from cips_lab.explorer.drawing import Drawer
from cips_lab.interop.native import save_generator
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.render.pictures import quantize

LONG = 120.0  # seconds: what takes longer hangs
BINARY = {"Content-Type": "application/octet-stream"}


def job_of(xs: Sequence[float] | np.ndarray, ys: Sequence[float] | np.ndarray, picks: Sequence[int]) -> bytes:
    """A job as a page writes it."""
    head = struct.pack("<4I", len(xs), len(ys), len(picks), 0)
    return head + struct.pack(f"<{len(xs) + len(ys)}d{len(picks)}I", *xs, *ys, *picks)


def choices_of(generator: CIPSGenerator, **changed: object) -> dict[str, str]:
    """What a page asks for first, with changes."""
    first = {"seed": 0, "other": 1, "walk": 0, "mix": generator.num_layers, "psi": 1, "label": -1}
    parts = {"fourier": 1, "embedding": 1, "pairs": len(generator.blocks)}
    return {name: str(value) for name, value in {**first, **parts, **changed}.items()}


@torch.no_grad()
def rendered(
    generator: CIPSGenerator, w: torch.Tensor, xs: np.ndarray, ys: np.ndarray, picks: np.ndarray
) -> np.ndarray:
    """Colours of pixels by `render`, int [P, 3], for styles [1, w_dim] or [1, L, w_dim]."""
    x, y = torch.tensor(xs), torch.tensor(ys)
    grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1).float()
    picture = quantize(generator.render(w, grid))[0].flatten(1).T.numpy().astype(int)
    return picture[picks]


def colours_of(answer: bytes) -> np.ndarray:
    """int [P, 3]; all are opaque."""
    pixels = np.frombuffer(answer, np.uint8).reshape(-1, 4)
    assert (pixels[:, 3] == 255).all()
    return pixels[:, :3].astype(int)


def save_world(file: Path, name: str = "cips", **options: object) -> CIPSGenerator:
    """A small generator and its file."""
    generator = build(name, **options)
    assert isinstance(generator, CIPSGenerator)
    save_generator(generator, file, {**composed(name), **options}, 2.5)
    return generator


class Served:
    """A server, from its first line to its end. `process`, `host`, `port`; what it prints is in `printed`, `told`."""

    def __init__(self, checkpoint: Path, folder: Path, *overrides: str, port: int = 0) -> None:
        self.printed, self.told = folder / "stdout", folder / "stderr"
        command = [sys.executable, "-m", "cips_lab.explore", f"ckpt={checkpoint}", f"port={port}", *overrides]
        with self.printed.open("wb") as printed, self.told.open("wb") as told:
            self.process = subprocess.Popen(
                command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=printed, stderr=told
            )
        try:
            self.host, self.port = "127.0.0.1", self._port()
        except BaseException:  # the test's time may be over
            self.end(signal.SIGKILL)
            raise

    def _port(self) -> int:
        deadline = time.monotonic() + LONG
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+) ", self.printed.read_text())):
            assert self.process.poll() is None, self.told.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return int(found[1])

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end(signal.SIGKILL)

    def end(self, how: signal.Signals) -> int:
        """Its exit status."""
        with suppress(ProcessLookupError):
            self.process.send_signal(how)
        return self.process.wait(LONG)

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    def forget_most_memory(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def most_memory(self) -> int:
        """Bytes: the most that the process has had since `forget_most_memory`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


class Client:
    """Asks a server at a port of this machine."""

    def __init__(self, port: int, generator: CIPSGenerator) -> None:
        self.port, self.generator, self.key = port, generator, Drawer(generator).key

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=LONG)

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=not isinstance(body, bytes | None))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def path(self, **changed: object) -> str:
        return f"/pixels?{urlencode({'of': self.key, **choices_of(self.generator), **changed})}"

    def whole(self, body: bytes, **changed: object) -> bytes:
        """A request, for a socket."""
        return (
            f"POST {self.path(**changed)} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def raw(self, sent: bytes) -> bytes:
        """What is answered until the server closes; nothing where it resets the connection."""
        with self.connect() as connection:
            with suppress(OSError):
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            return everything(connection)

    def is_answered(self, seed: int = 0, pixels: int = 300) -> None:
        """An honest job is, with the right colours."""
        draws = np.random.default_rng(seed)
        xs, ys = draws.uniform(-1.5, 1.5, 30), draws.uniform(-1.5, 1.5, 20)
        picks = draws.permutation(600)[:pixels]
        status, headers, body = self.ask("POST", self.path(seed=seed), job_of(xs, ys, picks.tolist()), BINARY)
        assert (status, headers["Content-Type"]) == (200, "application/octet-stream"), body
        with torch.no_grad():
            w = self.generator.mapping(self.generator.mapping.latents([seed]))
        expected = rendered(self.generator, w, xs, ys, picks)
        assert expected.std() > 3
        assert np.abs(colours_of(body) - expected).max() <= 1


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, or resets."""
    received = b""
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            received += part
    return received


def status_of(answer: bytes) -> int:
    """Of the first line; 0: there is none."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found[1]) if found else 0
