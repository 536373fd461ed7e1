"""A drawn extract in the reference city: rivers with chainage and banks, and what a later extract changes."""

from pathlib import Path

import pyproj
import pytest
import sqlalchemy as sa

from data.osm.store import load_osm
from gis.settings import CityConfig
from layers.database import Database
from layers.history import feature_versions
from layers.registry import declaration_of

#: Upper part, middle and lower end of a river that runs east; its water is 200 m wide and is cut off straight at both ends.
RIVER = [(111.20, 30.70), (111.21, 30.70), (111.22, 30.70), (111.24, 30.70)]
HALF_DEG = 0.0009


def _extract(folder: Path, *, camera_direction: str, name: str) -> Path:
    banks = [(x, y + s * HALF_DEG) for s, line in ((1, RIVER), (-1, RIVER[::-1])) for x, y in line]
    nodes = [*RIVER, *banks, (111.215, 30.7015)]
    body = "".join(f'<node id="{i}" lon="{x}" lat="{y}" version="1"/>' for i, (x, y) in enumerate(nodes[:-1], start=1))
    tags = {
        "man_made": "surveillance",
        "camera:type": "fixed",
        "camera:direction": camera_direction,
        "operator": "宜昌市公安局",
    }
    tagged = "".join(f'<tag k="{key}" v="{value}"/>' for key, value in tags.items())
    x, y = nodes[-1]
    body += f'<node id="900" lon="{x}" lat="{y}" version="1">{tagged}</node>'

    def way(number: int, refs: list[int], **tags: str) -> str:
        listed = "".join(f'<nd ref="{ref}"/>' for ref in refs) + "".join(
            f'<tag k="{k}" v="{v}"/>' for k, v in tags.items()
        )
        return f'<way id="{number}" version="1">{listed}</way>'

    # The lower part is drawn first: parts are joined by their ends, not by their order.
    body += way(50, [2, 3, 4], waterway="river", name="长江") + way(51, [1, 2], waterway="river", name="长江")
    body += way(52, [5, 6, 7, 8, 9, 10, 11, 12, 5], natural="water", water="river", name="长江")
    path = folder / name
    path.write_text(f'<?xml version="1.0"?><osm version="0.6">{body}</osm>', encoding="utf-8")
    return path


def test_a_river_and_a_later_extract(fresh_database: Database, tmp_path: Path, city: CityConfig) -> None:
    first = load_osm(fresh_database, _extract(tmp_path, camera_direction="N", name="a.osm"), city)
    assert {name: report.inserted for name, report in first.layers.items()} == {
        "water": 1, "waterway": 2, "river_axis": 1, "riverbank": 2, "camera_site": 1,
    }  # fmt: skip
    geod = pyproj.Geod(ellps="WGS84")
    length_m = geod.line_length(*zip(*RIVER, strict=True))
    with fresh_database.begin(readonly=True) as connection:
        axis = connection.execute(
            sa.text(
                "SELECT source_ref, is_main_stem, reach_code, ST_X(ST_StartPoint(geom)) AS x, ST_M(ST_StartPoint(geom)) AS m0,"
                " ST_M(ST_EndPoint(geom)) AS m1, ST_NPoints(geom) AS n FROM baige.river_axis"
            )
        ).one()
        banks = connection.execute(
            sa.text(
                "SELECT bank_side, reach_code, start_m, end_m, ST_Length(geom::geography) AS long_m, ST_Y(ST_StartPoint(geom)) AS y,"
                " ST_X(ST_StartPoint(geom)) < ST_X(ST_EndPoint(geom)) AS downstream FROM baige.riverbank ORDER BY bank_side"
            )
        ).all()
        camera = connection.execute(
            sa.text("SELECT id, azimuth_deg, owner_org, source_ref FROM baige.camera_site")
        ).one()
    assert (axis.source_ref, axis.is_main_stem, axis.x, axis.m0, axis.n) == ("osm:way/51", True, 111.20, 0.0, 4)
    assert axis.m1 == pytest.approx(length_m, rel=1e-4)
    # It runs east: the northern bank is the left one, and both are drawn downstream.
    assert [(bank.bank_side, bank.y > 30.70, bank.downstream) for bank in banks] == [
        ("L", True, True),
        ("R", False, True),
    ]
    for bank in banks:
        assert bank.reach_code == axis.reach_code
        assert 0 <= bank.start_m < 25 and length_m - 25 < bank.end_m <= axis.m1 + 0.01
        assert bank.long_m == pytest.approx(length_m, abs=50)
    assert (camera.azimuth_deg, camera.owner_org, camera.source_ref) == (0.0, "宜昌市公安局", "osm:node/900")

    later = load_osm(fresh_database, _extract(tmp_path, camera_direction="S", name="b.osm"), city)
    assert {name: (report.inserted, report.updated) for name, report in later.layers.items()} == {
        "water": (0, 0), "waterway": (0, 0), "river_axis": (0, 0), "riverbank": (0, 0), "camera_site": (0, 1),
    }  # fmt: skip
    with fresh_database.begin(readonly=True) as connection:
        turned = connection.execute(sa.text("SELECT id, azimuth_deg FROM baige.camera_site")).one()
        versions = feature_versions(connection, declaration_of(connection, "camera_site"), camera.id)
    assert (turned.id, turned.azimuth_deg) == (camera.id, 180.0)
    assert len(versions) == 2
