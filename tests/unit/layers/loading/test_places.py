"""Positions: systems, bounds, types, repair."""

import numpy as np
import pyarrow as pa
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from gis.crs import SourceCRS, wgs84_to_bd09, wgs84_to_gcj02
from layers.loading.places import Frame, Placed, Points, Shapes, place, read_wkb

BOUNDS = (110.2, 29.9, 112.1, 31.6)
INSIDE = (111.286, 30.692)


def frame(kind: str = "Point", source: str = "4490", **more: object) -> Frame:
    return Frame(SourceCRS(source), 4490, kind, BOUNDS, **more)  # type: ignore[arg-type]


def points(*pairs: tuple[float, float]) -> Points:
    xy = np.array(pairs, dtype=float)
    return Points(xy[:, 0].copy(), xy[:, 1].copy())


def shapes(*texts: str | None) -> Shapes:
    return Shapes(np.array([None if text is None else shapely.from_wkt(text) for text in texts], dtype=object))


def codes(placed: Placed) -> list[str | None]:
    out: list[str | None] = [None] * len(placed.ewkb)
    for code, mask in placed.bad.items():
        for index in np.flatnonzero(mask):
            assert out[index] is None, "one reason a row"
            out[index] = code
    return out


def stored(placed: Placed) -> list[shapely.Geometry | None]:
    return [None if raw is None else shapely.from_wkb(raw) for raw in placed.ewkb.to_pylist()]


def square(x: float = 111.0, y: float = 30.5, size: float = 0.01) -> str:
    return shapely.box(x, y, x + size, y + size).wkt


def test_points_of_every_system_land_at_the_same_place() -> None:
    lon, lat = INSIDE
    east, north = pyproj.Transformer.from_crs(4490, 4546, always_xy=True).transform(lon, lat)
    for source, xy in {
        "4490": (lon, lat), "4326": (lon, lat), "gcj02": wgs84_to_gcj02(lon, lat), "bd09": wgs84_to_bd09(lon, lat), "4546": (east, north),
    }.items():  # fmt: skip
        for places in (points(xy), Shapes(np.array([shapely.Point(*xy)], dtype=object))):
            placed = place(places, frame(source=source))
            assert codes(placed) == [None]
            found = stored(placed)[0]
            assert found is not None
            assert shapely.get_srid(found) == 4490
            assert np.hypot(found.x - lon, found.y - lat) * 111_000 < 0.001


def test_each_fault_of_a_point_has_its_reason() -> None:
    lon, lat = INSIDE
    east, north = pyproj.Transformer.from_crs(4490, 4546, always_xy=True).transform(lon, lat)
    placed = place(
        points(
            (lon, lat),
            (lat, lon),
            (np.nan, np.nan),
            (np.nan, lat),
            (np.inf, lat),
            (0, 0),
            (116.4, 39.9),
            (east, north),
            (lon, 200.0),
        ),
        frame(),
    )
    assert codes(placed) == [
        None, "swapped", "no_geometry", "not_finite_position", "not_finite_position", "outside", "outside", "projected", "projected",
    ]  # fmt: skip
    assert [g is not None for g in stored(placed)] == [True] + [False] * 8


def test_swapped_metres_are_suspected_too() -> None:
    east, north = pyproj.Transformer.from_crs(4490, 4546, always_xy=True).transform(*INSIDE)
    assert codes(place(points((north, east)), frame(source="4546"))) == ["swapped"]
    assert codes(place(points((north, east)), frame(source="4546", swap_xy=True))) == [None]


def test_swap_on_request_for_points_and_shapes() -> None:
    lon, lat = INSIDE
    for places in (points((lat, lon)), shapes(f"POINT ({lat} {lon})")):
        found = stored(place(places, frame(swap_xy=True)))[0]
        assert found == shapely.Point(lon, lat)


