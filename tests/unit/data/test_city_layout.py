"""The check of the layout finds what is planted in the reference city, and nothing else of those kinds."""

import geopandas as gpd
import pytest
import shapely

from data.city import ReferenceCity
from gis.settings import CityConfig
from grids.layout import LEVELS, LayoutData
from grids.layout_check import judge_layout
from grids.layout_faults import LayoutFault


@pytest.fixture(scope="module")
def faults(reference_city: ReferenceCity, city: CityConfig) -> list[LayoutFault]:
    metres = {
        name: reference_city.layers[name].to_crs(city.analysis_srid)
        for name in ("layout_unit", "grid_cell", "community", "admin_area", "road", "camera_site")
    }
    units, areas = metres["layout_unit"], metres["admin_area"]
    level = {name: units[units["level"] == name].sort_values("code").reset_index(drop=True) for name in LEVELS}
    streets = areas[areas["level"] == "street"].reset_index(drop=True)
    none = gpd.GeoDataFrame({"online_overview": [], "public_m2": []}, geometry=[], crs=city.analysis_srid)
    data = LayoutData(
        "current", 1, level["ring"], level["zone"], level["grid"], level["point"], metres["grid_cell"], (),
        metres["community"], streets, metres["road"], metres["camera_site"], none,
    )  # fmt: skip
    return judge_layout(data, city)[0]


def first(faults: list[LayoutFault], kind: str) -> set[str]:
    return {fault.ids[0] for fault in faults if fault.kind == kind}


def test_grid_cells(faults: list[LayoutFault], reference_city: ReferenceCity) -> None:
    key = {name: set(ids) for name, ids in reference_city.answer_key.items()}
    assert first(faults, "cell_gap") == key["grid_gap"]
    assert first(faults, "cell_overlap") == key["grid_overlap"]
    assert first(faults, "cell_code_prefix") == key["grid_wrong_prefix"]
    # a cell that was blown up reaches beyond its community; one that has another's number is out of order
    planted = key["grid_gap"] | key["grid_overlap"] | key["grid_wrong_prefix"]
    assert {f.ids[0] for f in faults if f.kind.startswith("cell_")} <= planted


def test_points(faults: list[LayoutFault], reference_city: ReferenceCity) -> None:
    key = {name: set(ids) for name, ids in reference_city.answer_key.items()}
    outside = {f.ids[0] for f in faults if f.kind in ("point_outside_container", "point_outside_all")}
    assert outside == key["layout_point_outside_grid"]
    moved = key["camera_mislabelled_gcj02"] | key["camera_in_sensitive_place"] | key["camera_near_military"]
    apart = {f.ids[0]: f.ids[1] for f in faults if f.kind == "site_apart"}
    assert all(point in outside or site in moved for point, site in apart.items())


def test_ring_crossings(faults: list[LayoutFault], reference_city: ReferenceCity) -> None:
    """Two or three of the bare crossings lead outside; a road that runs along the ring is named as such."""
    bare = set(reference_city.answer_key["ring_crossing_without_camera"])
    roads = reference_city.layers["road"].set_index("id")
    named = {f.ids[1]: f.kind for f in faults if f.kind in ("crossing_unwatched", "road_along_ring")}
    assert bare <= set(named)
    assert set(roads["name_zh"][list(set(named) - bare)]) <= {"环城路"}
    leaks = {f.ids[1] for f in faults if f.kind == "ring_leak"}
    assert leaks == {road for road in bare if named[road] == "crossing_unwatched"}


def test_shapes_are_clean(faults: list[LayoutFault]) -> None:
    stems = {f.kind.removesuffix("_sliver") for f in faults if f.level in ("ring", "zone", "grid")}
    assert not stems & {"gap", "overlap", "outside_container", "in_pieces", "invalid", "no_container", "count"}
    assert all(f.place is not None and not shapely.is_empty(f.place) for f in faults)
