"""Geometric truths of the reference city, each computed here anew from its layers."""

import geopandas as gpd
import numpy as np
import pytest
import shapely

from data.city import ReferenceCity


@pytest.fixture(scope="module")
def metres(reference_city: ReferenceCity) -> dict[str, gpd.GeoDataFrame]:
    """The layers with places, EPSG:4546."""
    return {name: frame.to_crs(4546) for name, frame in reference_city.layers.items() if frame.geometry.notna().any()}


def _overlap_m2(frame: gpd.GeoDataFrame) -> float:
    shapes = frame.geometry.to_numpy()
    a, b = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = a < b
    return float(shapely.area(shapely.intersection(shapes[a[pairs]], shapes[b[pairs]])).max(initial=0.0))


def test_grid_cells_partition_the_ring(reference_city: ReferenceCity, metres: dict[str, gpd.GeoDataFrame]) -> None:
    cells = metres["grid_cell"]
    spoilt = set(reference_city.answer_key["grid_gap"] + reference_city.answer_key["grid_overlap"])
    whole = cells[~cells["id"].isin(spoilt)]
    assert _overlap_m2(whole) < 0.01
    ring = metres["layout_unit"].query("level == 'ring'").geometry.iloc[0]
    missing = shapely.difference(ring, shapely.union_all(whole.geometry.to_numpy()))
    left = shapely.area(shapely.get_parts(missing))
    assert (left > 100.0).sum() == len(spoilt)  # only where the spoilt cells belong is anything left


@pytest.mark.parametrize("level", ["zone", "grid"])
def test_layout_partitions_the_ring_and_nests(metres: dict[str, gpd.GeoDataFrame], level: str) -> None:
    units = metres["layout_unit"]
    ring = units.query("level == 'ring'").geometry.iloc[0]
    mine = units[units["level"] == level]
    assert _overlap_m2(mine) < 0.01
    assert mine.area.sum() == pytest.approx(ring.area, abs=1.0)
    parents = units.set_index("id").geometry[mine["parent_id"]].to_numpy()
    assert shapely.area(shapely.difference(mine.geometry.to_numpy(), parents)).max() < 1.0


def test_communities_partition_streets_which_lie_in_their_counties(metres: dict[str, gpd.GeoDataFrame]) -> None:
    communities, areas = metres["community"], metres["admin_area"]
    assert _overlap_m2(communities) < 0.01
    streets = areas.query("level == 'street'")
    by_street = communities.dissolve(communities["admin_code"].str[:9] + "000").geometry.sort_index()
    own = streets.set_index("admin_code").geometry.sort_index()
    assert list(by_street.index) == list(own.index)
    assert shapely.area(shapely.symmetric_difference(by_street.to_numpy(), own.to_numpy())).max() < 1.0
    counties = areas.query("level == 'county'").set_index("admin_code").geometry
    container = counties[(own.index.str[:6] + "000000")].to_numpy()
    outside = shapely.area(shapely.difference(own.to_numpy(), container))
    assert outside.max() < 1500.0  # slivers along the border, from snapping to a centimetre and joining of crumbs
    assert own.area.sum() > 150e6


def test_cells_lie_in_their_community(metres: dict[str, gpd.GeoDataFrame]) -> None:
    cells = metres["grid_cell"]
    community = metres["community"].set_index("admin_code").geometry[cells["admin_code"]].to_numpy()
    inside = shapely.covers(community, shapely.point_on_surface(cells.geometry.to_numpy()))
    assert inside.all()


def test_communities_are_in_one_piece_as_far_as_county_borders_allow(metres: dict[str, gpd.GeoDataFrame]) -> None:
    pieces = shapely.get_num_geometries(metres["community"].geometry.to_numpy())
    assert (pieces == 1).mean() > 0.9


def test_banks_lie_on_their_side(metres: dict[str, gpd.GeoDataFrame]) -> None:
    axis = shapely.get_coordinates(metres["river_axis"].query("is_main_stem").geometry.iloc[0])
    assert axis[0, 0] < axis[-1, 0]
    assert axis[0, 1] > axis[-1, 1]
    for bank in metres["riverbank"].itertuples():
        middle = shapely.get_coordinates(bank.geom.interpolate(0.5, normalized=True))[0]
        k = int(np.clip(np.hypot(*(axis - middle).T).argmin(), 1, len(axis) - 2))
        ahead, aside = axis[k + 1] - axis[k - 1], middle - axis[k]
        turn = ahead[0] * aside[1] - ahead[1] * aside[0]
        assert (turn > 0) == (bank.bank_side == "L"), bank.name_en


def test_axis_measures_metres_downstream(reference_city: ReferenceCity) -> None:
    line = reference_city.layers["river_axis"].query("is_main_stem").geometry.iloc[0]
    m = shapely.get_coordinates(line, include_m=True)[:, 2]
    assert m[0] == 0.0
    assert (np.diff(m) > 0).all()
    plane = gpd.GeoSeries([shapely.force_2d(line)], crs=4490).to_crs(4546).iloc[0]
    assert m[-1] == pytest.approx(plane.length, rel=1e-6)
    assert 200_000 < m[-1] < 260_000  # the Yangtze's course through Yichang


