"""A layer of a million rows in one table and in partitions by district: ``python -m benchmarks.partitions [rows]``.

What the API asks, under the database role that it asks with, in an embedded database of its own; each question as often as fits into some
seconds, its median, and the answers compared.
"""

import hashlib
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from layers.access import Principal
from layers.catalogue import built_in
from layers.changes import change_set
from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.migrate import upgrade
from layers.partitions import partition_layer
from layers.query.cql2_sql import compile_filter
from layers.query.items import Question, count_sql, item_sql, page_sql
from layers.query.source import Source

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
OFFICER = Principal("officer", district="420502", key_id="k")
_FILL = (
    "INSERT INTO baige.camera_site (id, device_code, admin_code, classification, name_zh, geom) SELECT"
    " md5('i' || n)::uuid, 'D' || n, '4205' || lpad((1 + n % 13)::text, 2, '0') || '001001', CASE n % 10 WHEN 0 THEN 'public' ELSE 'internal' END,"
    " '点' || n, ST_SetSRID(ST_Point(111 + (n * 7919 % 100000) / 1e5, 30 + (n * 104729 % 100000) / 1e5), 4490) FROM generate_series(1::bigint, :n) n"
)


def median_ms(act: Callable[[], Any], *, seconds: float = 4.0) -> tuple[float, Any]:
    """Median time of an act, the first two times left out; and what it gave."""
    times: list[float] = []
    until = time.monotonic() + seconds
    while len(times) < 5 or (time.monotonic() < until and len(times) < 400):
        begun = time.perf_counter()
        answer = act()
        times.append(time.perf_counter() - begun)
    return 1000 * statistics.median(times[2:]), answer


def questions(database: Database, *, partitioned: bool) -> dict[str, tuple[float, Any]]:
    """Times and answers of what is asked."""
    source = Source.of(built_in()["camera_site"], 4490, "officer", partitioned=partitioned)

    def ask(sql: Any) -> Callable[[], Any]:
        def act() -> Any:
            with database.begin(OFFICER, readonly=True) as connection:
                return Database.fetch(connection, sql.text, sql.params, most=5000)

        return act

    district = compile_filter("admin_code LIKE '420502%'", source)
    found = {
        "count of one district": median_ms(ask(count_sql(Question(source, (district,))))),
        "page of 1,000 of one district": median_ms(ask(page_sql(Question(source, (district,)), limit=1000))),
        "page of 10 of the whole layer": median_ms(ask(page_sql(Question(source), limit=10))),
        "one feature by its id": median_ms(ask(item_sql(Question(source), str(uuid.UUID(hashlib.md5(b"i1").hexdigest()))))),
    }
    number = iter(range(10**9))

    def insert() -> None:
        with database.begin(OFFICER) as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO baige.camera_site (device_code, admin_code, classification, name_zh, geom)"
                    " VALUES (:d, '420502001001', 'internal', 'x', ST_SetSRID(ST_Point(111.5, 30.5), 4490))"
                ),
                {"d": f"new-{partitioned}-{next(number)}"},
            )

    found["one feature inserted and committed"] = median_ms(insert, seconds=3)
    with database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.camera_site WHERE device_code LIKE 'new-%%'")
    return found


def main() -> None:
    """Print the table; an answer that differs is an error."""
    home = Path(tempfile.mkdtemp(prefix="bgp-"))
    home.chmod(0o755)
    cluster = EmbeddedCluster(home)
    try:
        cluster.init()
        cluster.start()
        database = Database(cluster.create_database("parts"))
        upgrade(database)
        with database.begin() as connection, change_set(connection, layer="camera_site", action="load"):
            connection.execute(sa.text(_FILL), {"n": ROWS})
        with database.begin() as connection:
            connection.exec_driver_sql("ANALYZE baige.camera_site")
        plain = questions(database, partitioned=False)
        begun = time.monotonic()
        done = partition_layer(database, "camera_site")
        took = time.monotonic() - begun
        assert done.features == ROWS
        assert len(done.parts) == 13
        parted = questions(database, partitioned=True)
        print(f"{ROWS:,} features, 13 districts; put into partitions in {took:.0f} s\n")
        print("| under an officer's role | one table, ms | partitions, ms | ratio |\n|---|---|---|---|")
        for name, (ms, answer) in plain.items():
            assert answer == parted[name][1], name
            print(f"| {name} | {ms:.2f} | {parted[name][0]:.2f} | {parted[name][0] / ms:.2f} |")
        database.dispose()
    finally:
        cluster.destroy()


if __name__ == "__main__":
    main()
