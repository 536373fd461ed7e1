"""Features Part 1 and 2: pages in every order, counts, reference systems, entity tags, formats of one and many features."""

import io
import json
import math
import re
import threading
import uuid
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pyproj
import pytest
import shapely
import sqlalchemy as sa

EPSG = "http://www.opengis.net/def/crs/EPSG/0/"


def walk(served: Any, path: str, **params: Any) -> tuple[list[dict[str, Any]], int]:
    """All features by following ``next``, and how many pages that took."""
    answer = served.get(path, **params)
    features: list[dict[str, Any]] = []
    pages = 0
    while True:
        assert answer.status_code == 200, answer.text
        body = answer.json()
        features += body["features"]
        pages += 1
        assert body["numberReturned"] == len(body["features"]) == int(answer.headers["OGC-NumberReturned"])
        following = [k["href"] for k in body["links"] if k["rel"] == "next"]
        in_header = re.findall(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
        assert following == in_header
        if not following:
            return features, pages
        answer = served.client.get(following[0])


ORDERS = [
    "",
    "label",
    "-label",
    "+rank,-amount",
    "amount,rank,label",
    "-built,state",
    "open",
    "-seen_at",
    "id",
    "-id",
    "label,id",
    "changed_at",
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 7, 80, 240, 1000])
def test_pages_hold_each_feature_once_in_order(served: Any, order: str, limit: int) -> None:
    if limit == 1 and order not in ("", "label", "+rank,-amount"):
        limit = 3
    rows = {r["id"]: r for r in served.rows["kiosk"]}
    features, pages = walk(served, "/collections/kiosk/items", limit=limit, **({"sortby": order} if order else {}))
    assert sorted(f["id"] for f in features) == sorted(rows)
    assert pages == math.ceil(len(rows) / limit)
    keys = [(k.lstrip("+-"), k.startswith("-")) for k in order.split(",") if k]
    with served.database.begin() as connection:
        listed = ", ".join(f"{name} {'DESC' if down else 'ASC'} NULLS LAST" for name, down in keys)
        wanted = (
            connection.exec_driver_sql(f"SELECT id::text FROM baige.kiosk ORDER BY {listed + ', ' if listed else ''}id")
            .scalars()
            .all()
        )
    assert [f["id"] for f in features] == list(wanted)


def test_pages_of_a_filtered_order(served: Any) -> None:
    wanted = [r for r in served.rows["kiosk"] if r["rank"] is not None and r["rank"] > 1]
    features, pages = walk(served, "/collections/kiosk/items", limit=10, sortby="-rank,label", filter="rank > 1")
    assert {f["id"] for f in features} == {r["id"] for r in wanted}
    assert pages == math.ceil(len(wanted) / 10)
    assert walk(served, "/collections/kiosk/items", filter="rank > 99")[1] == 1


def test_none_is_missed_or_repeated_while_others_insert(served: Any) -> None:
    before = {r["id"] for r in served.rows["plot_wgs"]}
    stop = threading.Event()
    added: list[str] = []

    def insert() -> None:
        while not stop.is_set():
            key = str(uuid.uuid4())
            with served.database.begin() as connection:
                connection.execute(
                    sa.text(
                        "INSERT INTO baige.plot_wgs (id, label, rank, classification, geom) SELECT :id, label, rank, 'public', geom"
                        " FROM baige.plot_wgs ORDER BY random() LIMIT 1"
                    ),
                    {"id": key},
                )
            added.append(key)

    writer = threading.Thread(target=insert)
    writer.start()
    try:
        for order in ("", "rank,-label"):
            features, _ = walk(served, "/collections/plot_wgs/items", limit=13, **({"sortby": order} if order else {}))
            ids = [f["id"] for f in features]
            assert len(ids) == len(set(ids))
            assert before <= set(ids)
    finally:
        stop.set()
        writer.join()
        with served.database.begin() as connection:
            connection.execute(sa.text("DELETE FROM baige.plot_wgs WHERE id::text = ANY(:ids)"), {"ids": added})
    assert added


def test_cursor_of_another_order_or_layer_is_refused(served: Any) -> None:
    href = next(
        k["href"]
        for k in served.get("/collections/kiosk/items", limit=5, sortby="rank").json()["links"]
        if k["rel"] == "next"
    )
    cursor = re.search(r"cursor=([^&]+)", href)
    assert cursor is not None
    for params in ({"sortby": "label"}, {}):
        assert served.get("/collections/kiosk/items", cursor=cursor.group(1), **params).status_code == 400
    for broken in ("x", "!!", "AAAA", "W10", "bnVsbA", cursor.group(1)[:-6]):
        assert served.get("/collections/kiosk/items", cursor=broken, sortby="rank").status_code == 400


