"""Packing against a plain decoder of the polyline format, and the promises about budget and counts."""

import datetime as dt
import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from gis.errors import CRSMismatch
from layers.catalogue import built_in
from maps.encoding import Packed, encode_parts, pack_layer


def decode(text: str, quantum: float) -> list[tuple[float, float]]:
    """Google's algorithm read backwards, one character after the other."""
    values, value, shift = [], 0, 0
    for character in text:
        byte = ord(character) - 63
        value |= (byte & 31) << shift
        shift += 5
        if byte < 32:
            values.append(~(value >> 1) if value & 1 else value >> 1)
            value, shift = 0, 0
    xs, ys = np.cumsum(values[0::2]), np.cumsum(values[1::2])
    return [(x * quantum, y * quantum) for x, y in zip(xs, ys, strict=True)]


coordinates = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


@given(st.lists(st.lists(coordinates, min_size=1, max_size=6), max_size=4))
def test_coordinates_come_back_within_half_a_quantum(parts: list[list[tuple[float, float]]]) -> None:
    quantum = 1e-6
    for part, text in zip(parts, encode_parts([np.array(p) for p in parts], quantum), strict=True):
        assert np.allclose(decode(text, quantum), part, rtol=0, atol=quantum * 0.5001)
        assert "<" not in text and '"' not in text


def cameras(n: int) -> gpd.GeoDataFrame:
    rng = np.random.default_rng(5)
    places = shapely.points(np.array([111.29, 30.7]) + rng.normal(size=(n, 2)) * 0.05)
    return gpd.GeoDataFrame(
        {
            "name_zh": [f"云集路 {i}" for i in range(n)],
            "device_code": [f"{42050200001320000000 + i}" for i in range(n)],
            "net_status": rng.choice(["on", "off", None], n),
            "azimuth_deg": np.where(rng.random(n) < 0.5, 90.0, np.nan),
            "filing_date": [dt.date(2024, 5, 1)] * n,
            "run_id": ["x"] * n,
        },
        geometry=places,
        crs=4490,
    )


def values(packed: Packed, name: str) -> list[object]:
    at = [f["name"] for f in packed.data["fields"]].index(name)
    column = packed.data["columns"][at]
    return column["v"] if "v" in column else [None if i < 0 else column["d"][i] for i in column["i"]]


def test_points_keep_place_and_attributes() -> None:
    frame = cameras(50)
    packed = pack_layer(built_in()["camera_site"], frame)
    assert (packed.total, packed.shown) == (50, 50)
    at = [decode(text, packed.data["quantum"])[0] for text in packed.data["geometry"]["p"]]
    assert np.allclose(at, shapely.get_coordinates(frame.geometry.to_numpy()), atol=1e-6)
    assert values(packed, "name_zh") == frame["name_zh"].tolist()
    assert values(packed, "azimuth_deg") == [None if np.isnan(v) else v for v in frame["azimuth_deg"]]
    assert values(packed, "filing_date")[0] == "2024-05-01"
    assert "run_id" not in {f["name"] for f in packed.data["fields"]}
    keys = [packed.data["classes"][c]["key"] for c in packed.data["cls"]]
    assert keys == [v if isinstance(v, str) else "unknown" for v in frame["net_status"]]


def test_hidden_columns_stay_hidden() -> None:
    layer, frame = built_in()["camera_site"], cameras(3)
    assert "device_code" in {f["name"] for f in pack_layer(layer, frame, role="planner").data["fields"]}
    for_public = json.dumps(pack_layer(layer, frame, role="public").data)
    assert "device_code" not in for_public and "4205020000132" not in for_public


def test_thinning_keeps_the_budget_and_says_how_many() -> None:
    packed = pack_layer(built_in()["camera_site"], cameras(4000), budget_bytes=60_000)
    assert packed.size_bytes <= 60_000
    assert 300 < packed.shown < 4000 and packed.total == 4000
    assert packed.data["total"] == 4000 and len(packed.data["cls"]) == packed.shown


def test_ranked_results_lose_the_last_ranks() -> None:
    n = 2000
    places = shapely.buffer(shapely.points(np.random.default_rng(1).uniform(111, 112, (n, 2))), 0.001)
    frame = gpd.GeoDataFrame({"rank": range(1, n + 1), "cause": "terrain"}, geometry=places, crs=4490)
    packed = pack_layer(built_in()["coverage_gap"], frame, budget_bytes=40_000)
    assert 0 < packed.shown < n
    assert values(packed, "rank") == list(range(1, packed.shown + 1))


def test_neighbours_stay_neighbours_when_simplified() -> None:
    """A wavy border between two areas: after simplification both sides still follow the same line."""
    wave = [(111.3 + 1e-5 * np.sin(k), 30.6 + k * 1e-3) for k in range(100)]
    west = shapely.Polygon([*wave, (111.2, 30.699), (111.2, 30.6)])
    east = shapely.Polygon([*wave, (111.4, 30.699), (111.4, 30.6)])
    frame = gpd.GeoDataFrame({"grid_kind": ["unit", "unit"]}, geometry=[west, east], crs=4490)
    packed = pack_layer(built_in()["grid_cell"], frame, tolerance_m=10)
    left, right = (shapely.Polygon(decode(rings[0][0], packed.data["quantum"])) for rings in packed.data["geometry"]["g"])
    assert len(left.exterior.coords) < 60
    assert left.intersection(right).area == 0
    assert shapely.union(left, right).area == pytest.approx(left.area + right.area, rel=1e-12)
    assert shapely.get_num_interior_rings(shapely.union(left, right)) == 0


def test_odd_geometry_and_values() -> None:
    shapes = [shapely.Point(111, 30), shapely.LineString([(111, 30), (111.1, 30.1)]), shapely.box(111, 30, 111.1, 30.1), None,
              shapely.MultiPoint([(111, 30), (111.2, 30)]), shapely.Polygon()]  # fmt: skip
    frame = gpd.GeoDataFrame({"cause": pd.array(["terrain", None, "x", None, pd.NA, "offline"])}, geometry=shapes, crs=4326)
    packed = pack_layer(built_in()["coverage_gap"], frame)
    assert packed.data["geometry"]["k"] == [0, 1, 2, 0]
    assert packed.total == 6 and packed.shown == 4
    json.dumps(packed.data, allow_nan=False)


def test_projected_frames_are_brought_to_degrees_and_nameless_ones_refused() -> None:
    frame = cameras(5)
    packed = pack_layer(built_in()["camera_site"], frame.to_crs(4546))
    at = [decode(text, packed.data["quantum"])[0] for text in packed.data["geometry"]["p"]]
    assert np.allclose(at, shapely.get_coordinates(frame.geometry.to_numpy()), atol=2e-6)
    with pytest.raises(CRSMismatch):
        pack_layer(built_in()["camera_site"], frame.set_crs(None, allow_override=True))
