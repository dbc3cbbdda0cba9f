"""Connections that nobody can hold by sending, or reading, slowly or never: what uvicorn leaves open."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Patient(H11Protocol):
    """HTTP whose requests begin, and whose answers are taken, within the time for which connections are kept alive.

    Of a request's body the application itself takes care.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waits: dict[str, asyncio.TimerHandle] = {}  # for what, until when

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_head()  # the next request may have begun meanwhile

    def send_400_response(self, msg: str) -> None:
        """Of a request whose body turns out to be none, the application is about to answer."""
        if self.cycle is None or self.cycle.response_complete:
            super().send_400_response(msg)
        else:
            self.cycle.disconnected = True
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for("reader")

    def resume_writing(self) -> None:
        super().resume_writing()
        self._came("reader")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for what in list(self._waits):
            self._came(what)

    def _watch_head(self) -> None:
        """From a request's first byte, or a connection's first moment, to the empty line."""
        has_begun = self.cycle is None or bool(self.conn.trailing_data[0])
        if self.conn.their_state is h11.IDLE and has_begun:
            self._wait_for("head")
        else:
            self._came("head")

    def _wait_for(self, what: str) -> None:
        if what not in self._waits and not self.transport.is_closing():
            self._waits[what] = self.loop.call_later(self.config.timeout_keep_alive, self.transport.abort)

    def _came(self, what: str) -> None:
        if what in self._waits:
            self._waits.pop(what).cancel()
