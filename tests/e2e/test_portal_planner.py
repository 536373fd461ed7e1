"""A planner's work in the portal, in a real browser on a real server with a worker: scenario, history, proposals, selection, print."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pyogrio
import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from layers.database import Database
from tests.e2e.test_maps_portal import RUN, browser, opened, server, tab, until

__all__ = ["browser", "server", "tab"]

expect.set_options(timeout=20_000)

#: Where camera 3 of the small city stands: on, looking 30°.
LON, LAT = 111.2845, 30.69
AT = f"at=17/{LAT:.5f}/{LON:.5f}"


@pytest.fixture(scope="module")
def worker(server: str, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One who does the jobs."""
    home = tmp_path_factory.mktemp("worker")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BAIGE_")}
    environment |= {"BAIGE_HOME": str(home), "BAIGE_DATABASE_URL": database_url}
    with (home / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "api.cli", "worker"], env=environment, stdout=log, stderr=log)
        yield
        process.terminate()
        process.wait(20)


def middle(page: Page) -> tuple[float, float]:
    box = page.locator("#map").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def edit(page: Page, server: str, name: str, extra: str = "") -> tuple[float, float]:
    """Open a scenario by its link, with a camera in the middle of the map, and pick that camera."""
    opened(page, server, f"#{AT}&on=admin_area,camera_site&tab=scenario&scenario={name}{extra}")
    expect(page.locator("#plan-name")).to_have_value(name)
    x, y = middle(page)
    for _ in range(20):
        page.mouse.click(x, y)
        page.wait_for_timeout(500)
        if page.locator("#plan-azimuth").count():
            break
    expect(page.locator("#plan-azimuth")).to_be_visible()
    return x, y


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=8)
    page.mouse.up()


def planned(database: Database, name: str) -> list[sa.RowMapping]:
    with database.begin(readonly=True) as connection:
        sql = "SELECT camera, action, azimuth_deg, ST_X(geom) AS lon, ST_Y(geom) AS lat FROM baige.camera_plan WHERE scenario = :n ORDER BY camera"
        return list(connection.execute(sa.text(sql), {"n": name}).mappings())


def saved(page: Page, changes: int) -> None:
    lang = page.evaluate("document.documentElement.lang")
    expect(page.locator("#plan-state")).to_contain_text(
        f"{changes} 条改动，均已保存" if lang == "zh-CN" else f"{changes} changes, all saved"
    )


def test_scenario_is_made_and_cameras_are_changed_on_the_map(tab: Page, server: str, database: Database) -> None:
    opened(tab, server, f"#{AT}&on=admin_area,camera_site&tab=scenario")
    tab.locator("#plan-new").fill("滨江 补点")
    tab.get_by_role("button", name="新建").click()
    expect(tab.locator("#plan-name")).to_have_value("滨江_补点")
    x, y = edit(tab, server, "滨江_补点")
    figures = tab.locator("#plan-figures")
    expect(figures).to_contain_text("公共空间确定可见")
    drag(tab, (x, y), (x + 90, y - 40))
    saved(tab, 1)
    row = planned(database, "滨江_补点")[0]
    assert (row["action"], round(row["azimuth_deg"])) == ("move", 30)
    assert row["lon"] > LON + 0.0003 and row["lat"] > LAT + 0.0001
    expect(figures.locator("tbody tr").last).to_contain_text("0")
    # the white dot stands 46 pixels north-north-east of it
    drag(tab, (x + 90 + 23, y - 40 - 40), (x + 90 + 60, y - 40))
    saved(tab, 1)
    assert abs(planned(database, "滨江_补点")[0]["azimuth_deg"] - 90) < 3
    tab.locator("#plan-add").click()
    tab.mouse.click(x - 120, y + 80)
    saved(tab, 2)
    expect(figures.locator("tr", has_text="在线摄像机")).to_contain_text("+1")
    tab.locator("#plan-rows button", has_text="移动").click()
    tab.locator("#plan-switch").click()
    expect(tab.locator("#plan-rows")).to_contain_text("关停")
    saved(tab, 2)
    expect(figures.locator("tr", has_text="在线摄像机")).to_contain_text("0")
    tab.locator("#plan-undo").click()
    saved(tab, 1)
    assert [r["action"] for r in planned(database, "滨江_补点")] == ["add"]


