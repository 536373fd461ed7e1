"""The rules against answers worked out by hand and by pyproj on the ellipsoid."""

import datetime as dt
import math
import uuid

import numpy as np
import pyproj
import pytest
import shapely
import sqlalchemy as sa

from gis.errors import ConfigError, InputError
from gis.settings import CityConfig
from grids.rules import Rule, check_rules, read_rules
from grids.rules.table import Side
from layers.access import Principal
from layers.database import Database
from layers.frames import read_frame

GEOD = pyproj.Geod(ellps="GRS80")  # within 0.1 mm of CGCS2000's
X, Y = 111.3, 30.7
AFTER = dt.date(2026, 10, 1)


def east(metres: float, north: float = 0.0) -> tuple[float, float]:
    """The place so many metres east and north of the origin, on the ellipsoid."""
    lon, lat, _ = GEOD.fwd(X, Y, 90 if metres >= 0 else 270, abs(metres))
    lon, lat, _ = GEOD.fwd(lon, lat, 0 if north >= 0 else 180, abs(north))
    return lon, lat


def box(west: float, south: float, right: float, top: float) -> str:
    corners = [east(west, south), east(right, south), east(right, top), east(west, top)]
    return shapely.Polygon(corners).wkt


def point(metres: float, north: float = 0.0) -> str:
    return shapely.Point(east(metres, north)).wkt


def line(*places: tuple[float, float]) -> str:
    return shapely.LineString([east(*place) for place in places]).wkt


def put(database: Database, layer: str, wkt: str, **fields: object) -> str:
    feature = str(uuid.uuid4())
    names = ["id", *fields]
    multi = (
        "ST_Multi" if wkt.startswith("POLYGON") and layer not in ("key_area", "sensitive_place", "river_works") else ""
    )
    values = ", ".join(f":{name}" for name in names)
    with database.begin() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO baige.{layer} ({', '.join(names)}, geom) VALUES ({values}, {multi}(ST_GeomFromText(:wkt, 4490)))"
            ),
            {"id": feature, "wkt": wkt, **fields},
        )
    return feature


def verdicts(database: Database, city: CityConfig, rule: str, *, at: dt.date = AFTER) -> dict[str, str]:
    report = check_rules(database, city, at=at, only=[rule])
    assert {outcome.status for outcome in report.outcomes} == {"evaluated"}, report.outcomes
    return {finding.object_id: finding.verdict for outcome in report.outcomes for finding in outcome.findings}


def test_the_table_is_well_formed() -> None:
    rules = read_rules()
    numbers = {int(rule.id.rstrip("abc")) for rule in rules}
    assert numbers == set(range(1, 28))
    for rule in rules:
        assert rule.title_zh
        assert rule.title_en
        assert rule.source_zh
        assert rule.article or rule.evidence != "L"


def test_nothing_is_found_fine_where_nothing_was_looked_at(fresh_database: Database, city: CityConfig) -> None:
    report = check_rules(fresh_database, city, at=AFTER)
    assert {outcome.status for outcome in report.outcomes} == {"not_evaluated"}
    assert all(outcome.reason_zh and outcome.reason_en for outcome in report.outcomes)


def test_inside_outside_and_in_doubt(fresh_database: Database, city: CityConfig) -> None:
    put(fresh_database, "water_source_zone", box(0, 0, 1000, 1000), level="1", positional_acc_m=3)
    deep = put(fresh_database, "outfall", point(500, 500), positional_acc_m=5)
    put(fresh_database, "outfall", point(1100, 500), positional_acc_m=5)
    just_in = put(fresh_database, "outfall", point(994, 500), positional_acc_m=5)
    just_out = put(fresh_database, "outfall", point(1007, 500), positional_acc_m=5)
    rough = put(fresh_database, "outfall", point(1400, 500), positional_acc_m=500)
    assert verdicts(fresh_database, city, "1") == {
        deep: "V",
        just_in: "indeterminate",
        just_out: "indeterminate",
        rough: "indeterminate",
    }
    with fresh_database.begin() as connection:
        frame = read_frame(connection, "rule_finding").set_index("object_id")
    assert frame.loc[deep, "distance_m"] == pytest.approx(-500, abs=0.5)
    assert frame.loc[just_out, "distance_m"] == pytest.approx(7, abs=0.01)
    assert frame.loc[just_out, "accuracy_m"] == 8
    assert set(frame["checked_for"]) == {AFTER}


