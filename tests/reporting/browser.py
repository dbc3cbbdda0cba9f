"""A headless Chromium for tests, by Playwright; the system's own, for Playwright's would have to be downloaded."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from playwright.sync_api import Page, sync_playwright
from typing_extensions import Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Set where a skipped test would not be noticed (.ci/run): there these tests fail without a browser.
REQUIRED = bool(os.environ.get("CIPS_LAB_REQUIRE_BROWSER"))
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE = 600  # pixels: what is narrower is shown as a phone shows it


class Browser:
    """One page. `complaints`: uncaught exceptions and errors of the console; `requests`: the addresses it asked for."""

    flags: Sequence[str] = FLAGS
    ignored: list[str] | None = None  # of Playwright's own flags
    touch = False  # whether a phone has it
    held: tuple[str, ...] = ("file:", "data:", "about:")  # addresses of what a page itself holds

    def __init__(self) -> None:
        assert CHROMIUM is not None, "CIPS_LAB_REQUIRE_BROWSER: there is no chromium: apt-get install chromium"
        self.playwright = sync_playwright().start()
        self.chromium = self.playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(self.flags), ignore_default_args=self.ignored
        )
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.desk, self.phone = (self._new_page(is_mobile) for is_mobile in (False, True))
        self.page = self.desk

    def _new_page(self, is_mobile: bool) -> Page:
        page = self.chromium.new_context(is_mobile=is_mobile, has_touch=is_mobile and self.touch).new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: self.requests.append(request.url))
        return page

    @contextmanager
    def silent(self) -> Iterator[None]:
        """No exception, no error on the console, nothing asked for but the pages themselves and what they hold."""
        self.complaints.clear()
        self.requests.clear()
        yield
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(self.held)] == []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.chromium.close()
        self.playwright.stop()

    def open(
        self, page: Path | str, fragment: str = "", width: int = 1200, height: int = 900, scheme: Any = "light"
    ) -> None:
        """A file, or an address."""
        self.page = self.phone if width < PHONE else self.desk
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(color_scheme=scheme)
        self.page.goto("about:blank")  # else another fragment of the same page would not load it again
        self.page.goto((page if isinstance(page, str) else page.as_uri()) + fragment)
        # One frame, in which observers have drawn.
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression."""
        return self.page.evaluate(expression)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def point(self, selector: str, right: float = 0.5, down: float = 0.5) -> None:
        """Move the pointer to a place in an element, as shares of its size."""
        element = self.page.locator(selector).first
        element.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")
        box = element.bounding_box()
        assert box is not None, f"{selector} is not to be seen"
        self.page.mouse.move(box["x"] + right * box["width"], box["y"] + down * box["height"])
