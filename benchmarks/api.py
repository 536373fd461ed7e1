"""The API beside its peers: ``BAIGE_HOME=… python -m benchmarks.api [--peers PYTHON] [--seconds N]``.

One database with 200,000 polygons and 60,000 cameras; stock pygeoapi with its PostgreSQL provider, TiPg, and this server, one after the
other, two workers each, four connections (`wrk -t1 -c4`, Debian package ``wrk``); `pgbench` with the same SQL as the limit. The peers
connect as the owner of the tables, without row-level security; this server asks as the public, under it. ``PYTHON`` is an interpreter that
has ``pygeoapi==0.24.0 psycopg2-binary tipg uvicorn httptools uvloop``; without it the peers are left out.
Every answer is checked (number of features, no error) before it is timed.
"""

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import yaml

from benchmarks.api_data import fill
from gis.settings import Settings
from layers.cluster import resolve_database_url
from layers.database import Database
from layers.migrate import upgrade

PORT = 8177
BASE = f"http://127.0.0.1:{PORT}"
LON, LAT = 111.35, 30.7
BBOX = "111.2,30.6,111.22,30.62"


def tile(z: int, lon: float = LON, lat: float = LAT) -> tuple[int, int]:
    x = int((lon + 180) / 360 * 2**z)
    return x, int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**z)