@pytest.mark.parametrize("layer", ["kiosk", "plot_wgs", "plot_local"])
@pytest.mark.parametrize("code", [0, 4326, 4490, 4546, 3857])
def test_coordinates_in_each_system_and_its_order(served: Any, layer: str, code: int) -> None:
    params: dict[str, Any] = {"limit": 1000}
    uri = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    if code:
        uri = params["crs"] = f"{EPSG}{code}"
    answer = served.get(f"/collections/{layer}/items", **params)
    assert answer.headers["content-crs"] == f"<{uri}>"
    rows = {r["id"]: r for r in served.rows[layer]}
    project = pyproj.Transformer.from_crs(4490 if code == 4546 else 4326, code or 4326, always_xy=True)
    swapped = bool(code) and pyproj.CRS.from_epsg(code).axis_info[0].direction == "north"
    tolerance = 2e-8 if code in (0, 4326, 4490) else 2e-3
    for feature in answer.json()["features"]:
        got = shapely.get_coordinates(shapely.from_geojson(json.dumps(feature["geometry"])))
        if swapped:
            got = got[:, ::-1]
        stored = shapely.get_coordinates(rows[feature["id"]]["geom"])
        x, y = project.transform(stored[:, 0], stored[:, 1])
        assert np.allclose(got, np.column_stack([x, y]), atol=tolerance, rtol=0)


def test_box_in_each_system(served: Any) -> None:
    box = shapely.box(111.25, 30.65, 111.3, 30.7)
    wanted = {r["id"] for r in served.rows["kiosk"] if r["geom"].intersects(box)}
    project = pyproj.Transformer.from_crs(4490, 4546, always_xy=True)
    # a box in metres that holds just those that a box in degrees does is not to be had: compare with its own reference
    x, y = project.transform([111.25, 111.3], [30.65, 30.7])
    metres = shapely.box(x[0], y[0], x[1], y[1])
    in_metres = set()
    for row in served.rows["kiosk"]:
        px, py = project.transform(row["geom"].x, row["geom"].y)
        if metres.intersects(shapely.Point(px, py)):
            in_metres.add(row["id"])
    cases = [
        ("111.25,30.65,111.3,30.7", None, wanted),
        ("30.65,111.25,30.7,111.3", f"{EPSG}4326", wanted),
        ("30.65,111.25,30.7,111.3", f"{EPSG}4490", wanted),
        (f"{y[0]},{x[0]},{y[1]},{x[1]}", f"{EPSG}4546", in_metres),
    ]
    for text, crs, expected in cases:
        params = {"bbox": text, "limit": 1000, **({"bbox-crs": crs} if crs else {})}
        got = {f["id"] for f in served.get("/collections/kiosk/items", **params).json()["features"]}
        assert len(got ^ expected) <= (2 if crs and crs.endswith("4546") else 0), crs


@pytest.mark.parametrize("code", [None, 4490, 4326])
def test_box_is_exact_beside_a_point(served: Any, code: int | None) -> None:
    """Boxes of indexes are kept in single precision, which is most of a metre here; the answer is not."""
    found = served.get("/collections/kiosk/items", limit=1000).json()["features"]
    one = next(f for f in found if f["geometry"])
    lon, lat = one["geometry"]["coordinates"]
    for shift, inside in ((2e-7, False), (-2e-7, True)):
        corners = (lon + shift, lat - 0.001, lon + 0.001, lat + 0.001)
        swapped = (corners[1], corners[0], corners[3], corners[2])
        params = {"bbox": ",".join(f"{v:.9f}" for v in (swapped if code else corners)), "limit": 1000}
        if code:
            params["bbox-crs"] = f"http://www.opengis.net/def/crs/EPSG/0/{code}"
        features = served.get("/collections/kiosk/items", **params).json()["features"]
        assert (one["id"] in {f["id"] for f in features}) is inside


def test_description_names_the_systems(served: Any) -> None:
    for layer, code in (("kiosk", 4490), ("plot_wgs", 4326), ("plot_local", 4546)):
        found = served.get(f"/collections/{layer}").json()
        assert found["storageCrs"] == f"{EPSG}{code}"
        assert {f"{EPSG}{c}" for c in (4326, 4490, 4546, 3857)} < set(found["crs"])
        west, south, east, north = found["extent"]["spatial"]["bbox"][0]
        everything = shapely.union_all([r["geom"] for r in served.rows[layer]])
        assert np.allclose([west, south, east, north], everything.bounds, atol=2e-4)


