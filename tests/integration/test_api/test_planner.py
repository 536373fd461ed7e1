"""What the planner's portal asks beside the layers: workbooks, scenarios, another service's base map."""

import http.server
import io
import threading
from collections.abc import Iterator

import openpyxl
import pytest

from api.base_tiles import _fetch
from gis.errors import DatabaseUnavailable
from tests.integration.test_api.conftest import Served

PICTURE = b"\x89PNG\r\n\x1a\n" + b"x" * 40


class _Tiles(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        self.send_response(302 if kind == "elsewhere" else 200)
        self.send_header("Location", "/picture/0/0/0")
        self.send_header(
            "Content-Type", "text/html" if kind == "page" else "image/svg+xml" if kind == "svg" else "image/png"
        )
        self.end_headers()
        self.wfile.write(PICTURE)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def tiles() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tiles) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{service.server_port}"
        service.shutdown()


def test_only_pictures_of_the_configured_place_are_handed_on(tiles: str) -> None:
    assert _fetch(f"{tiles}/picture/1/2/3?tk=secret") == (PICTURE, "image/png")
    for kind in ("elsewhere", "page", "svg"):
        with pytest.raises(DatabaseUnavailable) as caught:
            _fetch(f"{tiles}/{kind}/1/2/3?tk=secret")
        assert "secret" not in str(caught.value) and "127.0.0.1" not in str(caught.value)
    with pytest.raises(DatabaseUnavailable):
        _fetch("http://127.0.0.1:9/picture/0/0/0?tk=secret")


def test_without_a_configured_service_there_is_none(served: Served) -> None:
    assert served.get("/portal/base/1/0/0").status_code == 404


def test_a_workbook_has_headers_and_values_in_the_askers_language(served: Served) -> None:
    answer = served.get("/collections/kiosk/items", f="xlsx", lang="zh", sortby="label")
    assert answer.status_code == 200 and answer.headers["content-type"].endswith("sheet")
    rows = list(openpyxl.load_workbook(io.BytesIO(answer.content), read_only=True).active.values)
    page = served.get("/collections/kiosk/items", limit=10000, sortby="label").json()
    assert len(rows) - 1 == page["numberMatched"]
    head = list(rows[0])
    assert {"编号", "标签", "状态", "经度（x）"} <= set(head)
    assert {row[head.index("状态")] for row in rows[1:]} <= {"开", "关", None}
    by_id = {f["id"]: f for f in page["features"]}
    for row in rows[1:50]:
        feature = by_id[row[0]]
        assert row[head.index("数量")] == feature["properties"]["amount"]
        assert row[head.index("经度（x）")] == pytest.approx(feature["geometry"]["coordinates"][0])
    body = served.get("/collections/kiosk/items", f="xlsx", lang="en").content
    english = list(openpyxl.load_workbook(io.BytesIO(body), read_only=True).active.values)
    assert "Label" in english[0]


def test_scenarios_are_for_planners(served: Served) -> None:
    assert served.get("/scenarios").status_code == 401
    assert served.get("/scenarios", role="officer").status_code == 403
    found = served.get("/scenarios", role="planner")
    assert found.json()["scenarios"] == [] and found.json()["types"][0]["name"]