def test_two_planners_on_one_camera_lose_nothing(browser: Browser, server: str, database: Database) -> None:
    contexts = [
        browser.new_context(viewport={"width": 1100, "height": 720}, locale=locale) for locale in ("zh-CN", "en-GB")
    ]
    first, second = (context.new_page() for context in contexts)
    x, y = edit(first, server, "two", "&lang=zh")
    drag(first, (x, y), (x + 50, y))
    saved(first, 1)
    opened(second, server, f"#{AT}&on=admin_area,camera_site&tab=scenario&scenario=two&lang=en")
    second.locator("#plan-rows button").click()
    second.locator("#plan-azimuth").wait_for()
    first.locator("#plan-azimuth").fill("120")
    first.locator("#plan-azimuth").press("Enter")
    saved(first, 1)
    second.locator("#plan-azimuth").fill("200")
    second.locator("#plan-azimuth").press("Enter")
    dialog = second.locator("#ask")
    expect(dialog).to_contain_text("Changed by another")
    serious(second)
    expect(dialog).to_contain_text("200 °")
    expect(dialog).to_contain_text("120 °")
    assert planned(database, "two")[0]["azimuth_deg"] == 120, "the second has not overwritten the first"
    second.locator("#keep-mine").click()
    saved(second, 1)
    assert planned(database, "two")[0]["azimuth_deg"] == 200
    first.locator("#plan-azimuth").fill("310")
    first.locator("#plan-azimuth").press("Enter")
    expect(first.locator("#ask")).to_contain_text("他人已修改")
    first.locator("#take-theirs").click()
    expect(first.locator("#plan-azimuth")).to_have_value("200")
    assert planned(database, "two")[0]["azimuth_deg"] == 200
    for context in contexts:
        context.close()


def test_server_gone_while_editing_loses_nothing(browser: Browser, server: str, database: Database) -> None:
    context = browser.new_context(viewport={"width": 1100, "height": 720}, locale="zh-CN")
    page = context.new_page()
    edit(page, server, "gone")
    context.set_offline(True)
    page.locator("#plan-azimuth").fill("75")
    page.locator("#plan-azimuth").press("Enter")
    expect(page.locator("#plan-state")).to_contain_text("1 条改动未保存")
    assert planned(database, "gone") == []
    context.set_offline(False)
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    saved(page, 1)
    assert planned(database, "gone")[0]["azimuth_deg"] == 75
    context.close()


