"""The server's pages in a browser, in both languages: nothing is asked of another host, and the console stays silent."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
from playwright.sync_api import sync_playwright
from rasterio.transform import from_origin

from data.dem import load_dem
from gis.settings import CityConfig
from layers.database import Database

ROWS = """
INSERT INTO baige.outfall (id, name_zh, code_local, cat1, workflow_stage, classification, geom)
  SELECT ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, '排口' || i, 'YC-' || i, 'other', 'monitored', 'public',
    ST_SetSRID(ST_Point(111.28 + i * 0.001, 30.70), 4490) FROM generate_series(1, 30) AS i;
INSERT INTO baige.water (name_zh, classification, geom)
  VALUES ('长江', 'public', ST_SetSRID(ST_Multi(ST_MakeEnvelope(111.2, 30.6, 111.3, 30.7)), 4490));
"""
FEATURE = "00000000-0000-4000-8000-000000000001"
PAGES = (
    "/", "/collections", "/collections/outfall", "/collections/outfall/items", "/collections/outfall/items?limit=10", "/collections/water/items",
    f"/collections/outfall/items/{FEATURE}", "/collections/outfall/schema", "/collections/outfall/queryables", "/collections/outfall/sortables",
    "/collections/outfall/tiles", "/collections/outfall/styles", "/collections/grid_statistic", "/processes", "/processes/export",
    "/processes/coverage", "/jobs", "/conformance", "/openapi", "/records", "/records/outfall", "/rasters", "/rasters/relief", "/tileMatrixSets",
)  # fmt: skip


@pytest.fixture(scope="module")
def address(database: Database, database_url: str, city: CityConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    with database.begin() as connection:
        Database.script(connection, ROWS)
    path = home / "relief.tif"
    with rasterio.open(path, "w", driver="GTiff", width=60, height=40, count=1, dtype="float32", crs="EPSG:4546",
                       transform=from_origin(527_000, 3_397_000, 30, 30)) as out:  # fmt: skip
        out.write(np.add.outer(np.arange(40.0), np.arange(60.0)).astype(np.float32), 1)
    load_dem(database, home, [path], city, name="relief")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ, "BAIGE_HOME": str(home), "BAIGE_DATABASE_URL": database_url, "BAIGE_SERVE_ANONYMOUS_ROLE": "planner",
        "BAIGE_SERVE_PORT": str(port),
    }  # fmt: skip
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.app:app_from_environment", "--port", str(port), "--log-level", "error"]
    server = subprocess.Popen(command, env=environment)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 90
    try:
        while True:
            try:
                if httpx.get(f"{url}/readyz", timeout=30).status_code == 200:
                    break
            except httpx.HTTPError:
                assert server.poll() is None and time.monotonic() < deadline
                time.sleep(0.3)
        httpx.post(f"{url}/processes/export/execution", json={"inputs": {"collection": "outfall"}}, headers={"Prefer": "respond-async"}, timeout=60)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def test_every_page_is_whole_and_asks_nobody_else(address: str) -> None:
    asked: list[str] = []
    faults: list[str] = []
    with sync_playwright() as play:
        path = next((p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(p).exists()), None)
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        view = browser.new_page(viewport={"width": 1100, "height": 800})
        view.on("request", lambda request: asked.append(request.url))
        view.on("console", lambda message: faults.append(f"{view.url}: {message.text}") if message.type in ("error", "warning") else None)
        view.on("pageerror", lambda error: faults.append(f"{view.url}: {error}"))
        view.on("response", lambda r: faults.append(f"{view.url}: {r.status} {r.url}") if r.status >= 400 else None)
        for page in PAGES:
            for lang, word in (("en", "Collections"), ("zh", "图层")):
                view.goto(f"{address}{page}{'&' if '?' in page else '?'}f=html&lang={lang}", wait_until="load")
                assert view.locator("html").get_attribute("lang") == {"en": "en", "zh": "zh-CN"}[lang], page
                assert word in view.locator("nav").inner_text(), page
                heading: Any = view.locator("h1").first.inner_text()
                assert heading.strip(), page
                pictures = view.evaluate("[...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)")
                assert not pictures, page
        # from the landing page to a feature by clicking alone
        view.goto(f"{address}/?f=html&lang=en")
        view.get_by_role("link", name="Collections").first.click()
        view.locator("a[href*='/collections/outfall?']").first.click()
        view.get_by_role("link", name="Features", exact=True).first.click()
        view.wait_for_selector("#map path, #map canvas")
        view.locator(f"a[href*='{FEATURE}']").first.click()
        assert "排口1" in view.locator("main").inner_text()
        browser.close()
    assert not faults
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
