"""What the stock PostgreSQL provider of pygeoapi 0.24 is slow or wrong at, point by point: here it is not so.

One test for each point; the deeper tests of a subject stand in the file of that subject.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import pyogrio
import pytest
import shapely

from layers.access import PUBLIC
from layers.database import principal_settings
from layers.query.fragment import Fragment
from layers.query.items import Question, page_sql
from layers.query.paging import Order
from layers.query.source import Source
from layers.query.tilegrid import matrix_set
from layers.query.tiles import tile_sql

ITEMS = "/collections/kiosk/items"
GEO = {"Content-Type": "application/geo+json"}


def rows_of(served: Any, question: Fragment, *, explain: bool = False) -> Any:
    """Answer of the database, or its plan, for the public."""
    with served.database.begin() as connection:
        driver = connection.connection.driver_connection
        settings, values = principal_settings(PUBLIC, timeout_s=30)
        driver.execute(settings.encode(), values)
        head = b"EXPLAIN (ANALYZE, FORMAT JSON) " if explain else b""
        return driver.execute(head + question.text.encode(), question.params).fetchall()


def source(served: Any, layer: str = "kiosk") -> Source:
    return served.state.catalogue.source(layer, "public")  # type: ignore[no-any-return]


def following(answer: Any) -> str | None:
    return next((k["href"] for k in answer.json()["links"] if k["rel"] == "next"), None)


def test_a_count_per_request(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted once for all pages and all who ask, until the layer changes."""
    import api.items

    asked: list[Question] = []
    real = api.items.count_sql
    monkeypatch.setattr(api.items, "count_sql", lambda question: (asked.append(question), real(question))[1])
    served.state.counts.clear()
    href: str | None = f"{served.url}{ITEMS}?limit=20&filter=amount%20IS%20NOT%20NULL"
    pages = 0
    while href is not None:
        answer = served.client.get(href)
        assert answer.json()["numberMatched"] == sum(r["amount"] is not None for r in served.rows["kiosk"])
        href = following(answer)
        pages += 1
    assert pages > 5
    assert len(asked) == 1


def test_rows_made_into_objects_one_by_one(served: Any) -> None:
    """What PostgreSQL writes is what the client gets, byte for byte."""
    question = Question(source(served), srid=4326)
    texts = [str(row[0]).encode() for row in rows_of(served, page_sql(question, limit=50))[:50]]
    body = served.client.get(f"{ITEMS}?limit=50").content
    assert b'"features":[' + b",".join(texts) + b"]" in body


def test_paging_by_offset(served: Any) -> None:
    """A page deep in the order reads its own rows, not those before it."""
    ids = sorted(r["id"] for r in served.rows["kiosk"])
    cursor = Order().cursor(ids[-21], None)
    question = page_sql(Question(source(served)), limit=10, cursor=cursor)
    assert "OFFSET" not in question.text
    with served.database.begin() as connection:
        connection.exec_driver_sql("ANALYZE baige.kiosk")
        driver = connection.connection.driver_connection
        driver.execute("SET LOCAL enable_seqscan = off")  # so few rows that a scan would do as well
        driver.execute("SET LOCAL enable_bitmapscan = off")
        plan = driver.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + question.text.encode(), question.params).fetchall()[0][0][0]
    scan = plan["Plan"]
    while "Plans" in scan:
        scan = scan["Plans"][0] if scan["Node Type"] == "Limit" else {k: v for k, v in scan.items() if k != "Plans"}
    assert scan["Node Type"] == "Index Scan"
    assert scan["Actual Rows"] == 11
    assert "id >" in scan["Index Cond"]
    assert "offset" not in str(following(served.client.get(f"{ITEMS}?limit=10")))