def test_outside_on_request() -> None:
    assert codes(place(points((7.42, 43.73), (30.7, 111.2)), frame(allow_outside=True))) == [None, "swapped"]
    placed = place(
        points((30.7, 80.0)), Frame(SourceCRS("4490"), 4490, "Point", (79.0, 30.0, 81.0, 31.0), allow_outside=True)
    )
    assert codes(placed) == [None]
    assert placed.suspect_swapped == 1


def test_shapes_are_judged_like_points() -> None:
    swapped = shapely.transform(shapely.from_wkt(square()), lambda c: c[:, ::-1]).wkt
    big = shapely.box(530000, 3390000, 531000, 3391000).wkt
    placed = place(shapes(square(), swapped, None, "POLYGON EMPTY", square(0, 0), big), frame("MultiPolygon"))
    assert codes(placed) == [None, "swapped", "no_geometry", "no_geometry", "outside", "projected"]


def test_a_river_may_leave_the_city() -> None:
    assert codes(place(shapes("LINESTRING (104 29.5, 111 30.5, 121 31.5)"), frame("LineString"))) == [None]


def test_types_are_promoted_and_unwrapped() -> None:
    box = square()
    inner = box.removeprefix("POLYGON ")
    cases = {
        ("MultiPolygon", box): "MultiPolygon",
        ("Polygon", f"MULTIPOLYGON ({inner})"): "Polygon",
        ("Point", "MULTIPOINT ((111 30.5))"): "Point",
        ("MultiPoint", "POINT (111 30.5)"): "MultiPoint",
        ("LineString", "MULTILINESTRING ((111 30.5, 111.1 30.5), (111.1 30.5, 111.2 30.6))"): "LineString",
        ("MultiPolygon", f"GEOMETRYCOLLECTION ({box})"): "MultiPolygon",
        ("Geometry", box): "Polygon",
    }
    for (kind, text), expected in cases.items():
        placed = place(shapes(text), frame(kind))
        assert codes(placed) == [None], (kind, text)
        assert [g.geom_type for g in stored(placed) if g is not None] == [expected]


def test_mixed_types_go_to_quarantine_by_row() -> None:
    placed = place(
        shapes(
            "POINT (111 30.5)",
            "LINESTRING (111 30.5, 111.1 30.6)",
            square(),
            f"GEOMETRYCOLLECTION (POINT (111 30.5), {square()})",
        ),
        frame("MultiPolygon"),
    )
    assert codes(placed) == ["wrong_geometry_type", "wrong_geometry_type", None, "wrong_geometry_type"]
    assert placed.detail[1] == "LineString"
    split = place(shapes("MULTILINESTRING ((111 30.5, 111.1 30.5), (111.3 30.5, 111.4 30.6))"), frame("LineString"))
    assert codes(split) == ["wrong_geometry_type"]


def test_bow_ties_are_repaired_and_marked() -> None:
    bow = "POLYGON ((111 30.5, 111.02 30.52, 111.02 30.5, 111 30.52, 111 30.5))"
    placed = place(shapes(square(), bow), frame("MultiPolygon"))
    assert codes(placed) == [None, None]
    assert placed.repaired.tolist() == [False, True]
    mended = stored(placed)[1]
    assert mended is not None
    assert mended.is_valid
    assert mended.area == pytest.approx(0.0002, rel=1e-9)  # two triangles of half the square's quarter each


def test_what_cannot_be_repaired_says_why() -> None:
    placed = place(
        shapes("POLYGON ((111 30.5, 111.1 30.5, 111.2 30.5, 111 30.5))", "LINESTRING (111 30.5, 111 30.5)"),
        frame("MultiPolygon"),
    )
    assert codes(placed)[0] == "invalid_geometry"
    assert placed.detail[0]
    assert codes(place(shapes("LINESTRING (111 30.5, 111 30.5)"), frame("LineString"))) == ["invalid_geometry"]


