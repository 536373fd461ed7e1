"""Scenarios: what the register becomes, counts followed against a full run, differences against plain arithmetic."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gis.cameras import prepare
from gis.coverage import compute
from gis.crs import transformer
from gis.errors import Conflict, InputError, NotFound, UnreadableFile
from gis.settings import CityConfig, load_city
from grids.scenario import difference, follow, gap_changes
from grids.scenario_changes import changed_register, load_scenario, parse_scenario
from tests.unit.gis.test_coverage import register, town

EAST, NORTH = 528_000.0, 3_396_000.0


@pytest.fixture(scope="module")
def city() -> CityConfig:
    return load_city()


def cameras(n: int = 12) -> gpd.GeoDataFrame:
    columns = register(seed=2, n=n)
    x, y = columns.pop("x") + EAST, columns.pop("y") + NORTH
    columns |= {
        "device_code": [f"4205{i:016d}" for i in range(n)],
        "direction": np.full(n, np.nan),
        "device_state": "in_use",
    }
    return gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy(x, y), crs=4546).rename_geometry("geom")


def lonlat(x: float, y: float) -> dict[str, float]:
    lon, lat = transformer(4546, 4490).transform(x + EAST, y + NORTH)
    return {"lon": float(lon), "lat": float(lat)}


CHANGES = [
    {"action": "add", "camera": "new", "type": "fixed_4mp", "azimuth_deg": 90, **lonlat(50, 50)},
    {"action": "switch_off", "camera": "c001"},
    {"action": "switch_on", "camera": "c002"},
    {"action": "turn", "camera": "42050000000000000003", "azimuth_deg": 10},
    {"action": "move", "camera": "c004", **lonlat(120, 30)},
    {"action": "remove", "camera": "c005"},
]


def test_each_change_does_what_it_says(city: CityConfig) -> None:
    before = cameras()
    after = changed_register(before, parse_scenario({"name": "s", "change": CHANGES}), city).set_index("id")
    assert set(after.index) == {*before["id"], "new"} - {"c005"}
    assert after.loc["c001", "net_status"] == "off"
    assert after.loc["c002", "net_status"] == "on"
    assert after.loc["c003", "azimuth_deg"] == 10
    new = after.loc["new"]
    kind = city.camera_types["fixed_4mp"]
    assert (new["hfov_deg"], new["res_w_px"], new["net_status"]) == (kind.hfov_deg, kind.res_w_px, "on")
    assert np.hypot(new["geom"].x - EAST - 50, new["geom"].y - NORTH - 50) < 1e-3
    assert np.hypot(after.loc["c004", "geom"].x - EAST - 120, after.loc["c004", "geom"].y - NORTH - 30) < 1e-3
    rest = [f"c{i:03d}" for i in range(6, 12)]
    old = before.set_index("id")
    for name in ("azimuth_deg", "net_status", "hfov_deg"):
        assert after.loc[rest, name].equals(old.loc[rest, name])
    assert before.equals(cameras()), "the register itself stays"
    assert changed_register(before, None, city) is before


def test_following_equals_a_full_run(city: CityConfig) -> None:
    near = cameras()
    near["geom"] = gpd.points_from_xy(near.geometry.x - EAST, near.geometry.y - NORTH, crs=4546)
    rng = np.random.default_rng(3)
    surface = town(seed=2)
    other = near.drop(index=[1, 7]).copy()
    other.loc[2, "azimuth_deg"] = 77.0
    other.loc[3, "net_status"] = "off"
    other.loc[4, "geom"] = gpd.points_from_xy([150.0], [20.0])[0]
    other.loc[5, "azimuth_deg"] = 400.0  # an error in the changed register: rejected there
    more = near.iloc[:2].copy()
    more["id"] = ["x1", "x2"]
    more["geom"] = gpd.points_from_xy(*rng.uniform(0, 200, (2, 2)))
    other = gpd.GeoDataFrame(pd.concat([more, other], ignore_index=True), geometry="geom", crs=4546)
    tables = [prepare(frame) for frame in (near, other)]
    start, goal = (compute(table, surface, workers=1) for table in tables)
    found = follow(start, surface, *tables).result
    assert found.same_as(goal)
    assert found.fingerprint == goal.fingerprint
    assert found.cameras == goal.cameras
    assert sorted(r.id for r in found.rejected) == sorted(r.id for r in goal.rejected)
    assert found.assumptions == goal.assumptions
    back = follow(found, surface, tables[1], tables[0]).result
    assert back.same_as(start)
    assert follow(start, surface, tables[0], tables[0]).chunks == ()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"action": "switch_off", "camera": "nobody"}, NotFound),
        ({"action": "add", "camera": "c001", **lonlat(0, 0)}, Conflict),
        ({"action": "add", "camera": "n", "type": "telescope", **lonlat(0, 0)}, InputError),
    ],
)
def test_a_change_that_does_not_fit_is_refused(city: CityConfig, change: dict, error: type) -> None:
    with pytest.raises(error):
        changed_register(cameras(), parse_scenario({"name": "s", "change": [change]}), city)
    with pytest.raises(NotFound):  # what was taken away cannot be turned
        twice = [{"action": "remove", "camera": "c001"}, {"action": "turn", "camera": "c001", "azimuth_deg": 1}]
        changed_register(cameras(), parse_scenario({"name": "s", "change": twice}), city)


@pytest.mark.parametrize(
    "change",
    [
        {"action": "explode", "camera": "c001"},
        {"action": "move", "camera": "c001"},
        {"action": "turn", "camera": "c001"},
        {"action": "turn", "camera": "c001", "azimuth_deg": 400},
        {"action": "turn", "camera": "c001", "azimuth_deg": 4, "lon": 1, "lat": 1},
        {"action": "switch_off", "camera": "c001", "azimuth_deg": 4},
        {"action": "add", "camera": "n", "lon": 500, "lat": 0},
        {"action": "add", "camera": "n", "lon": 1, "lat": 1, "hfov_deg": float("nan")},
        {"action": "remove"},
        {"action": "remove", "camera": "c001", "owner": "x"},
    ],
)
def test_nonsense_is_refused_by_name(change: dict) -> None:
    with pytest.raises(InputError, match="change"):
        parse_scenario({"name": "s", "change": [change]})


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('name = "a b"\n', encoding="utf-8")
    with pytest.raises(InputError, match="name"):
        load_scenario(path)
    path.write_text('name = "a"\n[[change]]\naction = "remove"\ncamera = "c1"\n', encoding="utf-8")
    assert load_scenario(path).change[0].camera == "c1"
    path.write_text("name = [", encoding="utf-8")
    with pytest.raises(UnreadableFile):
        load_scenario(path)
    with pytest.raises(UnreadableFile):
        load_scenario(tmp_path / "none.toml")


@given(
    st.dictionaries(st.sampled_from("ab"), st.integers(-9, 9)),
    st.dictionaries(st.sampled_from("abc"), st.integers(-9, 9)),
)
@settings(max_examples=50, deadline=None)
def test_difference_added_gives_after(before: dict[str, int], after: dict[str, int]) -> None:
    step = difference({"x": before}, {"x": after}).get("x", {})
    for name in "abc":
        assert before.get(name, 0) + step.get(name, 0) == after.get(name, 0)
    assert difference(after, after) == {}
    assert difference({"t": "a", "n": None, "l": [1]}, {"t": "b", "n": None, "l": [2]}) == {}


def test_gaps_close_open_and_change() -> None:
    def gaps(*rows: tuple[str, str | None, float]) -> gpd.GeoDataFrame:
        return gpd.GeoDataFrame(
            {
                "target_kind": [r[0] for r in rows],
                "target_id": [r[1] for r in rows],
                "need": [r[2] for r in rows],
                "reach_code": "r1",
                "bank_side": "L",
                "name_zh": None,
            },
            geometry=gpd.points_from_xy([0.0] * len(rows), [0.0] * len(rows)),
        )

    found = gap_changes(
        gaps(("road", "a", 5), ("road", "a", 2), ("outfall", "o", 40), ("riverbank", None, 9)),
        gaps(("road", "a", 5), ("school_entrance", "s", 50), ("riverbank", None, 4), ("riverbank", None, 5)),
    )
    assert [row["place"] for row in found["closed"]] == ["o"]
    assert [row["place"] for row in found["opened"]] == ["s"]
    assert [(row["place"], row["need_before"], row["need_after"]) for row in found["changed"]] == [("a", 7, 5)]
    assert found["need"]["riverbank"] == {"before": 9, "after": 9}
