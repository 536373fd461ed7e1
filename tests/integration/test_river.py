"""The river: any point to chainage and back, against PostGIS; versions of the axis; what the water passes, in its order."""

import json

import numpy as np
import pytest
import shapely
import sqlalchemy as sa
from click.testing import CliRunner

from api.cli import main
from gis.chainage import measure_sections
from gis.crs import SourceCRS, transform_geometries
from gis.errors import InputError, NotFound
from grids.river import read_river
from grids.river_places import along_river, compare_registers, place_of
from layers.access import SYSTEM, Principal
from layers.database import Database
from tests.integration.test_rules import east, point, put

SRID = 4546
#: The main stem runs east for 10 km with a bend; measures begin at K100 and are calibrated: 5 % longer than drawn.
STEM = [(0.0, 0.0), (4000.0, 0.0), (6000.0, 1500.0), (10000.0, 1500.0)]
#: A brook from the south, its mouth on the stem between the first two vertices.
BROOK = [(2000.0, -3000.0), (2000.0, -150.0)]


def axis(
    database: Database, code: str, places: list[tuple[float, float]], *, version: int = 1, start: float = 0.0, stretch: float = 1.0,
    main: bool = False, name: str = "",
) -> None:  # fmt: skip
    steps = np.hypot(*np.diff(np.array(places), axis=0).T)
    measure = start + stretch * np.concatenate([[0.0], np.cumsum(steps)])
    corners = ", ".join("{} {} {}".format(*east(*xy), m) for xy, m in zip(places, measure, strict=True))
    with database.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO baige.river_axis (reach_code, name_zh, name_en, axis_version, is_main_stem, geom)"
                " VALUES (:code, :name, :name, :version, :main, ST_GeomFromText(:wkt, 4490))"
            ),
            {"code": code, "name": name or code, "version": version, "main": main, "wkt": f"LINESTRING M ({corners})"},
        )


@pytest.fixture(scope="module")
def rivers(database: Database) -> Database:
    axis(database, "CJ", STEM, start=100_000.0, stretch=1.05, main=True, name="长江")
    axis(database, "CJ", STEM, version=2, start=0.0, main=True, name="长江")
    axis(database, "BR", BROOK, name="小溪")
    put(database, "outfall", point(1000, 300), code_local="A", bank_side="L", chainage_m=1000)
    put(database, "outfall", point(3000, -300), code_local="B", bank_side="L", chainage_m=3400)
    put(database, "outfall", point(1990, -2150), code_local="T", receiving_water="小溪", bank_side="L")
    put(database, "outfall", point(8000, 1800), code_local="C", bank_side="L")
    put(database, "outfall", point(1000, 9000), code_local="FAR", bank_side="L")
    put(database, "water_intake", point(3500, 200), intake_code="I1")
    put(database, "water_intake", point(9500, 1400), intake_code="I2")
    return database


def lonlat(shape: shapely.Geometry) -> shapely.Geometry:
    return transform_geometries(np.array([shape], dtype=object), SourceCRS(str(SRID)), 4490)[0]


def test_points_against_postgis(rivers: Database) -> None:
    """PostGIS interpolates the measure of the same line on its own."""
    rng = np.random.default_rng(5)
    with rivers.begin(readonly=True) as connection:
        river = read_river(connection, srid=SRID, version=1)
        stem = river.reach("CJ")
        assert stem.axis.start_m == pytest.approx(100_000.0)
        for _ in range(200):
            spot = stem.axis.xy[0] + rng.uniform([-500, -2500], [10_500, 2500])
            place = river.locate([shapely.Point(spot)], reach="长江")[0]
            measure, offset = connection.execute(
                sa.text(
                    "SELECT ST_InterpolatePoint(l, p), ST_Distance(ST_Force2D(l), p) FROM (SELECT ST_Transform(geom, 4546) AS l,"
                    " ST_SetSRID(ST_Point(:x, :y), 4546) AS p FROM baige.river_axis WHERE reach_code = 'CJ' AND axis_version = 1) q"
                ),
                {"x": spot[0], "y": spot[1]},
            ).one()
            assert place.chainage_m == pytest.approx(measure, abs=0.01)
            assert place.offset_m == pytest.approx(offset, abs=0.001)


def test_a_chainage_comes_back_within_a_centimetre_through_storage(rivers: Database) -> None:
    """Event → geometry → degrees in the database → metres → event."""
    with rivers.begin(readonly=True) as connection:
        river = read_river(connection, srid=SRID, version=1)
        reach = river.reach()
        rng = np.random.default_rng(8)
        for start, end in rng.uniform(reach.axis.start_m, reach.axis.end_m, (50, 2)):
            wkb = connection.execute(
                sa.text("SELECT ST_AsBinary(ST_Transform(ST_GeomFromWKB(:g, 4490), 4546))"), {"g": shapely.to_wkb(lonlat(river.section(start, end)))}
            ).scalar_one()  # fmt: skip
            back = measure_sections(reach.axis, [shapely.from_wkb(bytes(wkb))])
            assert (back[0][0], back[1][0]) == pytest.approx((start, end), abs=0.01)
            if np.abs(reach.axis.measure_m - start).min() > 200:  # at a bend another point of the axis is nearer
                place = river.locate([river.at(start, offset_m=-120.0)], reach="CJ")[0]
                assert (place.side, place.offset_m) == ("R", pytest.approx(120.0, abs=0.01))
                assert place.chainage_m == pytest.approx(start, abs=0.01)