def test_nan_and_infinity_in_shapes() -> None:
    nan, good = float("nan"), shapely.from_wkt(square())
    line = shapely.to_wkb(shapely.from_wkt("LINESTRING (111 30.5, 7 30.6)"))
    broken, endless = (line.replace(np.float64(7).tobytes(), np.float64(value).tobytes()) for value in (nan, np.inf))
    placed = place(read_wkb(pa.array([good.wkb, broken, endless])), frame("Geometry"))
    assert codes(placed) == [None, "not_finite_position", "not_finite_position"]


def test_heights_are_dropped_and_counted() -> None:
    placed = place(shapes("POINT Z (111 30.5 90)", "POINT (111 30.5)"), frame())
    assert placed.dropped_z == 1
    assert stored(placed)[0] == shapely.Point(111, 30.5)
    polygon = place(shapes("POLYGON Z ((111 30.5 1, 111.1 30.5 1, 111.1 30.6 1, 111 30.5 1))"), frame("MultiPolygon"))
    assert polygon.dropped_z == 1
    assert not any(g.has_z for g in stored(polygon) if g is not None)


def test_measures_are_kept_or_computed() -> None:
    lines = shapes(
        "LINESTRING M (111 30.5 0, 111.01 30.5 1000)",
        "LINESTRING ZM (111 30.5 9 5, 111.01 30.5 9 7)",
        "LINESTRING (111 30.5, 111.01 30.5)",
    )
    placed = place(lines, frame("LineStringM"))
    assert codes(placed) == [None] * 3
    assert placed.measured == 1
    m = [shapely.get_coordinates(g, include_m=True)[:, -1].tolist() for g in stored(placed)]
    assert m[:2] == [[0, 1000], [5, 7]]
    expected = pyproj.Geod(ellps="GRS80").line_length([111, 111.01], [30.5, 30.5])
    assert m[2] == [0, pytest.approx(expected, rel=1e-4)]
    moved = place(shapes("LINESTRING M (111.2917 30.6896 3, 111.3 30.69 8)"), frame("LineStringM", "gcj02"))
    assert shapely.get_coordinates(stored(moved)[0], include_m=True)[:, -1].tolist() == [3, 8]
    assert shapely.get_coordinates(stored(moved)[0])[0] == pytest.approx([111.2860, 30.6920], abs=1e-3)


def test_wkb_of_points_is_read_from_the_bytes() -> None:
    rng = np.random.default_rng(3)
    geometries = shapely.points(rng.uniform(110.3, 112, 50), rng.uniform(30, 31.5, 50))
    high = shapely.points(np.column_stack([shapely.get_coordinates(geometries), np.ones(50)]))
    for some, size in ((geometries, 0), (high, 50)):
        for flavor in ("iso", "extended"):
            found = read_wkb(pa.array(shapely.to_wkb(some, byte_order=1, flavor=flavor)))
            assert isinstance(found, Points)
            assert found.dropped_z == size
            assert np.array_equal(np.column_stack([found.x, found.y]), shapely.get_coordinates(some))
    mixed = pa.array(
        [
            *shapely.to_wkb(geometries, byte_order=1),
            shapely.from_wkt(square()).wkb,
            None,
            b"\x01\x02broken",
            shapely.to_wkb(geometries[0], byte_order=0),
        ]
    )
    found = read_wkb(mixed)
    assert isinstance(found, Shapes)
    assert found.bad["bad_geometry"].nonzero()[0].tolist() == [52]
    assert found.shapes[53] == geometries[0]
    assert np.isnan(read_wkb(pa.nulls(2)).x).all()  # type: ignore[union-attr]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(width=64), st.floats(width=64)), min_size=1, max_size=20),
    st.sampled_from(["4490", "gcj02", "bd09", "4546", "3857"]),
)
def test_every_point_is_stored_inside_or_has_one_reason(pairs: list[tuple[float, float]], source: str) -> None:
    placed = place(points(*pairs), frame(source=source))
    for code, geometry in zip(codes(placed), stored(placed), strict=True):
        assert (code is None) == (geometry is not None)
        if geometry is not None:
            assert BOUNDS[0] <= geometry.x <= BOUNDS[2]
            assert BOUNDS[1] <= geometry.y <= BOUNDS[3]