def test_swipe_between_two_moments_with_numbers_and_link(tab: Page, server: str, database: Database) -> None:
    with database.begin() as connection:
        before = connection.execute(
            sa.text("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
        ).scalar_one()
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE baige.coverage_by_grid SET online_overview = 0.55"))
        connection.execute(sa.text("DELETE FROM baige.coverage_gap WHERE rank > 9"))
    # the session is a cookie: both halves must send it, else the right one is drawn with the public's rights
    tab.context.add_cookies([{"name": "probe", "value": "1", "url": server}])
    try:
        with tab.expect_request(lambda r: "/coverage_gap/tiles/" in r.url and "as-of" not in r.url) as asked:
            opened(tab, server, f"#at=14/30.70000/111.29500&on=admin_area,coverage_gap&tab=planner&asof={before}&swipe=now")
        assert "probe=1" in asked.value.all_headers().get("cookie", "")
        expect(tab.locator("#divider")).to_be_visible()
        expect(tab.locator("#divider .a")).to_contain_text(before[:10])
        tab.locator("#compare").click()
        table = tab.locator("#panel table")
        expect(table).to_contain_text("30 %")
        expect(table).to_contain_text("55 %")
        expect(table).to_contain_text("+25 %")
        expect(table.locator("tr").last).to_contain_text("12")
        expect(table.locator("tr").last).to_contain_text("-3")
        tab.locator("#divider").focus()
        tab.keyboard.press("ArrowRight")
        expect(tab.locator("#divider")).to_have_attribute("aria-valuenow", "54")
        tab.locator("#swipe-b").select_option("")
        expect(tab.locator("#divider")).to_be_hidden()
        tab.locator("#run-a").select_option("")
        until(tab, "!location.hash.includes('asof')")
    finally:
        with database.begin() as connection:
            connection.execute(sa.text("UPDATE baige.coverage_by_grid SET online_overview = 0.3"))


def test_proposals_with_progress_cancel_and_into_a_scenario(
    tab: Page, server: str, database: Database, worker: None
) -> None:
    opened(tab, server, f"#{AT}&on=admin_area,road&tab=planner&scenario=proposed&lang=en")
    tab.locator("#proposal-amount").fill("3")
    tab.locator("#propose").click()
    expect(tab.locator("progress")).to_be_visible()
    tab.locator(".cancel").click()
    expect(tab.locator("#panels")).to_contain_text("Cancelled")
    tab.locator("#propose").click()
    expect(tab.locator("#proposals li")).to_have_count(3, timeout=90_000)
    expect(tab.locator("#proposal-worth")).to_contain_text("3 sites")
    tab.locator("#take-proposals").click()
    expect(tab.locator("#said")).to_contain_text("3 proposals are in the scenario")
    assert [row["action"] for row in planned(database, "proposed")] == ["add"] * 3


def test_polygon_and_buffer_are_counted_and_saved_as_a_workbook(
    tab: Page, server: str, database: Database, tmp_path: Path
) -> None:
    opened(tab, server, "#at=15/30.69600/111.29500&on=admin_area,camera_site")
    x, y = middle(tab)
    tab.get_by_role("button", name="缓冲区").click()
    drag(tab, (x, y), (x + 140, y))
    part = tab.locator("#panel [data-layer=camera_site]")
    expect(part).to_be_visible()
    tab.locator("#selection-format").select_option("xlsx")
    with tab.expect_download() as waiting:
        part.get_by_role("button", name="导出").click()
    assert waiting.value.url.startswith(f"{server}/collections/camera_site/items?"), "the browser itself writes it to the disk"
    waiting.value.save_as(tmp_path / "c.xlsx")
    rows = list(openpyxl.load_workbook(tmp_path / "c.xlsx").active.values)
    assert "在线状态" in rows[0] and "方位角（°）" in rows[0]
    assert {row[rows[0].index("在线状态")] for row in rows[1:]} <= {"在线", "离线", None}
    expect(part.locator("h2")).to_contain_text(str(len(rows) - 1))
    # independently: everything within the circle's radius in metres
    place = f"m.map.unproject([{x + 140} - b.x, {y} - b.y]).lng"
    box = "document.querySelector('#map').getBoundingClientRect()"
    east = tab.evaluate(f"import('{server}/portal/js/map.js').then(m => {{ const b = {box}; return {place}; }})")
    with database.begin(readonly=True) as connection:
        within = "SELECT count(*) FROM baige.camera_site WHERE ST_DWithin(geom::geography, ST_Point(111.295, 30.696, 4490)::geography, :r)"
        radius = connection.execute(
            sa.text(
                "SELECT ST_Distance(ST_Point(111.295, 30.696, 4326)::geography, ST_Point(:e, 30.696, 4326)::geography)"
            ),
            {"e": east},
        ).scalar_one()
        low, high = (connection.execute(sa.text(within), {"r": radius * f}).scalar_one() for f in (0.99, 1.01))
    assert 0 < low <= len(rows) - 1 <= high
    tab.get_by_role("button", name="多边形").click()
    for dx, dy in ((-150, -100), (150, -100)):
        tab.mouse.click(x + dx, y + dy)
        tab.wait_for_timeout(350)
    tab.mouse.dblclick(x, y + 150)
    tab.locator("#selection-format").wait_for()
    tab.locator("#selection-format").select_option("gpkg")
    with tab.expect_download() as waiting:
        part.get_by_role("button", name="导出").click()
    waiting.value.save_as(tmp_path / "c.gpkg")
    assert 0 < pyogrio.read_info(tmp_path / "c.gpkg")["features"] < 200


def test_map_is_printed_to_one_page(tab: Page, server: str, tmp_path: Path) -> None:
    opened(tab, server, "#lang=en")
    tab.get_by_role("button", name="PDF").click()
    tab.locator("#print-title").fill("Outfalls and 缺口")
    serious(tab)
    with tab.expect_download() as waiting:
        tab.locator("#print-now").click()
    waiting.value.save_as(tmp_path / "m.pdf")
    data = (tmp_path / "m.pdf").read_bytes()
    assert b"/MediaBox [0 0 841.89 595.28]" in data and b"/Count 1" in data
    assert "Outfalls and 缺口".encode("utf-16-be").hex().encode() in data
    start = int(data.rsplit(b"startxref\n", 1)[1].split()[0])
    entries = [int(line.split()[0]) for line in data[start:].split(b"trailer")[0].splitlines()[3:]]
    assert [data[at:].split(b" ", 1)[0] for at in entries] == [str(n + 1).encode() for n in range(6)], "the table of objects is right"
    picture = Image.open(io.BytesIO(data[data.index(b"\xff\xd8") :].split(b"\nendstream")[0]))
    assert picture.width > 1000
    assert len(picture.convert("RGB").resize((200, 130)).getcolors(30_000) or []) > 50


def test_a_long_legend_is_printed_whole(tab: Page, server: str) -> None:
    every = "admin_area,road,camera_site,outfall,coverage_gap,coverage_by_grid"
    opened(tab, server, f"#on={every}&lang=en")
    few, many = (
        tab.evaluate(
            f"import('{server}/portal/js/tools.js').then(async (m) => {{ {step} const c = await m.sheet(); return c.width; }})"
        )
        for step in ("", "document.querySelector('#map').style.height = '150px'; (await import('./js/map.js')).map.resize();")
    )
    assert many >= few + 250, "what does not fit below goes into a further column"


def serious(page: Page) -> None:
    found = [v for v in Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0].get("failureSummary", "")[:200]) for v in found] == []


