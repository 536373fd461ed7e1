"""The planning desk against full runs on a small town: what it says of a neighbourhood is what two runs say there, cell by cell."""

from pathlib import Path

import numpy as np
import pytest
import shapely
import sqlalchemy as sa

from gis.coverage_chunks import CoverageResult
from gis.errors import InputError, LimitExceeded, NotFound
from gis.settings import CityConfig
from grids.desk import Desk
from grids.scenario import compare
from grids.scenario_changes import parse_scenario
from grids.scenario_rows import kept_scenario, scenario_of
from grids.views import run_views
from layers.database import Database
from layers.frames import read_frame
from tests.integration.test_scenarios import EAST, NORTH, SCENARIO, home, insert, lonlat, rows, town

__all__ = ["home", "town"]


def seen_in(result: CoverageResult, product: str, box: tuple[float, ...], closed: np.ndarray) -> int:
    """Square metres of open ground in a box that are seen: cell by cell, by the cells' centres."""
    west, south, east, north = (round(v / result.cell_m) for v in box)
    counts = result.window(south, west, north - south, east - west)[result.band(product)]
    x, y = np.meshgrid(np.arange(west, east) + 0.5, np.arange(south, north) + 0.5)
    open_ground = ~shapely.contains_xy(shapely.union_all(closed), x * result.cell_m, y * result.cell_m)
    return int(np.count_nonzero((counts > 0) & open_ground)) * int(result.cell_m**2)


def test_the_neighbourhood_is_as_two_full_runs_have_it(town: Database, home: Path, city: CityConfig) -> None:
    changed = parse_scenario(SCENARIO)
    look = Desk(town, city, home).look(changed)
    runs = compare(town, city, home, None, changed, workers=1)
    with town.begin(readonly=True) as connection:
        closed = read_frame(connection, "building", columns=[], srid=city.analysis_srid).geometry.to_numpy()
    # the changed cameras of this town reach into one box of squares of 256 m
    box = tuple(
        256.0 * v
        for v in (
            np.floor((EAST - 100) / 256),
            np.floor((NORTH - 100) / 256),
            np.ceil((EAST + 500) / 256),
            np.ceil((NORTH + 500) / 256),
        )
    )
    for product, key in (("confirmed_online", "confirmed_m2"), ("possible_online", "possible_m2")):
        assert look.before[key] == seen_in(runs.before, product, box, closed)
        assert look.after[key] == seen_in(runs.after, product, box, closed)
    assert look.after["confirmed_m2"] != look.before["confirmed_m2"]
    assert (look.before["outfalls_confirmed"], look.after["outfalls_confirmed"]) == (0, 2)


def test_the_view_of_a_moved_camera_is_what_a_run_of_views_makes_of_it(
    town: Database, home: Path, city: CityConfig
) -> None:
    code = "42050200001321000002"
    place = lonlat(205, 60)
    look = Desk(town, city, home).look(
        parse_scenario({"name": "x", "change": [{"action": "move", "camera": code, **place}]}), [code]
    )
    with town.begin() as connection:
        old = connection.execute(
            sa.text("SELECT ST_AsEWKT(geom) FROM baige.camera_site WHERE device_code = :c"), {"c": code}
        ).scalar_one()
        connection.execute(
            sa.text(
                "UPDATE baige.camera_site SET geom = ST_SetSRID(ST_Point(:lon, :lat), 4490) WHERE device_code = :c"
            ),
            {"c": code, **place},
        )
    try:
        run_views(town, city, home, workers=1)
        stored = rows(town, "SELECT area_m2, ST_AsBinary(geom) AS shape FROM baige.camera_view WHERE name_zh = '机2'")[
            0
        ]
    finally:
        with town.begin() as connection:
            connection.execute(
                sa.text("UPDATE baige.camera_site SET geom = ST_GeomFromEWKT(:g) WHERE device_code = :c"),
                {"c": code, "g": old},
            )
    mine = look.views[look.views["certainty"] == "confirmed"]
    assert list(mine["camera"]) == [code]
    assert mine["area_m2"].item() == stored["area_m2"]
    other = shapely.from_wkb(bytes(stored["shape"]))
    shape = mine.geometry.item()
    assert shapely.area(shapely.intersection(shape, other)) > 0.97 * shapely.area(shapely.union(shape, other)), (
        "the stored one is simplified"
    )


def test_the_register_is_read_anew_when_it_changes(town: Database, home: Path, city: CityConfig) -> None:
    desk = Desk(town, city, home)
    changed = parse_scenario({"name": "x", "change": [{"action": "switch_on", "camera": "42050200001321000001"}]})
    first = desk.look(changed)
    with town.begin() as connection:
        insert(
            connection,
            "camera_site",
            "POINT(120 40)",
            device_code="42050200001321000077",
            ptz_type=6,
            view_dist_m=60,
            res_w_px=4000,
            net_status="on",
            mount_height_m=6,
        )
    try:
        second = desk.look(changed)
    finally:
        with town.begin() as connection:
            connection.execute(sa.text("DELETE FROM baige.camera_site WHERE device_code = '42050200001321000077'"))
    assert second.before["cameras"] == first.before["cameras"] + 1
    assert second.before["confirmed_m2"] > first.before["confirmed_m2"]


def test_what_cannot_be_is_said(town: Database, home: Path, city: CityConfig) -> None:
    desk = Desk(town, city, home)
    with pytest.raises(NotFound):
        desk.look(parse_scenario({"name": "x", "change": [{"action": "remove", "camera": "nobody"}]}))
    far = [{"action": "move", "camera": "42050200001321000000", **lonlat(30_000, 95)}]
    assert desk.look(parse_scenario({"name": "x", "change": far})).area_km2 < 1, "from and to are two places"
    many = [{"action": "add", "camera": f"n{i}", "type": "fixed_4mp", **lonlat(i * 5, 0)} for i in range(51)]
    with pytest.raises(LimitExceeded):
        desk.look(parse_scenario({"name": "x", "change": many}))
    with pytest.raises(InputError):
        scenario_of([{"camera": "a", "action": "fly", "lon": 1.0, "lat": 1.0}], "x")


def test_a_kept_scenario_is_that_of_its_rows(town: Database) -> None:
    with town.begin() as connection:
        insert(
            connection,
            "camera_plan",
            "POINT(10 10)",
            scenario="滨江",
            camera="甲",
            action="add",
            camera_type="fixed_4mp",
            azimuth_deg=30,
        )
        insert(
            connection, "camera_plan", "POINT(20 10)", scenario="滨江", camera="乙", action="switch_off", azimuth_deg=30
        )
        insert(connection, "camera_plan", "POINT(20 10)", scenario="其他", camera="乙", action="remove")
    with town.begin(readonly=True) as connection:
        found = {change.camera: change for change in kept_scenario(connection, "滨江").change}
        assert (found["甲"].type, found["甲"].azimuth_deg) == ("fixed_4mp", 30)
        assert found["甲"].lon == pytest.approx(lonlat(10, 10)["lon"])
        assert found["乙"].azimuth_deg is None, "a camera that is switched off is not turned as well"
        with pytest.raises(NotFound):
            kept_scenario(connection, "没有")
