"""Take the pictures of the README from what ``make demo SERVE=0`` built: ``.venv/bin/python scripts/pictures.py [out/demo/map [URL]]``.

The pages are opened from disk in Chromium; a page that asks for anything beyond the disk stops the script. With the address of a running
server whose visitors are planners (``baige serve --anonymous-role planner``), the portal is taken as well, with a scenario being edited;
the scenario is taken away again.
"""

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, Playwright, Request, sync_playwright

PAGES = {"coverage": "coverage.html", "outfalls": "outfalls.html", "layout": "layout.html"}


#: A camera in the middle of the city that looks somewhere.
CAMERA = "net_status = 'on' AND ptz_type = 3 AND azimuth_deg IS NOT NULL AND view_dist_m > 60"


def portal_browser(play: Playwright) -> Browser:
    """Chromium that draws with WebGL in software."""
    flags = ["--no-sandbox", "--disable-background-networking", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    return play.chromium.launch(executable_path="/usr/bin/chromium", args=flags)


def take_portal(page: Page, base: str, target: Path) -> None:
    """Write ``portal.png`` and ``scenario.png``."""
    city = page.request.get(f"{base}/portal/config.json").json()["city"]
    west, south, east, north = city.get("focus") or city["bounds"]
    box = f"{west},{south},{east},{north}"
    found = page.request.get(f"{base}/collections/camera_site/items", params={"bbox": box, "filter": CAMERA, "limit": 1}).json()["features"]
    page.goto(f"{base}/portal/#tab=planner&lang=zh&on=water,road,admin_area,coverage_gap,bank_coverage,outfall")
    page.wait_for_selector("body[data-drawn=yes]", timeout=120_000)
    page.wait_for_timeout(6000)
    page.screenshot(path=target / "portal.png", timeout=120_000)
    lon, lat = found[0]["geometry"]["coordinates"]
    page.goto("about:blank")
    layers = "water,road,building,camera_site"
    page.goto(f"{base}/portal/#at=17.3/{lat}/{lon}&tab=scenario&scenario=README&lang=zh&on={layers}")
    page.wait_for_selector("body[data-drawn=yes]", timeout=120_000)
    page.wait_for_timeout(4000)
    frame = page.locator("#map").bounding_box()
    if frame is None:
        sys.exit("the portal shows no map")
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    page.mouse.click(x, y)
    page.locator("#plan-azimuth").wait_for(timeout=60_000)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=6)
    page.mouse.up()
    page.locator("#plan-figures tbody").wait_for(timeout=60_000)
    page.wait_for_timeout(4000)
    page.screenshot(path=target / "scenario.png", timeout=120_000)
    page.locator("#plan-undo").click()
    page.wait_for_timeout(2000)


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
        if len(sys.argv) > 2:
            base = sys.argv[2].rstrip("/")
            take_portal(portal_browser(play).new_page(viewport={"width": 1280, "height": 820}, locale="zh-CN"), base, target)
        browser.close()
    if beyond:
        sys.exit(f"a page asked for {beyond[0]}")


if __name__ == "__main__":
    main()
