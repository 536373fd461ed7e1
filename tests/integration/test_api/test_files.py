"""Features as files: pages by header, counts, GDAL opens them, a client that leaves ends the statement."""

import csv
import io
import json
import math
import re
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyogrio
import pytest
import sqlalchemy as sa

from layers.query.fragment import Fragment

FILES = ("csv", "fgb", "parquet", "gpkg")
ACCEPT = {
    "csv": "text/csv",
    "fgb": "application/flatgeobuf",
    "parquet": "application/vnd.apache.parquet",
    "gpkg": "application/geopackage+sqlite3",
    "jsonfg": "application/vnd.ogc.fg+json",
    "json": "application/geo+json",
}


def ids_of(content: bytes, form: str, folder: Path) -> list[str]:
    if form == "csv":
        return [row["id"] for row in csv.DictReader(io.StringIO(content.decode()))]
    if form in ("json", "jsonfg"):
        return [feature["id"] for feature in json.loads(content)["features"]]
    path = folder / f"{uuid.uuid4()}.{form}"
    path.write_bytes(content)
    frame = gpd.read_parquet(path) if form == "parquet" else pyogrio.read_dataframe(path)
    return list(frame["id"])


def walk(served: Any, form: str, folder: Path, **params: Any) -> list[list[str]]:
    """Ids of each page, by the header alone."""
    answer = served.get("/collections/kiosk/items", f=form, **params)
    pages = []
    while True:
        assert answer.status_code == 200, answer.text
        pages.append(ids_of(answer.content, form, folder))
        following = re.findall(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
        if not following:
            return pages
        answer = served.client.get(following[0])


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("order", ["", "-rank,label", "amount", "built,-state"])
def test_pages_of_files_hold_each_feature_once_in_order(served: Any, tmp_path: Path, form: str, order: str) -> None:
    limit = 70
    params = {"limit": limit, **({"sortby": order} if order else {})}
    pages = walk(served, form, tmp_path, **params)
    assert pages == walk(served, "json", tmp_path, **params)
    assert len(pages) == math.ceil(len(served.rows["kiosk"]) / limit)


def test_a_last_page_that_is_full_has_none_behind_it(served: Any, tmp_path: Path) -> None:
    pages = walk(served, "csv", tmp_path, limit=80)
    assert [len(page) for page in pages] == [80, 80, 80]


def test_no_row_is_missed_or_repeated_by_pages_of_files_while_others_write(served: Any, tmp_path: Path) -> None:
    """Between the look-up of a page's end and its reading a row is put before it and another behind it: the end is a row, not a number."""
    before = {r["id"] for r in served.rows["plot_wgs"]}
    extra = [f"00000000-0000-4000-8000-{n:012x}" for n in range(40)]
    found: list[str] = []
    href: str | None = f"{served.url}/collections/plot_wgs/items?f=csv&limit=50"
    try:
        while href is not None:
            answer = served.client.get(href)
            found += ids_of(answer.content, "csv", tmp_path)
            with served.database.begin() as connection:
                connection.execute(
                    sa.text(
                        "INSERT INTO baige.plot_wgs (id, classification, geom) SELECT cast(:id AS uuid), 'public', geom FROM baige.plot_wgs LIMIT 1"
                    ),
                    {"id": extra.pop()},
                )
                connection.execute(sa.text("DELETE FROM baige.plot_wgs WHERE id = cast(:id AS uuid)"), {"id": extra.pop()})
            links = re.findall(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
            href = links[0] if links else None
    finally:
        with served.database.begin() as connection:
            connection.exec_driver_sql("DELETE FROM baige.plot_wgs WHERE id::text LIKE '00000000-0000-4000-8000-%%'")
    assert len(found) == len(set(found))
    assert before <= set(found)


@pytest.mark.parametrize("form", [*FILES, "jsonfg", "json"])
def test_each_format_by_accept_and_f_counts_what_matches(served: Any, tmp_path: Path, form: str) -> None:
    wanted = {r["id"] for r in served.rows["kiosk"] if r["rank"] == 2}
    by_f = served.get("/collections/kiosk/items", f=form, filter="rank = 2")
    by_accept = served.client.get("/collections/kiosk/items?filter=rank%20=%202", headers={"Accept": ACCEPT[form]})
    for answer in (by_f, by_accept):
        assert answer.headers["content-type"].startswith(ACCEPT[form])
        assert answer.headers["OGC-NumberMatched"] == str(len(wanted))
        assert "rel=" not in answer.headers.get("link", "")
        assert set(ids_of(answer.content, form, tmp_path)) == wanted
    assert served.get("/collections/kiosk/items", f=form, limit=3).headers["OGC-NumberMatched"] == str(
        len(served.rows["kiosk"])
    )


@pytest.mark.parametrize("form", ["json", "csv", "fgb", "gpkg"])
def test_gdal_opens_each(served: Any, tmp_path: Path, form: str) -> None:
    if shutil.which("ogrinfo") is None:
        pytest.skip("needs ogrinfo")
    path = tmp_path / f"kiosk.{form}"
    path.write_bytes(served.get("/collections/kiosk/items", f=form).content)
    done = subprocess.run(["ogrinfo", "-ro", "-so", "-al", str(path)], capture_output=True, text=True, check=True)
    assert f"Feature Count: {len(served.rows['kiosk'])}" in done.stdout
    assert "label: String" in done.stdout


@pytest.mark.parametrize("form", FILES)
def test_the_statement_ends_when_the_client_of_a_file_leaves(
    served: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    slow = "SELECT '1' AS id, pg_sleep(30)::text AS left_file, ''::bytea AS geometry"
    monkeypatch.setattr("api.formats._rows", lambda *a, **k: Fragment(slow))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%left_file%%' AND state = 'active' AND pid <> pg_backend_pid()"

    def count() -> int:
        with served.database.begin() as asking:
            return int(asking.exec_driver_sql(running).scalar_one())

    host, port = served.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(f"GET /collections/kiosk/items?f={form} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    deadline = time.monotonic() + 20
    while count() == 0:
        assert time.monotonic() < deadline
    connection.close()
    deadline = time.monotonic() + 5
    while count():
        assert time.monotonic() < deadline
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
