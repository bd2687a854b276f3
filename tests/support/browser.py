"""Debian's chromium, driven by playwright: offline, and strict about what a page may do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")

_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Complaints(list[str]):
    """What a page did that it should not: errors, warnings on its console, requests beyond its own file."""

    def listen(self, page: Any) -> None:
        """Note what ``page`` does from now on."""
        page.on("pageerror", lambda error: self.append(f"error: {error}"))
        page.on("console", lambda said: self.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda asked: self.append(asked.url) if asked.url.split(":")[0] not in _OWN else None)


_OWN = ("file", "data", "blob")


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser for as long as the block runs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Any, path: Path, width: int = 1400, height: int = 1000) -> tuple[Any, Complaints]:
    """Open a file as a user would, and wait until it shows its numbers."""
    page = browser.new_page(viewport={"width": width, "height": height})
    complaints = Complaints()
    complaints.listen(page)
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=20_000)
    return page, complaints
