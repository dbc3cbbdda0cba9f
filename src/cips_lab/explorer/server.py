"""The explorer's page from this machine, whose torch draws what it asks for: for networks too large for a page.

Two addresses, and nothing else: ``/`` is the page, ``/pixels`` takes a job (see `drawing.read_job`) and gives colours.
No path of the disk is ever made of a request. Whoever asks gets one answer, and waits for it with a bounded number of
others; pages of other sites are refused by the name that they ask for and by the type that they would have to send.
"""

import socket
import threading
from contextlib import suppress

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from cips_lab.errors import UserError
from cips_lab.explorer.choices import Choices, read_choices
from cips_lab.explorer.drawing import MOST_BYTES, Drawer, Job, TooLarge, read_job
from cips_lab.explorer.patient import Patient
from cips_lab.render.finite import PictureNotFinite

HOST = "127.0.0.1"  # this machine alone; from another one: ssh -L
MOST_WAITING = 64  # jobs; a page has two at once
MOST_CONNECTIONS = 256
PATIENCE = 10  # seconds in which a request must have arrived, and its answer been taken
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Explorer:
    """The application: a page, and who draws for it.

    Args:
        page: HTML.
        drawer: of the page's generator.
        patience: see `PATIENCE`.
    """

    def __init__(self, page: str, drawer: Drawer, patience: int = PATIENCE) -> None:
        self.page, self.drawer, self.patience = page, drawer, patience
        self.waiting = 0
        self.turn = anyio.Lock()  # torch has all cores, or the GPU, for one job after the other

    def application(self) -> Starlette:
        """For any ASGI server."""
        application = Starlette(
            routes=[Route("/", self.show), Route("/pixels", self.draw, methods=["POST"])],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False)],
            exception_handlers={HTTPException: refuse},
        )
        application.router.redirect_slashes = False
        return application

    async def show(self, request: Request) -> Response:
        """The page."""
        return HTMLResponse(self.page, headers=SAFE)

    async def draw(self, request: Request) -> Response:
        """Colours of a job's pixels: RGBA bytes in their order."""
        if request.headers.get("content-type") != "application/octet-stream":
            # Also what keeps other sites' pages out: to send this type, a browser asks for leave first.
            raise HTTPException(415, "a job is sent as application/octet-stream")
        query = dict(request.query_params)
        if query.pop("of", None) != self.drawer.key:
            raise HTTPException(409, "another generator is served here now; load the page again")
        try:
            choices = read_choices(query, self.drawer.generator)
            job = read_job(await arrived(request, self.patience))
        except TooLarge as error:
            raise HTTPException(413, str(error)) from None
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        if self.waiting >= MOST_WAITING:
            raise HTTPException(503, "too many are waiting; ask again", headers={"Retry-After": "1"})
        self.waiting += 1
        try:
            return await self._drawn(request, choices, job)
        finally:
            self.waiting -= 1

    async def _drawn(self, request: Request, choices: Choices, job: Job) -> Response:
        """In turn, as long as whoever asked is there: a page whose view has changed goes."""
        gone, answer = threading.Event(), Response(status_code=499)  # which nobody reads
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                gone.set()
                group.cancel_scope.cancel()

            group.start_soon(watch)
            async with self.turn:
                try:
                    colours = await anyio.to_thread.run_sync(self.drawer.draw, choices, job, lambda: not gone.is_set())
                except PictureNotFinite:
                    answer = await refuse(request, HTTPException(422, "the generator's colours are no numbers there"))
                else:
                    if not gone.is_set():
                        answer = Response(colours, media_type="application/octet-stream", headers=SAFE)
            group.cancel_scope.cancel()
        return answer


async def arrived(request: Request, patience: float) -> bytes:
    """A request's body, of at most `MOST_BYTES` and in time; refused as soon as it is more."""
    if int(request.headers.get("content-length", 0)) > MOST_BYTES:  # h11 has looked: it is a number
        raise TooLarge(f"more than {MOST_BYTES} bytes")
    body = bytearray()
    try:
        with anyio.fail_after(patience):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise TooLarge(f"more than {MOST_BYTES} bytes")
    except TimeoutError:
        raise HTTPException(408, f"not all of it came within {patience} seconds") from None
    except ClientDisconnect:
        raise HTTPException(400, "the job was cut short") from None
    return bytes(body)


async def refuse(request: Request, error: Exception) -> Response:
    """One sentence in plain text."""
    assert isinstance(error, HTTPException)
    text = "there is a page at / and nothing else" if error.status_code == 404 else error.detail
    headers = {**SAFE, **(error.headers or {}), "Connection": "close"}
    return PlainTextResponse(f"{text}\n", error.status_code, headers)


def listen(port: int) -> socket.socket:
    """A socket at a port of this machine; 0: any free one. `UserError` where it is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # now: two that only bind do not see each other
    except OSError as error:
        listener.close()
        raise UserError(f"port={port}: {error.strerror}; give another one, or port=0 for any that is free") from None
    return listener


def serve(page: str, drawer: Drawer, listener: socket.socket, patience: int = PATIENCE) -> None:
    """Until Ctrl-C or SIGTERM."""
    config = uvicorn.Config(
        Explorer(page, drawer, patience).application(),
        http=Patient,
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=patience,
        timeout_graceful_shutdown=2,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