def test_units_are_coloured_by_any_result(tab: Page, server: str, database: Database) -> None:
    with database.begin(readonly=True) as connection:
        gaps, square = connection.execute(sa.text("SELECT count(*), sum(area_m2) FROM baige.coverage_gap")).one()
    opened(tab, server, "#at=13/30.70000/111.29500&on=admin_area,coverage_by_grid&tab=planner")
    tab.locator("#metric").select_option("tally:coverage_gap:count")
    expect(tab.locator("#worst small")).to_have_text(str(gaps))
    expect(tab.locator("#painted li [lang=zh]")).to_have_text([str(gaps)])
    tab.locator("#metric").select_option("tally:coverage_gap:sum:area_m2")
    expect(tab.locator("#worst")).to_contain_text(f"{square:,.0f} m²")
    colour = f"import('{server}/portal/js/map.js').then(m => JSON.stringify(m.map.getPaintProperty('coverage_by_grid-fill', 'fill-color')))"
    assert "#c7e9b4" in tab.evaluate(colour)
    until(tab, "location.hash.includes('metric=tally')")
    tab.reload()
    tab.wait_for_selector("body[data-drawn=yes]")
    expect(tab.locator("#metric")).to_have_value("tally:coverage_gap:sum:area_m2")
    expect(tab.locator("#painted li [lang=zh]")).to_have_text([f"{square:,.0f}"])
    assert "#c7e9b4" in tab.evaluate(colour)


def test_classes_hold_about_as_many_units_each(tab: Page, server: str) -> None:
    opened(tab, server)
    of = f"import('{server}/portal/js/painting.js').then(m => m.classesOf(%s).map(c => c.en))"
    assert tab.evaluate(of % "[0, 1, 1, 1, 1, 2, 3, null]") == ["0", "1", "2", "3", "No data"]
    assert tab.evaluate(of % "[...Array(100).keys()].map(n => n + 1)") == ["1–20", "21–40", "41–60", "61–80", "81–100"]
    assert tab.evaluate(of % "[...Array(90).fill(1), 2, 3, 4, 5, 6, 7, 8, 9]") == ["1", "2–3", "4–5", "6–7", "8–9"]
    assert tab.evaluate(of % "[null]") == ["No data"]