@contextmanager
def serving(words: list[str], environment: dict[str, str], ready: str) -> Iterator[None]:
    process = subprocess.Popen(
        words, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                if httpx.get(BASE + ready, timeout=60).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{words[:4]} did not start")
        time.sleep(2)  # the other worker
        yield
    finally:
        process.terminate()
        process.wait(20)


def hammer(path: str, seconds: int, *, script: str | None = None) -> float:
    """Requests a second; no answer may be an error."""
    words = [
        "wrk",
        "-t1",
        "-c4",
        f"-d{seconds}s",
        "--timeout",
        "30s",
        "-H",
        "Accept: */*",
        *(["-s", script] if script else []),
        BASE + path,
    ]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in out, out
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


_client = httpx.Client(timeout=300)  # making one takes longer than many an answer


def timed(path: str, **more: Any) -> tuple[float, httpx.Response]:
    started = time.perf_counter()
    answer = _client.get(BASE + path, **more)
    return time.perf_counter() - started, answer


def features(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text[:300]
    return len(answer.json()["features"])


def walk(first: str) -> tuple[float, int, int]:
    """Seconds, features and pages of all pages."""
    started = time.perf_counter()
    count = pages = 0
    url: str | None = BASE + first
    with httpx.Client(timeout=300) as client:
        while url:
            body = client.get(url).json()
            count += len(body["features"])
            pages += 1
            url = next((k["href"] for k in body["links"] if k["rel"] == "next"), None)
    return time.perf_counter() - started, count, pages


def measure(
    items: str,
    item_ids: list[str],
    tile_path: str,
    seconds: int,
    *,
    tiles: bool = True,
    form: str = "json",
    own: bool = False,
) -> dict[str, float]:
    """What all servers are asked."""
    found: dict[str, float] = {}
    for limit in (10, 1000, 10_000):
        path = f"{items}?limit={limit}&f={form}"
        assert features(timed(path)[1]) == limit
        found[f"items limit={limit}"] = hammer(path, seconds)
    path = f"{items}?bbox={BBOX}&limit=100&f={form}"
    answer = timed(path)[1]
    if answer.status_code == 200 or own:
        assert features(answer) == 100
        found["bbox limit=100"] = hammer(path, seconds)
    else:  # a peer that cannot is left out of the row
        print(f"bbox: {answer.status_code} {answer.text[:200]}", file=sys.stderr)
    assert timed(f"{items}/{item_ids[0]}?f={form}")[1].json()["id"] == item_ids[0]
    with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as script:
        listed = ",".join(f'"{items}/{i}?f={form}"' for i in item_ids)
        script.write(f"local p={{{listed}}} local n=0 request=function() n=n%#p+1 return wrk.format('GET',p[n]) end")
    found["one item"] = hammer("/", seconds, script=script.name)
    seconds_all, count, pages = walk(f"{items}?limit=10000&f={form}")
    assert count == 200_000, count
    found["200k rows, pages of 10,000: s"] = seconds_all
    found["… pages"] = pages
    if tiles:
        x, y = tile(14)
        with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as script:
            around = ",".join(f'"{tile_path.format(z=14, x=x + i % 20 - 10, y=y + i // 20 - 10)}"' for i in range(400))
            script.write(
                f"local p={{{around}}} local n=0 request=function() n=n+1 return wrk.format('GET',p[(n-1)%#p+1]) end"
            )
        wanted = tile_path.format(z=14, x=x, y=y)
        assert timed(wanted)[1].status_code == 200
        found["MVT z14, 400 tiles in turn"] = hammer("/", seconds, script=script.name)
        found["MVT z14, one tile again and again"] = hammer(wanted, seconds)
    return found


def ours(url: str, ids: list[str], seconds: int) -> dict[str, float]:
    items, path = "/collections/building/items", "/collections/building/tiles/WebMercatorQuad/{z}/{y}/{x}"
    found: dict[str, float] = {}
    words = [sys.executable, "-m", "api.cli", "serve", "--port", str(PORT), "--workers", "2", "--no-jobs"]
    with serving(words, {"BAIGE_SERVE_TILE_CACHE_MB": "0"}, "/readyz"):
        x, y = tile(14)
        with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as script:
            around = ",".join(f'"{path.format(z=14, x=x + i % 20 - 10, y=y + i // 20 - 10)}"' for i in range(400))
            script.write(
                f"local p={{{around}}} local n=0 request=function() n=n+1 return wrk.format('GET',p[(n-1)%#p+1]) end"
            )
        uncached = hammer("/", seconds, script=script.name)
        for z in (8, 9, 10):
            cover = {tile(z, lon, lat) for lon in (111.05, 111.35, 111.65) for lat in (30.45, 30.7, 30.95)}
            taken = [timed(path.format(z=z, x=tx, y=ty)) for tx, ty in sorted(cover)]
            assert all(a.status_code in (200, 204) for _, a in taken)
            found[f"MVT z{z} uncached, slowest of {len(cover)}: ms"] = 1000 * max(t for t, _ in taken)
    with serving(words, {}, "/readyz"):
        found |= measure(items, ids, path, seconds, own=True)
        found["MVT z14, 400 tiles in turn"] = uncached
        first = min(timed(f"{items}?limit=1000")[0] for _ in range(5))
        cursor, seen = f"{items}?limit=1000", 0
        with httpx.Client(timeout=60) as client:
            while True:
                body = client.get(BASE + cursor).json()
                seen += body["numberReturned"]
                following = next((k["href"] for k in body["links"] if k["rel"] == "next"), None)
                if following is None:
                    break
                cursor = following.removeprefix(BASE)
        assert seen == 200_000
        found["last page / first page"] = min(timed(cursor)[0] for _ in range(5)) / first
        taken_s, answer = timed(f"{items}?f=fgb")
        assert answer.content[:3] == b"fgb"
        found["200k rows as one FlatGeobuf: s"] = taken_s
        tx, ty = tile(14)
        hammering = subprocess.Popen(
            ["wrk", "-t1", "-c4", f"-d{seconds}s", BASE + path.format(z=14, x=tx, y=ty)], stdout=subprocess.DEVNULL
        )
        landing = []
        while hammering.poll() is None:
            landing.append(timed("/")[0])
        found["landing page, p99 while 4 clients take tiles: ms"] = 1000 * sorted(landing)[int(len(landing) * 0.99) - 1]
    return found


def stock(python: str, info: dict[str, str], ids: list[str], seconds: int) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp())
    provider = {
        "type": "feature", "name": "PostgreSQL", "id_field": "id", "table": "building", "geom_field": "geom",
        "data": {"host": info["host"], "port": info["port"], "dbname": info["dbname"], "user": info["user"], "password": "-",
                 "search_path": ["baige", "public"]},
    }  # fmt: skip
    text = {"title": "x", "description": "x", "keywords": ["x"]}
    config = {
        "server": {"bind": {"host": "127.0.0.1", "port": PORT}, "url": BASE, "mimetype": "application/json", "encoding": "utf-8",
                   "languages": ["en-US"], "gzip": False, "limits": {"default_items": 10, "max_items": 10_000},
                   "map": {"url": "x", "attribution": "x"}},
        "logging": {"level": "ERROR"},
        "metadata": {"identification": {**text, "keywords_type": "theme", "terms_of_service": "x", "url": "http://x"},
                     "license": {"name": "x", "url": "http://x"}, "provider": {"name": "x", "url": "http://x"}, "contact": {"name": "x"}},
        "resources": {"building": {"type": "collection", **text, "links": [], "extents": {"spatial": {"bbox": [111, 30, 112, 31],
                      "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}}, "providers": [provider]}},
    }  # fmt: skip
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    environment = {"PYGEOAPI_CONFIG": str(folder / "config.yml"), "PYGEOAPI_OPENAPI": str(folder / "openapi.json")}
    (folder / "openapi.json").write_text(
        json.dumps({"openapi": "3.0.2", "info": {"title": "x", "version": "1"}, "paths": {}})
    )
    words = [
        python,
        "-m",
        "uvicorn",
        "pygeoapi.starlette_app:APP",
        "--port",
        str(PORT),
        "--workers",
        "2",
        "--log-level",
        "critical",
    ]
    with serving(words, environment, "/collections/building/items?limit=1&f=json"):
        return measure("/collections/building/items", ids, "", seconds, tiles=False)


def tipg(python: str, info: dict[str, str], ids: list[str], seconds: int) -> dict[str, float]:
    environment = {
        "DATABASE_URL": f"postgresql://{info['user']}:x@{quote(info['host'], safe='')}:{info['port']}/{info['dbname']}",
        "TIPG_DB_SCHEMAS": '["baige"]',
        "TIPG_MAX_FEATURES_PER_QUERY": "10000",
    }  # fmt: skip
    words = [python, "-m", "uvicorn", "tipg.main:app", "--port", str(PORT), "--workers", "2", "--log-level", "critical"]
    with serving(words, environment, "/healthz"):
        here = "/collections/baige.building"
        return measure(f"{here}/items", ids, here + "/tiles/WebMercatorQuad/{z}/{x}/{y}", seconds, form="geojson")


def limit_of_postgis(info: dict[str, str], seconds: int) -> dict[str, float]:
    found = {}
    for limit in (10, 1000, 10_000):
        with tempfile.NamedTemporaryFile("w", suffix=".sql", delete=False) as script:
            script.write(f"SELECT ST_AsGeoJSON(t) FROM (SELECT * FROM baige.building LIMIT {limit}) AS t;")
        words = ["pgbench", "-n", "-f", script.name, "-c", "2", "-T", str(seconds), "-M", "prepared", "-h", info["host"], "-p", info["port"],
                 "-U", info["user"], info["dbname"]]  # fmt: skip
        out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        found[f"items limit={limit}"] = float(re.search(r"tps = ([\d.]+)", out)[1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=None)
    parser.add_argument("--seconds", type=int, default=6)
    options = parser.parse_args()
    for tool in ("wrk", "pgbench"):
        if shutil.which(tool) is None:
            parser.error(f"{tool} is not installed")
    url = resolve_database_url(Settings())
    database = Database(url)
    upgrade(database)
    fill(database)
    info = {k: str(v) for k, v in psycopg.conninfo.conninfo_to_dict(database.conninfo).items()}
    with database.begin() as connection:
        ids = [
            str(i)
            for i in connection.exec_driver_sql(
                "SELECT id FROM baige.building ORDER BY id LIMIT 500 OFFSET 5000"
            ).scalars()
        ]
    print(f"load before: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    columns = {"this server": ours(url, ids, options.seconds)}
    print(json.dumps(columns), file=sys.stderr)
    if options.peers:
        for name, run in (("pygeoapi 0.24", stock), ("TiPg", tipg)):
            columns[name] = run(options.peers, info, ids, options.seconds)
            print(f"{name}, load {os.getloadavg()[0]:.1f}: {json.dumps(columns[name])}", file=sys.stderr)
    columns["PostGIS alone"] = limit_of_postgis(info, options.seconds)
    rows = dict.fromkeys(row for column in columns.values() for row in column)
    print(f"load after: {os.getloadavg()[0]:.1f}\n")
    print("| requests/s, if not said otherwise | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for row in rows:
        cells = [f"{column[row]:,.1f}" if row in column else "–" for column in columns.values()]
        print(f"| {row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
