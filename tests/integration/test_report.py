"""``baige report`` on stored results: its tables against the database's own sums, both languages, areas, and what is missing."""

import json
import re
import uuid
from pathlib import Path

import geopandas as gpd
import openpyxl
import pytest
import shapely
import sqlalchemy as sa
from click.testing import CliRunner

from api.cli import main
from gis.errors import NotFound
from gis.settings import CityConfig
from grids.fairness import fairness
from layers.database import Database
from layers.frames import replace_results
from layers.runs import run
from maps.report import read_report

EAST, NORTH = 528_000.0, 3_396_000.0
CJK = re.compile("[\u4e00-\u9fff]")
EVIL = "=1+1"


def box(n: int, size: float = 100.0) -> shapely.Polygon:
    return shapely.box(EAST + 200 * n, NORTH, EAST + 200 * n + size, NORTH + size)


def frame(rows: list[dict[str, object]]) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(rows, geometry="geom", crs=4546)


def unit(kind: str, code: str, n: int, share: float) -> dict[str, object]:
    levels = {
        f"{k}_{v}": share for k in ("confirmed", "possible", "online") for v in ("overview", "outline", "discern")
    }
    return {
        "unit_kind": kind, "name_zh": f"单元{code}", "admin_code": code, "area_m2": 10_000.0, "public_m2": 1000.0 * (n + 1), **levels,
        "road_confirmed": share / 2, "road_possible": share, "road_m": 50.0 * (n + 1), "crossings": n, "crossings_confirmed": n // 2,
        "cameras": n, "cameras_online": n // 2, "classification": "public", "geom": box(n),
    }  # fmt: skip


SUMMARY = {
    "cameras": 7,
    "cameras_online": 5,
    "cameras_left_out": {"indoor_or_removed": 2},
    "area_confirmed_online_m2": {"20": 1_234_000.0},
    "area_possible_online_m2": {"20": 2_000_000.0},
    "assumptions": ["3 of 7 cameras: direction unknown, nothing confirmed"],
}


@pytest.fixture(scope="module")
def stored(database: Database) -> Database:
    """Results of a coverage run and a rule check, put there by hand, in two counties."""
    codes = ["420502001001", "420502001002", "420502002001", "420503001001"]
    with database.begin() as connection:
        for code, name in (("420502000000", EVIL), ("420503000000", "伍家岗区"), ("420502001000", "甲街道")):
            connection.execute(
                sa.text(
                    "INSERT INTO baige.admin_area (name_zh, name_en, admin_code, level, synthetic, geom) VALUES (:name, :en, :code, :level, true,"
                    " ST_Multi(ST_Transform(ST_GeomFromText(:wkt, 4546), 4490)))"
                ),
                {
                    "name": name,
                    "en": f"Area {code}",
                    "code": code,
                    "level": "street" if code[6:9] != "000" else "county",
                    "wkt": box(0, 900).wkt,
                },
            )
    parameters = {"mode": "exact", "cell_m": 1.0, "densities_px_m": [20.0, 40.0, 80.0]}
    with run(
        database, kind="coverage", parameters=parameters, layers=("camera_site", "grid_cell", "admin_area")
    ) as current:
        cells = [unit("grid", code, n, 0.1 * n) for n, code in enumerate(codes)]
        larger = [unit("county", f"{c}000000", n, 0.2) for n, c in enumerate(("420502", "420503"))]
        larger += [unit("street", f"{c}000", n, 0.2) for n, c in enumerate(("420502001", "420502002", "420503001"))]
        larger += [{**unit("urban_rural", "", n, s), "admin_code": None, "urban_rural": c} for n, (c, s) in enumerate((("111", 0.4), ("220", 0.1)))]
        bank = [
            {"name_zh": f"岸{n}", "admin_code": code, "state": ("confirmed", "none", "none", "possible")[n], "length_m": 100.5 * (n + 1),
             "classification": "internal", "geom": shapely.LineString([(EAST, NORTH + n), (EAST + 90, NORTH + n)])}
            for n, code in enumerate(codes)
        ]  # fmt: skip
        watch = [
            {"outfall_id": str(uuid.uuid4()), "name_zh": f"口{n}",
             "admin_code": code, "watch_state": ("watched", "single", "unwatched", "unwatched")[n],
             "classification": "internal", "geom": shapely.Point(EAST + 50 * n, NORTH)}
            for n, code in enumerate(codes)
        ]  # fmt: skip
        gaps = [
            {"admin_code": codes[n % 4], "target_kind": "road", "cause": ("no_camera", "building", None)[n % 3], "cause_share": 0.5,
             "need": 100.0 - n, "rank": n + 1, "grid_code": f"{codes[n % 4]}{n + 1:03d}", "classification": "internal", "geom": box(n % 4)}
            for n in range(25)
        ]  # fmt: skip
        with database.begin() as connection:
            for layer, rows in (
                ("coverage_by_grid", cells + larger),
                ("bank_coverage", bank),
                ("outfall_watch", watch),
                ("coverage_gap", gaps),
            ):
                replace_results(connection, layer, frame(rows), run=current)
        current.summary.update({**SUMMARY, "fairness": fairness(frame(cells + larger))})
    with run(database, kind="rules", parameters={}, layers=("outfall",)) as current:
        found = [
            {"rule_id": rule, "rule_version": "1", "verdict": verdict, "admin_code": code, "name_zh": "发现", "name_en": "Found",
             "source": "法 / Law", "article": "318; 34", "waived": n == 0, "classification": "internal", "geom": shapely.Point(EAST, NORTH + n)}
            for n, (rule, verdict, code) in enumerate(
                [("1", "V", codes[0]), ("1", "V", codes[3]), ("25", "R", codes[0]), ("1", "indeterminate", "420502000000")]
            )
        ]  # fmt: skip
        with database.begin() as connection:
            replace_results(connection, "rule_finding", frame(found), run=current)
    return database


