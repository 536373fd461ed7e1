"""The API beside its peers: ``BAIGE_HOME=… python -m benchmarks.api [--peers PYTHON] [--seconds N]``.

One database with 200,000 polygons and 60,000 cameras; stock pygeoapi with its PostgreSQL provider, TiPg, and this server, one after the
other, two workers each, four connections (`wrk -t1 -c4`, Debian package ``wrk``); `pgbench` with the same SQL as the limit. The peers
connect as the owner of the tables, without row-level security; this server asks as the public, under it. The peers live in an environment of
their own (`scripts/setup.sh bench` makes it; ``--peers`` names the interpreter of another); without it they are left out, and that is said.
Every answer is checked (number of features, no error) before it is timed.

Two tables are printed: what a client sees, and the processor time (server and PostgreSQL together) of one request. The second holds on a
machine where other work runs beside it, too.
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

import httpx
import orjson
import psycopg
import pyogrio

from benchmarks import api_peers
from benchmarks.api_data import fill
from benchmarks.processor import parent_of, spent_s
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


class Clock:
    """Processor time of the server under test and of the database, and what one request takes of it in milliseconds, by name of the row."""

    def __init__(self, database_pid: int) -> None:
        self.roots = [database_pid]
        self.per_request: dict[str, float] = {}

    def spent_s(self) -> float:
        """Seconds so far."""
        return spent_s(*self.roots)


@contextmanager
def serving(clock: Clock, words: list[str], environment: dict[str, str], ready: str) -> Iterator[None]:
    process = subprocess.Popen(
        words, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 240
        while True:
            try:
                if httpx.get(BASE + ready, timeout=60).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{words[:4]} did not start")
        time.sleep(6)  # the other worker
        clock.roots.append(process.pid)
        yield
    finally:
        clock.roots[1:] = []
        process.terminate()
        process.wait(60)


def hammer(path: str, seconds: int, *, script: str | None = None, clock: Clock | None = None, row: str = "") -> float:
    """Requests a second; no answer may be an error."""
    before = clock.spent_s() if clock else 0.0
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
    count = int(re.search(r"(\d+) requests in", out)[1])
    if clock and count:
        clock.per_request[row] = 1000 * (clock.spent_s() - before) / count
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


_client = httpx.Client(timeout=300)  # making one takes longer than many an answer


def timed(path: str, **more: Any) -> tuple[float, httpx.Response]:
    started = time.perf_counter()
    answer = _client.get(BASE + path, **more)
    return time.perf_counter() - started, answer


def features(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text[:300]
    return len(orjson.loads(answer.content)["features"])


def walk(first: str) -> tuple[float, int, int]:
    """Seconds, features and pages of all pages."""
    started = time.perf_counter()
    count = pages = 0
    url: str | None = BASE + first
    with httpx.Client(timeout=300) as client:
        while url:
            body = orjson.loads(client.get(url).content)  # the client's own time is to be small
            count += len(body["features"])
            pages += 1
            url = next((k["href"] for k in body["links"] if k["rel"] == "next"), None)
    return time.perf_counter() - started, count, pages


def measure(
    clock: Clock,
    items: str,
    item_ids: list[str],
    tile_path: str,
    seconds: int,
    *,
    tiles: bool = True,
    form: str = "json",
) -> dict[str, float]:
    """What all servers are asked."""
    found: dict[str, float] = {}
    for limit in (10, 1000, 10_000):
        path = f"{items}?limit={limit}&f={form}"
        assert features(timed(path)[1]) == limit
        row = f"items limit={limit}"
        # enough time for some answers of the slowest
        found[row] = hammer(path, seconds if limit < 10_000 else 3 * seconds, clock=clock, row=row)
    path = f"{items}?bbox={BBOX}&limit=100&f={form}"
    assert features(timed(path)[1]) == 100
    found["bbox limit=100"] = hammer(path, seconds, clock=clock, row="bbox limit=100")
    assert timed(f"{items}/{item_ids[0]}?f={form}")[1].json()["id"] == item_ids[0]
    with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as script:
        listed = ",".join(f'"{items}/{i}?f={form}"' for i in item_ids)
        script.write(f"local p={{{listed}}} local n=0 request=function() n=n%#p+1 return wrk.format('GET',p[n]) end")
    found["one item"] = hammer("/", seconds, script=script.name, clock=clock, row="one item")
    before = clock.spent_s()
    seconds_all, count, pages = walk(f"{items}?limit=10000&f={form}")
    assert count == 200_000, count
    clock.per_request["200k rows, pages of 10,000: s"] = 1000 * (clock.spent_s() - before)
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
        for row, at, by in (
            ("MVT z14, 400 tiles in turn", "/", script.name),
            ("MVT z14, one tile again and again", wanted, None),
        ):
            found[row] = hammer(at, seconds, script=by, clock=clock, row=row)
    return found


def ours(clock: Clock, ids: list[str], seconds: int) -> dict[str, float]:
    items, path = "/collections/building/items", "/collections/building/tiles/WebMercatorQuad/{z}/{y}/{x}"
    found: dict[str, float] = {}
    words = [sys.executable, "-m", "api.cli", "serve", "--port", str(PORT), "--workers", "2", "--no-jobs"]
    with serving(clock, words, {"BAIGE_SERVE_TILE_CACHE_MB": "0"}, "/readyz"):
        x, y = tile(14)
        with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as script:
            around = ",".join(f'"{path.format(z=14, x=x + i % 20 - 10, y=y + i // 20 - 10)}"' for i in range(400))
            script.write(
                f"local p={{{around}}} local n=0 request=function() n=n+1 return wrk.format('GET',p[(n-1)%#p+1]) end"
            )
        uncached = hammer("/", seconds, script=script.name, clock=clock, row="uncached")
        for z in (8, 9, 10):
            cover = {tile(z, lon, lat) for lon in (111.05, 111.35, 111.65) for lat in (30.45, 30.7, 30.95)}
            taken = [timed(path.format(z=z, x=tx, y=ty)) for tx, ty in sorted(cover)]
            assert all(a.status_code in (200, 204) for _, a in taken)
            found[f"MVT z{z} uncached, slowest of {len(cover)}: ms"] = 1000 * max(t for t, _ in taken)
    with serving(clock, words, {}, "/readyz"):
        found |= measure(clock, items, ids, path, seconds)
        found["MVT z14, 400 tiles in turn"] = uncached
        clock.per_request["MVT z14, 400 tiles in turn"] = clock.per_request.pop("uncached")
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
        before = clock.spent_s()
        taken_s, answer = timed(f"{items}?f=fgb")
        clock.per_request["200k rows as one FlatGeobuf: s"] = 1000 * (clock.spent_s() - before)
        with tempfile.NamedTemporaryFile(suffix=".fgb") as file:
            file.write(answer.content)
            assert pyogrio.read_info(file.name)["features"] == 200_000
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


def peers(python: str, info: dict[str, str], ids: list[str], seconds: int, clocks: dict[str, Clock]) -> dict[str, dict[str, float]]:
    """The same of pygeoapi and TiPg, each alone on the machine."""
    found = {}
    here = "/collections/building/items"
    with serving(clocks["pygeoapi"], *api_peers.stock(python, info, BASE, PORT), f"{here}?limit=1&f=json"):
        found["pygeoapi"] = measure(clocks["pygeoapi"], here, ids, "", seconds, tiles=False)
    print(f"pygeoapi, load {os.getloadavg()[0]:.1f}: {json.dumps(found['pygeoapi'])}", file=sys.stderr)
    here = "/collections/baige.building"
    with serving(clocks["TiPg"], *api_peers.tipg(python, info, PORT), "/healthz"):
        tiles = here + "/tiles/WebMercatorQuad/{z}/{x}/{y}"
        found["TiPg"] = measure(clocks["TiPg"], f"{here}/items", ids, tiles, seconds, form="geojson")
    print(f"TiPg, load {os.getloadavg()[0]:.1f}: {json.dumps(found['TiPg'])}", file=sys.stderr)
    return found


def pgbench() -> str | None:
    """The program, which Debian puts beside the server's others."""
    return shutil.which("pgbench") or next(
        (str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), reverse=True)), None
    )


