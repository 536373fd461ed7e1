"""Clients as they are: OWSLib and GDAL's OAPIF driver against the running server, and QGIS's requests replayed."""

import json
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pyproj
import pytest
import shapely

BOX = (111.25, 30.65, 111.3, 30.7)


def test_owslib(served: Any) -> None:
    from owslib.ogcapi.features import Features

    client = Features(served.url)
    assert "kiosk" in client.feature_collections()
    assert client.collection_queryables("kiosk")["properties"]["rank"]["type"] == "integer"
    page = client.collection_items("kiosk", limit=7, bbox=list(BOX))
    wanted = {r["id"] for r in served.rows["kiosk"] if r["geom"].intersects(shapely.box(*BOX))}
    assert page["numberMatched"] == len(wanted)
    found = client.collection_items("kiosk", filter="rank > 3", limit=1000)
    assert found["numberReturned"] == sum((r["rank"] or 0) > 3 for r in served.rows["kiosk"])
    one = served.rows["kiosk"][0]["id"]
    assert client.collection_item("kiosk", one)["id"] == one
    assert any("cql2-text" in uri for uri in client.conformance()["conformsTo"])


#: GDAL in a process of its own: it holds Python's lock while it waits for the server, which here is a thread of this one.
GDAL = """
import json, sys, pyogrio
source, layer, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
names = [str(name) for name, _ in pyogrio.list_layers(source)]
if "bbox" in options:
    options["bbox"] = tuple(options["bbox"])
frame = pyogrio.read_dataframe(source, layer=layer, **options)
print(json.dumps({"layers": names, "ids": list(frame["id"])}))
"""


def gdal(served: Any, layer: str, **options: Any) -> tuple[set[str], list[str]]:
    words = [sys.executable, "-W", "ignore", "-c", GDAL, f"OAPIF:{served.url}", layer, json.dumps(options)]
    out = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert out.returncode == 0, out.stderr[-2000:]
    found = json.loads(out.stdout)
    assert len(found["ids"]) == len(set(found["ids"]))
    return set(found["ids"]), found["layers"]


@pytest.mark.parametrize("layer", ["kiosk", "plot_local"])
def test_gdal_reads_all_rows_a_filter_and_a_box(served: Any, layer: str) -> None:
    rows = served.rows[layer]
    ids, layers = gdal(served, layer, PAGE_SIZE="50")
    assert layer in layers
    assert ids == {r["id"] for r in rows}
    assert gdal(served, layer, where="label = 'cafe'")[0] == {r["id"] for r in rows if r["label"] == "cafe"}
    # GDAL takes a layer's stored system for its own, and boxes in it
    shape = shapely.box(*BOX)
    box = BOX if layer == "kiosk" else pyproj.Transformer.from_crs(4326, 4546, always_xy=True).transform_bounds(*BOX)
    boxed, _ = gdal(served, layer, bbox=list(box))
    assert {r["id"] for r in rows if r["geom"].intersects(shape.buffer(-0.001))} <= boxed
    assert boxed <= {r["id"] for r in rows if r["geom"].intersects(shape.buffer(0.001))}


def test_what_qgis_asks(served: Any) -> None:
    """Its requests in their order: page size, counts, schema, filter, pages, editing (with EPSG:4490's latitude first)."""
    document = served.get("/openapi").json()
    size = document["components"]["parameters"]["limit"]["schema"]
    assert (size["default"], size["maximum"]) == (1000, 10000)
    for limit in (1, 10):
        assert served.get("/collections/kiosk/items", limit=limit).json()["numberMatched"] == len(served.rows["kiosk"])
    queryables = served.client.get(
        "/collections/kiosk/queryables", headers={"Accept": "application/schema+json"}
    ).json()
    assert queryables["properties"]["geometry"]["$ref"].startswith("https://geojson.org/schema/")
    text = quote('("rank" > 2) AND S_INTERSECTS("geometry",BBOX(111.25,30.65,111.3,30.7))')
    crs = quote("http://www.opengis.net/def/crs/EPSG/0/4490")
    answer = served.client.get(f"/collections/kiosk/items?limit=1000&crs={crs}&filter={text}&filter-lang=cql2-text")
    assert answer.status_code == 200
    assert all(feature["geometry"]["coordinates"][0] < 40 for feature in answer.json()["features"])
    links = served.get("/collections/kiosk/items", limit=100).json()["links"]
    assert [k["type"] for k in links if k["rel"] == "next"] == ["application/geo+json"]
    key = {"X-API-Key": served.keys["planner"]}
    assert "POST" in served.client.options("/collections/kiosk/items", headers=key).headers["allow"]
    body = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [30.7, 111.3]},
        "properties": {"label": "QGIS", "admin_code": "420502001001"},
    }
    headers = {
        **key,
        "Content-Type": "application/geo+json",
        "Content-Crs": "http://www.opengis.net/def/crs/EPSG/0/4490",
    }
    made = served.client.post("/collections/kiosk/items", json=body, headers=headers)
    assert made.status_code == 201
    address = made.headers["location"]
    allowed = served.client.options(address, headers=key).headers["allow"]
    assert {"PATCH", "PUT", "DELETE"} <= set(allowed.split(", "))
    patch = {**key, "Content-Type": "application/merge-patch+json"}
    assert served.client.patch(address, json={"properties": {"rank": 5}}, headers=patch).status_code == 204
    assert served.client.get(address).json()["geometry"]["coordinates"] == [111.3, 30.7]
    assert served.client.delete(address, headers=key).status_code == 204


def test_stock_path_of_pygeoapi_works_with_our_providers(served: Any) -> None:
    from api.provider import LayerProvider, LayerTileProvider

    data = {"conninfo": served.database.conninfo, "storage_srid": 4490}
    provider = LayerProvider({"name": "x", "type": "feature", "data": data, "table": "kiosk", "id_field": "id"})
    page = provider.query(limit=5, offset=3, bbox=list(BOX), sortby=[{"property": "rank", "order": "-"}])
    inside = sum(r["geom"].intersects(shapely.box(*BOX)) for r in served.rows["kiosk"])
    assert page["numberMatched"] == inside
    assert page["numberReturned"] == min(5, inside - 3)
    assert provider.get(served.rows["kiosk"][0]["id"])["properties"]["name_zh"] == "点0"
    assert "code" not in provider.get_fields()
    tiles = LayerTileProvider({"name": "x", "type": "tile", "data": data, "table": "kiosk"})
    assert tiles.get_tiles(tileset="WebMercatorQuad", z=8, x=207, y=105)
