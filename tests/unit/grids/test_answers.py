"""From counts to answers: states, stretches of bank, schools, outfalls, units, gaps; each against plain counting."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from gis.cameras import CameraTable, prepare
from gis.coverage import CoverageResult, compute
from gis.visibility_surface import Buildings, Surface
from grids.causes import main_cause
from grids.coverage_bank import bank_segments, station
from grids.coverage_places import outfall_watch, school_coverage
from grids.coverage_units import cover_cells, roll_up
from grids.fairness import fairness
from grids.fence import fence_lines
from grids.gaps import find_gaps
from grids.roads import road_crossings
from grids.watch import watch_of_counts, watch_points

CRS = 4546

#: One fixed camera looking north along x = 0.5, one of unknown direction at (200, 0), one that is off at (400, 0).
CAMERAS = gpd.GeoDataFrame(
    {
        "id": ["fixed", "turned", "off"],
        "azimuth_deg": [0.0, np.nan, 0.0],
        "ptz_type": [3, 3, 3],
        "hfov_deg": [60.0] * 3,
        "vfov_deg": [60.0] * 3,
        "tilt_deg": [30.0] * 3,
        "mount_height_m": [6.0] * 3,
        "res_w_px": [2560] * 3,
        "view_dist_m": [80.0] * 3,
        "net_status": ["on", "on", "off"],
    },
    geometry=gpd.points_from_xy([0.5, 200.5, 400.5], [0.5, 0.5, 0.5]),
    crs=CRS,
)
SURFACE = Surface(cell_m=1.0)


@pytest.fixture(scope="module")
def table():
    return prepare(CAMERAS)


@pytest.fixture(scope="module")
def result(table) -> CoverageResult:
    return compute(table, SURFACE, workers=1)


def test_states_are_never_better_than_what_is_known(result: CoverageResult) -> None:
    watch = watch_points(result, [0.5, 200.5, 200.5, 400.5, 300.5], [40.5, 40.5, -40.5, 40.5, 300.5])
    assert list(watch.state) == ["confirmed", "possible", "possible", "offline", "none"]
    assert list(watch.confirmed) == [1, 0, 0, 0, 0]
    assert np.isnan(watch.density_px_m[3:]).all()


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_state_follows_from_counts_alone(result: CoverageResult, numbers: list[tuple[int, int, int, int]]) -> None:
    # products: confirmed_installed, possible_installed, confirmed_online, possible_online
    counts = np.repeat(np.array(numbers, dtype=np.uint16)[:, :, None], 3, axis=2)
    watch = watch_of_counts(result, counts)
    for state, (sure, maybe, sure_on, maybe_on) in zip(watch.state, numbers, strict=True):
        if sure_on:
            assert state == "confirmed"
        elif maybe_on:
            assert state == "possible"
        else:
            assert state == ("offline" if sure or maybe else "none")


@pytest.mark.parametrize(("metres", "text"), [(0, "K0+000"), (12345.4, "K12+345"), (999.6, "K1+000"), (1000, "K1+000")])
def test_station(metres: float, text: str) -> None:
    assert station(metres) == text


def bank(line: shapely.LineString, start: float = 5000.0, end: float = 5600.0) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(
        {
            "reach_code": ["r"],
            "bank_side": ["L"],
            "start_m": [start],
            "end_m": [end],
            "admin_code": [None],
            "name_zh": [None],
        },
        geometry=[line],
        crs=CRS,
    ).rename_geometry("geom")


def test_bank_is_cut_into_all_its_stretches(result: CoverageResult) -> None:
    line = shapely.LineString([(-100.5, 40.5), (499.5, 40.5)])
    parts = bank_segments(result, bank(line))
    assert parts["length_m"].sum() == pytest.approx(line.length)
    assert parts["start_m"].iloc[0] == 5000
    assert parts["end_m"].iloc[-1] == pytest.approx(5600)
    np.testing.assert_allclose(parts["start_m"].to_numpy()[1:], parts["end_m"].to_numpy()[:-1])
    assert (parts["state"].to_numpy()[1:] != parts["state"].to_numpy()[:-1]).all()
    metres = parts.groupby("state")["length_m"].sum()
    # plainly: every half metre of the line, looked up
    x = np.arange(-100.25, 499.5, 0.5)
    plain = pd.Series(watch_points(result, x, np.full(len(x), 40.5)).state).value_counts() * 0.5
    for state in ("confirmed", "possible", "offline", "none"):
        assert metres[state] == pytest.approx(plain[state], abs=4.1)
    against = bank_segments(result, bank(line, 5600.0, 5000.0))
    assert against.groupby("state")["length_m"].sum().to_dict() == pytest.approx(metres.to_dict())
    assert (against["start_m"] <= against["end_m"]).all()


def test_outfalls(result: CoverageResult, table: CameraTable) -> None:
    outfalls = gpd.GeoDataFrame(
        {
            "id": list("abcd"), "name_zh": list("甲乙丙丁"), "code_national": [None, "N2", None, None], "code_local": ["L1", "L2", "L3", "L4"],
            "admin_code": [None] * 4,
        },
        geometry=gpd.points_from_xy([0.5, 200.5, 400.5, 900.5], [40.5, 40.5, 40.5, 40.5]),
        crs=CRS,
    ).rename_geometry("geom")  # fmt: skip
    frame = outfall_watch(result, outfalls, CAMERAS, table, SURFACE)
    assert list(frame["watch_state"]) == ["single", "possible", "offline", "unwatched"]
    assert list(frame["outfall_code"]) == ["L1", "N2", "L3", "L4"]
    assert frame["nearest_camera_m"].iloc[0] == 40.0
    assert list(frame["camera_ids"]) == [["fixed"], [], [], []]


@pytest.mark.parametrize("mode", ["exact", "fast"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=4, deadline=None)
def test_who_watches_an_outfall_is_who_loses_it_by_failing(mode: str, seed: int) -> None:
    """Against the slowest way: the coverage of each camera alone, on a town with a wall."""
    rng = np.random.default_rng(seed)
    n = 9
    cameras = gpd.GeoDataFrame(
        {
            "id": [f"c{k}" for k in range(n)],
            "azimuth_deg": rng.uniform(0, 360, n).round(1),
            "ptz_type": [3] * n,
            "hfov_deg": [90.0] * n,
            "vfov_deg": [70.0] * n,
            "tilt_deg": [30.0] * n,
            "mount_height_m": [6.0] * n,
            "res_w_px": [2560] * n,
            "view_dist_m": rng.uniform(20, 60, n).round(1),
            "net_status": rng.choice(["on", "on", "off"], n),
        },
        geometry=gpd.points_from_xy(rng.uniform(0, 80, n), rng.uniform(0, 80, n)),
        crs=CRS,
    )
    outfalls = gpd.GeoDataFrame(
        {name: [None] * 25 for name in ("id", "name_zh", "code_national", "code_local", "admin_code")},
        geometry=gpd.points_from_xy(rng.uniform(0, 80, 25), rng.uniform(0, 80, 25)),
        crs=CRS,
    ).rename_geometry("geom")
    walls = np.array([shapely.box(20, 38, 60, 42), shapely.box(50, 10, 54, 30)])
    town = Surface(cell_m=1.0, buildings=Buildings.from_polygons(walls, np.array([9.0, 4.0])))
    table = prepare(cameras)
    frame = outfall_watch(compute(table, town, mode=mode, workers=1), outfalls, cameras, table, town)
    x, y = outfalls.geometry.x.to_numpy(), outfalls.geometry.y.to_numpy()
    alone = [
        watch_points(compute(prepare(cameras.iloc[[k]]), town, mode=mode, workers=1), x, y).confirmed > 0 for k in range(n)
    ]
    for row in range(25):
        assert frame["camera_ids"].iloc[row] == [f"c{k}" for k in range(n) if alone[k][row]]
        assert len(frame["camera_ids"].iloc[row]) == frame["cameras_confirmed"].iloc[row]


def test_railways_are_watched_along_their_fences() -> None:
    axes = [
        shapely.LineString([(0, 0), (1000, 0)]),  # two tracks side by side: one corridor
        shapely.LineString([(0, 5), (1000, 5)]),
        shapely.LineString([(0, 300), (500, 300), (500, 800)]),
    ]
    railways = gpd.GeoDataFrame({"half_width_m": [None, 6.0, None]}, geometry=axes, crs=CRS).rename_geometry("geom")
    fences = fence_lines(railways, distance_m=8.0)
    assert fences.geometry.length.iloc[0] == pytest.approx(1000, abs=1)  # the south side
    assert fences.geometry.iloc[0].bounds[3] == pytest.approx(-8, abs=0.01)
    assert fences.geometry.length.iloc[1] == pytest.approx(1000, abs=1)
    assert fences.geometry.iloc[1].bounds[1] == pytest.approx(11, abs=0.01)
    # a bend: the inner side is shorter by two widths, the outer longer by a quarter of a circle
    assert fences.geometry.length.iloc[2] == pytest.approx(1000 + 1000 - 2 * 8 + np.pi * 8 / 2, abs=0.5)
    # plainly: every step of every fence lies as far from its axis as it should, and inside no other strip
    for k, (axis, half) in enumerate(zip(axes, (8.0, 6.0, 8.0), strict=True)):
        line = fences.geometry.iloc[k]
        for part in shapely.get_parts(line):
            for t in np.linspace(0, 1, 101):
                here = part.interpolate(t, normalized=True)
                assert here.distance(axis) == pytest.approx(half, abs=0.1)
                for other, width in zip(axes, (8.0, 6.0, 8.0), strict=True):
                    assert here.distance(other) > width - 0.2


def test_fairness_against_plain_counting() -> None:
    rng = np.random.default_rng(4)
    share, ground = rng.uniform(0, 0.6, 12).round(3), rng.uniform(1, 9, 12).round(1)
    rows = gpd.GeoDataFrame(
        {
            "unit_kind": ["street"] * 12,
            "admin_code": [f"4205020{k:02d}000" for k in range(12)],
            "name_zh": [f"街{k}" for k in range(12)],
            "urban_rural": [None] * 12,
            "public_m2": [*ground[:11], 0.0],
            "online_overview": [*share[:11], np.nan],
        }
    )
    told = fairness(rows)["street"]
    seen = sum(s * g for s, g in zip(share[:11], ground[:11], strict=True))
    whole = seen / sum(ground[:11])
    assert told["units"] == 11
    assert told["share"] == pytest.approx(whole, abs=1e-4)
    assert told["worst"]["share"] == share[:11].min()
    assert told["best"]["share"] == share[:11].max()
    assert told["ratio"] == pytest.approx(share[:11].min() / share[:11].max(), abs=1e-4)
    assert told["spread"] == pytest.approx(
        sum(abs(s - whole) * g for s, g in zip(share[:11], ground[:11], strict=True)) / sum(ground[:11]), abs=1e-4
    )
    assert told["below_half"] == sum(s < whole / 2 for s in share[:11])
    assert [unit["share"] for unit in told["least"]] == sorted(share[:11])[:5]
    assert fairness(rows.assign(online_overview=0.0))["street"]["ratio"] is None


def test_schools(result: CoverageResult) -> None:
    gate = shapely.MultiPoint([(0.5, 40.5), (0.5, 50.5)])
    schools = gpd.GeoDataFrame(
        {
            "id": ["s1", "s2", "s3"],
            "name_zh": ["甲", "乙", "丙"],
            "admin_code": [None] * 3,
            "boundary": [shapely.box(-20, 41, 20, 60), None, None],
            "entrances": [gate, shapely.MultiPoint([(0.5, 40.5), (200.5, 40.5)]), None],
        },
        geometry=gpd.points_from_xy([0, 100, 700], [50, 50, 50]),
        crs=CRS,
    ).rename_geometry("geom")
    roads = gpd.GeoDataFrame(geometry=[shapely.LineString([(-300, 35.5), (900, 35.5)])], crs=CRS)
    frame = school_coverage(result, schools, roads, closed=np.array([shapely.box(-5, 45, 5, 55)]))
    assert list(frame["state"]) == ["covered", "partial", "unknown"]
    assert list(frame["entrances"]) == [2, 2, 0]
    near = shapely.box(-20, 41, 20, 60).buffer(150).intersection(roads.geometry[0]).length
    assert frame["road_m"].iloc[0] == pytest.approx(near, rel=0.005)  # the round ends are drawn with corners
    assert 0 < frame["road_confirmed_m"].iloc[0] < frame["road_possible_m"].iloc[0] + 1e-9
    zone = shapely.box(-20, 41, 20, 60).buffer(200).area - 40 * 19
    assert frame["zone_m2"].iloc[0] == pytest.approx(zone, rel=0.01)


def roads_frame(*lines: tuple[str, list[tuple[float, float]]], **columns: object) -> gpd.GeoDataFrame:
    n = len(lines)
    base = {
        "road_class": [kind for kind, _ in lines],
        "bridge": [False] * n,
        "tunnel": [False] * n,
        "osm_layer": [None] * n,
    }
    return gpd.GeoDataFrame({**base, **columns}, geometry=[shapely.LineString(xy) for _, xy in lines], crs=CRS)


def test_crossings_have_three_arms_on_one_level() -> None:
    through = ("primary", [(-50, 0), (50, 0)])
    assert shapely.get_coordinates(
        road_crossings(roads_frame(through, ("tertiary", [(0, -50), (0, 50)])))
    ).tolist() == [[0, 0]]
    assert shapely.get_coordinates(
        road_crossings(roads_frame(through, ("tertiary", [(10, 0), (10, 50)])))
    ).tolist() == [[10, 0]]
    continued = road_crossings(roads_frame(("primary", [(-50, 0), (0, 0)]), ("primary", [(0, 0), (50, 0)])))
    assert len(continued) == 0
    over = roads_frame(through, ("motorway", [(0, -50), (0, 50)]), bridge=[False, True])
    assert len(road_crossings(over)) == 0
    assert len(road_crossings(roads_frame(through, ("path", [(0, -50), (0, 50)])))) == 0


def cells_frame() -> gpd.GeoDataFrame:
    shapes = [shapely.box(x, -100, x + 200, 100) for x in (-100, 100, 300, 500)]
    return gpd.GeoDataFrame(
        {
            "id": [f"00000000-0000-4000-8000-00000000000{i}" for i in range(4)],
            "grid_code": ["420502001001001", "420502001001002", "420502001002001", "420502001002002"],
            "admin_code": ["420502001001"] * 2 + ["420502001002"] * 2,
            "urban_rural": ["111", "111", "112", "112"],
            "name_zh": list("甲乙丙丁"),
        },
        geometry=shapes,
        crs=CRS,
    ).rename_geometry("geom")


def test_cells_and_the_units_above_them_add_up(result: CoverageResult) -> None:
    cells = cells_frame()
    roads = roads_frame(("primary", [(-90, 40), (690, 40)]), ("primary", [(0.5, -90), (0.5, 90)]))
    closed = np.array([shapely.box(-50, 20, -20, 60)])
    sums = cover_cells(result, cells, closed=closed, roads=roads, crossings=road_crossings(roads), cameras=CAMERAS)
    assert list(sums["cameras"]) == [1, 1, 1, 0]
    assert list(sums["cameras_online"]) == [1, 1, 0, 0]
    assert list(sums["crossings"]) == [1, 0, 0, 0]
    assert list(sums["crossings_confirmed"]) == [1, 0, 0, 0]
    assert sums["public_m2"].iloc[0] == 200 * 200 - 30 * 40
    window = result.window(-100, -100, 200, 200)[result.band("confirmed_online")]
    window[120:160, 50:80] = 0
    assert sums["m2_confirmed_online_0"].iloc[0] == np.count_nonzero(window)
    units = {"community": (cells["admin_code"], None), "urban_rural": (cells["urban_rural"], None)}
    frame = roll_up(sums, cells, densities=3, units=units)
    assert frame["unit_kind"].value_counts().to_dict() == {"grid": 4, "community": 2, "urban_rural": 2}
    first = frame[(frame["unit_kind"] == "community") & (frame["admin_code"] == "420502001001")].iloc[0]
    assert first["online_overview"] == pytest.approx(
        sums["m2_confirmed_online_0"].iloc[:2].sum() / sums["public_m2"].iloc[:2].sum()
    )
    assert first["cameras"] == 2
    assert first["geom"].area == pytest.approx(80_000)
    assert frame["online_overview"].max() <= 1


def test_gaps_are_what_is_not_confirmed_with_the_cause(result: CoverageResult, table) -> None:
    cells = cells_frame()
    roads = roads_frame(("primary", [(-90, 40), (690, 40)]))
    outfalls = gpd.GeoDataFrame(
        {"id": ["o1", "o2"], "name_zh": ["甲", "乙"], "admin_code": [None, None]},
        geometry=gpd.points_from_xy([0.5, 400.5], [40.5, 40.5]),
        crs=CRS,
    ).rename_geometry("geom")
    schools = gpd.GeoDataFrame(
        {"id": ["s"], "name_zh": ["丙"], "admin_code": [None], "entrances": [shapely.MultiPoint([(200.5, 40.5)])]},
        geometry=gpd.points_from_xy([200], [60]),
        crs=CRS,
    ).rename_geometry("geom")
    empty = gpd.GeoDataFrame(
        {"id": [], "name_zh": [], "admin_code": [], "kind": []}, geometry=[], crs=CRS
    ).rename_geometry("geom")
    banks = bank_segments(result, bank(shapely.LineString([(-100.5, -60.5), (1499.5, -60.5)]), 0.0, 1600.0))
    poles = gpd.GeoDataFrame({"id": ["p"]}, geometry=[shapely.Point(402, 42)], crs=CRS).rename_geometry("geom")
    gaps = find_gaps(
        result, table, SURFACE, cells=cells, roads=roads, crossings=np.array([], dtype=object), bank=banks, outfalls=outfalls,
        schools=schools, areas=empty, railways=empty, poles=poles, buildings=empty,
        weights={"outfall": 40.0, "entrance": 50.0, "road": 1.0, "riverbank": 2.0},
    )  # fmt: skip
    assert (gaps["rank"].to_numpy() == np.arange(1, len(gaps) + 1)).all()
    assert (np.diff(gaps["need"].to_numpy()) <= 0).all()
    outfall = gaps[gaps["target_kind"] == "outfall"]
    assert list(outfall["target_id"]) == ["o2"]
    assert list(outfall["cause"]) == ["offline"]
    assert list(outfall["mount_layer"]) == ["pole"]
    entrance = gaps[gaps["target_kind"] == "school_entrance"]
    assert list(entrance["cause"]) == ["direction_unknown"]
    road = gaps[gaps["target_kind"] == "road"]
    seen = sum(
        float(np.count_nonzero(watch_points(result, [x], [40.0]).state == "confirmed")) for x in np.arange(-89.5, 690)
    )
    assert road["road_m"].sum() == pytest.approx(780 - seen, abs=20)
    river = gaps[gaps["target_kind"] == "riverbank"]
    assert river.geometry.length.max() <= 500.0 + 1e-6
    assert river.geometry.length.sum() == pytest.approx(
        banks[(banks["state"] != "confirmed")].geometry.length.sum(), abs=10
    )
    assert (river["chainage_end_m"] - river["chainage_start_m"]).to_numpy() == pytest.approx(
        river.geometry.length.to_numpy(), abs=0.01
    )


def test_the_commonest_cause_wins_and_seen_places_do_not_count() -> None:
    causes = np.array([0, 1, 1, 4, 0, 0], dtype=np.uint8)
    reasons = main_cause(causes, np.array([0, 0, 0, 0, 1, 1]), groups=3)
    assert list(reasons.cause) == ["no_camera", None, None]
    assert reasons.share[0] == pytest.approx(2 / 3)
    assert np.isnan(reasons.share[1:]).all()
