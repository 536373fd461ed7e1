"""An officer's work in a real browser: log in, look, record in the field with and without a network, and the bad days of it.

Between browser and server stands a plain TCP relay, so that an answer can be lost after the server has committed.
"""

import contextlib
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect

from api.access import hash_secret, new_key
from layers.database import Database
from tests.e2e.test_maps_portal import browser, opened, until

__all__ = ["browser"]

DISTRICT = "420502"
RUN = "8d4f3c1e-0000-4000-8000-000000000002"
ROWS = f"""
INSERT INTO baige_sys.run (id, kind, parameters, inputs, software, actor, synthetic, state, finished_at)
  VALUES ('{RUN}', 'rules', '{{}}', '{{}}', 'test', 'owner', true, 'done', now());
INSERT INTO baige.admin_area (name_zh, name_en, admin_code, level, classification, geom)
  VALUES ('西陵区', 'Xiling', '420502000000', 'county', 'public', ST_SetSRID(ST_Multi(ST_MakeEnvelope(111.26, 30.67, 111.33, 30.73)), 4490));
INSERT INTO baige.outfall (id, name_zh, name_en, code_local, admin_code, cat1, workflow_stage, receiving_water, wq_target, chainage_m,
    classification, geom)
  SELECT ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, '排口' || i, 'Outfall ' || i, 'YC-' || i, '420502001001',
    (ARRAY['industrial', 'other'])[1 + i % 2], 'monitored', '长江', 'III', i * 400, 'internal',
    ST_SetSRID(ST_Point(111.28 + i * 0.002, 30.70), 4490)
  FROM generate_series(1, 12) AS i;
INSERT INTO baige.outfall (name_zh, code_local, admin_code, classification, geom)
  VALUES ('外区排口', 'OUT-1', '420506001001', 'internal', ST_SetSRID(ST_Point(111.4, 30.7), 4490));
INSERT INTO baige.outfall_inspection (outfall_id, inspected_at, discharging, admin_code, classification)
  SELECT id, now() - CASE WHEN chainage_m <= 1600 THEN interval '2 day' ELSE interval '400 day' END, (chainage_m / 400)::int % 2, admin_code,
    'internal'
  FROM baige.outfall WHERE chainage_m <= 2400;
INSERT INTO baige.outfall_sample (outfall_id, pollutant, value, unit, limit_value, sampled_at, admin_code, classification)
  SELECT '00000000-0000-4000-8000-000000000001', 'nh3_n', 0.3 * i, 'mg/L', 1.6, now() - i * interval '30 day', '420502001001', 'internal'
  FROM generate_series(1, 6) AS i;
INSERT INTO baige.rule_finding (id, rule_id, rule_version, verdict, object_layer, object_id, object_name, other_name, distance_m, accuracy_m,
    threshold_m, source, article, note_zh, note_en, change, run_id, admin_code, classification, found_at, geom)
  SELECT '20000000-0000-4000-8000-000000000001', '27a', '1', 'R', 'outfall', id, name_zh, '左岸', 62.4, 4.2, 50, 'test', '-', '距岸较远',
    'Far from the bank', 'new', '{RUN}', admin_code, 'internal', now(), geom FROM baige.outfall WHERE code_local = 'YC-3';
"""