def test_two_scenarios_beside_each_other(tab: Page, server: str, database: Database) -> None:
    with database.begin() as connection:
        one = connection.execute(sa.text("SELECT id::text FROM baige.camera_site WHERE name_zh = '摄像机3'")).scalar_one()
        for name, azimuth, north in (("左方案", 90, 0.0), ("右方案", 180, 0.0005)):
            sql = (
                "INSERT INTO baige.camera_plan (scenario, action, camera, name_zh, azimuth_deg, classification, geom)"
                " VALUES (:name, 'move', :camera, '摄像机3', :azimuth, 'internal', ST_SetSRID(ST_Point(:x, :y), 4490))"
            )
            connection.execute(sa.text(sql), {"name": name, "camera": one, "azimuth": azimuth, "x": LON, "y": LAT + north})
    opened(tab, server, f"#{AT}&on=admin_area,camera_site&tab=layers&asof=scenario:左方案&swipe=scenario:右方案")
    expect(tab.locator("#divider .a")).to_have_text("方案 左方案")
    expect(tab.locator("#divider .b")).to_have_text("方案 右方案")
    side = (
        f"import('{server}/portal/js/%s').then(m => {{ const s = %s.getStyle(), of = (name) => s.sources[name].data.features;"
        " const v = of('side-views').filter(f => f.properties.certainty === 'confirmed').map(f => JSON.stringify(f.geometry));"
        " const filter = s.layers.find(l => l.id === 'camera_site-point').filter;"
        " return [of('side-rows')[0].geometry.coordinates, v.length, v.join(), JSON.stringify(filter)]; })"
    )
    left, right = tab.evaluate(side % ("map.js", "m.map")), tab.evaluate(side % ("history.js", "m.otherMap()"))
    assert (left[0], right[0]) == ([pytest.approx(LON), pytest.approx(LAT)], [pytest.approx(LON), pytest.approx(LAT + 0.0005)])
    assert left[1] == right[1] == 1 and left[2] != right[2], "each side has what its own camera sees"
    assert one in left[3] and one in right[3], "the camera of the register is not drawn beside the changed one"
    tab.locator("#run-a").select_option("")
    expect(tab.locator("#divider .a")).to_have_text("现在")
    filtered = f"JSON.stringify(m.map.getFilter('camera_site-point') || '').includes('{one}')"
    gone = f"import('{server}/portal/js/map.js').then(m => !m.map.getSource('side-rows') && !{filtered})"
    until(tab, gone)
    expect(tab.locator("#compare")).to_be_enabled()


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("#on=layout_unit&tab=planner&layout=draft-9%404", "布局“draft-9”第 4 版已不存在"),
        ("#tab=scenario&scenario=deleted", "没有已存的方案“deleted”"),
        ("#asof=2999-01-01T00:00:00Z", "无法显示，改为显示现在"),
        ("#asof=yesterday&swipe=now", "“yesterday”无法显示"),
    ],
)
def test_a_link_to_what_is_gone_says_so(tab: Page, server: str, database: Database, link: str, told: str) -> None:
    with database.begin() as connection:
        square = "POLYGON((111.27 30.68, 111.30 30.68, 111.30 30.70, 111.27 30.70, 111.27 30.68))"
        sql = (
            "INSERT INTO baige.layout_unit (level, code, layout, version, name_zh, classification, synthetic, geom)"
            " SELECT 'ring', 'R1', 'current', 1, 'R1', 'internal', true, ST_GeomFromText(:wkt, 4490)"
            " WHERE NOT EXISTS (SELECT 1 FROM baige.layout_unit)"
        )
        connection.execute(sa.text(sql), {"wkt": square})
    opened(tab, server, link)
    expect(tab.locator("#said")).to_contain_text(told)
    until(tab, "!/draft-9|2999|yesterday/.test(location.hash)")


