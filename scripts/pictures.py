"""Take the pictures of the README from what ``make demo SERVE=0`` built: ``.venv/bin/python scripts/pictures.py [out/demo/map]``.

The pages are opened from disk in Chromium; a page that asks for anything beyond the disk stops the script.
"""

import sys
from pathlib import Path

from playwright.sync_api import Request, sync_playwright

PAGES = {"coverage": "coverage.html", "outfalls": "outfalls.html", "layout": "layout.html"}


def main() -> None:
    """Write ``docs/pictures/<page>.png``."""
    pages = Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo/map").resolve()
    target = Path(__file__).resolve().parent.parent / "docs" / "pictures"
    target.mkdir(parents=True, exist_ok=True)
    beyond: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            beyond.append(request.url)

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        view = browser.new_page(viewport={"width": 1280, "height": 820})
        view.on("request", note)
        for name, file in PAGES.items():
            view.goto((pages / file).as_uri())
            view.wait_for_timeout(2500)
            view.screenshot(path=target / f"{name}.png")
        browser.close()
    if beyond:
        sys.exit(f"a page asked for {beyond[0]}")


if __name__ == "__main__":
    main()