def call(stored: Database, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setenv("BAIGE_DATABASE_URL", stored.url.render_as_string(hide_password=False))
    done = CliRunner().invoke(main, ["report", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def scalar(database: Database, query: str) -> float:
    with database.begin(readonly=True) as connection:
        return float(connection.execute(sa.text(query)).scalar_one())


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_workbook_says_what_the_database_says(
    stored: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    pdf, xlsx = tmp_path / "r.pdf", tmp_path / "r.xlsx"
    told = json.loads(call(stored, monkeypatch, "--out", str(pdf), "--xlsx", str(xlsx), "--lang", lang, "--json"))
    raw = pdf.read_bytes()
    # title, figures, states, evenness, three maps, county, street, gaps, findings, method, provenance
    assert told["pages"] == len(re.findall(rb"/Type /Page\b", raw)) == 13
    assert told["classification"] == "internal"
    assert b"/ToUnicode" in raw
    assert b"/FontDescriptor" in raw
    book = openpyxl.load_workbook(xlsx)
    sheets = {name: list(book[name].iter_rows(values_only=True)) for name in book.sheetnames}
    assert bool(CJK.search("".join(book.sheetnames))) == (lang == "zh")
    heads = "".join(str(cell) for rows in sheets.values() for cell in rows[0])
    assert bool(CJK.search(heads)) == (lang == "zh")
    by_zh = dict(
        zip(
            ("summary", "density", "county", "street", "evenness", "urban_rural", "states", "causes", "gaps", "findings"),
            list(sheets.values())[1:],
            strict=False,
        )
    )
    figures = {row[0]: row[1] for row in by_zh["summary"][1:]}
    assert figures["参与计算的摄像机" if lang == "zh" else "Cameras that take part"] == 7
    assert figures["20 像素/米：在线确定覆盖" if lang == "zh" else "Seen at 20 px/m: confirmed, online"] == 1.234
    share = scalar(
        stored,
        "SELECT sum(online_overview * public_m2) / sum(public_m2) FROM baige.coverage_by_grid WHERE unit_kind = 'grid'",
    )
    assert figures["公共空间在线确定覆盖率" if lang == "zh" else "Public space confirmed, online"] == pytest.approx(
        100 * share, abs=0.01
    )
    assert by_zh["density"][1][3] == pytest.approx(share)
    counties = {row[1]: row for row in by_zh["county"][1:] if row[1]}
    assert set(counties) == {"420502000000", "420503000000"}
    assert counties["420502000000"][0] == (EVIL if lang == "zh" else "Area 420502000000")
    for code, row in counties.items():
        like = f"admin_code LIKE '{code[:6]}%'"
        assert row[10] == scalar(stored, f"SELECT count(*) FROM baige.outfall_watch WHERE {like}")
        assert row[12] == scalar(stored, f"SELECT count(*) FROM baige.coverage_gap WHERE {like}")
        assert row[13] == scalar(stored, f"SELECT count(*) FROM baige.rule_finding WHERE {like}")
    streets = {row[1]: row for row in by_zh["street"][1:] if row[1]}
    assert streets["420502001000"][13] == 2  # the finding that is known by county only is not put into a street
    # shares 0.4 and 0.1 on 1,000 and 2,000 m²: 0.2 together, apart from it by (0.2 × 1 + 0.1 × 2) / 3
    classes = next(row for row in by_zh["evenness"][1:] if row[0] in ("城乡分类", "Urban–rural classes"))
    village = "村庄" if lang == "zh" else "Village"
    assert classes[1:3] == (2, pytest.approx(0.2)) and classes[5:7] == (village, pytest.approx(0.1))
    assert classes[7:] == (pytest.approx(0.25), pytest.approx(0.4 / 3, abs=1e-4), 0)
    assert [row[:2] for row in by_zh["urban_rural"][1:] if row[1]] == [("主城区" if lang == "zh" else "Main urban area", "111"), (village, "220")]
    none = scalar(stored, "SELECT sum(length_m) FROM baige.bank_coverage WHERE state = 'none'")
    assert [row[2] for row in by_zh["states"][1:] if row[1] in ("未覆盖", "Not covered")] == [round(none)]
    assert [row[0] for row in by_zh["gaps"][1:]] == list(range(1, 21))
    found = [(row[0], row[4], row[5], row[6]) for row in by_zh["findings"][1:] if row[0] and row[5]]
    assert found == [("1", "318; 34", 2, 1), ("25", "318; 34", 1, 0), ("1", "318; 34", 1, 0)]


def test_an_area_and_its_layers(
    stored: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, city: CityConfig
) -> None:
    out = tmp_path / "a.pdf"
    assert "(" in call(
        stored, monkeypatch, "--area", "420502", "--layer", "coverage_gap", "--layer", "rule_finding", "--out", str(out)
    )
    assert out.stat().st_size > 10_000
    with stored.begin(readonly=True) as connection:
        found = read_report(connection, city, area="420502000000", lang="en", layers=["coverage_gap", "camera_site"])
    assert found.area == "Area 420502000000"
    assert [sheet.layer.name for sheet in found.maps] == ["coverage_gap", "camera_site"]
    assert len(found.maps[0].frame) == scalar(
        stored, "SELECT count(*) FROM baige.coverage_gap WHERE admin_code LIKE '420502%'"
    )
    tables = {table.key: table for table in found.tables}
    assert len(tables["county"].rows) == 1
    assert not CJK.search("".join(note for note in found.notes))
    assert found.synthetic


def test_inputs_that_changed_since_are_said(stored: Database, city: CityConfig) -> None:
    with stored.begin(readonly=True) as connection:
        report = read_report(connection, city, lang="en")
    before = {row[1]: row[5] for row in next(t for t in report.tables if t.key == "inputs").rows}
    assert set(before) == {"camera_site", "grid_cell", "admin_area"}
    with stored.engine.connect() as connection, connection.begin() as transaction:
        connection.execute(
            sa.text("UPDATE baige_sys.layer SET change_counter = change_counter + 1 WHERE name = 'grid_cell'")
        )
        report = read_report(connection, city, lang="en")
        transaction.rollback()
    after = {row[1]: row[5] for row in next(t for t in report.tables if t.key == "inputs").rows}
    assert (before["grid_cell"], after["grid_cell"]) == ("no", "yes")


def test_what_is_missing_is_said_plainly(stored: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", stored.url.render_as_string(hide_password=False))
    out = str(tmp_path / "r.pdf")
    for words, said, code in (
        (["--area", "310101"], "no results in the area", 1),
        (["--area", "4x"], "not an administrative code", 2),
        (["--layer", "nowhere"], "no layer", 1),
    ):
        done = CliRunner().invoke(main, ["report", "--out", out, *words])
        assert said in done.output, done.output
        assert done.exit_code == code, done.output
    assert not Path(out).exists()


def test_without_a_run_the_next_step_is_named(fresh_database: Database, city: CityConfig) -> None:
    with (
        fresh_database.begin(readonly=True) as connection,
        pytest.raises(NotFound, match="baige coverage run") as caught,
    ):
        read_report(connection, city)
    assert "baige coverage run" in caught.value.zh
    with run(fresh_database, kind="coverage", parameters={}, layers=()):
        pass
    with fresh_database.begin(readonly=True) as connection, pytest.raises(NotFound, match="no results"):
        read_report(connection, city)
