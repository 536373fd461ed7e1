"""Proposals against brute force over all pairs of candidates, each computed by a coverage run of its own."""

from itertools import combinations

import geopandas as gpd
import numpy as np
import pytest
import shapely

from gis.cameras import prepare
from gis.coverage import compute
from gis.coverage_sampling import at_points
from gis.errors import InputError
from gis.settings import CameraType
from gis.visibility_surface import Buildings, Surface
from grids.proposals import SiteTarget, choose
from grids.proposals_mounts import Mounts, candidates, mounts, thin
from grids.proposals_places import Places, demand_places, inside

CRS = 4546
TYPES = {
    "near": CameraType(cost=6, hfov_deg=70, vfov_deg=60, res_w_px=2560, view_dist_m=60, mount_height_m=6, tilt_deg=30, ptz_type=3),
    "round": CameraType(cost=9, hfov_deg=360, vfov_deg=90, res_w_px=6000, view_dist_m=40, mount_height_m=5, tilt_deg=45, ptz_type=6),
}  # fmt: skip
OPTIONS = {"densities_px_m": (20.0, 40.0), "range_max_m": 400.0, "crs": CRS}


def block(x: np.ndarray, y: np.ndarray) -> Mounts:
    none = np.full(len(x), None, dtype=object)
    return Mounts(x, y, np.full(len(x), "pole", dtype=object), none, none)


@pytest.fixture(params=[0, 1, 2])
def world(request: pytest.FixtureRequest):
    rng = np.random.default_rng(request.param)
    walls = [shapely.box(x, y, x + 20, y + 8) for x, y in rng.uniform(0, 140, (5, 2))]
    surface = Surface(cell_m=1.0, buildings=Buildings.from_polygons(walls, np.full(5, 12.0)))
    xy = rng.uniform(0, 160, (70, 2))
    kind = rng.integers(0, 2, 70)
    places = Places(xy[:, 0], xy[:, 1], rng.integers(1, 9, 70).astype(float), kind, ("outfall", "road"), 10.0)
    existing = prepare(
        {"id": ["e1", "e2"], "x": [20.0, 90.0], "y": [20.0, 90.0], "azimuth_deg": [45.0, 200.0], "view_dist_m": [70.0, 70.0],
         "net_status": ["on", "off"]}, densities_px_m=OPTIONS["densities_px_m"], crs=CRS,
    )  # fmt: skip
    group = block(*rng.uniform(10, 150, (2, 2)).T)
    return surface, places, existing, candidates(group, TYPES, orientations=4, **OPTIONS)  # 2 mounts × (4 + 1)


def seen(surface, places, table, product, density=0):
    """Cameras that see each place, by a run over cells."""
    result = compute(table, surface, densities_px_m=OPTIONS["densities_px_m"], workers=1)
    which = ["confirmed_installed", "possible_installed", "confirmed_online", "possible_online"].index(product)
    return at_points(result, places.x, places.y).counts[:, which, density].astype(int)


def by_hand(surface, places, existing, possible):
    before = seen(surface, places, existing, "confirmed_online")
    each = np.array(
        [seen(surface, places, possible.table.take([i]), "confirmed_installed") for i in range(len(possible.table))]
    )
    return before, each


def test_two_of_ten_are_the_best_two(world) -> None:
    surface, places, existing, possible = world
    before, each = by_hand(surface, places, existing, possible)
    for times in (1, 2):
        choice = choose(existing, possible, surface, places, count=2, times=times)

        def worth(sites, times=times):
            covered = before + each[list(sites)].sum(axis=0)
            return float((places.weight * np.minimum(covered, times) / times).sum())

        best = max(worth(pair) for pair in combinations(range(len(each)), 2))
        base = worth(())
        assert best > base
        assert worth(choice.result.sites) == pytest.approx(best)
        assert choice.result.value - choice.result.base_value == pytest.approx(best - base)
        assert choice.result.proven
        np.testing.assert_array_equal(choice.seen_before, before)
        after = before + each[choice.result.sites].sum(axis=0)
        np.testing.assert_array_equal(choice.seen_after[before < times], after[before < times])
        assert choice.result.added.sum() == pytest.approx(best - base)