def test_a_rule_out_of_force_does_not_fire(fresh_database: Database, city: CityConfig) -> None:
    put(fresh_database, "water_source_zone", box(0, 0, 1000, 1000), level="1")
    put(fresh_database, "outfall", point(500, 500))
    report = check_rules(fresh_database, city, at=dt.date(2026, 8, 14), only=["1"])
    assert [(o.status, o.findings) for o in report.outcomes] == [("not_in_force", ())]
    put(fresh_database, "outfall", point(510, 500), valid_to=dt.date(2026, 9, 1))
    assert len(verdicts(fresh_database, city, "1")) == 1


def test_distances_agree_with_geodesics(fresh_database: Database, city: CityConfig) -> None:
    random = np.random.default_rng(3)
    put(fresh_database, "riverbank", line((0, -20000), (0, 20000)), bank_side="L", positional_acc_m=0)
    bank = shapely.LineString([east(0, -20000), east(0, 20000)])
    places = [(float(random.uniform(700, 1300)), float(random.uniform(-500, 500))) for _ in range(60)]
    ids = [
        put(fresh_database, "key_area", point(*place), kind="chem_site", project_stage="new", positional_acc_m=20)
        for place in places
    ]
    found = verdicts(fresh_database, city, "6a")
    for place, feature in zip(places, ids, strict=True):
        lon, lat = east(*place)
        # the nearest of many points of the bank, on the ellipsoid
        steps = np.linspace(0.45, 0.55, 20001)
        foot = shapely.get_coordinates(shapely.line_interpolate_point(bank, steps, normalized=True))
        _, _, metres = GEOD.inv(np.full(len(foot), lon), np.full(len(foot), lat), foot[:, 0], foot[:, 1])
        distance = float(metres.min())
        expected = "V" if distance + 20 <= 1000 else "indeterminate" if distance - 20 <= 1000 else None
        if abs(distance - 20 - 1000) > 0.05 and abs(distance + 20 - 1000) > 0.05:
            assert found.get(feature) == expected


def test_beside_a_long_winding_road_nothing_is_missed(fresh_database: Database, city: CityConfig) -> None:
    """The road is looked at in pieces; here every pair is measured whole."""
    rng = np.random.default_rng(17)
    bends = [(float(x), 400 * math.sin(x / 300) + float(rng.normal(0, 20))) for x in range(-4000, 4000, 40)]
    road = put(fresh_database, "road", line(*bends), road_class="primary", admin_grade="national", width_m=20.0, positional_acc_m=1.0)
    put(fresh_database, "road", line((-4000, 900), (4000, -900)), road_class="motorway", admin_grade="expressway", width_m=30.0, positional_acc_m=1.0)
    for x, y in bends[::2]:
        west, south = x + float(rng.uniform(-90, 90)), y + float(rng.uniform(-90, 90))
        put(fresh_database, "building", box(west, south, west + 8, south + 8), positional_acc_m=1.0)
    report = check_rules(fresh_database, city, at=AFTER, only=["17"])
    found = {f.object_id: (f.other_id, f.distance_m) for outcome in report.outcomes for f in outcome.findings}
    sql = """SELECT DISTINCT ON (b.id) b.id::text, r.id::text, m FROM baige.building b CROSS JOIN baige.road r CROSS JOIN LATERAL (
        SELECT ST_Distance(b.geom::geography, r.geom::geography) - r.width_m / 2 AS m, CASE WHEN r.admin_grade = 'national' THEN 20 ELSE 30 END AS far
        ) AS x
        WHERE m - 2 <= far ORDER BY b.id, m - far"""
    with fresh_database.begin() as connection:
        expected = {row[0]: (row[1], row[2]) for row in connection.exec_driver_sql(sql)}
    assert found.keys() == expected.keys()
    assert 20 < len(found) < 90
    assert {found[b][0] for b in found} > {road}
    for building, (other, metres) in expected.items():
        assert found[building][0] == other
        assert found[building][1] == pytest.approx(metres, abs=0.0051)  # told in centimetres


