"""Coverage by zones against counting every cell."""

from itertools import pairwise

import numpy as np
import shapely

from gis.coverage import compute
from gis.coverage_sampling import by_polygons
from gis.coverage_zones import by_zones


def scene():
    cameras = {
        "x": [20.5, 120.5, 300.5], "y": [20.5, 80.5, 300.5], "azimuth_deg": [45.0, 200.0, None], "view_dist_m": [60.0] * 3,
        "hfov_deg": [70.0] * 3, "net_status": ["on", "off", "on"],
    }  # fmt: skip
    return compute(cameras, workers=1)


def test_zones_equal_polygons_one_by_one_and_a_count_of_cells() -> None:
    result = scene()
    edges = [-37.0, 41.3, 90.0, 140.0, 400.0]
    zones = np.array([shapely.box(a, c, b, d) for a, b in pairwise(edges) for c, d in pairwise(edges)])
    without = np.array([shapely.box(30, 30, 50, 50), shapely.Point(100, 60).buffer(12)])
    zoned = by_zones(result, zones, without=without)
    single = by_polygons(result, zones, without=without)
    np.testing.assert_allclose(zoned.open_m2, single.area_m2)
    np.testing.assert_allclose(zoned.covered_m2, single.covered_m2)
    # plainly, cell by cell
    rows, cols = np.mgrid[-40:410, -40:410]
    centres = shapely.points(cols + 0.5, rows + 0.5)
    outside = ~shapely.intersects(shapely.union_all(without), centres)
    counts = result.window(-40, -40, 450, 450)
    for index, zone in enumerate(zones):
        inside = shapely.intersects(zone, centres) & outside
        assert zoned.open_m2[index] == inside.sum()
        assert zoned.covered_m2[index, 0, 0] == (counts[0][inside] > 0).sum()


def test_no_zone_and_zone_far_away() -> None:
    result = scene()
    assert by_zones(result, np.array([], dtype=object)).open_m2.shape == (0,)
    far = by_zones(result, np.array([shapely.box(9000, 9000, 9010, 9010)]))
    assert far.open_m2[0] == 100
    assert far.covered_m2.sum() == 0