def test_a_budget_is_kept_and_used_best(world) -> None:
    surface, places, existing, possible = world
    before, each = by_hand(surface, places, existing, possible)
    choice = choose(existing, possible, surface, places, budget=16.0)
    assert choice.result.cost <= 16.0
    values = [
        float(places.weight[(before + each[list(pair)].sum(axis=0)) > 0].sum())
        for size in (0, 1, 2)
        for pair in combinations(range(len(each)), size)
        if possible.cost[list(pair)].sum() <= 16.0
    ]
    assert float(places.weight[choice.seen_after > 0].sum()) == pytest.approx(max(values))


def test_targets_come_before_weight(world) -> None:
    surface, places, existing, possible = world
    target = SiteTarget("outfall", 1, 40.0)
    choice = choose(existing, possible, surface, places, count=1, targets=[target])
    outfalls = places.of_kind("outfall")
    have = seen(surface, places, existing, "confirmed_online", 1)[outfalls]
    each = np.array(
        [
            seen(surface, places, possible.table.take([i]), "confirmed_installed", 1)[outfalls]
            for i in range(len(possible.table))
        ]
    )
    most = max(int(((have + row) > 0).sum()) for row in each)
    told = choice.result.targets[0]
    assert told.name == "outfall:1@40"
    assert told.wanted == len(outfalls)
    assert told.met == most
    assert (target.name in choice.met[0]) == (most > int((have > 0).sum())) if len(choice.met) else True


def test_a_target_without_places_is_refused(world) -> None:
    surface, places, existing, possible = world
    with pytest.raises(InputError):
        choose(existing, possible, surface, places, count=1, targets=[SiteTarget("crossing")])


def test_every_direction_once_and_all_round_once() -> None:
    found = candidates(block(np.array([0.0, 50.0]), np.zeros(2)), TYPES, **OPTIONS)
    assert len(found.table) == 2 * (8 + 1)
    assert sorted(found.azimuth_deg[(found.type == "near") & (found.mount == 1)]) == [45.0 * i for i in range(8)]
    assert set(found.cost) == {6.0, 9.0}
    assert (found.table.half_confirmed_deg[found.type == "round"] == 180).all()


def frame(shapes, **columns):
    return gpd.GeoDataFrame(columns, geometry=shapes, crs=CRS).rename_geometry("geom")


ROADS = frame(
    [shapely.LineString([(-100, 0), (300, 0)]), shapely.LineString([(50, -80), (50, 80)])],
    road_class=["primary", "tertiary"], bridge=[False] * 2, tunnel=[False] * 2, osm_layer=[None] * 2,
)  # fmt: skip
BANKS = frame([shapely.LineString([(0, 60), (200, 60)])], bank_side=["L"])
OUTFALLS = frame([shapely.Point(10, 60), shapely.Point(900, 900)], admin_code=[None, None])
SCHOOLS = frame([shapely.Point(0, 0)], entrances=[shapely.MultiPoint([(5, 5), (7, 7)])])
GRID = np.array([shapely.box(0, -100, 200, 100)])
WEIGHTS = {"entrance": 50.0, "crossing": 20.0, "outfall": 40.0, "riverbank": 2.0, "road": 1.0}


def collect(**options):
    return demand_places(
        roads=ROADS, banks=BANKS, outfalls=OUTFALLS, schools=SCHOOLS, cells=GRID, weights=WEIGHTS, **options
    )