def test_the_case_that_fits_sets_the_distance(fresh_database: Database, city: CityConfig) -> None:
    for place, rail, locality in ((0, "rail", "urban"), (1000, "high_speed", "urban"), (2000, "rail", None)):
        put(
            fresh_database,
            "railway",
            line((place, -300), (place, 300)),
            rail_class=rail,
            locality=locality,
            half_width_m=4,
            positional_acc_m=0,
        )
    put(
        fresh_database, "railway", line((3000, -300), (3000, 300)), rail_class="high_speed", tunnel=True, half_width_m=4
    )
    near = {}
    for place in (0, 1000, 2000, 3000):
        for gap in (7, 9.5, 14, 17):
            near[place, gap] = put(fresh_database, "outfall", point(place + 4 + gap), positional_acc_m=0.2)
    found = verdicts(fresh_database, city, "12b")
    expected = {near[0, 7], near[1000, 7], near[1000, 9.5], near[2000, 7], near[2000, 9.5], near[2000, 14]}
    assert {k for k, v in found.items() if v == "V"} == expected
    assert {k for k, v in found.items() if v != "V"} == set()


def test_an_unknown_width_is_in_doubt(fresh_database: Database, city: CityConfig) -> None:
    put(fresh_database, "railway", line((0, -300), (0, 300)), rail_class="rail", positional_acc_m=0)
    sure = put(fresh_database, "outfall", point(5), positional_acc_m=0.1)
    doubt = put(fresh_database, "outfall", point(18), positional_acc_m=0.1)
    put(fresh_database, "outfall", point(30), positional_acc_m=0.1)
    assert verdicts(fresh_database, city, "12b") == {sure: "V", doubt: "indeterminate"}


def test_pairs_and_parameters_of_the_city(fresh_database: Database, city: CityConfig) -> None:
    shop = put(fresh_database, "shop", point(0), kind="tobacco", positional_acc_m=0)
    for place in (-30, 40, 90):
        put(fresh_database, "school", point(place), school_kind="primary", positional_acc_m=0)
    report = check_rules(fresh_database, city, at=AFTER, only=["20"])
    assert [f.object_id for f in report.outcomes[0].findings] == [shop, shop]
    wider = city.model_copy(update={"rules": {**city.rules, "school_trade_distance_m": 100.0}})
    assert len(check_rules(fresh_database, wider, at=AFTER, only=["20"]).outcomes[0].findings) == 3
    without = city.model_copy(update={"rules": {}})
    with pytest.raises(ConfigError, match="school_trade_distance_m"):
        check_rules(fresh_database, without, at=AFTER, only=["20"])


def test_outside_every_park_and_far_from_every_crossing(fresh_database: Database, city: CityConfig) -> None:
    put(fresh_database, "key_area", box(0, 0, 1000, 1000), kind="chem_park", recognised=True)
    put(fresh_database, "key_area", box(5000, 0, 6000, 1000), kind="chem_park", recognised=False)
    put(fresh_database, "key_area", point(500, 500), kind="chem_site", project_stage="new")
    edge = put(fresh_database, "key_area", point(1003, 500), kind="chem_site", project_stage="new")
    wild = put(fresh_database, "key_area", point(5500, 500), kind="chem_site", project_stage="extended")
    assert verdicts(fresh_database, city, "18") == {edge: "indeterminate", wild: "R"}
    put(fresh_database, "school", point(0), positional_acc_m=1)
    lonely = put(fresh_database, "school", point(3000), positional_acc_m=1)
    put(fresh_database, "crossing", point(40), positional_acc_m=1)
    assert verdicts(fresh_database, city, "21a") == {lonely: "R"}


