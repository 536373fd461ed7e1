"""Blocks tile their area; borders equal what shapely finds pair by pair."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, MultiLineString, Polygon, box

from gis.errors import CRSMismatch, InvalidGeometry
from gis.partition_blocks import blocks_from_lines, borders

CRS = 4546


def layer(*shapes):
    return gpd.GeoSeries(list(shapes), crs=CRS)


def as_dict(result):
    return {tuple(pair): length for pair, length in zip(result.pairs.tolist(), result.border_m, strict=True)}


def test_t_junctions_do_not_hide_a_border():
    polygons = [box(0, 0, 10, 10), box(10, 0, 20, 4), box(10, 4, 20, 10), box(0, 10, 20, 20)]
    found = as_dict(borders(polygons))
    assert found == pytest.approx({(0, 1): 4, (0, 2): 6, (0, 3): 10, (1, 2): 10, (2, 3): 10})


def test_vertices_that_differ_by_less_than_the_tolerance_are_one():
    left = Polygon([(0, 0), (10.004, 0), (9.996, 5), (10.003, 10), (0, 10)])
    right = Polygon([(10, 0), (20, 0), (20, 10), (10, 10)])
    assert as_dict(borders([left, right], tolerance_m=0.02)) == pytest.approx({(0, 1): 10}, abs=0.01)


def test_touching_corners_are_no_neighbours():
    assert as_dict(borders([box(0, 0, 1, 1), box(1, 1, 2, 2)])) == {}


def test_a_hole_borders_what_fills_it():
    ring = Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(3, 3), (6, 3), (6, 6), (3, 6)]])
    assert as_dict(borders([ring, box(3, 3, 6, 6)])) == pytest.approx({(0, 1): 12})


def test_border_lines_are_the_common_border():
    found = borders([box(0, 0, 10, 10), box(10, 2, 20, 8)])
    assert found.lines[0].equals(LineString([(10, 2), (10, 8)]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_borders_equal_the_slow_way_on_voronoi_cells(seed):
    rng = np.random.default_rng(seed)
    points = shapely.multipoints(rng.uniform(0, 1000, (25, 2)))
    area = box(0, 0, 1000, 1000)
    cells = [cell.intersection(area) for cell in shapely.get_parts(shapely.voronoi_polygons(points, extend_to=area))]
    # an extra vertex on one side of a border only, as hand-drawn layers have
    cells = [shapely.segmentize(cell, 90.0) if number % 2 else cell for number, cell in enumerate(cells)]
    cells = [shapely.set_precision(cell, 0.001) for cell in cells]
    found = as_dict(borders(cells, tolerance_m=0.01))
    slow = {}
    for a in range(len(cells)):
        for b in range(a + 1, len(cells)):
            slow[a, b] = cells[a].boundary.intersection(cells[b].buffer(0.02)).length
    assert {pair for pair, length in slow.items() if length > 0.5} <= set(found)
    for pair, length in found.items():
        assert slow[pair] == pytest.approx(length, abs=0.25)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 12))
def test_blocks_tile_their_area(seed, count):
    rng = np.random.default_rng(seed)
    roads = [LineString(rng.uniform(-100, 1100, (3, 2))) for _ in range(count)]
    area = Polygon([(0, 0), (1000, 0), (1000, 900), (500, 1000), (0, 800)], [[(400, 400), (500, 400), (450, 500)]])
    blocks = blocks_from_lines(layer(area), [layer(*roads)]).blocks.geometry.to_numpy()
    assert shapely.is_valid(blocks).all()
    assert shapely.area(blocks).sum() == pytest.approx(area.area, abs=1.0)
    assert shapely.area(shapely.union_all(blocks)) == pytest.approx(area.area, abs=1.0)
    if not len(roads):
        assert len(blocks) == 1


def test_a_grid_of_streets():
    streets = [LineString([(x, -10), (x, 310)]) for x in (100, 200)] + [
        LineString([(-10, y), (310, y)]) for y in (100, 200)
    ]
    found = blocks_from_lines(layer(box(0, 0, 300, 300)), [layer(*streets), layer(LineString([(20, 20), (60, 20)]))])
    assert len(found.blocks) == 9
    assert found.dangling_m == pytest.approx(40)
    assert found.blocks.crs.to_epsg() == CRS


def test_rivers_as_polygons_cut_with_their_banks():
    river = box(-10, 140, 310, 160)
    found = blocks_from_lines(layer(box(0, 0, 300, 300)), [layer(river)])
    assert sorted(found.blocks.area.round().tolist()) == [6000, 42000, 42000]


def test_dual_carriageways_are_merged_into_a_neighbour():
    streets = MultiLineString([[(150, -10), (150, 310)], [(151.5, -10), (151.5, 310)]])
    found = blocks_from_lines(layer(box(0, 0, 300, 300)), [layer(streets)])
    assert len(found.blocks) == 2 and found.merged == 1
    assert found.blocks.area.sum() == pytest.approx(90000)


def test_a_chain_of_slivers_ends_in_one_block():
    streets = [[(150, -10), (150, 310)], [(151, -10), (151, 310)], [(152, -10), (152, 310)]]
    found = blocks_from_lines(layer(box(0, 0, 300, 300)), [layer(MultiLineString(streets))])
    assert len(found.blocks) == 2 and found.merged == 2
    assert shapely.is_valid(found.blocks.geometry.to_numpy()).all()
    assert (found.blocks.geom_type == "Polygon").all()


def test_lines_in_another_system_are_refused():
    lines = gpd.GeoSeries([LineString([(0, 0), (1, 1)])], crs=4490)
    with pytest.raises(CRSMismatch):
        blocks_from_lines(layer(box(0, 0, 1, 1)), [lines])
    with pytest.raises(CRSMismatch):
        blocks_from_lines(gpd.GeoSeries([box(0, 0, 1, 1)], crs=4490), [])
    with pytest.raises(CRSMismatch):
        blocks_from_lines(gpd.GeoSeries([box(0, 0, 1, 1)]), [])


def test_an_empty_area_is_refused():
    with pytest.raises(InvalidGeometry):
        blocks_from_lines(layer(Polygon()), [])
