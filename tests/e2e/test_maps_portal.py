"""The portal as people use it, in a real browser against a real server: both languages, no request elsewhere, no complaint of the console."""

import csv
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Download, Page, expect, sync_playwright

from layers.database import Database

ARGUMENTS = [
    "--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
NASTY = "<img src=x onerror=alert(1)>"
RUN = "8d4f3c1e-0000-4000-8000-000000000001"
ROWS = """
INSERT INTO baige_sys.run (id, kind, parameters, inputs, software, actor, synthetic, state, finished_at)
  VALUES ('{run}', 'coverage', '{{}}', '{{}}', 'test', 'owner', true, 'done', now());
INSERT INTO baige.road (name_zh, road_class, classification, synthetic, geom)
  SELECT '云集路' || i, 'primary', 'public', true,
    ST_SetSRID(ST_MakeLine(ST_Point(111.27, 30.68 + i * 0.004), ST_Point(111.32, 30.68 + i * 0.004)), 4490)
  FROM generate_series(1, 10) AS i;
INSERT INTO baige.admin_area (name_zh, name_en, admin_code, level, classification, geom)
  VALUES ('西陵区', 'Xiling', '420502000000', 'county', 'public', ST_SetSRID(ST_Multi(ST_MakeEnvelope(111.26, 30.67, 111.33, 30.73)), 4490));
INSERT INTO baige.grid_cell (grid_code, classification, geom)
  VALUES ('420502001001001', 'public', ST_SetSRID(ST_Multi(ST_MakeEnvelope(111.27, 30.68, 111.32, 30.72)), 4490));
INSERT INTO baige.river_axis (name_zh, reach_code, axis_version, is_main_stem, classification, geom)
  VALUES ('长江', 'YZ', 1, true, 'public', ST_AddMeasure(ST_SetSRID(ST_MakeLine(ST_Point(111.25, 30.74), ST_Point(111.35, 30.66)), 4490), 0, 20000));
INSERT INTO baige.outfall (id, name_zh, code_local, cat1, chainage_m, workflow_stage, inspect_due, classification, geom)
  SELECT ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, CASE i WHEN 1 THEN '{nasty}' ELSE '排口' || i END, 'YC-' || i,
    (ARRAY['industrial', 'other'])[1 + i % 2], i * 400, 'monitored', date '2020-01-01' + i, 'internal',
    ST_SetSRID(ST_Point(111.28 + i * 0.001, 30.70), 4490) FROM generate_series(1, 30) AS i;
INSERT INTO baige.outfall_sample (outfall_id, pollutant, value, unit, limit_value, sampled_at, classification)
  SELECT '00000000-0000-4000-8000-000000000002', 'tp', 0.1 * i, 'mg/L', 0.3, timestamptz '2025-01-01Z' + i * interval '30 day', 'internal'
  FROM generate_series(1, 5) AS i;
INSERT INTO baige.coverage_gap (id, name_zh, cause, rank, need, area_m2, run_id, classification, geom)
  SELECT ('10000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, '缺口' || i, (ARRAY['building', 'offline'])[1 + i % 2], i, 100 - i, i * 50,
    '{run}', 'internal', ST_SetSRID(ST_MakeEnvelope(111.28 + i * 0.002, 30.69, 111.281 + i * 0.002, 30.691), 4490) FROM generate_series(1, 12) AS i;
INSERT INTO baige.coverage_by_grid (grid_code, unit_kind, online_overview, confirmed_overview, run_id, classification, geom)
  SELECT unit || '1', unit, 0.3, 0.4, '{run}', 'public', ST_SetSRID(ST_Multi(ST_MakeEnvelope(111.27, 30.68, 111.32, 30.72)), 4490)
  FROM unnest(ARRAY['grid', 'county']) AS unit;
INSERT INTO baige.camera_site (name_zh, net_status, azimuth_deg, hfov_deg, view_dist_m, classification, geom)
  SELECT '摄像机' || i, (ARRAY['on', 'off', NULL])[1 + i % 3], i * 10 % 360, 60, 60, 'internal',
    ST_SetSRID(ST_Point(111.28 + (i % 20) * 0.0015, 30.69 + (i / 20) * 0.0015), 4490)
  FROM generate_series(1, 200) AS i;
"""


@pytest.fixture(scope="module")
def server(database: Database, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over a small city; visitors are planners there, as in a demonstration."""
    with database.begin() as connection:
        Database.script(connection, ROWS.format(run=RUN, nasty=NASTY))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("BAIGE_")},
        "BAIGE_HOME": str(home), "BAIGE_DATABASE_URL": database_url, "BAIGE_SERVE_ANONYMOUS_ROLE": "planner", "BAIGE_SERVE_PORT": str(port),
    }  # fmt: skip
    log = (home / "server.log").open("w")
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.app:app_from_environment", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(960):
            if process.poll() is not None:
                pytest.fail((home / "server.log").read_text())
            try:
                urllib.request.urlopen(f"{base}/healthz", timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
        else:
            pytest.fail("the server did not start within four minutes")
        yield base
    finally:
        process.terminate()
        process.wait(20)
        log.close()


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
def tab(browser: Browser, server: str) -> Iterator[Page]:
    """A fresh tab that fails its test on any request to another host, any answer of fault, and any complaint of the console."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="zh-CN", accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(20_000)
    faults: list[str] = []
    page.on("request", lambda r: None if r.url.startswith((server, "data:", "blob:")) else faults.append(f"request {r.url}"))
    page.on("response", lambda r: faults.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on("dialog", lambda d: faults.append(f"dialog {d.message}"))
    yield page
    context.close()
    assert faults == []


def until(tab: Page, expression: str, *, seconds: float = 20) -> None:
    """Wait until an expression holds; the page's own security policy forbids the browser to poll text."""
    end = time.monotonic() + seconds
    while not tab.evaluate(expression):
        assert time.monotonic() < end, f"still not so after {seconds:g} s: {expression}"
        tab.wait_for_timeout(100)


def opened(tab: Page, server: str, link: str = "") -> None:
    tab.goto(f"{server}/portal/{link}")
    tab.wait_for_selector("body[data-ready=yes]")
    tab.wait_for_selector("body[data-drawn=yes]")


COLOURS = """() => { const c = document.querySelector('#map canvas'), k = document.createElement('canvas');
k.width = c.width; k.height = c.height; const p = k.getContext('2d'); p.drawImage(c, 0, 0);
return new Set(new Uint32Array(p.getImageData(0, 0, k.width, k.height).data.buffer)).size; }"""


def colours(tab: Page) -> int:
    """Number of different colours on the map once it has come to rest."""
    for _ in range(8):  # a busy machine may not have drawn the first tile yet
        tab.wait_for_timeout(1500)
        found = int(tab.evaluate(COLOURS))
        if found > 1:
            break
    return found


def test_first_look_in_both_languages(tab: Page, server: str) -> None:
    opened(tab, server)
    assert colours(tab) > 20
    expect(tab.locator("#notice")).to_contain_text("合成数据")
    gaps = tab.locator(".layer", has=tab.locator("#on-coverage_gap"))
    expect(gaps).to_contain_text("覆盖缺口")
    expect(gaps.locator("span.count")).to_have_text("12")
    expect(gaps.locator("time")).to_have_text(time.strftime("%m-%d", time.gmtime()))
    expect(tab.locator("#panels")).to_contain_text("8d4f3c1e")
    tab.get_by_role("button", name="English").click()
    expect(gaps).to_contain_text("Coverage gaps")
    expect(tab.locator("#notice")).to_contain_text("Synthetic data")
    assert tab.evaluate("document.documentElement.lang") == "en"
    assert "lang=en" in tab.evaluate("new Promise(r => setTimeout(() => r(location.hash), 400))")


def test_layer_is_switched_and_the_link_restores_it(tab: Page, server: str) -> None:
    opened(tab, server, "#at=14.5/30.70000/111.29500&on=admin_area")
    before = colours(tab)
    tab.locator("details", has=tab.locator("#on-camera_site")).first.locator("summary").click()
    tab.locator("#on-camera_site").check()
    assert colours(tab) > before
    link = tab.evaluate("location.hash")
    assert "camera_site" in link
    tab.goto("about:blank")
    opened(tab, server, link)
    expect(tab.locator("#on-camera_site")).to_be_checked()
    expect(tab.locator("#on-coverage_gap")).not_to_be_checked()


@pytest.mark.parametrize(
    ("words", "hit"),
    [("排口17", "排口17"), ("YC-9", "排口9"), ("K12+300", "长江"), ("111.29, 30.70", "111.29"), ("云集路3", "云集路3")],
)
def test_search(tab: Page, server: str, words: str, hit: str) -> None:
    opened(tab, server)
    tab.locator("#words").fill(words)
    first = tab.locator("#found button").first
    expect(first).to_contain_text(hit)
    before = tab.evaluate("location.hash")
    tab.keyboard.press("Enter")
    until(tab, f"location.hash !== {before!r}")


def test_names_are_text(tab: Page, server: str) -> None:
    opened(tab, server, "#picked=outfall/00000000-0000-4000-8000-000000000001")
    expect(tab.locator("#detail h2")).to_have_text(NASTY)


def test_planner_flies_to_a_gap_and_filters_by_cause(tab: Page, server: str) -> None:
    opened(tab, server)
    tab.get_by_role("tab", name="规划").click()
    gaps = tab.locator("#gaps li")
    expect(gaps).to_have_count(12)
    expect(gaps.first).to_contain_text("缺口1")
    tab.locator("#panels .bars button", has_text="设备离线").click()
    expect(gaps).to_have_count(6)
    gaps.first.locator("button").click()
    expect(tab.locator("#detail h2")).to_have_text("缺口1")
    until(tab, "Number(new URLSearchParams(location.hash.slice(1)).get('at')?.split('/')[0]) > 15")
    tab.locator("#unit").select_option("county")
    expect(tab.locator("#panels")).to_contain_text("county1")


def test_officer_sees_overdue_outfalls_and_their_samples(tab: Page, server: str) -> None:
    opened(tab, server, "#tab=officer")
    expect(tab.locator("#officer-number")).to_have_text("30 / 30")
    expect(tab.locator("#only-overdue b")).to_have_text("30")
    expect(tab.locator("#state--1 b")).to_have_text("30")  # never inspected, no monitor: unknown, whatever the register says
    tab.locator("#officer-words").fill("YC-2")
    tab.locator("#outfalls button", has_text="排口2").first.click()
    expect(tab.locator("#detail h2")).to_have_text("排口2")
    expect(tab.locator("#detail svg.chart circle")).to_have_count(3)
    expect(tab.locator("#detail svg.chart path.above")).to_have_count(2)  # 0.4 and 0.5 are above the limit of 0.3
    assert tab.locator("#detail svg.chart line.class-limit").count() == 5  # of total phosphorus: 0.02 to 0.4


def test_table_filters_sorts_and_saves(tab: Page, server: str, tmp_path: Path) -> None:
    opened(tab, server, "#table=outfall")
    rows = tab.locator("#table tbody tr")
    expect(rows).to_have_count(30)
    tab.locator("#table th button", has_text="桩号").click()
    tab.locator("#table th button", has_text="桩号").click()
    expect(rows.first).to_contain_text("K12+000")
    tab.locator("#cql").fill("cat1 = 'industrial' AND chainage_m > 4000")
    tab.get_by_role("button", name="应用").click()
    expect(tab.locator("#row-count")).to_have_text("10 / 10")
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="CSV").click()
    saved: Download = waiting.value
    saved.save_as(tmp_path / "o.csv")
    text = (tmp_path / "o.csv").read_text(encoding="utf-8-sig")
    assert len(list(csv.reader(text.splitlines()))) == 11
    rows.first.click()
    expect(tab.locator("#detail")).to_be_visible()
    expect(rows.first).to_have_attribute("aria-selected", "true")
    tab.locator("#close-table").click()
    expect(tab.locator("#table")).to_be_hidden()


def test_table_keeps_step_with_the_map(tab: Page, server: str) -> None:
    opened(tab, server, "#table=camera_site&at=12/30.70000/111.29500")
    expect(tab.locator("#row-count")).to_have_text("50 / 200")
    tab.locator("#in-view").check()
    expect(tab.locator("#row-count")).to_have_text("50 / 200")
    for _ in range(4):
        tab.get_by_role("button", name="Zoom in").click()
        tab.wait_for_timeout(400)
    expect(tab.locator("#row-count")).not_to_have_text("50 / 200")


def test_rectangle_counts_what_it_holds(tab: Page, server: str, database: Database) -> None:
    opened(tab, server, "#at=13.5/30.70000/111.29500&on=admin_area,outfall")
    tab.get_by_role("button", name="框选").click()
    box = tab.locator("#map").bounding_box()
    assert box is not None
    west, south, east, north = (box["x"] + 80, box["y"] + box["height"] - 60, box["x"] + box["width"] / 2, box["y"] + 60)
    tab.mouse.move(west, north)
    tab.mouse.down()
    tab.mouse.move(east, south, steps=6)
    tab.mouse.up()
    link = tab.locator("#panels a[href*='/outfall/items']")
    link.wait_for()
    filtered = urllib.parse.unquote_plus(link.get_attribute("href") or "")
    places = [tuple(map(float, pair.split())) for pair in re.findall(r"-?\d+\.\d+ -?\d+\.\d+", filtered)]
    assert len(places) == 5
    corners = [f(place[i] for place in places) for f in (min, max) for i in (0, 1)]
    with database.begin(readonly=True) as connection:
        inside = connection.execute(
            sa.text("SELECT count(*) FROM baige.outfall WHERE ST_X(geom) BETWEEN :w AND :e AND ST_Y(geom) BETWEEN :s AND :n"),
            dict(zip("wsen", corners, strict=True)),
        ).scalar_one()
    assert 0 < inside < 30
    expect(tab.locator("#panels h2", has_text="入河排污口")).to_contain_text(str(inside))


def test_measuring_agrees_with_the_geodesic(tab: Page, server: str) -> None:
    opened(tab, server, "#at=13/30.70000/111.29500&on=admin_area")
    ring = "[[111.28, 30.7], [111.3, 30.7], [111.3, 30.72], [111.28, 30.72]]"
    script = f"import('{server}/portal/js/tools.js').then(m => [m.distance([111.28, 30.7], [111.3, 30.7]), m.area({ring})])"
    known = tab.evaluate(script)
    from pyproj import Geod

    geod = Geod(ellps="GRS80")
    assert known[0] == pytest.approx(geod.inv(111.28, 30.7, 111.3, 30.7)[2], rel=0.004)  # a sphere: at most 0.4 % off
    area, _ = geod.polygon_area_perimeter([111.28, 111.3, 111.3, 111.28], [30.7, 30.7, 30.72, 30.72])
    assert known[1] == pytest.approx(abs(area), rel=0.008)
    tab.get_by_role("button", name="量测").click()
    tab.locator("#map").click(position={"x": 300, "y": 300})
    tab.locator("#map").click(position={"x": 420, "y": 300})
    expect(tab.locator("#said")).to_contain_text("距离")
    tab.keyboard.press("Escape")
    expect(tab.locator("#said")).to_be_empty()


def test_picture_is_a_png_with_a_margin(tab: Page, server: str, tmp_path: Path) -> None:
    opened(tab, server)
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="图片").click()
    waiting.value.save_as(tmp_path / "map.png")
    data = (tmp_path / "map.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    canvas = tab.evaluate("[document.querySelector('#map canvas').width, document.querySelector('#map canvas').height]")
    assert width > canvas[0] and height > canvas[1]
    assert len(zlib.compress(data)) > 20_000


def test_keyboard_reaches_layers_and_tabs(tab: Page, server: str) -> None:
    opened(tab, server)
    tab.locator("#tab-layers").focus()
    tab.keyboard.press("ArrowRight")
    expect(tab.locator("#tab-planner")).to_have_attribute("aria-selected", "true")
    tab.keyboard.press("ArrowLeft")
    tab.locator("#on-coverage_gap").focus()
    tab.keyboard.press("Space")
    expect(tab.locator("#on-coverage_gap")).not_to_be_checked()


@pytest.mark.parametrize(
    "link", ["", "#tab=planner", "#tab=scenario&scenario=x", "#tab=officer&table=outfall&picked=outfall/00000000-0000-4000-8000-000000000002"]
)
def test_no_serious_fault_of_accessibility(tab: Page, server: str, link: str) -> None:
    opened(tab, server, link)
    tab.wait_for_timeout(1500)
    found = [v for v in Axe().run(tab).response["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0].get("failureSummary", "")[:200]) for v in found] == []


def test_phone(browser: Browser, server: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 780}, locale="zh-CN", is_mobile=True, has_touch=True)
    page = context.new_page()
    opened(page, server)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator("#side")).to_be_hidden()
    page.locator("#fold").click()
    expect(page.locator("#on-coverage_gap")).to_be_visible()
    context.close()


def test_deleted_feature_in_a_link_is_said_and_the_rest_works(browser: Browser, server: str) -> None:
    page = browser.new_page(locale="zh-CN")
    opened(page, server, "#picked=outfall/99999999-0000-4000-8000-000000000001")
    expect(page.locator("#said")).to_contain_text("没有要素")
    expect(page.locator("#on-coverage_gap")).to_be_checked()
    page.close()


def test_wrong_key_is_said(browser: Browser, server: str) -> None:
    page = browser.new_page(locale="zh-CN")
    opened(page, server)
    page.locator("#key").click()
    page.locator("#key-value").fill("bg_nothing_at-all")
    page.get_by_role("button", name="使用").click()
    expect(page.locator("#said")).to_contain_text("密钥无效", timeout=15_000)
    page.close()


#: Follows a point of the ground on the drawing that is moved along: the picture of it has to lie where the map says that the point is.
FOLLOWED = """async ([kind]) => {
  const { map } = await import("/portal/js/map.js"), { machine } = await import("/portal/js/fluid.js");
  machine.slow = true; // as on a machine without a graphics card
  const canvas = map.getCanvas(), centre = map.getCenter(), full = canvas.width;
  let count = map.drawings, at = map.project(centre);
  const seen = { moved: 0, drawn: 0, off: 0, sharpFirst: null };
  const look = () => {
    const now = map.project(centre);
    if (map.drawings !== count) { count = map.drawings; at = now; seen.drawn += 1; }
    if (!canvas.style.transform) return;
    seen.moved += 1;
    seen.sharpFirst ??= canvas.width === full;
    const lies = new DOMMatrix(getComputedStyle(canvas).transform).transformPoint(new DOMPoint(at.x, at.y));
    seen.off = Math.max(seen.off, Math.hypot(lies.x - now.x, lies.y - now.y));
  };
  map.on("render", look);
  const arrived = new Promise((done) => map.once("moveend", done));
  if (kind === "pan") map.panBy([300, 150], { duration: 4000 });
  else map.easeTo({ zoom: map.getZoom() + 1.2, around: map.unproject([900, 300]), duration: 4000 });
  await arrived;
  map.off("render", look);
  return { ...seen, full };
}"""
PIXELS = """async () => { const c = document.querySelector('#map canvas'), digest = await crypto.subtle.digest('SHA-256',
await (await new Promise((done) => c.toBlob(done))).arrayBuffer()); return [c.width, c.style.transform, [...new Uint8Array(digest)].join()]; }"""


@pytest.mark.parametrize("kind", ["pan", "zoom"])
def test_a_slow_machine_moves_the_last_drawing_and_ends_with_a_whole_one(tab: Page, server: str, kind: str) -> None:
    opened(tab, server, "#at=14/30.70000/111.29500&on=admin_area,road,grid_cell,camera_site,outfall")
    seen = tab.evaluate(FOLLOWED, [kind])
    assert seen["moved"] >= 1 and seen["drawn"] >= 1, "now and then it is drawn, and between two drawings the last one moves"
    assert seen["sharpFirst"] is True, "until the map has to be drawn anew the whole drawing is shown"
    assert seen["off"] < 0.1, "pixels between where a place lies in the moved drawing and where it is"
    until(tab, "document.querySelector('#map canvas').style.transform === ''")
    until(tab, f"document.querySelector('#map canvas').width === {seen['full']}")
    tab.wait_for_timeout(1500)
    # the same view, opened afresh, has the same pixels
    after = tab.evaluate(PIXELS)
    link = tab.evaluate(
        "async () => { const { map } = await import('/portal/js/map.js'), at = map.getCenter(); return [map.getZoom(), at.lat, at.lng]; }"
    )
    tab.goto("about:blank")
    opened(tab, server, "#at=14/30.70000/111.29500&on=admin_area,road,grid_cell,camera_site,outfall")
    tab.evaluate(
        "async ([zoom, lat, lon]) => { const { map } = await import('/portal/js/map.js'); map.jumpTo({ center: [lon, lat], zoom }); }", link
    )
    tab.wait_for_timeout(2500)
    assert tab.evaluate(PIXELS) == after


def test_a_printed_map_is_whole_though_it_just_moved(tab: Page, server: str) -> None:
    opened(tab, server, "#at=14/30.70000/111.29500&on=admin_area,road,camera_site")
    told = tab.evaluate(
        """async () => { const { map } = await import('/portal/js/map.js'), { machine } = await import('/portal/js/fluid.js');
        const { picture } = await import('/portal/js/tools.js');
        machine.slow = true;
        const full = map.getCanvas().width;
        map.panBy([200, 0], { duration: 900 });
        await new Promise((done) => map.once('moveend', done));
        await picture();
        return [map.getCanvas().width === full, map.getCanvas().style.transform]; }"""
    )
    assert told == [True, ""]