def test_unknown_approval_is_not_fine(fresh_database: Database, city: CityConfig) -> None:
    none = put(fresh_database, "outfall", point(0), approval_kind="none")
    unknown = put(fresh_database, "outfall", point(1))
    put(fresh_database, "outfall", point(2), approval_kind="approved")
    assert verdicts(fresh_database, city, "5") == {none: "R", unknown: "indeterminate"}


def test_cameras_out_of_order(fresh_database: Database, city: CityConfig) -> None:
    good = {
        "sign_posted": True,
        "retention_days": 30,
        "in_use_date": dt.date(2026, 1, 1),
        "filing_date": dt.date(2026, 1, 31),
    }
    put(fresh_database, "camera_site", point(0), **good)
    expected = {
        put(fresh_database, "camera_site", point(1), **{**good, "filing_date": dt.date(2026, 2, 1)}): "R",
        put(fresh_database, "camera_site", point(2), **{**good, "filing_date": None}): "R",
        put(fresh_database, "camera_site", point(3), **{**good, "sign_posted": False, "retention_days": None}): "R",
        put(fresh_database, "camera_site", point(4), **{**good, "retention_days": 29}): "R",
        put(fresh_database, "camera_site", point(5), **{**good, "sign_posted": None}): "indeterminate",
    }
    put(
        fresh_database,
        "camera_site",
        point(6),
        **{**good, "filing_date": None, "in_use_date": AFTER - dt.timedelta(days=5)},
    )
    put(fresh_database, "camera_site", point(7), **{**good, "sign_posted": False, "device_state": "removed"})
    assert verdicts(fresh_database, city, "24") == expected


def test_wrong_bank_and_far_bank(fresh_database: Database, city: CityConfig) -> None:
    put(fresh_database, "riverbank", line((0, -5000), (0, 5000)), bank_side="R", positional_acc_m=1)
    put(fresh_database, "riverbank", line((800, -5000), (800, 5000)), bank_side="L", positional_acc_m=1)
    put(fresh_database, "outfall", point(2), bank_side="R", positional_acc_m=2)
    wrong = put(fresh_database, "outfall", point(10), bank_side="L", positional_acc_m=2)
    doubt = put(fresh_database, "outfall", point(400.5), bank_side="R", positional_acc_m=2)
    far = put(fresh_database, "outfall", point(-200), bank_side="R", positional_acc_m=2)
    put(fresh_database, "outfall", point(3), positional_acc_m=2)
    assert verdicts(fresh_database, city, "27b") == {wrong: "R", doubt: "indeterminate"}
    assert verdicts(fresh_database, city, "27a") == {doubt: "R", far: "R"}


def test_outfalls_are_held_against_the_river_they_discharge_into(fresh_database: Database, city: CityConfig) -> None:
    put(fresh_database, "riverbank", line((0, -5000), (0, 5000)), bank_side="R", reach_code="main", positional_acc_m=1)
    put(
        fresh_database,
        "riverbank",
        line((800, -5000), (800, 5000)),
        bank_side="L",
        reach_code="main",
        positional_acc_m=1,
    )
    with fresh_database.begin() as connection:
        # the brook flows west into the river: its left bank is in the south
        for reach, name, a, b in (
            ("main", "大江", (400, 5000), (400, -5000)),
            ("brook", "小河", (3000, 2000), (800, 2000)),
        ):
            (x0, y0), (x1, y1) = east(*a), east(*b)
            connection.execute(
                sa.text(
                    "INSERT INTO baige.river_axis (reach_code, name_zh, axis_version, geom) VALUES (:r, :n, 1, ST_GeomFromText(:w, 4490))"
                ),
                {"r": reach, "n": name, "w": f"LINESTRING M ({x0} {y0} 0, {x1} {y1} 9000)"},
            )
    sound = {"receiving_water": "小河", "positional_acc_m": 2}
    put(fresh_database, "outfall", point(2000, 2020), bank_side="R", **sound)
    wrong = put(fresh_database, "outfall", point(2000, 2020), bank_side="L", **sound)
    put(fresh_database, "outfall", point(2000, 1980), bank_side="L", **sound)
    doubt = put(fresh_database, "outfall", point(2000, 2001), bank_side="R", **sound)
    far = put(fresh_database, "outfall", point(2000, 2400), bank_side="R", **sound)
    lost = put(fresh_database, "outfall", point(5, 3000), bank_side="L", receiving_water="大江", positional_acc_m=2)
    assert verdicts(fresh_database, city, "27b") == {wrong: "R", doubt: "indeterminate", lost: "R"}
    assert verdicts(fresh_database, city, "27a") == {far: "indeterminate"}