def test_places_stand_for_all_that_has_weight() -> None:
    places = collect()
    worth = {kind: places.weight[places.of_kind(kind)].sum() for kind in places.kinds}
    assert worth["school_entrance"] == 100
    assert worth["outfall"] == 80
    assert worth["crossing"] == 20
    assert worth["riverbank"] == pytest.approx(400)
    assert worth["road"] == pytest.approx(200 + 160)  # of the road of 400 m half lies in the grid
    only = collect(kinds=["outfall"], within=np.array([shapely.box(0, 0, 100, 100)]))
    assert (only.kinds, len(only), list(only.weight)) == (("outfall",), 1, [40.0])
    with pytest.raises(InputError):
        collect(kinds=["persons"])


def test_no_more_places_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grids.proposals_places.PLACES_MAX", 20)
    places = collect(kinds=["road", "riverbank"])
    assert places.step_m > 10
    assert len(places) <= 20 + 3
    assert places.weight.sum() == pytest.approx(360 + 400, rel=0.15)  # long steps at the edge of the grid


def test_mounts_are_near_need_and_never_in_a_building() -> None:
    houses = frame(
        [shapely.box(60, 5, 80, 25), shapely.box(150, 1, 170, 40), shapely.box(60, 500, 80, 525)], id=["a", "b", "c"]
    )
    poles = frame([shapely.Point(20, 3), shapely.Point(20, 900)], id=["p", "q"], kind=["shared", "lamp"])
    unseen = np.array([[x, 0.0] for x in range(0, 200, 10)])
    found = mounts(poles=poles, buildings=houses, roads=ROADS, banks=BANKS, cells=GRID, unseen_xy=unseen, reach_m=70.0)
    assert not inside(houses.geometry.to_numpy(), found.x, found.y).any()
    assert {i for i in found.id if i is not None} == {"p", "a", "b"}
    assert set(found.kind) == {"shared_pole", "pole", "wall"}
    wall = found.kind == "wall"
    assert shapely.distance(shapely.points(found.x[wall], found.y[wall]), houses.union_all()).max() <= 1.6
    new = (found.kind == "pole") & (found.layer == None)  # noqa: E711 elementwise
    assert np.hypot(found.x[new] - 20, found.y[new] - 3).min() > 25
    nothing = mounts(
        poles=poles, buildings=houses, roads=ROADS, banks=BANKS, cells=GRID, unseen_xy=np.empty((0, 2)), reach_m=70.0
    )
    assert len(nothing) == 0


def test_thinning_keeps_the_promising_and_spreads() -> None:
    rng = np.random.default_rng(1)
    group = block(*rng.uniform(0, 400, (300, 2)).T)
    places, weight = rng.uniform(0, 400, (200, 2)), rng.uniform(1, 5, 200)
    few = thin(group, places, weight, reach_m=50.0, at_most=64)
    assert len(few) == 64
    squares = {(int(x // 50), int(y // 50)) for x, y in zip(few.x, few.y, strict=True)}
    assert len(squares) > 45
    promise = [weight[np.hypot(*(places - xy).T) <= 50].sum() for xy in zip(group.x, group.y, strict=True)]
    best = int(np.argmax(promise))
    assert (few.x == group.x[best]).any()
    assert len(thin(group, places, weight, reach_m=50.0, at_most=300)) == 300


def test_places_of_targets_keep_their_mounts() -> None:
    rng = np.random.default_rng(2)
    group = block(*rng.uniform(0, 400, (300, 2)).T)
    places, weight = rng.uniform(0, 100, (200, 2)), np.full(200, 5.0)
    lonely = np.array([[390.0, 390.0]])
    without = thin(group, places, weight, reach_m=40.0, at_most=20)
    few = thin(group, places, weight, reach_m=40.0, at_most=20, first_xy=lonely)
    assert len(few) == len(without) == 20
    assert np.hypot(without.x - 390, without.y - 390).min() > 40
    distance = np.hypot(group.x - 390, group.y - 390)
    near = int((distance <= 40).sum())
    assert near
    assert int((np.hypot(few.x - 390, few.y - 390) <= 40).sum()) == min(near, 10)