@pytest.mark.parametrize("layer", ["kiosk", "plot_wgs", "plot_local"])
@pytest.mark.parametrize("total", [10, 1_000_000])
def test_transform_by_text_in_tiles(served: Any, layer: str, total: int) -> None:
    """ST_Transform takes the number of a system (the text form takes a thousand times as long), and the index is asked with a literal."""
    for name in ("WebMercatorQuad", "WorldCRS84Quad", "CGCS2000Quad"):
        tile = matrix_set(name).tile(10, 828 if name == "WebMercatorQuad" else 1656, 420 if name == "WebMercatorQuad" else 337)
        sql = tile_sql(source(served, layer), tile, total=total)
        for inside in re.findall(r"ST_Transform\(((?:[^()]|\([^()]*\)|\((?:[^()]|\([^()]*\))*\))*)\)", sql.text):
            assert re.search(r", \d+$", inside), inside
        where = sql.text.partition(" WHERE ")[2]
        assert where.startswith("(t.geom && ST_MakeEnvelope(%s")
        assert "ST_Transform" not in where.partition(" LIMIT ")[0].partition(" AND ")[0]


def test_tiles_without_a_limit_or_a_timeout(served: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = "/collections/kiosk/tiles/WebMercatorQuad/8/105/207"
    counts = []
    tight = served.state.serve.model_copy(update={"tile_cap": 100})
    for serve in (served.state.serve, tight):
        monkeypatch.setattr(served.state, "serve", serve)
        served.state.tiles.clear()
        (tmp_path / "tile.pbf").write_bytes(served.client.get(path).content)
        counts.append(len(pyogrio.read_dataframe(tmp_path / "tile.pbf", X="207", Y="105", Z="8")))  # without those of its margin
    assert counts[0] > 100 >= counts[1] > 0
    monkeypatch.setattr(served.state, "serve", tight.model_copy(update={"tile_timeout_s": 0.3}))
    monkeypatch.setattr("api.tiles.tile_sql", lambda *a, **k: Fragment("SELECT pg_sleep(30)::text"))
    served.state.tiles.clear()
    assert served.client.get(path).status_code == 503
    served.state.tiles.clear()


def test_an_empty_page_after_the_last(served: Any) -> None:
    for limit in (1, 60, 80, 239, 240, 241):
        href: str | None = f"{served.url}{ITEMS}?limit={limit}&skipGeometry=true"
        sizes = []
        while href is not None:
            answer = served.client.get(href)
            sizes.append(answer.json()["numberReturned"])
            href = following(answer) if limit > 1 or len(sizes) < 3 else None
        assert 0 not in sizes
        if limit > 1:
            assert len(sizes) == math.ceil(len(served.rows["kiosk"]) / limit)


def test_the_clients_choice_of_properties_discarded(served: Any) -> None:
    body = served.get(ITEMS, properties="label,rank", limit=3).json()
    assert all(set(f["properties"]) == {"label", "rank"} for f in body["features"])
    assert served.get(ITEMS, properties="nosuch").status_code == 400
    bare = served.get(ITEMS, skipGeometry="true", limit=3).json()
    assert all(f["geometry"] is None for f in bare["features"])


@pytest.mark.parametrize("layer", ["kiosk", "plot_wgs", "plot_local"])
def test_cql2_literals_with_swapped_axes_or_an_error_by_storage(served: Any, layer: str) -> None:
    """Longitude first as CRS84 has it, latitude first where ``filter-crs`` names EPSG 4326; on every storage."""
    area = shapely.box(111.25, 30.65, 111.35, 30.75)
    wanted = {r["id"] for r in served.rows[layer] if r["geom"].intersects(area)}
    assert 0 < len(wanted) < len(served.rows[layer])
    swapped = shapely.transform(area, lambda c: c[:, ::-1])
    for shape, more in ((area, {}), (swapped, {"filter-crs": "http://www.opengis.net/def/crs/EPSG/0/4326"})):
        answer = served.get(f"/collections/{layer}/items", filter=f"S_INTERSECTS(geometry,{shape.wkt})", limit=1000, **more)
        assert answer.status_code == 200, answer.text
        assert {f["id"] for f in answer.json()["features"]} == wanted


def test_an_unknown_property_answered_with_nothing(served: Any) -> None:
    for params in ({"nosuch": "1"}, {"filter": "nosuch = 1"}, {"sortby": "nosuch"}, {"properties": "nosuch"}):
        answer = served.get(ITEMS, **params)
        assert answer.status_code == 400
        assert "nosuch" in answer.json()["detail"]


def test_put_with_another_id_overwrites_the_other(served: Any) -> None:
    one, other = (r["id"] for r in served.rows["kiosk"][:2])
    key = {"X-API-Key": served.keys["planner"]}
    before = [served.client.get(f"{ITEMS}/{i}").json() for i in (one, other)]
    body = {**before[0], "id": other}
    answer = served.client.put(f"{ITEMS}/{one}", content=json.dumps(body), headers={**GEO, **key})
    assert answer.status_code == 400
    assert [served.client.get(f"{ITEMS}/{i}").json() for i in (one, other)] == before


def test_if_match_and_content_crs_ignored(served: Any) -> None:
    key = {"X-API-Key": served.keys["planner"]}
    address = f"{ITEMS}/{served.rows['kiosk'][0]['id']}"
    patch = json.dumps({"geometry": {"type": "Point", "coordinates": [30.7, 111.3]}})
    sent = {**key, "Content-Type": "application/merge-patch+json"}
    before = served.client.get(address).json()
    moved = json.dumps({"geometry": {"type": "Point", "coordinates": [111.3, 30.7]}})
    assert served.client.patch(address, content=moved, headers={**sent, "If-Match": '"other"'}).status_code == 412
    assert served.client.get(address).json() == before
    crs = {"Content-Crs": "<http://www.opengis.net/def/crs/EPSG/0/4490>"}
    tag = served.client.get(address).headers["etag"]
    try:
        assert served.client.patch(address, content=patch, headers={**sent, **crs, "If-Match": tag}).status_code == 204
        assert served.client.get(address).json()["geometry"]["coordinates"] == [111.3, 30.7]
    finally:
        back = json.dumps({"geometry": before["geometry"]})
        assert served.client.patch(address, content=back, headers=sent).status_code == 204


@pytest.mark.parametrize("path", [f"{ITEMS}?limit=5", "/collections", "/collections/kiosk", "/collections/kiosk/tiles/WebMercatorQuad/8/105/207"])
def test_no_entity_tags(served: Any, path: str) -> None:
    first = served.client.get(path)
    assert served.client.get(path, headers={"If-None-Match": first.headers["etag"]}).status_code == 304


def test_async_jobs_as_threads_of_the_web_worker(served: Any) -> None:
    """A job stands in the database; this server, which has no worker, leaves it there."""
    headers = {"X-API-Key": served.keys["admin"], "Prefer": "respond-async"}
    made = served.client.post("/processes/export/execution", json={"inputs": {"collection": "plot_wgs"}}, headers=headers)
    assert made.status_code == 201, made.text
    job = made.json()["jobID"]
    try:
        with served.database.begin() as connection:
            found = connection.exec_driver_sql("SELECT count(*) FROM baige_jobs.procrastinate_jobs WHERE args::text LIKE %s", (f"%{job}%",))
            assert found.scalar_one() == 1
        assert served.client.get(f"/jobs/{job}", headers=headers).json()["status"] in ("accepted", "running", "successful")
    finally:
        served.client.delete(f"/jobs/{job}", headers=headers)


def test_references_to_script_hosts_in_pages(served: Any) -> None:
    for path in ("/", "/collections", "/collections/kiosk", f"{ITEMS}?limit=5", "/conformance", "/openapi", "/processes"):
        text = served.client.get(path, headers={"Accept": "text/html"}).text
        loaded = re.findall(r'(?:src|href)="([^"]+)"', "".join(re.findall(r"<(?:script|link|img|iframe|source)[^>]*>", text)))
        assert loaded
        assert all(address.startswith((served.url, "/")) and not address.startswith("//") for address in loaded)


def test_external_references_in_the_api_document(served: Any) -> None:
    text = json.dumps(served.get("/openapi").json())
    refs = re.findall(r'"\$ref": "([^"]+)"', text)
    assert refs
    assert all(ref.startswith("#/") for ref in refs)


def test_the_missing_limit_that_makes_qgis_page_by_100(served: Any) -> None:
    schema = served.get("/openapi").json()["components"]["parameters"]["limit"]["schema"]
    assert (schema["default"], schema["maximum"]) == (1000, 10_000)


def test_the_missing_filter_classes_that_make_qgis_push_nothing_down(served: Any) -> None:
    found = set(served.get("/conformance").json()["conformsTo"])
    features, cql2 = "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/", "http://www.opengis.net/spec/cql2/1.0/conf/"
    assert {features + "filter", features + "features-filter", cql2 + "cql2-text", cql2 + "basic-cql2"} <= found
