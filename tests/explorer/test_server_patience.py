"""The server beside clients that are slow, or have gone: whom it lets go of, and what it then does not draw."""

import multiprocessing
import signal
import socket
import threading
import time
from typing import Any

import anyio
import anyio.to_thread
from served import LONG, Client, everything, job_of, status_of
from variants import build

from cips_lab.explorer import server
from cips_lab.explorer.drawing import Drawer
from cips_lab.networks.cips import CIPSGenerator


def serve_patiently(listener: socket.socket) -> None:
    """In a process of its own."""
    generator = build("cips")
    assert isinstance(generator, CIPSGenerator)
    server.serve("a page" * 100_000, Drawer(generator), listener, patience=1)


def test_who_is_slow_is_not_waited_for() -> None:
    generator = build("cips")
    assert isinstance(generator, CIPSGenerator)
    with server.listen(0) as listener:
        client = Client(listener.getsockname()[1], generator)
        process = multiprocessing.get_context("forkserver").Process(target=serve_patiently, args=[listener])
        process.start()
    try:
        client.is_answered()
        whole = client.whole(job_of([0.3], [0.2], [0]))
        body = whole.index(b"\r\n\r\n") + 4
        starts = {"nothing": 0, "part of a head": 9, "a head": body, "part of a body": body + 9}
        slow = {
            name: client.connect() for name in [*starts, "a next one", "does not read", "trickles a head", "trickles"]
        }
        for name, length in starts.items():
            slow[name].sendall(whole[:length])
        slow["a next one"].sendall(whole + whole[:20])
        slow["does not read"].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        trickling = {"trickles a head": whole, "trickles": whole[body:]}
        slow["trickles"].sendall(whole[:body])
        ended: set[str] = set()

        def trickle(name: str) -> None:
            for byte in trickling[name]:
                try:
                    slow[name].sendall(bytes([byte]))
                except ConnectionError:
                    ended.add(name)
                    return
                time.sleep(0.1)

        threads = [threading.Thread(target=trickle, args=[name]) for name in trickling]
        for thread in threads:
            thread.start()
        client.is_answered(1)
        answers = {name: everything(slow[name]) for name in slow if name not in ("does not read", *trickling)}
        assert {name: status_of(answer) for name, answer in answers.items()} == {
            "nothing": 0,
            "part of a head": 0,
            "a head": 408,
            "part of a body": 408,
            "a next one": 200,
        }
        for thread in threads:
            thread.join(LONG)
        assert ended == set(trickling)
        assert len(everything(slow["does not read"])) < 200 * 600_000
        client.is_answered(2)
    finally:
        process.terminate()
        process.join(LONG)
    assert process.exitcode == -signal.SIGTERM


class Slow(Drawer):
    """Draws until it is let go on, or nobody wants it."""

    def __init__(self) -> None:
        generator = build("cips")
        assert isinstance(generator, CIPSGenerator)
        super().__init__(generator)
        self.drawn: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def draw(self, choices: Any, job: Any, is_wanted: Any = None) -> bytes:
        self.drawn.append(choices.seed)
        self.begun.set()
        while is_wanted() and not self.go_on.wait(0.01):
            pass
        return b"1234" if is_wanted() else b""


class Asker:
    """A client of the application alone, which can go."""

    def __init__(self, explorer: server.Explorer, seed: int) -> None:
        path, query = Client(0, explorer.drawer.generator).path(seed=seed).split("?")
        headers = [(b"host", b"localhost"), (b"content-type", b"application/octet-stream")]
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": query.encode(),
            "headers": headers,
        }
        self.explorer, self.has_sent = explorer, False
        self.goes, self.ended = anyio.Event(), anyio.Event()
        self.status = 0

    async def receive(self) -> dict[str, Any]:
        if not self.has_sent:
            self.has_sent = True
            return {"type": "http.request", "body": job_of([0.3], [0.2], [0])}
        await self.goes.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)

    async def ask(self) -> None:
        await self.explorer.application()(self.scope, self.receive, self.send)
        self.ended.set()


def test_what_nobody_waits_for_is_not_drawn() -> None:
    async def scenario() -> None:
        drawer = Slow()
        explorer = server.Explorer("page", drawer)
        first, second, third = (Asker(explorer, seed) for seed in range(3))
        async with anyio.create_task_group() as group:
            with anyio.fail_after(LONG):
                group.start_soon(first.ask)
                await anyio.to_thread.run_sync(drawer.begun.wait)
                group.start_soon(second.ask)
                group.start_soon(third.ask)
                while explorer.waiting < 3:
                    await anyio.sleep(0.01)
                second.goes.set()  # while it waits
                await second.ended.wait()
                assert (explorer.waiting, drawer.drawn) == (2, [0])
                first.goes.set()  # while it is drawn
                await first.ended.wait()
                drawer.go_on.set()
                await third.ended.wait()
        assert drawer.drawn == [0, 2]
        assert (first.status, second.status, third.status) == (499, 499, 200)
        assert explorer.waiting == 0

    anyio.run(scenario)


def test_colours_that_are_no_numbers_are_told() -> None:
    async def scenario() -> None:
        drawer = Slow()
        drawer.draw = Drawer(drawer.generator).draw  # type: ignore[method-assign]
        drawer.generator.to_rgb["0"].bias.data.fill_(float("inf"))
        asker = Asker(server.Explorer("page", drawer), 0)
        asker.explorer.drawer.key = Client(0, drawer.generator).key
        await asker.ask()
        assert asker.status == 422

    anyio.run(scenario)
