"""A real browser for the inspector: Debian's Chromium, controlled by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTH, HEIGHT = 1280, 800


@dataclass
class Watched:
    """A page, with its requests and its errors."""

    page: Page
    urls: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the installed browser."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        raise RuntimeError("Chromium is not installed: apt-get install -y chromium")
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start as root, which CI uses. Only pages of this repository are opened.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched_page(browser: Browser, scheme: str = "light") -> Iterator[Watched]:
    """Open an empty page, and record its requests and errors."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(15_000)
    page = context.new_page()
    watched = Watched(page)
    page.on("request", lambda request: watched.urls.append(request.url))
    page.on("pageerror", lambda error: watched.problems.append(str(error)))
    page.on("dialog", lambda dialog: watched.problems.append(f"dialog: {dialog.message}"))
    page.on("console", lambda message: watched.problems.append(message.text) if message.type == "error" else None)
    try:
        yield watched
    finally:
        context.close()