def test_the_border_in_the_river_lies_in_the_river(metres: dict[str, gpd.GeoDataFrame]) -> None:
    counties = metres["admin_area"].query("level == 'county'").set_index("admin_code").geometry
    dianjun = counties["420504000000"]
    river = metres["water"].geometry.iloc[0]
    for other in ("420502000000", "420503000000"):
        border = shapely.intersection(dianjun.boundary, counties[other].boundary)
        assert shapely.intersection(border, shapely.convex_hull(border)).length == pytest.approx(border.length)
        islands = shapely.difference(shapely.buffer(river, 900.0).buffer(-900.0), river)
        wet = shapely.intersection(border, shapely.union(river, islands)).length
        assert wet / border.length > 0.99


def test_terrain_is_a_valley(reference_city: ReferenceCity, metres: dict[str, gpd.GeoDataFrame]) -> None:
    dem = reference_city.dem
    axis = shapely.get_coordinates(metres["river_axis"].query("is_main_stem").geometry.iloc[0])
    west, north = dem.transform.c, dem.transform.f
    rows, columns = dem.heights_m.shape
    box = (west + 200, north - rows * 10 + 200, west + columns * 10 - 200, north - 200)

    def height(xy: np.ndarray) -> np.ndarray:
        return dem.heights_m[((north - xy[:, 1]) // 10).astype(int), ((xy[:, 0] - west) // 10).astype(int)]

    inside = (axis[:, 0] > box[0]) & (axis[:, 0] < box[2]) & (axis[:, 1] > box[1]) & (axis[:, 1] < box[3])
    river = metres["water"].geometry.iloc[0]
    on_water = axis[inside][shapely.contains_xy(shapely.buffer(river, -60.0), axis[inside])]
    water = height(on_water)
    assert len(water) > 300
    assert (np.diff(water) <= 1e-3).all()  # downstream it never rises
    for bank in metres["riverbank"].geometry:
        for station in np.linspace(0.1, 0.9, 5):
            point = shapely.get_coordinates(bank.interpolate(station, normalized=True))
            if not shapely.contains_xy(shapely.box(*box), point)[0]:
                continue
            near = on_water[np.hypot(*(on_water - point).T).argmin()]
            inland = point + (point - near) / np.hypot(*(point - near).T) * 150.0
            if not shapely.contains_xy(river, inland)[0] and shapely.contains_xy(shapely.box(*box), inland)[0]:
                assert height(inland)[0] > height(near[None])[0] + 2.0
    hills = dem.heights_m[::5, : columns // 3]
    plain = dem.heights_m[::5, 2 * columns // 3 :]
    assert np.percentile(hills, 90) > 1.5 * np.percentile(plain, 90)


def test_everything_is_within_the_city(reference_city: ReferenceCity, metres: dict[str, gpd.GeoDataFrame]) -> None:
    city = shapely.buffer(metres["admin_area"].query("level == 'city'").geometry.iloc[0], 1000.0)
    shapely.prepare(city)
    for name, frame in metres.items():
        if (frame.geom_type == "Point").all():
            assert shapely.contains_properly(city, frame.geometry.to_numpy()).all(), name


def test_buildings_keep_off_water_streets_and_each_other(
    reference_city: ReferenceCity, metres: dict[str, gpd.GeoDataFrame]
) -> None:
    buildings = metres["building"].geometry.to_numpy()
    for water in metres["water"].geometry.iloc[:1]:
        shapely.prepare(water)
        assert not shapely.intersects(water, buildings).any()
    roads = metres["road"][~metres["road"]["bridge"]].geometry.to_numpy()
    hit = shapely.STRtree(buildings).query(roads, predicate="intersects")
    assert len(np.unique(hit[1])) < 0.002 * len(buildings)
    a, b = shapely.STRtree(buildings).query(buildings, predicate="intersects")
    pairs = a < b
    shared = shapely.area(shapely.intersection(buildings[a[pairs]], buildings[b[pairs]]))
    assert (shared > 1.0).sum() < 0.002 * len(buildings)
    assert metres["building"]["height_m"].between(2.0, 160.0).all()


def test_cameras_thin_out_from_centre_to_countryside(metres: dict[str, gpd.GeoDataFrame]) -> None:
    cameras = metres["camera_site"]
    distance = cameras.geometry.distance(shapely.Point(528700.0, 3396500.0)).to_numpy()
    edges = np.array([0.0, 2500.0, 5000.0, 9000.0, 20000.0, 60000.0])
    count, _ = np.histogram(distance, edges)
    per_km2 = count / (np.pi * np.diff(edges**2) / 1e6)
    assert (np.diff(per_km2) < 0).all()
    assert per_km2[0] > 20 * per_km2[3]


def test_exits_cross_the_ring_and_other_streets_do_not(metres: dict[str, gpd.GeoDataFrame]) -> None:
    ring = metres["layout_unit"].query("level == 'ring'").geometry.iloc[0]
    roads = metres["road"]
    crossing = roads[shapely.crosses(roads.geometry.to_numpy(), ring) & (roads["name_zh"] != "环城路").to_numpy()]
    assert 20 <= len(crossing) <= 60
    assert (crossing["admin_grade"] != "urban").mean() > 0.85
    ring_road = shapely.union_all(roads[roads["name_zh"] == "环城路"].geometry.to_numpy())
    covered = shapely.intersection(shapely.boundary(ring), shapely.buffer(ring_road, 15.0)).length
    assert covered / shapely.boundary(ring).length > 0.9
