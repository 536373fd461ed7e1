"""The rows that the API benchmark asks for: 200,000 building outlines and 60,000 cameras over a city, seeded."""

import sqlalchemy as sa

from layers.changes import change_set
from layers.database import Database

__all__ = ["CITY_BOX", "fill"]

#: West, south, east, north of the benchmark's city, degrees.
CITY_BOX = (111.05, 30.45, 111.65, 30.95)

_POLYGONS = """
INSERT INTO baige.building (name_zh, name_en, admin_code, src_crs, classification, synthetic, height_m, geom, change_id)
SELECT '楼' || n, 'Building ' || n, '4205' || lpad((2 + n % 5)::text, 2, '0') || '001001', '4490', 'public', true, 3 + (n * 7919) % 90,
  ST_Multi(ST_SetSRID(ST_MakePolygon(ST_MakeLine(ARRAY[
    ST_MakePoint(x, y), ST_MakePoint(x + w, y + w * s), ST_MakePoint(x + w * (1 - s), y + w), ST_MakePoint(x - w * s, y + w * (1 - s)),
    ST_MakePoint(x - w * s * 0.6, y + w * 0.3), ST_MakePoint(x, y)])), 4490)), :change
FROM (
  SELECT n, :west + (n % 500) / 500.0 * (:east - :west) + ((n * 104729) % 1000) / 2e6 AS x,
         :south + (n / 500) / ((:count - 1) / 500 + 1.0) * (:north - :south) + ((n * 15485863::bigint) % 1000) / 2e6 AS y,
         0.0001 + ((n * 31) % 100) / 2e6 AS w, ((n * 17) % 100) / 250.0 AS s
  FROM generate_series(0::bigint, :count - 1) AS n
) AS seeds
"""
_CAMERAS = """
INSERT INTO baige.camera_site (name_zh, name_en, admin_code, src_crs, classification, synthetic, device_code, point_class, net_status,
  azimuth_deg, hfov_deg, view_dist_m, filing_date, sign_posted, geom, change_id)
SELECT '点位' || n, 'Camera ' || n, '4205' || lpad((2 + n % 5)::text, 2, '0') || '001001', '4490', 'public', true,
  '42050200001320' || lpad(n::text, 6, '0'), 1 + n % 3, (ARRAY['on', 'on', 'on', 'off', 'unknown'])[1 + n % 5],
  (n * 37) % 360, 40 + n % 60, 50 + n % 100, date '2019-01-01' + (n % 2000)::int, n % 4 > 0,
  ST_SetSRID(ST_MakePoint(
    :west + ((n * 48271::bigint) % 600011) / 600011.0 * (:east - :west), :south + ((n * 69621::bigint) % 500009) / 500009.0 * (:north - :south)
  ), 4490), :change
FROM generate_series(0::bigint, :count - 1) AS n
"""


def fill(database: Database, *, polygons: int = 200_000, cameras: int = 60_000) -> None:
    """Put the rows in, where the layers are empty; nothing is done to layers that hold some."""
    west, south, east, north = CITY_BOX
    for layer, sql, count in (("building", _POLYGONS, polygons), ("camera_site", _CAMERAS, cameras)):
        with database.begin() as connection:
            if connection.execute(sa.text(f"SELECT 1 FROM baige.{layer} LIMIT 1")).scalar():
                continue
            with change_set(connection, layer=layer, action="load", note="benchmark") as change:
                values = {
                    "west": west,
                    "south": south,
                    "east": east,
                    "north": north,
                    "count": count,
                    "change": change.id,
                }
                connection.execute(sa.text(sql), values)
                change.count_inserted(count)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"VACUUM ANALYZE baige.{layer}")