class Desk:
    """A server that can be killed and started again, and the relay before it."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url = home, url
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.inner = probe.getsockname()[1]
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.process: subprocess.Popen[bytes] | None = None
        #: Kill the server as soon as it begins to answer a request with this in its head.
        self.die_at: bytes | None = None
        #: Cut the line before the answer to such a request.
        self.lose_at: bytes | None = None
        self.requests: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def start(self) -> None:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("BAIGE_")},
            "BAIGE_HOME": str(self.home), "BAIGE_DATABASE_URL": self.url, "BAIGE_SERVE_PORT": str(self.inner),
            "BAIGE_SERVE_PUBLIC_URL": self.base,
        }  # fmt: skip
        command = [sys.executable, "-m", "uvicorn", "--factory", "api.app:app_from_environment", "--port", str(self.inner), "--log-level", "warning"]
        with (self.home / "server.log").open("a") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        for _ in range(480):
            if self.process.poll() is not None:
                pytest.fail((self.home / "server.log").read_text())
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.inner}/readyz", timeout=2).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
        pytest.fail("the server did not start within two minutes")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process = None

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.inner), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        asked = {"head": b""}

        def upward() -> None:
            try:
                while data := client.recv(65536):
                    if re.match(rb"(GET|PUT|POST|DELETE|PATCH) ", data):
                        asked["head"] = data.split(b"\r\n", 1)[0]
                        self.requests.append(asked["head"])
                    server.sendall(data)
            except OSError:
                pass
            finally:
                server.close()

        threading.Thread(target=upward, daemon=True).start()
        try:
            while data := server.recv(65536):
                if self.die_at and self.die_at in asked["head"]:
                    self.kill()
                    self.die_at = None
                    break
                if self.lose_at and self.lose_at in asked["head"]:
                    self.lose_at = None
                    break
                client.sendall(data)
        except OSError:
            pass
        finally:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)  # a close alone would wait for the thread that reads
            client.close()


@pytest.fixture(scope="module")
def keys(database: Database) -> dict[str, str]:
    found = {}
    with database.begin() as connection:
        Database.script(connection, ROWS)
        for role in ("officer", "spare", "viewer", "late"):
            key_id, found[role] = new_key()
            connection.execute(
                sa.text("INSERT INTO baige_sys.api_key (id, secret_sha256, role, district) VALUES (:i, :s, :r, :d)"),
                {"i": key_id, "s": hash_secret(found[role]), "r": "officer" if role in ("spare", "late") else role, "d": DISTRICT},
            )
    return found


@pytest.fixture(scope="module")
def desk(database_url: str, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("home"), database_url)
    made.start()
    yield made
    made.kill()
    made.listening.close()


@pytest.fixture
def context(browser: Browser, desk: Desk) -> Iterator[BrowserContext]:
    """A fresh browser that asks nothing of another host and whose pages raise nothing."""
    if desk.process is None:
        desk.start()
    made = browser.new_context(viewport={"width": 1280, "height": 800}, locale="zh-CN", accept_downloads=True, permissions=["geolocation"],
                               geolocation={"longitude": 111.2841, "latitude": 30.7001, "accuracy": 9})  # fmt: skip
    faults: list[str] = []
    made.on("request", lambda r: None if r.url.startswith((desk.base, "data:", "blob:")) else faults.append(f"request {r.url}"))
    made.on("weberror", lambda e: faults.append(str(e.error)))
    yield made
    made.close()
    assert faults == []


@pytest.fixture
def tab(context: BrowserContext) -> Page:
    page = context.new_page()
    page.set_default_timeout(30_000)
    expect.set_options(timeout=20_000)
    return page


def log_in(page: Page, desk: Desk, key: str, link: str = "#tab=officer") -> None:
    opened(page, desk.base, link)
    page.locator("#key").click()
    page.locator("#key-value").fill(key)
    with page.expect_navigation():
        page.get_by_role("button", name="使用").click()
    page.wait_for_selector("body[data-ready=yes]")


def open_form(page: Page, name: str) -> None:
    page.locator("#officer-words").fill(name)
    page.locator("#outfalls button", has_text=re.compile(f"{name}(?!\\d)")).first.click()
    page.locator("#record").click()


def rows(database: Database, outfall: int) -> list[Any]:
    with database.begin(readonly=True) as connection:
        return list(
            connection.execute(
                sa.text(
                    "SELECT i.id, discharging, colour, note, lon, (SELECT count(*) FROM baige_sys.inspection_photo p WHERE p.inspection_id = i.id)"
                    " FROM baige.outfall_inspection i WHERE outfall_id = :o AND client_ref IS NOT NULL ORDER BY inspected_at"
                ),
                {"o": f"00000000-0000-4000-8000-{outfall:012d}"},
            )
        )


def photo() -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x010F] = "MAKER"
    data = io.BytesIO()
    Image.new("RGB", (400, 300), (120, 90, 40)).save(data, "JPEG", exif=exif.tobytes())
    return {"name": "../../etc/passwd.jpg", "mimeType": "image/jpeg", "buffer": data.getvalue()}


def test_states_filters_rectangle_and_workbook(tab: Page, desk: Desk, keys: dict[str, str], tmp_path: Path) -> None:
    log_in(tab, desk, keys["officer"], "#tab=officer&at=13/30.70000/111.29300")
    expect(tab.locator("#key")).to_contain_text(f"监管人员 {DISTRICT}", use_inner_text=True)
    expect(tab.locator("#officer-number")).to_have_text("12 / 12")  # not the one of the other district
    for state, count in (("1", "2"), ("0", "2"), ("-1", "8")):  # four seen lately; two long ago and six never are unknown
        expect(tab.locator(f"#state-{state} b")).to_have_text(count)
    shapes = {tab.locator(f"#state-{s} svg path").get_attribute("d") for s in ("1", "0", "-1")}
    assert len(shapes) == 3
    expect(tab.locator("#only-overdue b")).to_have_text("2")
    tab.locator("#only-overdue").click()
    expect(tab.locator("#outfalls li")).to_have_count(2)
    expect(tab.locator("#outfalls li").first).to_contain_text("逾期")
    tab.locator("#only-overdue").click()
    tab.locator("#by-cat1").select_option("industrial")
    expect(tab.locator("#officer-number")).to_have_text("6 / 12")
    tab.locator("#officer-box").click()
    box = tab.locator("#map").bounding_box()
    assert box is not None
    tab.mouse.move(box["x"] + 20, box["y"] + 80)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 80, steps=5)
    tab.mouse.up()
    expect(tab.locator("#officer-box")).to_have_attribute("aria-pressed", "true")
    expect(tab.locator("#officer-number")).not_to_have_text("6 / 12")
    assert (tab.locator("#officer-number").text_content() or "") != "0 / 12"
    left = int((tab.locator("#officer-number").text_content() or "").split(" / ")[0])
    with tab.expect_download() as waiting:
        tab.locator("#officer-excel").click()
    waiting.value.save_as(tmp_path / "o.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "o.xlsx").worksheets[0]
    assert sheet.max_row == left + 1 and "当前排放状态" in [cell.value for cell in sheet[1]]
    tab.locator("#language").click()
    expect(tab.locator("#state--1")).to_contain_text("Unknown")


def test_record_with_a_photo_arrives_and_is_shown(tab: Page, desk: Desk, keys: dict[str, str], database: Database) -> None:
    log_in(tab, desk, keys["officer"])
    open_form(tab, "排口1")
    expect(tab.locator("#detail svg.chart path.above")).to_have_count(1)
    expect(tab.locator("#inspection")).to_contain_text("不要拍到人")
    tab.get_by_role("button", name="保存并发送").click()
    assert tab.evaluate("document.querySelector('#ask').open")  # discharging or not must be said
    tab.locator("#inspection label", has_text=re.compile("^\\s*排放")).click()
    tab.locator("#i-colour").fill("灰")
    tab.locator("#i-turbidity").select_option("turbid")
    tab.locator("#i-note").fill("管口有泡沫<script>alert(1)</script>")
    tab.locator("#i-locate").click()
    expect(tab.locator("#i-position")).to_contain_text("距排口")
    tab.locator("#i-photos").set_input_files([photo(), {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"}])
    expect(tab.locator("#inspection [role=alert]")).to_contain_text("不是可读取的照片")
    expect(tab.locator("#inspection .photo img")).to_have_count(1)
    tab.get_by_role("button", name="保存并发送").click()
    expect(tab.locator("#said")).to_contain_text("已送达")
    found = rows(database, 1)
    assert [tuple(row[1:]) for row in found] == [(1, "灰", "管口有泡沫<script>alert(1)</script>", 111.2841, 1)]
    expect(tab.locator("#detail .history")).to_contain_text("管口有泡沫<script>")
    until(tab, "document.querySelector('#detail .history .photo img')?.naturalWidth === 400")
    expect(tab.locator("#queue")).to_be_hidden()


def test_without_a_network_the_page_opens_and_the_record_is_sent_later(
    tab: Page, context: BrowserContext, desk: Desk, keys: dict[str, str], database: Database
) -> None:
    log_in(tab, desk, keys["officer"])
    expect(tab.locator("#officer-number")).to_have_text("12 / 12")
    tab.evaluate("navigator.serviceWorker.ready.then(() => true)")
    desk.kill()
    context.set_offline(True)
    tab.reload()
    tab.wait_for_selector("body[data-ready=yes]")
    expect(tab.locator("#officer-note")).to_contain_text("离线")
    open_form(tab, "排口5")
    expect(tab.locator("#detail .part .note.bad")).to_have_count(1)
    expect(tab.locator("#detail .part .note.bad")).to_contain_text("要连上服务器才能看到")
    tab.locator("#inspection label", has_text="未排放").click()
    tab.locator("#i-photos").set_input_files(photo())
    expect(tab.locator("#inspection .photo img")).to_have_count(1)
    tab.get_by_role("button", name="保存并发送").click()
    expect(tab.locator("#queue")).to_contain_text("待发 1")
    expect(tab.locator("#said")).to_contain_text("待发送")
    tab.locator("#queue").click()
    expect(tab.locator("#ask .queue li")).to_contain_text("排口5")
    assert rows(database, 5) == []
    desk.start()
    context.set_offline(False)
    tab.locator("#send-now").click()
    expect(tab.locator("#ask")).to_contain_text("没有待发送的记录")
    expect(tab.locator("#send-now")).to_have_count(0)
    assert [(row[1], row[5]) for row in rows(database, 5)] == [(0, 1)]


@pytest.mark.parametrize(("how", "outfall"), [("killed", 6), ("lost", 7)])
def test_an_answer_lost_after_the_commit_stores_one_row(
    tab: Page, desk: Desk, keys: dict[str, str], database: Database, how: str, outfall: int
) -> None:
    log_in(tab, desk, keys["officer"])
    open_form(tab, f"排口{outfall}")
    tab.locator("#inspection label", has_text="未知").click()
    tab.locator("#i-photos").set_input_files(photo())
    expect(tab.locator("#inspection .photo img")).to_have_count(1)
    if how == "killed":
        desk.die_at = b"PUT /portal/inspections"
    else:
        desk.lose_at = b"/photos/"
    before = len(desk.requests)
    tab.get_by_role("button", name="保存并发送").click()
    end = time.monotonic() + 30
    while desk.die_at or desk.lose_at:
        assert time.monotonic() < end
        tab.wait_for_timeout(100)
    if how == "killed":
        expect(tab.locator("#queue")).to_contain_text("待发 1")
        assert len(rows(database, outfall)) == 1  # committed, and the phone does not know
        desk.start()
        tab.locator("#queue").click()
        tab.locator("#send-now").click()
    expect(tab.locator("#queue")).to_be_hidden()
    assert [row[5] for row in rows(database, outfall)] == [1]
    sent = [head for head in desk.requests[before:] if head.startswith(b"PUT /portal/inspections")]
    assert len(sent) >= 3  # one of them was sent twice


def test_server_gone_while_writing_loses_nothing(tab: Page, desk: Desk, keys: dict[str, str], database: Database) -> None:
    log_in(tab, desk, keys["officer"])
    open_form(tab, "排口8")
    tab.locator("#i-note").fill("半途")
    expect(tab.locator("#inspection")).to_contain_text("草稿已存")
    desk.kill()
    tab.reload()
    tab.wait_for_selector("body[data-ready=yes]")
    open_form(tab, "排口8")
    expect(tab.locator("#i-note")).to_have_value("半途")
    tab.locator("#inspection label", has_text="未知").click()
    tab.get_by_role("button", name="保存并发送").click()
    expect(tab.locator("#queue")).to_contain_text("待发 1")
    desk.start()
    tab.evaluate("dispatchEvent(new Event('online'))")
    expect(tab.locator("#queue")).to_be_hidden()
    assert [row[3] for row in rows(database, 8)] == ["半途"]


def test_revoked_key_and_refused_record_wait_and_say_why(tab: Page, desk: Desk, keys: dict[str, str], database: Database) -> None:
    log_in(tab, desk, keys["spare"])
    open_form(tab, "排口9")
    tab.locator("#inspection label", has_text="未知").click()
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE baige_sys.api_key SET revoked_at = now() WHERE secret_sha256 = :s"), {"s": hash_secret(keys["spare"])})
    time.sleep(1.5)  # a good key is trusted for a second
    tab.get_by_role("button", name="保存并发送").click()
    expect(tab.locator("#queue")).to_contain_text("待发 1")
    tab.locator("#queue").click()
    expect(tab.locator("#ask .queue")).to_contain_text("等待登录")
    tab.locator("#ask .close").click()
    log_in(tab, desk, keys["officer"])
    expect(tab.locator("#queue")).to_be_hidden()
    assert len(rows(database, 9)) == 1
    open_form(tab, "排口12")
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE baige.outfall SET admin_code = '420506001001' WHERE code_local = 'YC-12'")
    tab.locator("#inspection label", has_text="未知").click()
    tab.get_by_role("button", name="保存并发送").click()
    expect(tab.locator("#queue")).to_contain_text("拒收 1")
    tab.locator("#queue").click()
    expect(tab.locator("#ask .queue")).to_contain_text("没有该排污口")
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE baige.outfall SET admin_code = '420502001001' WHERE code_local = 'YC-12'")
    tab.get_by_role("button", name="再试").click()
    expect(tab.locator("#ask .queue li")).to_have_count(0)
    assert len(rows(database, 12)) == 1


def test_expired_key_is_said_and_another_log_in_goes_on(tab: Page, desk: Desk, keys: dict[str, str], database: Database) -> None:
    log_in(tab, desk, keys["late"])
    with database.begin() as connection:
        sql = "UPDATE baige_sys.api_key SET expires_at = now() - interval '1 second' WHERE secret_sha256 = :s"
        connection.execute(sa.text(sql), {"s": hash_secret(keys["late"])})
    time.sleep(1.5)  # a good key is trusted for a second
    tab.locator("#outfalls button").first.click()
    expect(tab.locator("#said")).to_contain_text("密钥无效或已过期")
    expect(tab.locator("#key")).to_contain_text("登录")
    log_in(tab, desk, keys["officer"])
    expect(tab.locator("#officer-number")).to_contain_text("12")


def test_finding_with_its_band_and_a_waiver(tab: Page, desk: Desk, keys: dict[str, str], database: Database) -> None:
    log_in(tab, desk, keys["officer"])
    tab.locator("#panels summary", has_text="规则核查发现").click()
    tab.locator("#panels button", has_text="27a").first.click()
    expect(tab.locator("#detail .finding")).to_contain_text("58.2 m–66.6 m")
    tab.locator("#detail .waiver summary").click()
    tab.locator("#w-reason").fill("护岸改建期间临时延伸")
    tab.locator("#w-until").fill(time.strftime("%Y-%m-%d", time.localtime(time.time() + 30 * 86400)))
    desk.kill()
    tab.get_by_role("button", name="记录豁免").click()
    expect(tab.locator("#detail .waiver [role=alert]")).to_contain_text("未丢失")
    desk.start()
    tab.get_by_role("button", name="记录豁免").click()
    expect(tab.locator("#detail .waived")).to_contain_text("护岸改建期间临时延伸")
    with database.begin(readonly=True) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM baige.rule_waiver").scalar_one() == 1


@pytest.mark.parametrize(
    ("words", "lon", "lat"),
    [("111.29,30.70", 111.29, 30.70), ("30.70 111.29", 111.29, 30.70), ("N30°41'31\" E111°17'10\"", 111.286111, 30.691944),
     ("北纬30.7，东经111.3", 111.3, 30.7)],
)  # fmt: skip
def test_coordinates_as_people_paste_them(tab: Page, desk: Desk, words: str, lon: float, lat: float) -> None:
    opened(tab, desk.base)
    tab.locator("#words").fill(words)
    hits = tab.locator("#found button")
    expect(hits).to_have_count(2)
    expect(hits.first).to_contain_text(f"{lon:.6f}, {lat:.6f}")
    expect(hits.last).to_contain_text("GCJ-02")


def test_gcj_agrees_with_the_engine(tab: Page, desk: Desk) -> None:
    opened(tab, desk.base)
    lon, lat = tab.evaluate(f"import('{desk.base}/portal/js/coordinates.js').then(m => m.fromGcj(111.29165848, 30.68956043))")
    assert lon == pytest.approx(111.286, abs=1e-8) and lat == pytest.approx(30.692, abs=1e-8)


def test_table_by_keyboard_and_a_layer_without_features(tab: Page, desk: Desk, keys: dict[str, str]) -> None:
    log_in(tab, desk, keys["officer"], "#table=outfall")
    first = tab.locator("#table tbody tr").first
    first.focus()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    expect(tab.locator("#detail")).to_be_visible()
    expect(tab.locator("#table tbody tr").nth(2)).to_have_attribute("aria-selected", "true")
    tab.goto("about:blank")
    opened(tab, desk.base, "#table=kitchen")
    expect(tab.locator("#row-count")).to_have_text("0 / 0")


def test_browser_without_webgl_is_told_where_to_go(context: BrowserContext, desk: Desk) -> None:
    page = context.new_page()
    page.add_init_script(
        "const real = HTMLCanvasElement.prototype.getContext;"
        " HTMLCanvasElement.prototype.getContext = function (kind, ...more)"
        " { return kind.startsWith('webgl') ? null : real.call(this, kind, ...more); };"
    )
    page.goto(f"{desk.base}/portal/")
    page.wait_for_selector("body[data-ready=no-webgl]")
    expect(page.locator("#map")).to_contain_text("WebGL")
    assert page.locator("#map a").first.get_attribute("href") == "/maps/index.html"


def serious(page: Page) -> list[tuple[str, str, str]]:
    found = [v for v in Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical")]
    return [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0].get("failureSummary", "")[:200]) for v in found]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_accessibility_of_panels_and_dialogs(tab: Page, desk: Desk, keys: dict[str, str], lang: str) -> None:
    log_in(tab, desk, keys["officer"], "#tab=officer")
    if lang == "en":
        tab.locator("#language").click()
    for name in ("planner", "selection", "layers", "officer"):
        tab.locator(f"#tab-{name}").click()
        tab.wait_for_timeout(500)
        assert serious(tab) == [], name
    tab.locator("#panels details summary").last.click()
    tab.locator("#outfalls button").first.click()
    tab.locator("#record").click()
    tab.wait_for_timeout(500)
    assert serious(tab) == [], "form"
    tab.locator("#ask .close").click()
    tab.evaluate("document.querySelectorAll('#detail details').forEach(d => { d.open = true; })")
    tab.wait_for_timeout(500)
    assert serious(tab) == [], "detail"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_accessibility_of_the_pages_of_the_api(tab: Page, desk: Desk, lang: str) -> None:
    area = "/collections/admin_area"
    for path in ("/", "/collections", "/conformance", area, f"{area}/items", f"{area}/schema", "/processes"):
        tab.goto(f"{desk.base}{path}?f=html&lang={lang}")
        assert serious(tab) == [], path


def test_phone(browser: Browser, desk: Desk, keys: dict[str, str]) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN", is_mobile=True, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    log_in(page, desk, keys["officer"])
    page.locator("#fold").tap()
    page.locator("#outfalls button", has_text="排口2").first.tap()
    expect(page.locator("#side")).to_be_hidden()  # the map and what was chosen are in sight
    expect(page.locator("#detail h2")).to_have_text("排口2")
    page.locator("#record").tap()
    expect(page.locator("#ask")).to_be_visible()
    form = page.locator("#ask").bounding_box()
    assert form is not None and form["width"] == 390
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth && document.querySelector('#ask').scrollWidth <= 390")
    for target in page.locator("#inspection button, #inspection select, #inspection .choice").all():
        box = target.bounding_box()
        assert box is None or box["height"] >= 40
    assert serious(page) == []
    context.close()