def test_sand_mining_and_tailings(fresh_database: Database, city: CityConfig) -> None:
    with fresh_database.begin() as connection:
        for reach, north, main, major in (
            ("main", 0, True, False),
            ("trib", 30000, False, True),
            ("brook", 60000, False, False),
        ):
            a, b = east(-20000, north), east(20000, north)
            connection.execute(
                sa.text(
                    "INSERT INTO baige.river_axis (reach_code, axis_version, is_main_stem, is_major_trib, geom) VALUES (:r, 1, :m, :j,"
                    " ST_GeomFromText(:wkt, 4490))"
                ),
                {"r": reach, "m": main, "j": major, "wkt": f"LINESTRING M ({a[0]} {a[1]} 0, {b[0]} {b[1]} 40000)"},
            )
    put(fresh_database, "key_area", point(0, 0), kind="bridge", carries="rail", length_m=300, positional_acc_m=1)
    put(fresh_database, "key_area", point(-300, 4), kind="bridge", carries="road", length_m=300, positional_acc_m=1)
    pits = {
        m: put(fresh_database, "key_area", point(m, 20), kind="sand_mining", positional_acc_m=5)
        for m in (-700, -502, -400, 1900, 2004, 2500)
    }
    assert verdicts(fresh_database, city, "15") == {
        pits[-502]: "indeterminate", pits[-400]: "V", pits[1900]: "V", pits[2004]: "indeterminate",
    }  # fmt: skip
    for reach, north in (("main", 0), ("trib", 30000), ("brook", 60000)):
        put(
            fresh_database,
            "riverbank",
            line((-20000, north + 400), (20000, north + 400)),
            bank_side="L",
            reach_code=reach,
            positional_acc_m=1,
        )
    ponds = {
        (north, off): put(
            fresh_database,
            "key_area",
            point(5000, north + 400 + off),
            kind="tailings",
            project_stage="new",
            positional_acc_m=5,
        )
        for north in (0, 30000, 60000)
        for off in (500, 1500, 2998, 3500)
    }
    assert verdicts(fresh_database, city, "7") == {
        ponds[0, 500]: "V", ponds[0, 1500]: "V", ponds[0, 2998]: "indeterminate", ponds[30000, 500]: "V",
    }  # fmt: skip


def test_grid_faults(fresh_database: Database, city: CityConfig) -> None:
    def cells(west: float, south: float, right: float, top: float) -> shapely.Polygon:
        # along meridians and parallels, so that neighbours share their edges to the bit
        return shapely.box(X + west * 1e-5, Y + south * 1e-5, X + right * 1e-5, Y + top * 1e-5)

    put(fresh_database, "community", cells(0, 0, 1000, 1000).wkt, admin_code="420502001001")
    put(fresh_database, "community", cells(1000, 0, 2000, 1000).wkt, admin_code="420502001002")
    code = iter(range(1, 100))

    def cell(shape: shapely.Polygon, community: str) -> str:
        return put(
            fresh_database, "grid_cell", shape.wkt, grid_code=f"{community}{next(code):03d}", code_status="valid"
        )

    def area(shape: shapely.Polygon) -> float:
        return abs(GEOD.geometry_area_perimeter(shape)[0])

    cell(cells(0, 0, 500, 1000), "420502001001")
    overlapped = cell(cells(500, 0, 800, 1000), "420502001001")
    overlapping = cell(cells(790, 0, 999, 1000), "420502001001")
    across = cell(cells(1000, 0, 2100, 500), "420502001002")
    prefix = cell(cells(1000, 500, 2000, 1000), "420502001009")
    report = check_rules(fresh_database, city, at=AFTER, only=["25"])
    found = {f.object_id: f for f in report.outcomes[0].findings}
    pair = found.pop(overlapped, None) or found.pop(overlapping)
    assert {pair.object_id, pair.other_id} == {overlapped, overlapping}
    assert float(str(pair.note_en).split()[-2]) == pytest.approx(area(cells(790, 0, 800, 1000)), abs=0.1)
    assert set(found) == {across, prefix}
    assert float(str(found[across].note_en).split()[0]) == pytest.approx(area(cells(2000, 0, 2100, 500)), abs=0.1)
    assert "12 digits" in str(found[prefix].note_en)


