"""All rules, the check of the layout and the proof of its ring on a whole city: ``python -m benchmarks.rules [--scale small|full] [--home DIR]``.

Builds the reference city in an embedded database of its own (or takes the one under ``--home``), runs the rules twice (the second run must
find nothing new and nothing gone), the layout check, and asserts that what the hidden answer key plants is found. Processor time is Python's;
the database's own is not in it.
"""

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from data.city.answers import ELSEWHERE, LAYOUT, RULES, missed
from gis.settings import Settings, load_city
from grids.layout_check import check_layout
from grids.rules import check_rules
from layers.cluster import resolve_database_url
from layers.database import Database
from layers.migrate import upgrade

AIM_RULES_S = 30.0


def built(home, scale):
    """The database of a city, built where there is none, and the answer key."""
    from data.city import generate
    from data.city.store import store_city

    database = Database(resolve_database_url(Settings(home=home)))
    upgrade(database, city=load_city())
    with database.begin(readonly=True) as connection:
        there = connection.exec_driver_sql("SELECT count(*) FROM baige.grid_cell").scalar()
    city = generate(scale)
    if not there:
        began = time.perf_counter()
        store_city(database, home, city, load_city())
        print(f"city of scale {scale} stored in {time.perf_counter() - began:.0f} s", flush=True)
    return database, city.answer_key


def timed(what, run):
    wall, cpu = time.perf_counter(), time.process_time()
    answer = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"| {what} | {wall:.1f} s | {cpu:.1f} s |", flush=True)
    return answer, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=("small", "full"), default="full")
    parser.add_argument("--home", type=Path, default=None)
    given, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="baige-rules-") as scratch:
        database, key = built(given.home or Path(scratch) / "home", given.scale)
        measure(database, key)
        database.dispose()
        if given.home is None:
            from layers.cluster import EmbeddedCluster

            EmbeddedCluster(Path(scratch) / "home").stop()


def measure(database, key):
    city = load_city()
    print("| what | wall | processor (Python) |\n|---|---|---|")
    marks: list[tuple[float, str]] = []
    first, seconds = timed(
        "all rules",
        lambda: check_rules(
            database, city, progress=lambda en, _zh, _done, _all: marks.append((time.perf_counter(), en))
        ),
    )
    spent = sorted(((later[0] - now[0], now[1]) for now, later in pairwise(marks)), reverse=True)
    print("slowest: " + "; ".join(f"{title} {took:.1f} s" for took, title in spent[:5]))
    again, _ = timed("all rules again", lambda: check_rules(database, city))
    assert (again.new, again.gone) == (0, ())
    print(f"{len(first.outcomes)} rules, {sum(len(o.findings) for o in first.outcomes):,} findings")
    print(json.dumps({"aim_s": AIM_RULES_S, "within": seconds <= AIM_RULES_S}))
    report, _ = timed("layout check with ring and zone proofs", lambda: check_layout(database, city))
    print(
        f"{len(report.faults):,} faults, ring {'closed' if report.closures[0].closed else 'open'}, {report.closures[0].crossings} crossings"
    )
    by_rule = {o.rule.id: {f.object_id for f in o.findings} for o in first.outcomes}
    by_rule["25"] = by_rule.get("25", set()) | {
        str(f.other_id) for o in first.outcomes if o.rule.id == "25" for f in o.findings
    }
    by_kind: dict[str, set[str]] = {}
    for fault in report.faults:
        by_kind.setdefault(fault.kind, set()).update(fault.ids)
    left = missed(key, by_rule, by_kind)
    assert not left, f"planted and not found: { {fault: len(ids) for fault, ids in left.items()} }"
    print(
        f"found: every planted fault of {len(RULES) + len(LAYOUT)} kinds; {len(ELSEWHERE)} kinds belong to coverage and loading"
    )


if __name__ == "__main__":
    main()
