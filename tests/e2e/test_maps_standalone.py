"""The standalone pages in a real browser: they open from disk, ask nothing of any host, draw their layers and speak both languages."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from layers.catalogue import built_in
from maps.gallery import build_gallery
from maps.pages import MapFacts

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


def city(cameras: int) -> dict[str, gpd.GeoDataFrame]:
    rng = np.random.default_rng(3)
    middle = np.array([111.29, 30.70])
    columns = {
        "name_zh": [f"云集路{i}号点" for i in range(cameras)],
        "net_status": rng.choice(["on", "off", None], cameras),
        "azimuth_deg": 45.0,
        "hfov_deg": 60.0,
        "view_dist_m": 80.0,
        "synthetic": True,
    }
    found = {
        "camera_site": gpd.GeoDataFrame(columns, geometry=shapely.points(middle + rng.normal(size=(cameras, 2)) * 0.03), crs=4490),
        "water": gpd.GeoDataFrame({"name_zh": ["长江"]}, geometry=[shapely.box(111.2, 30.6, 111.25, 30.8)], crs=4490),
        "coverage_gap": gpd.GeoDataFrame(
            {"name_zh": ["<img src=x onerror=alert(1)>"], "cause": ["building"], "rank": [1], "chainage_start_m": [12345.0]},
            geometry=[shapely.box(111.285, 30.695, 111.295, 30.705)],
            crs=4490,
        ),
    }
    cells = [shapely.box(111.25 + i * 0.01, 30.66 + j * 0.01, 111.26 + i * 0.01, 30.67 + j * 0.01) for i in range(8) for j in range(8)]
    shares = np.where(np.arange(64) % 9 == 0, np.nan, np.linspace(0, 1, 64))
    found["coverage_by_grid"] = gpd.GeoDataFrame({"online_overview": shares}, geometry=cells, crs=4490)
    found["school"] = gpd.GeoDataFrame({"name_zh": ["实验小学"], "school_kind": ["primary"]}, geometry=[shapely.Point(middle)], crs=4490)
    return found


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    build_gallery(folder, city(20_000), declarations=built_in(), facts=MapFacts(city_zh="宜昌市", city_en="Yichang"))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium installed")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A fresh tab that fails its test on any request beyond the disk and on any complaint of the console."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else faults.append(f"request {r.url}"))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on("dialog", lambda d: faults.append(f"dialog {d.message}"))
    yield page
    context.close()
    assert faults == []


def opened(tab: Page, gallery: Path, name: str) -> None:
    tab.goto((gallery / name).as_uri())
    tab.wait_for_selector("body.bg-ready")


def painted(tab: Page) -> int:
    """Pixels of the front canvas that are not empty, once it has been drawn."""
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return int(
        tab.evaluate(
            """() => { const c = document.querySelector('.leaflet-overlay-pane canvas');
            const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
            for (let k = 3; k < d.length; k += 4) { if (d[k]) n += 1; } return n; }"""
        )
    )


def test_layers_are_drawn_and_can_be_switched(tab: Page, gallery: Path) -> None:
    opened(tab, gallery, "coverage.html")
    with_grid = painted(tab)
    assert with_grid > 50_000
    tab.get_by_label("覆盖率统计").uncheck()
    assert 0 < painted(tab) < with_grid / 3
    tab.get_by_label("摄像机点位").check()
    assert tab.locator(".bg-cluster").count() > 20
    shown = sum(int(text) for text in tab.locator(".bg-cluster b").all_inner_texts())
    assert shown > 10_000
    assert tab.locator(".bg-layer", has=tab.locator("#layer-camera_site")).locator(".bg-count").inner_text() == "20,000"


def test_click_tells_of_a_feature_and_markup_stays_text(tab: Page, gallery: Path) -> None:
    opened(tab, gallery, "coverage.html")
    tab.evaluate("Baige.map.setView([30.70, 111.29], 15, {animate: false})")
    tab.mouse.click(640, 400)
    popup = tab.locator(".bg-popup")
    popup.wait_for()
    assert popup.locator("h3").inner_text() == "<img src=x onerror=alert(1)>"
    assert "K12+345" in popup.inner_text() and "建筑遮挡" in popup.inner_text()


def test_both_languages(tab: Page, gallery: Path) -> None:
    opened(tab, gallery, "coverage.html")
    assert tab.locator("h1").inner_text() == "视频覆盖与缺口"
    assert "合成数据" in tab.locator(".bg-notices").inner_text()
    tab.get_by_role("button", name="English").click()
    assert tab.locator("h1").inner_text() == "Camera coverage and gaps"
    assert tab.title() == "Camera coverage and gaps"
    panel = tab.locator(".bg-panel").inner_text()
    assert "Coverage gaps" in panel and "Unknown" in panel and "覆盖缺口" not in panel


def test_search_flies_to_a_feature(tab: Page, gallery: Path) -> None:
    opened(tab, gallery, "coverage.html")
    tab.get_by_label("按名称或编码查找").fill("云集路777号点")
    tab.keyboard.press("Enter")
    tab.locator(".bg-popup h3", has_text="云集路777号点").wait_for()
    assert tab.locator("#layer-camera_site").is_checked()
    tab.wait_for_function("Baige.map.getZoom() >= 15 && location.hash.length > 4")
    assert "#" in tab.url


def test_gallery_leads_to_the_maps(tab: Page, gallery: Path) -> None:
    tab.goto((gallery / "index.html").as_uri())
    assert tab.locator("main li").count() == 2  # coverage and schools: the rest has no features here
    tab.get_by_role("link", name="视频覆盖与缺口").click()
    tab.wait_for_selector("body.bg-ready")
    tab.go_back()
    tab.get_by_role("button", name="English").click()
    tab.get_by_role("link", name="Schools and their zones").click()
    tab.wait_for_selector("body.bg-ready")
    assert tab.locator("h1").inner_text() == "Schools and their zones"


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("page", ["index.html", "coverage.html"])
def test_no_serious_fault_of_accessibility(tab: Page, gallery: Path, page: str, lang: str) -> None:
    tab.goto((gallery / page).as_uri() + f"?lang={lang}")
    tab.wait_for_selector("body.bg-ready" if page != "index.html" else "a[href*='coverage.html']")
    found = [v for v in Axe().run(tab).response["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0].get("failureSummary", "")[:200]) for v in found] == []
