"""Make the pictures of docs/explore.md: ``python tests/support/screenshots.py PAGE FOLDER``."""

import sys
from pathlib import Path

from browser import chromium, open_page

SIZES = {"wide": (1400, 1000), "narrow": (360, 1500)}


def main(page_file: Path, folder: Path) -> None:
    """Show what a user sees who has moved one price."""
    with chromium() as browser:
        for name, size in SIZES.items():
            page, complaints = open_page(browser, page_file, *size)
            page.focus("#price-flush_line")
            for _ in range(3):
                page.keyboard.press("PageDown")
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(500)  # until the charts are painted
            page.screenshot(path=folder / f"explore-{name}.png")
            page.close()
            if complaints:
                raise SystemExit(f"{page_file}: {complaints}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