def test_findings_are_compared_with_the_check_before_and_waived(fresh_database: Database, city: CityConfig) -> None:
    stays = put(fresh_database, "outfall", point(0), approval_kind="none", positional_acc_m=1)
    goes = put(fresh_database, "outfall", point(10), approval_kind="none", positional_acc_m=1)
    first = check_rules(fresh_database, city, at=AFTER, only=["5"])
    assert (first.new, first.unchanged, first.gone) == (2, 0, ())
    with fresh_database.begin(Principal("officer", key_id="office-3")) as connection:
        connection.execute(sa.text("UPDATE baige.outfall SET approval_kind = 'approved' WHERE id = :id"), {"id": goes})
        connection.execute(
            sa.text(
                "INSERT INTO baige.rule_waiver (rule_id, object_layer, object_id, reason, granted_role, expires_on)"
                " VALUES ('5', 'outfall', :id, '正在办理', 'officer', :until)"
            ),
            {"id": stays, "until": AFTER},
        )
    put(fresh_database, "water_source_zone", box(-10, -10, 10, 10), level="1")
    second = check_rules(fresh_database, city, at=AFTER, only=["5"])
    assert (second.new, second.unchanged, second.gone) == (0, 1, (("5", goes),))
    check_rules(fresh_database, city, at=AFTER, only=["1"])
    with fresh_database.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT rule_id, change, waived, waiver_reason FROM baige.rule_finding ORDER BY rule_id, change"
        ).all()
        assert ("5", "unchanged", True, "正在办理") in [tuple(row) for row in rows]
        assert {row[0] for row in rows} == {"1", "5"}, "the findings of one rule stay when another is checked"
    later = check_rules(fresh_database, city, at=AFTER + dt.timedelta(days=1), only=["5"])
    assert later.unchanged == 1
    with fresh_database.begin() as connection:
        assert connection.exec_driver_sql(
            "SELECT waived FROM baige.rule_finding WHERE rule_id = '5'"
        ).scalars().all() == [False]


def test_a_wrong_rule_is_named(fresh_database: Database, city: CityConfig) -> None:
    with pytest.raises(InputError, match="99"):
        check_rules(fresh_database, city, only=["99"])
    base = next(rule for rule in read_rules() if rule.id == "5")
    put(fresh_database, "outfall", point(0))
    broken = base.model_copy(update={"object": Side(layer="outfall", filter="aproval_kind = 'none'")})
    with pytest.raises(InputError, match="aproval_kind"):
        check_rules(fresh_database, city, at=AFTER, rules=[Rule.model_validate(broken.model_dump())])


def test_distances_in_a_projected_storage_system_are_the_same() -> None:
    from grids.rules.evaluate import Sides

    sides = Sides({}, 4546, False, AFTER, CityConfig(name_zh="", name_en="", admin_prefix="4205", bounds=(0, 0, 1, 1)))
    assert "ST_Transform(a.geom, 4326)::geography" in sides.geography("a.geom")
    assert math.isclose(float(sides.near("a.geom", "b.geom", 100).split(", ")[2].rstrip(")")), 101.0)
