"""Layers counted in the units of the coverage, against the rows that were put in and shapely."""

from typing import Any

import pytest
import shapely
import sqlalchemy as sa

RUN = "8d4f3c1e-0000-4000-8000-00000000aa01"
#: Two units side by side with a common edge, one over both, one where nothing is.
UNITS = {
    "W": ("grid", shapely.box(111.25, 30.65, 111.30, 30.75)),
    "E": ("grid", shapely.box(111.30, 30.65, 111.35, 30.75)),
    "N": ("grid", shapely.box(111.25, 30.90, 111.30, 30.95)),
    "all": ("street", shapely.box(111.25, 30.65, 111.35, 30.75)),
}


@pytest.fixture(scope="module")
def units(served: Any) -> Any:
    found = {}
    with served.database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO baige_sys.run (id, kind, parameters, inputs, software, actor, synthetic, state, finished_at)"
            f" VALUES ('{RUN}', 'coverage', '{{}}', '{{}}', 'test', 'owner', true, 'done', now())"
        )
        for code, (kind, place) in UNITS.items():
            sql = (
                "INSERT INTO baige.coverage_by_grid (run_id, grid_code, unit_kind, classification, geom)"
                f" VALUES ('{RUN}', :code, :kind, 'public', ST_Multi(ST_GeomFromText(:wkt, 4490))) RETURNING id::text"
            )
            found[code] = connection.execute(sa.text(sql), {"code": code, "kind": kind, "wkt": place.wkt}).scalar_one()
        edge = (
            "INSERT INTO baige.kiosk (id, code, name_zh, classification, geom)"
            " VALUES ('eeeeeeee-0000-4000-8000-000000000001', '9001', '界上', 'public', ST_GeomFromText('POINT(111.3 30.7)', 4490))"
        )
        connection.exec_driver_sql(edge)
    yield found
    with served.database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.coverage_by_grid; DELETE FROM baige.kiosk WHERE code = '9001'")
        connection.exec_driver_sql(f"DELETE FROM baige_sys.run WHERE id = '{RUN}'")


def inside(served: Any, code: str, layer: str = "kiosk") -> list[dict[str, Any]]:
    return [row for row in served.rows[layer] if UNITS[code][1].contains(row["geom"])]


def test_features_are_counted_once_each(served: Any, units: dict[str, str]) -> None:
    answer = served.get("/portal/tally/kiosk").json()
    counts = {code: answer["units"][units[code]] for code in "WEN"}
    assert answer["matched"] == len(served.rows["kiosk"]) + 1 and set(answer["units"]) == {units[code] for code in "WEN"}
    assert len(inside(served, "W")) > 20 < len(inside(served, "E"))
    assert counts["N"] == 0
    assert counts["W"] + counts["E"] == len(inside(served, "W")) + len(inside(served, "E")) + 1  # the one on the common edge once
    street = served.get("/portal/tally/kiosk", unit="street").json()
    assert street["units"] == {units["all"]: counts["W"] + counts["E"]}


def test_density_sum_mean_and_filter(served: Any, units: dict[str, str]) -> None:
    rows = [row for row in inside(served, "all") if row["state"] == "on"]
    amounts = [row["amount"] for row in rows if row["amount"] is not None]
    asked = {"unit": "street", "filter": "state = 'on'"}
    count, density, total, mean = (
        served.get("/portal/tally/kiosk", **asked, **more).json()["units"][units["all"]]
        for more in ({}, {"measure": "density"}, {"measure": "sum", "field": "amount"}, {"measure": "mean", "field": "amount"})
    )
    assert count == len(rows) > 20
    from pyproj import Geod

    area, _ = Geod(ellps="GRS80").geometry_area_perimeter(UNITS["all"][1])
    assert density == pytest.approx(count / abs(area) * 1e6, rel=1e-4)
    assert total == pytest.approx(sum(amounts)) and mean == pytest.approx(sum(amounts) / len(amounts))
    empty = served.get("/portal/tally/kiosk", measure="mean", field="amount").json()["units"]
    assert empty[units["N"]] is None  # no mean of nothing, which is not zero


def test_a_sum_of_unknown_values_is_unknown(served: Any, units: dict[str, str]) -> None:
    with served.database.begin() as connection:
        place = "ST_SetSRID(ST_Point(111.27, 30.92), 4490)"
        connection.exec_driver_sql(f"INSERT INTO baige.kiosk (code, name_zh, classification, geom) VALUES ('9003', '北', 'public', {place})")
    found = [served.get("/portal/tally/kiosk", **more).json()["units"][units["N"]] for more in ({}, {"measure": "sum", "field": "amount"})]
    with served.database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.kiosk WHERE code = '9003'")
    assert found == [1, None]
    assert served.get("/portal/tally/kiosk", measure="sum", field="amount").json()["units"][units["N"]] == 0


def test_areas_of_another_reference_system(served: Any, units: dict[str, str]) -> None:
    counts = served.get("/portal/tally/plot_local").json()["units"]
    for code in "WE":
        within, touching = (sum(f(UNITS[code][1], row["geom"]) for row in served.rows["plot_local"]) for f in (shapely.contains, shapely.intersects))
        assert 0 < within <= counts[units[code]] <= touching


def test_an_edit_is_seen_at_once(served: Any, units: dict[str, str]) -> None:
    before = served.get("/portal/tally/kiosk")
    again = served.client.get("/portal/tally/kiosk", headers={"If-None-Match": before.headers["etag"]})
    assert again.status_code == 304
    with served.database.begin() as connection:
        place = "ST_SetSRID(ST_Point(111.26, 30.66), 4490)"
        sql = f"INSERT INTO baige.kiosk (code, name_zh, classification, geom) VALUES ('9002', '一', 'public', {place})"
        connection.exec_driver_sql(sql)
    after = served.client.get("/portal/tally/kiosk", headers={"If-None-Match": before.headers["etag"]})
    with served.database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.kiosk WHERE code = '9002'")
    assert after.status_code == 200
    assert after.json()["units"][units["W"]] == before.json()["units"][units["W"]] + 1


@pytest.mark.parametrize(
    ("layer", "asked", "status"),
    [
        ("kiosk", {"unit": "planet"}, 400), ("kiosk", {"measure": "median"}, 400), ("kiosk", {"measure": "sum"}, 400),
        ("kiosk", {"field": "amount"}, 400),
        ("kiosk", {"measure": "sum", "field": "label"}, 400), ("kiosk", {"measure": "sum", "field": "amount; drop"}, 400),
        ("kiosk", {"filter": "nothing = 1"}, 400), ("kiosk", {"colour": "red"}, 400), ("nothing", {}, 404),
        ("camera_site", {"measure": "mean", "field": "azimuth_deg"}, 404),
    ],
)  # fmt: skip
def test_what_is_refused(served: Any, units: dict[str, str], layer: str, asked: dict[str, str], status: int) -> None:
    answer = served.get(f"/portal/tally/{layer}", **asked)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