def table(title: str, columns: dict[str, dict[str, float]], form: str) -> None:
    rows = dict.fromkeys(row for column in columns.values() for row in column)
    print(f"\n| {title} | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for row in rows:
        cells = [format(column[row], form) if row in column else "–" for column in columns.values()]
        print(f"| {row} | " + " | ".join(cells) + " |")


def limit_of_postgis(info: dict[str, str], seconds: int, clock: Clock) -> dict[str, float]:
    found: dict[str, float] = {}
    for limit in (10, 1000, 10_000):
        with tempfile.NamedTemporaryFile("w", suffix=".sql", delete=False) as script:
            script.write(f"SELECT ST_AsGeoJSON(t) FROM (SELECT * FROM baige.building LIMIT {limit}) AS t;")
        words = [str(pgbench()), "-n", "-f", script.name, "-c", "2", "-T", str(seconds), "-M", "prepared", "-h", info["host"], "-p", info["port"],
                 "-U", info["user"], info["dbname"]]  # fmt: skip
        before = clock.spent_s()
        out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        count = int(re.search(r"actually processed: (\d+)", out)[1])
        clock.per_request[f"items limit={limit}"] = 1000 * (clock.spent_s() - before) / count
        found[f"items limit={limit}"] = float(re.search(r"tps = ([\d.]+)", out)[1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=str(api_peers.PYTHON))
    parser.add_argument("--seconds", type=int, default=6)
    options = parser.parse_args()
    if shutil.which("wrk") is None or pgbench() is None:
        parser.error("wrk and pgbench are needed: scripts/setup.sh bench")
    database = Database(resolve_database_url(Settings()))
    upgrade(database)
    fill(database)
    api_peers.copy_for_stock(database)
    info = {k: str(v) for k, v in psycopg.conninfo.conninfo_to_dict(database.conninfo).items()}
    with database.begin() as connection:
        sql = "SELECT id::text FROM baige.building ORDER BY id LIMIT 500 OFFSET 5000"
        ids = list(connection.exec_driver_sql(sql).scalars())
        postmaster = parent_of(int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()))
    clocks = {name: Clock(postmaster) for name in ("this server", "pygeoapi", "TiPg", "PostGIS alone")}
    print(f"load before: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    columns = {"this server": ours(clocks["this server"], ids, options.seconds)}
    print(json.dumps(columns), file=sys.stderr)
    if Path(options.peers).exists():
        columns |= peers(options.peers, info, ids, options.seconds, clocks)
    else:
        print(f"No peers: there is no {options.peers}; scripts/setup.sh bench makes it.", file=sys.stderr)
    columns["PostGIS alone"] = limit_of_postgis(info, options.seconds, clocks["PostGIS alone"])
    print(f"load after: {os.getloadavg()[0]:.1f}")
    table("requests/s, if not said otherwise", columns, ",.1f")
    table("processor ms of one request, server and PostgreSQL", {name: c.per_request for name, c in clocks.items() if name in columns}, ",.2f")


if __name__ == "__main__":
    main()