def test_order_opacity_and_pictures_are_in_the_link(tab: Page, server: str) -> None:
    opened(tab, server, "#at=14/30.70000/111.29500&on=admin_area,road,camera_site,outfall&op=road:0.4")
    for name in ("camera_site", "outfall"):
        tab.locator("details", has=tab.locator(f"#on-{name}")).first.evaluate("d => d.open = true")
    wanted = "/^(camera_site|outfall)-point$/"
    order = f"import('{server}/portal/js/map.js').then(m => m.map.getStyle().layers.map(l => l.id).filter(i => {wanted}.test(i)))"
    before = tab.evaluate(order)
    lower = before[0].removesuffix("-point")
    tab.locator(".layer", has=tab.locator(f"#on-{lower}")).locator("button[aria-expanded]").click()
    tab.locator(".layer", has=tab.locator(f"#on-{lower}")).locator("button", has_text="↑").click()
    assert tab.evaluate(order) == before[::-1]
    until(tab, "location.hash.includes('order=')")
    link = tab.evaluate("location.hash")
    tab.goto("about:blank")
    opened(tab, server, link)
    assert tab.evaluate(order) == before[::-1]
    assert (
        tab.evaluate(
            f"import('{server}/portal/js/map.js').then(m => m.map.getPaintProperty('road-line', 'line-opacity'))"
        )
        != 1
    )
    assert json.dumps(link).isascii()


def test_one_layout_is_on_the_map_at_a_time(tab: Page, server: str, database: Database) -> None:
    square = "POLYGON((111.27 30.68, 111.30 30.68, 111.30 30.70, 111.27 30.70, 111.27 30.68))"
    with database.begin() as connection:
        for layout, version in (("current", 2), ("draft-1", 1)):
            for level, code in (("ring", "R1"), ("zone", "Z01"), ("zone", f"Z-{layout}")):
                sql = (
                    "INSERT INTO baige.layout_unit (level, code, layout, version, name_zh, name_en, classification, synthetic, geom)"
                    " VALUES (:level, :code, :layout, :version, :code, :code, 'internal', true, ST_GeomFromText(:wkt, 4490))"
                )
                values = {"level": level, "code": code, "layout": layout, "version": version, "wkt": square}
                connection.execute(sa.text(sql), values)
            sql = (
                "INSERT INTO baige.layout_fault (run_id, layout, version, level, fault_kind, severity, unit_code, note_zh, note_en, classification,"
                " synthetic, geom) VALUES (:run, :layout, :version, 'zone', 'overlap', 'error', 'Z01', :zh, :en, 'internal', true,"
                " ST_SetSRID(ST_MakePoint(111.28, 30.69), 4490))"
            )
            values = {"run": RUN, "layout": layout, "version": version, "zh": f"{layout} 重叠", "en": f"{layout} overlaps"}
            connection.execute(sa.text(sql), values)
    opened(tab, server, "#at=13/30.69/111.285&on=admin_area,layout_unit&tab=planner&lang=zh")
    labels = tab.evaluate("fetch('labels/layout_unit?filter=' + encodeURIComponent(\"layout = 'draft-1'\")).then((r) => r.json())")
    assert sorted(f["properties"]["label"] for f in labels["features"]) == ["R1", "Z-draft-1", "Z01"]
    chooser, faults = tab.locator("#layout"), tab.locator("#layout-faults")
    expect(chooser.locator("option")).to_have_text(["现行，第 2 版", "draft-1，第 1 版"])
    expect(faults).to_have_text("current 重叠Z01")
    with tab.expect_response(lambda r: "/layout_unit/tiles/" in r.url and "draft-1" in r.url and "version" in r.url):
        chooser.select_option(index=1)
    expect(faults).to_have_text("draft-1 重叠Z01")
    with tab.expect_response(lambda r: "/layout_unit/tiles/" in r.url and "level" in r.url):
        tab.locator("#level").select_option("zone")
    expect(tab).to_have_url(re.compile("(?=.*layout=draft-1%401)(?=.*level=zone)"))  # a function as text would need eval, which the page forbids
    tab.reload()
    tab.wait_for_selector("body[data-drawn=yes]")
    expect(chooser.locator("option:checked")).to_have_text("draft-1，第 1 版")
    expect(tab.locator("#level")).to_have_value("zone")