def test_the_version_of_the_axis_counts(rivers: Database) -> None:
    with rivers.begin(readonly=True) as connection:
        old, new = read_river(connection, srid=SRID, version=1), read_river(connection, srid=SRID)
        assert (old.reach().version, new.reach().version) == (1, 2)
        spot = new.at(2000.0)
        assert old.locate([spot], reach="CJ")[0].station == "K102+100"
        assert new.locate([spot], reach="CJ")[0].station == "K2+000"
        assert new.reach("BR").version == 1  # the newest of each reach
        assert [r.code for r in read_river(connection, srid=SRID, version=2).reaches] == ["CJ"]
        with pytest.raises(NotFound):
            read_river(connection, srid=SRID, version=7)
        with pytest.raises(NotFound, match="CJ"):
            new.reach("YZ")


def test_what_the_water_passes_in_its_order(rivers: Database) -> None:
    with rivers.begin(readonly=True) as connection:
        river = read_river(connection, srid=SRID)
        assert river.reach("BR").into == "CJ"
        outfalls = along_river(connection, river, "outfall", SYSTEM)
        assert "FAR" not in outfalls.codes  # nine kilometres from the river
        intakes = along_river(connection, river, "water_intake", SYSTEM)
        first = intakes.places[intakes.codes.index("I1")]
        second = intakes.places[intakes.codes.index("I2")]
        up = river.upstream(first, outfalls.places)
        # B is 500 m up the stem; T 2,000 m down the brook and 1,500 m on the stem; A 2,500 m
        assert [outfalls.codes[t.row] for t in up] == ["B", "A", "T"]
        assert [t.travel_m for t in up] == pytest.approx([500, 2500, 2000 + 1500], abs=2)
        assert [outfalls.codes[t.row] for t in river.upstream(first, outfalls.places, within_m=2600)] == ["B", "A"]
        assert outfalls.codes[river.upstream(second, outfalls.places)[0].row] == "C"
        brook = outfalls.places[outfalls.codes.index("T")]
        down = river.downstream(brook, intakes.places)
        assert [intakes.codes[t.row] for t in down] == ["I1", "I2"]
        assert down[0].travel_m == pytest.approx(3500, abs=2)
        assert river.downstream(second, outfalls.places) == []


def test_registers_are_compared_with_the_axis(rivers: Database) -> None:
    with rivers.begin(readonly=True) as connection:
        found = compare_registers(along_river(connection, read_river(connection, srid=SRID), "outfall", SYSTEM))
    assert {(m.code, m.what) for m in found} == {("B", "chainage"), ("B", "side")}
    assert {m.registered for m in found} == {"K3+400", "L"}


def test_intakes_are_for_those_who_may_read_them(rivers: Database) -> None:
    with rivers.begin(Principal("public"), readonly=True) as connection:
        river = read_river(connection, srid=SRID)
        assert along_river(connection, river, "water_intake", Principal("public")).ids == ()
        with pytest.raises(NotFound):
            place_of(connection, river, "water_intake", "00000000-0000-0000-0000-000000000000", Principal("public"))
        with pytest.raises(NotFound):
            along_river(connection, river, "no_such_layer", SYSTEM)
        with pytest.raises(InputError):
            along_river(connection, river, "rule_waiver", SYSTEM)


def test_the_command(rivers: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", database_url)

    def run(*words: str) -> str:
        done = CliRunner().invoke(main, ["river", *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    lon, lat = (float(value) for value in run("at", "K2+000").split())
    assert (lon, lat) == pytest.approx(east(2000.0), abs=1e-6)
    assert "K2+000" in run("locate", str(lon), str(lat))
    assert "K102+100" in run("locate", str(lon), str(lat), "--axis-version", "1", "--reach", "CJ")
    up = json.loads(run("upstream", "K3+500", "--reach", "CJ", "--json"))
    assert [row["code"] for row in up["features"]] == ["B", "A", "T"]
    assert "I2" in run("downstream", "K5+000", "--reach", "CJ")
    assert "K3+400" in run("check")
    assert "BR" in run("list", "--lang", "zh")
    wrong = CliRunner().invoke(main, ["river", "at", "12 parsecs"])
    assert wrong.exit_code == 2 and "K12+345" in wrong.output
