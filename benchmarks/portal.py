"""How fluid the portal is in software rendering: ``python -m benchmarks.portal [URL]`` against a running server of the city to be measured.

Told are the time from the address to the first whole map, and frames a second while the map pans and zooms, at the scale of the city, of a
district and of a street, with cameras, buildings and roads on; "first" is the first ten seconds of panning. Chromium renders with
SwiftShader, as on a machine without a graphics card.
"""

import json
import shutil
import sys
import time
from typing import Any

from playwright.sync_api import Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox", "--disable-background-networking", "--no-first-run", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]  # fmt: skip
LAYERS = "water,road,building,admin_area,grid_cell,camera_site,outfall,coverage_gap"
SCALES = {"city": 12.0, "district": 14.0, "street": 16.5}
FIRST_SECONDS, SECONDS = 10.0, 4.0
#: Frames shown while the map moves, those of them that were drawn anew (the others move the last drawing along), the longest pause between two.
MOVE = """async ([kind, ms]) => {
  const { map } = await import("/portal/js/map.js");
  const times = [], drawn = () => times.push(performance.now()), before = map.drawings;
  map.on("render", drawn);
  const start = performance.now();
  for (let n = 0; performance.now() - start < ms; n += 1) {
    if (kind === "pan") map.panBy([(n % 4 < 2 ? 1 : -1) * 260, 0], { duration: 500, easing: (t) => t });
    else map.easeTo({ zoom: map.getZoom() + (n % 4 < 2 ? 0.5 : -0.5), duration: 500, easing: (t) => t });
    await new Promise((done) => map.once("moveend", done));
  }
  map.off("render", drawn);
  const gaps = times.slice(1).map((t, i) => t - times[i]);
  const seconds = (times.at(-1) - times[0]) / 1000;
  return { frames_s: (times.length - 1) / seconds, worst_ms: Math.max(...gaps), drawn_s: (map.drawings - before) / seconds };
}"""


def measured(page: Page, base: str, zoom: float) -> dict[str, Any]:
    """First map, pan and zoom at one scale, in the middle of the city."""
    focus = page.request.get(f"{base}/portal/config.json").json()["city"]
    west, south, east, north = focus.get("focus") or focus["bounds"]
    page.goto("about:blank")
    start = time.perf_counter()
    page.goto(f"{base}/portal/#at={zoom}/{(south + north) / 2:.5f}/{(west + east) / 2:.5f}&on={LAYERS}&lang=zh")
    page.wait_for_selector("body[data-drawn=yes]", timeout=120_000)
    first = time.perf_counter() - start
    found: dict[str, Any] = {"first_map_s": round(first, 2)}
    # the first seconds bring the tiles around, and the software renderer translates its shaders
    for name, kind, seconds in (("first", "pan", FIRST_SECONDS), ("pan", "pan", SECONDS), ("zoom", "zoom", SECONDS)):
        told = page.evaluate(MOVE, [kind, seconds * 1000])
        found |= {f"{name}_{key}": round(told[key], digits) for key, digits in (("frames_s", 1), ("drawn_s", 1), ("worst_ms", 0))}
    return found


def main() -> None:
    """Measure and print one line of JSON for each scale."""
    base = (sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080").rstrip("/")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        sys.exit("no Chromium installed")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=ARGUMENTS)
        for name, zoom in SCALES.items():
            page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="zh-CN")
            print(json.dumps({"scale": name, **measured(page, base, zoom)}), flush=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
