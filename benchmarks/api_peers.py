"""The servers that the API benchmark is compared with, and how they are started: stock pygeoapi and TiPg, in an environment of their own."""

import json
import tempfile
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
import yaml

from layers.database import Database

__all__ = ["PYTHON", "copy_for_stock", "stock", "tipg"]

#: The interpreter that `scripts/setup.sh bench` makes for them.
PYTHON = Path(__file__).parent.parent / ".tools/peers/bin/python"


def copy_for_stock(database: Database) -> None:
    """The same polygons in a table of their own in EPSG 4326, with the same indexes.

    Stock pygeoapi takes a `bbox` for 4326, and answers with an error 500 on the table in 4490: it is given what it can serve.
    """
    with database.begin() as connection:
        if connection.execute(sa.text("SELECT to_regclass('benchmark.building')")).scalar():
            return
        for sql in (
            "CREATE SCHEMA benchmark",
            "CREATE TABLE benchmark.building (LIKE baige.building INCLUDING DEFAULTS)",
            "ALTER TABLE benchmark.building ALTER COLUMN geom TYPE geometry(MultiPolygon, 4326)",
        ):
            connection.exec_driver_sql(sql)
        names = connection.execute(
            sa.text(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'baige.building'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
            )
        ).scalars()
        listed = ", ".join(f'"{n}"' if n != "geom" else "ST_SetSRID(geom, 4326)" for n in names)
        connection.exec_driver_sql(f"INSERT INTO benchmark.building SELECT {listed} FROM baige.building")
        connection.exec_driver_sql("ALTER TABLE benchmark.building ADD PRIMARY KEY (id)")
        connection.exec_driver_sql("CREATE INDEX ON benchmark.building USING gist (geom)")
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE benchmark.building")


def stock(python: str, info: dict[str, str], base: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Words and environment that start pygeoapi with its PostgreSQL provider, two workers."""
    folder = Path(tempfile.mkdtemp())
    provider = {
        "type": "feature", "name": "PostgreSQL", "id_field": "id", "table": "building", "geom_field": "geom",
        "data": {"host": info["host"], "port": info["port"], "dbname": info["dbname"], "user": info["user"], "password": "-",
                 "search_path": ["benchmark", "public"]},
    }  # fmt: skip
    text = {"title": "x", "description": "x", "keywords": ["x"]}
    config = {
        "server": {"bind": {"host": "127.0.0.1", "port": port}, "url": base, "mimetype": "application/json", "encoding": "utf-8",
                   "languages": ["en-US"], "gzip": False, "limits": {"default_items": 10, "max_items": 10_000},
                   "map": {"url": "x", "attribution": "x"}},
        "logging": {"level": "ERROR"},
        "metadata": {"identification": {**text, "keywords_type": "theme", "terms_of_service": "x", "url": "http://x"},
                     "license": {"name": "x", "url": "http://x"}, "provider": {"name": "x", "url": "http://x"}, "contact": {"name": "x"}},
        "resources": {"building": {"type": "collection", **text, "links": [], "extents": {"spatial": {"bbox": [111, 30, 112, 31],
                      "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}}, "providers": [provider]}},
    }  # fmt: skip
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    (folder / "openapi.json").write_text(
        json.dumps({"openapi": "3.0.2", "info": {"title": "x", "version": "1"}, "paths": {}})
    )
    environment = {"PYGEOAPI_CONFIG": str(folder / "config.yml"), "PYGEOAPI_OPENAPI": str(folder / "openapi.json")}
    return _uvicorn(python, "pygeoapi.starlette_app:APP", port), environment


def tipg(python: str, info: dict[str, str], port: int) -> tuple[list[str], dict[str, str]]:
    """Words and environment that start TiPg, two workers."""
    environment = {
        "DATABASE_URL": f"postgresql://{info['user']}:x@{quote(info['host'], safe='')}:{info['port']}/{info['dbname']}",
        "TIPG_DB_SCHEMAS": '["baige"]',
        "TIPG_MAX_FEATURES_PER_QUERY": "10000",
    }
    return _uvicorn(python, "tipg.main:app", port), environment


def _uvicorn(python: str, app: str, port: int) -> list[str]:
    return [python, "-m", "uvicorn", app, "--port", str(port), "--workers", "2", "--log-level", "critical"]
