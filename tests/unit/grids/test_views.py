"""Views of single cameras, against whole runs with and without a camera, and the engine's own privacy."""

import geopandas as gpd
import numpy as np
import pytest
import shapely

from gis.cameras import CameraTable, prepare
from gis.coverage import compute
from gis.coverage_drawn import drawn_view
from gis.coverage_place import place
from gis.coverage_views import privacy, views
from gis.errors import InputError
from gis.visibility_surface import Buildings, Surface
from grids.views import area_prefix, camera_views, near, residential_ground
from tests.unit.gis.test_coverage import register, town

CRS = 4546


def people(table: CameraTable) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(
        {"id": list(table.id), "name_zh": None, "admin_code": "420502001001"},
        geometry=gpd.points_from_xy(table.x, table.y),
        crs=CRS,
    ).set_index("id")


@pytest.fixture(scope="module")
def scene() -> tuple[Surface, CameraTable]:
    surface, table = town(seed=7), prepare(register(seed=7, n=14), crs=CRS)
    return surface, place(table, surface).cameras


@pytest.fixture(scope="module")
def homes() -> gpd.GeoDataFrame:
    shapes = [shapely.box(20 + 40 * i, 30, 40 + 40 * i, 60) for i in range(4)]
    kinds = ["residential", "commercial", "residential", None]
    return gpd.GeoDataFrame({"building_kind": kinds}, geometry=shapes, crs=CRS)


