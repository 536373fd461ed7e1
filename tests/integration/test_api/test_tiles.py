"""Vector tiles: what stands in them, in each matrix set, at each zoom; entity tags and freshness."""

import math
import uuid
from typing import Any

import httpx
import pyogrio
import pytest
import shapely
import sqlalchemy as sa

from api.tiles import TILES
from layers.query.tilegrid import MATRIX_SETS
from layers.query.tiles import TileRules
from tests.integration.test_api.conftest import running

MVT = "application/vnd.mapbox-vector-tile"


def web_tile(lon: float, lat: float, z: int) -> tuple[int, int]:
    x = int((lon + 180) / 360 * 2**z)
    y = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**z)
    return x, y


def read(content: bytes, tmp_path: Any, z: int, x: int, y: int) -> Any:
    """Features of a tile in Web Mercator metres, read by GDAL."""
    path = tmp_path / f"{uuid.uuid4().hex}.pbf"
    path.write_bytes(content)
    return pyogrio.read_dataframe(path, X=str(x), Y=str(y), Z=str(z))


def tile_of(served: Any, layer: str, z: int, x: int, y: int, **params: Any) -> Any:
    return served.get(f"/collections/{layer}/tiles/WebMercatorQuad/{z}/{y}/{x}", **params)


@pytest.mark.parametrize("layer", ["kiosk", "plot_wgs", "plot_local"])
@pytest.mark.parametrize("z", [11, 14])
def test_a_tile_holds_the_features_that_touch_it(served: Any, tmp_path: Any, layer: str, z: int) -> None:
    lon, lat = 111.3, 30.7
    x, y = web_tile(lon, lat, z)
    size = 360 / 2**z
    west = x * size - 180

    def edge(row: int) -> float:
        return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * row / 2**z))))

    bounds = shapely.box(west, edge(y + 1), west + size, edge(y))
    wanted = {r["id"] for r in served.rows[layer] if r["geom"].intersects(bounds)}
    answer = tile_of(served, layer, z, x, y)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == MVT
    frame = read(answer.content, tmp_path, z, x, y)
    slack = shapely.buffer(bounds, size * 64 / 4096 * 1.1)
    outer = {r["id"] for r in served.rows[layer] if r["geom"].intersects(slack)}
    assert wanted <= set(frame["id"]) <= outer
    assert "label" in frame.columns