def test_entity_tags_of_pages_and_features(served: Any) -> None:
    for path in (
        "/collections/kiosk/items?limit=5",
        f"/collections/kiosk/items/{served.rows['kiosk'][0]['id']}",
        "/collections",
        "/collections/kiosk",
    ):
        first = served.client.get(path)
        again = served.client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (first.status_code, again.status_code) == (200, 304), path
        assert not again.content
    one = served.client.get("/collections/kiosk/items?limit=5").headers["etag"]
    other_role = served.get("/collections/kiosk/items?limit=5", role="admin")
    assert other_role.headers["etag"] != one


def test_public_and_keyed_answers_differ_by_hidden_columns(served: Any) -> None:
    feature = served.rows["kiosk"][0]["id"]
    assert "code" not in served.get(f"/collections/kiosk/items/{feature}").json()["properties"]
    assert served.get(f"/collections/kiosk/items/{feature}", role="viewer").json()["properties"]["code"] == "0000"
    assert "code" not in served.get("/collections/kiosk/queryables").json()["properties"]
    assert "code" in served.get("/collections/kiosk/queryables", role="viewer").json()["properties"]


def test_files_hold_the_same_features(served: Any, tmp_path: Any) -> None:
    for layer in served.rows:
        rows = {r["id"]: r for r in served.rows[layer]}
        for form in ("gpkg", "fgb", "parquet"):
            answer = served.get(f"/collections/{layer}/items", f=form)
            assert answer.status_code == 200, answer.text
            path = tmp_path / f"{layer}.{form}"
            path.write_bytes(answer.content)
            frame = gpd.read_parquet(path) if form == "parquet" else pyogrio.read_dataframe(path)
            assert len(frame) == len(rows)
            assert set(frame["id"]) == set(rows)
            for row in frame.itertuples():
                stored = rows[row.id]
                geometry = row.geometry.geoms[0] if row.geometry.geom_type == "MultiPolygon" else row.geometry
                assert geometry.equals_exact(stored["geom"], 1e-7) or geometry.normalize().equals_exact(
                    stored["geom"].normalize(), 1e-7
                )
                assert (row.label == stored["label"]) or (stored["label"] is None and not isinstance(row.label, str))
        table = served.get(f"/collections/{layer}/items", f="csv", bom="true")
        assert table.content.startswith(b"\xef\xbb\xbf")
        frame = pd.read_csv(io.BytesIO(table.content), dtype=str, encoding="utf-8-sig")
        assert set(frame["id"]) == set(rows)
    assert pq.read_schema(tmp_path / "kiosk.parquet").metadata[b"geo"]


def test_files_follow_filters_limits_and_systems(served: Any, tmp_path: Any) -> None:
    wanted = {r["id"] for r in served.rows["plot_local"] if r["rank"] == 2}
    for form in ("gpkg", "fgb", "csv"):
        answer = served.get("/collections/plot_local/items", f=form, filter="rank = 2", crs=f"{EPSG}4546")
        path = tmp_path / f"x.{form}"
        path.write_bytes(answer.content)
        frame = pd.read_csv(path) if form == "csv" else pyogrio.read_dataframe(path)
        assert set(frame["id"]) == wanted
        if form != "csv":
            assert frame.crs.to_epsg() == 4546
            assert frame.total_bounds[0] > 400_000
    assert len(pd.read_csv(io.BytesIO(served.get("/collections/kiosk/items", f="csv", limit=7).content))) == 7
    nothing = served.get("/collections/kiosk/items", f="fgb", filter="rank = 99")
    assert nothing.status_code == 200
    (tmp_path / "empty.fgb").write_bytes(nothing.content)
    assert pyogrio.read_dataframe(tmp_path / "empty.fgb").empty


def test_json_fg(served: Any) -> None:
    body = served.get("/collections/plot_local/items", f="jsonfg", limit=2, crs=f"{EPSG}4546").json()
    assert body["coordRefSys"] == f"{EPSG}4546"
    assert body["featureType"] == "plot_local"
    for feature in body["features"]:
        assert (
            shapely.get_coordinates(shapely.from_geojson(json.dumps(feature["place"])))[0][0] > 3_000_000
        )  # northing first
        assert 110 < shapely.get_coordinates(shapely.from_geojson(json.dumps(feature["geometry"])))[0][0] < 112
        assert "time" in feature


def test_accept_header_chooses(served: Any) -> None:
    for accept, media in (
        ("text/html", "text/html"),
        ("application/geo+json", "application/geo+json"),
        ("text/csv", "text/csv"),
        ("text/html;q=0.5, application/geo+json", "application/geo+json"),
        ("application/vnd.ogc.fg+json", "application/vnd.ogc.fg+json"),
        ("*/*", "application/geo+json"),
        ("image/png", "application/geo+json"),
    ):
        answer = served.client.get("/collections/kiosk/items?limit=2", headers={"Accept": accept})
        assert answer.headers["content-type"].startswith(media), accept