@pytest.fixture(scope="module")
def rows(scene: tuple[Surface, CameraTable], homes: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    surface, table = scene
    result = compute(table, surface, workers=1)
    ground = residential_ground(homes, cell_m=1.0, buffer_m=3.0)
    frames = list(camera_views(table, people(table), surface, result, residential=ground))
    assert len(frames) == 1
    return frames[0].set_index("camera_id")


def test_what_only_one_camera_sees_is_what_a_run_without_it_lacks(
    scene: tuple[Surface, CameraTable], rows: gpd.GeoDataFrame
) -> None:
    surface, table = scene
    whole = compute(table, surface, workers=1).area_m2("confirmed_installed")
    lost = 0.0
    for i, name in enumerate(table.id):
        rest = compute(table.take([k for k in range(len(table)) if k != i]), surface, workers=1)
        missing = whole - rest.area_m2("confirmed_installed")
        assert (rows["only_here_m2"].get(name, 0.0)) == missing
        lost += missing
    assert lost > 0


@pytest.mark.parametrize(("relief", "least", "most"), [(0.0, 0.9, 1.0), (0.2, 0.5, 0.99), (30.0, 0.0, 0.2)])
def test_views_are_drawn_by_geometry_where_it_says_what_the_exact_engine_says(relief: float, least: float, most: float) -> None:
    """Among 25 buildings: polygons hold the centres of the cells of open ground that a run of the camera alone counts, and no roof."""
    surface = town(seed=3, relief=relief)
    table = place(prepare(register(seed=3, n=40), crs=CRS), surface).cameras
    (frame,) = camera_views(table, people(table), surface, compute(table, surface, workers=1))
    rows, drawn = frame.set_index("camera_id"), 0
    at = {name: i for i, name in enumerate(table.id)}
    for name, row in rows.iterrows():
        alone = compute(table.take([at[name]]), surface, workers=1)
        south, west, north, east = alone.bounds_cells
        counts = alone.window(south, west, north - south, east - west)
        seen = counts[alone.band(f"{row['certainty']}_installed")] > 0
        open_ground = surface.window(south, west, north - south, east - west).building < 0
        x, y = np.meshgrid(np.arange(west, east) + 0.5, np.arange(south, north) + 0.5)
        inside = shapely.contains_xy(row["geom"], x, y)
        if (inside & ~open_ground).any():  # an outline of cells: roofs that are seen belong to it
            continue
        either = ((inside | seen) & open_ground).sum()
        drawn += bool((inside & seen & open_ground).sum() >= 0.95 * either > 0)
    assert frame.attrs["drawn"] <= drawn
    assert least * len(rows) <= frame.attrs["drawn"] <= most * len(rows)


def test_a_drawn_view_has_the_corners_of_the_walls_and_holes_for_low_roofs() -> None:
    """Eye at (0.5, 0.5), 6 m up: a wall of 9 m from x = 20 on ends the view, a shed of 3 m hides itself and twice its distance."""
    shapes = [shapely.box(20, -40, 24, 40), shapely.box(-9.5, -1.5, -7.5, 2.5)]
    surface = Surface(cell_m=1.0, buildings=Buildings.from_polygons(shapes, [9.0, 3.0]))
    camera = {"id": ["a"], "x": [0.5], "y": [0.5], "ptz_type": [6], "mount_height_m": [6.0], "view_dist_m": [30.0], "res_w_px": [8000]}
    table = place(prepare({**camera, "tilt_deg": [0.0], "vfov_deg": [179.0]}, crs=CRS), surface).cameras
    (frame,) = camera_views(table, people(table), surface, compute(table, surface, workers=1))
    shape = frame["geom"].iloc[0]
    assert frame.attrs["drawn"] == 1
    assert shape.bounds[2] == pytest.approx(20.0), "the wall's face"
    assert not shape.intersects(shapely.box(-9.4, -1.4, -7.6, 2.4)), "the shed's roof"
    assert not shape.contains(shapely.Point(-15.0, 0.5)), "in its shadow, which ends at x = -19.5"
    assert shape.contains(shapely.Point(-20.5, 0.5)), "behind its shadow"
    assert shapely.get_num_interior_rings(shape) == 2, "the shed with its shadow, and the blind zone below the camera"


def test_area_and_outline_are_those_of_a_run_of_this_camera_alone(
    scene: tuple[Surface, CameraTable], rows: gpd.GeoDataFrame
) -> None:
    surface, table = scene
    assert {"confirmed", "possible"} == set(rows["certainty"])
    for i, name in enumerate(table.id):
        alone = compute(table.take([i]), surface, workers=1)
        sure = alone.area_m2("confirmed_installed")
        area = sure or alone.area_m2("possible_installed")
        if area == 0:
            assert name not in rows.index
            continue
        row = rows.loc[name]
        assert (row["certainty"], row["area_m2"]) == ("confirmed" if sure else "possible", area)
        assert row["geom"].is_valid
        drawn = drawn_view(
            next(iter(views(table.take([i]), surface, workers=1))), table, i, surface, confirmed=bool(sure)
        )
        if drawn is None:  # the outline of the cells: no corner moves by more than a cell
            assert abs(row["geom"].area - area) <= row["geom"].length + 2.0
        else:
            assert row["geom"].equals(drawn)
        assert row["online"] in ({0: False, 1: True}.get(int(table.online[i])), None)


def test_residential_share_is_the_engines(
    scene: tuple[Surface, CameraTable], homes: gpd.GeoDataFrame, rows: gpd.GeoDataFrame
) -> None:
    surface, table = scene
    plots = shapely.buffer(homes.geometry.to_numpy()[[0, 2]], 3.0, quad_segs=2)
    found = 0
    for item in privacy(table, surface, plots, mask=False, workers=1):
        if item.view_m2 and rows.loc[item.id, "certainty"] == "confirmed":
            assert rows.loc[item.id, "share_residential"] == pytest.approx(item.share, abs=1e-4)
            assert (rows.loc[item.id, "residential_mask"] is None) == (item.on_m2 == 0)
            found += item.on_m2 > 0
    assert found


def test_assumptions_are_named_camera_by_camera(scene: tuple[Surface, CameraTable], rows: gpd.GeoDataFrame) -> None:
    _, table = scene
    for name, words in rows["assumed"].items():
        bits = int(table.assumed[table.id.index(name)])
        assert ("direction_unknown" in words) == bool(bits & 256)
        assert ("moved" in words) == bool(bits & 2048)


def test_counts_of_the_cameras_near_are_enough(scene: tuple[Surface, CameraTable]) -> None:
    _, table = scene
    far = prepare({"id": ["far"], "x": [5000.0], "y": [5000.0], "azimuth_deg": [0.0]}, crs=CRS)
    both = table.joined(far)
    chosen = both.take([0, 3])
    kept = near(both, chosen)
    assert "far" not in kept.id
    assert set(chosen.id) <= set(kept.id)
    whole, part = compute(both, Surface(cell_m=1.0), workers=1), compute(kept, Surface(cell_m=1.0), workers=1)
    views = [
        next(iter(camera_views(chosen, people(chosen), Surface(cell_m=1.0), r)))["only_here_m2"] for r in (whole, part)
    ]
    np.testing.assert_array_equal(*views)
    assert len(near(both, both.take([]))) == 0


def test_no_residential_building_is_no_ground(homes: gpd.GeoDataFrame) -> None:
    assert residential_ground(homes.iloc[1:2], cell_m=1.0) is None


@pytest.mark.parametrize(
    ("code", "prefix"),
    [("420502000000", "420502"), ("420502001000", "420502001"), ("420500", "4205"), ("420502001001", "420502001001"), ("", ""), (None, "")],
)  # fmt: skip
def test_area_prefix(code: str | None, prefix: str) -> None:
    assert area_prefix(code) == prefix


@pytest.mark.parametrize("code", ["Xiling", "4205020010010", "42%"])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(InputError):
        area_prefix(code)