def test_low_zoom_counts_every_feature(served: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.tiles.TileRules", lambda **more: TileRules(merge_above=10, **more))
    served.state.tiles.clear()
    try:
        for layer in served.rows:
            x, y = web_tile(111.3, 30.7, 6)
            frame = read(tile_of(served, layer, 6, x, y).content, tmp_path, 6, x, y)
            assert frame["n"].sum() == len(served.rows[layer])
            assert len(frame) < 20
            if layer == "kiosk":
                on = sum(r["state"] == "on" for r in served.rows[layer])
                assert frame["state:on"].sum() == on
                assert set(frame["state:worst"].dropna()) <= {"off", "on"}
    finally:
        served.state.tiles.clear()


def test_clusters_count_each_feature_in_one_tile(served: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that lie across the edges of tiles, and of a layer of mixed geometries below the zoom from which it is drawn."""
    monkeypatch.setattr("api.tiles.TileRules", lambda **more: TileRules(merge_above=10, **more))
    run = "8d4f3c1e-0000-4000-8000-00000000aa02"
    with served.database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO baige_sys.run (id, kind, parameters, inputs, software, actor, synthetic, state, finished_at)"
            f" VALUES ('{run}', 'coverage', '{{}}', '{{}}', 'test', 'owner', true, 'done', now())"
        )
        connection.exec_driver_sql(
            "INSERT INTO baige.coverage_gap (name_zh, cause, run_id, classification, geom) SELECT 'g' || n, 'building', "
            f"'{run}', 'internal', CASE mod(n, 2) WHEN 0 THEN ST_Expand(p, 0.00001 * n) ELSE p END FROM (SELECT n, ST_SetSRID(ST_Point("
            "111.2 + 0.0019 * n, 30.6 + 0.0017 * mod(n * 7, 100)), 4490) AS p FROM generate_series(1, 100) AS n) AS s"
        )
    served.state.tiles.clear()
    try:
        for layer, z, count in (("kiosk", 12, len(served.rows["kiosk"])), ("coverage_gap", 12, 100), ("coverage_gap", 10, 100)):
            x0, y0 = web_tile(111.19, 30.81, z)
            x1, y1 = web_tile(111.41, 30.59, z)
            bodies = [(tile_of(served, layer, z, x, y, role="admin").content, x, y) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1)]
            frames = [read(body, tmp_path, z, x, y) for body, x, y in bodies if body]
            assert len(frames) > 1 or z == 10
            assert sum(frame["n"].sum() for frame in frames) == count
            assert {place.geom_type for frame in frames for place in frame.geometry} == {"Point"}
    finally:
        served.state.tiles.clear()
        with served.database.begin() as connection:
            connection.exec_driver_sql(f"DELETE FROM baige.coverage_gap; DELETE FROM baige_sys.run WHERE id = '{run}'")


@pytest.mark.parametrize("name", sorted(MATRIX_SETS))
def test_each_matrix_set(served: Any, name: str) -> None:
    document = served.get(f"/tileMatrixSets/{name}").json()
    assert document["id"] == name
    assert len(document["tileMatrices"]) == 23
    first = document["tileMatrices"][0]
    if name == "WebMercatorQuad":
        assert math.isclose(first["scaleDenominator"], 559082264.0287178, rel_tol=1e-12)
        assert math.isclose(first["cellSize"], 156543.03392804097, rel_tol=1e-12)
    else:
        assert math.isclose(first["scaleDenominator"], 279541132.0143589, rel_tol=1e-12)
        assert (first["matrixWidth"], first["matrixHeight"], first["cellSize"]) == (2, 1, 0.703125)
    assert first["pointOfOrigin"] == ([90, -180] if name == "CGCS2000Quad" else first["pointOfOrigin"])
    z = 12
    if name == "WebMercatorQuad":
        x, y = web_tile(111.3, 30.7, z)
    else:
        x, y = int((111.3 + 180) / 180 * 2**z), int((90 - 30.7) / 180 * 2**z)
    assert len(served.get(f"/collections/kiosk/tiles/{name}/{z}/{y}/{x}").content) > 100
    assert served.get(f"/collections/kiosk/tiles/{name}/{z}/0/0").status_code == 204


def test_tilejson_and_tilesets(served: Any) -> None:
    found = served.get("/collections/kiosk/tiles/WebMercatorQuad/metadata").json()
    assert found["tilejson"] == "3.0.0"
    assert found["vector_layers"][0]["id"] == "kiosk"
    z = 13
    x, y = web_tile(111.3, 30.7, z)
    address = found["tiles"][0].format(z=z, x=x, y=y)
    assert served.client.get(address).status_code == 200
    assert len(served.get("/collections/kiosk/tiles").json()["tilesets"]) == 3


def test_a_tile_is_never_stale(served: Any) -> None:
    z = 14
    x, y = web_tile(111.3, 30.7, z)
    first = tile_of(served, "kiosk", z, x, y)
    same = served.client.get(first.request.url, headers={"If-None-Match": first.headers["etag"]})
    assert same.status_code == 304
    known = served.rows["kiosk"][3]["id"]
    for state in ("on", "off", served.rows["kiosk"][3]["state"]):
        with served.database.begin() as connection:
            connection.execute(sa.text("UPDATE baige.kiosk SET state = :s WHERE id = :i"), {"s": state, "i": known})
        again = served.client.get(first.request.url, headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 200
        assert again.headers["etag"] != first.headers["etag"]


def test_a_hidden_column_is_in_no_tile(served: Any) -> None:
    z = 12
    x, y = web_tile(111.3, 30.7, z)
    assert b"code" not in tile_of(served, "kiosk", z, x, y).content.replace(b"admin_code", b"")
    assert b"code" in tile_of(served, "kiosk", z, x, y, role="admin").content.replace(b"admin_code", b"")


def test_a_filtered_tile(served: Any, tmp_path: Any) -> None:
    z = 11
    x, y = web_tile(111.3, 30.7, z)
    every = read(tile_of(served, "kiosk", z, x, y).content, tmp_path, z, x, y)
    some = read(tile_of(served, "kiosk", z, x, y, filter="rank = 2").content, tmp_path, z, x, y)
    ranked = {r["id"] for r in served.rows["kiosk"] if r["rank"] == 2}
    assert set(some["id"]) == set(every["id"]) & ranked


def test_tiles_in_files_are_shared_by_servers_never_stale_and_for_their_scope_alone(served: Any, tmp_path: Any) -> None:
    url = served.database.url.render_as_string(hide_password=False)
    path = "/collections/kiosk/tiles/WebMercatorQuad/9/210/414"
    keys = {role: {"X-API-Key": served.keys[role]} for role in ("viewer", "planner")}

    def came_from() -> dict[str, float]:
        return {s.labels["source"]: s.value for m in TILES.collect() for s in m.samples if s.name.endswith("_total")}

    def asked(address: str, headers: dict[str, str] | None = None) -> tuple[bytes, str]:
        before = came_from()
        answer = httpx.get(address + path, headers=headers, timeout=60)
        assert answer.status_code == 200
        (source,) = {name for name, value in came_from().items() if value > before.get(name, 0)}
        return answer.content, source

    more = {"tile_store": tmp_path / "tiles"}
    with running(served.state.settings, url, **more) as (one, _), running(served.state.settings, url, **more) as (two, _):
        first = asked(one)
        assert first[1] == "database"
        assert asked(one) == (first[0], "memory")
        assert asked(two) == (first[0], "files")
        assert asked(two, keys["planner"])[1] == "database"  # another scope has files of its own
        assert asked(one, keys["planner"])[1] == "files"
        feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [111.3, 30.7]}}
        feature["properties"] = {"name_zh": "新", "admin_code": "420502", "classification": "public"}
        made = httpx.post(f"{one}/collections/kiosk/items", json=feature, headers=keys["planner"], timeout=60)
        try:
            assert made.status_code == 201
            changed = asked(two)
            assert changed[1] == "database" and changed[0] != first[0]
            assert asked(one) == (changed[0], "files")
        finally:
            httpx.delete(f"{one}/collections/kiosk/items/{made.headers['location'].rsplit('/', 1)[1]}", headers=keys["planner"], timeout=60)
    with running(served.state.settings, url, **more) as (three, _):  # a restart
        assert asked(three)[1] == "database"  # the counter has moved again
    with running(served.state.settings, url, **more) as (four, _):
        assert asked(four)[1] == "files"
    with running(served.state.settings, url, tile_cap=200, **more) as (five, _):
        assert asked(five)[1] == "database"  # made by another rule
