"""The leak test: nobody is told what is not theirs, by no route, format, parameter, count or error.

`LAYERS` are crawled in every way; ``make leak-test`` does so with all layers. The last tests open something on purpose: the crawler must find it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from gis.settings import Settings
from layers.catalogue import built_in
from layers.database import Database
from tests.integration.test_access.leaks import (
    PEOPLE,
    City,
    Crawler,
    Report,
    Who,
    addresses,
    build,
    may_see,
    put_jobs,
    put_maps,
    put_rasters,
    told_apart,
    twins,
)
from tests.integration.test_api.conftest import running

pytestmark = pytest.mark.filterwarnings("ignore:Measured")  # a reader says of the river axis that it drops the measures

#: Crawled in every way: with hidden columns, with a second geometry, restricted, public, without places, results.
LAYERS = ("camera_site", "camera_view", "outfall_sample", "school", "sensitive_place")
FULL = os.environ.get("BAIGE_LEAK_TEST") == "full"
ASKING = [w for w in PEOPLE if FULL or w.name not in ("officer A", "planner B")]


@dataclass(frozen=True)
class Town:
    """The server over the city of markers."""

    client: httpx.Client
    city: City
    database: Database
    home: Path
    state: Any
    routes: tuple[str, ...]
    document: dict[str, Any]

    def addresses(self, names: Any) -> list[str]:
        return addresses(self.document, self.routes, self.city, names)


@pytest.fixture(scope="module")
def town(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    home = tmp_path_factory.mktemp("leak")
    city = build(database)
    put_rasters(city, database, home)
    put_maps(city, home)
    put_jobs(city, database, home)
    url = database.url.render_as_string(hide_password=False)
    with running(Settings(home=home), url) as (address, app), httpx.Client(base_url=address, timeout=120) as client:
        routes = tuple(r.path for r in app.routes if "GET" in (getattr(r, "methods", None) or ()))
        document = client.get("/openapi?f=json", headers={"X-API-Key": city.keys["admin"]}).json()
        yield Town(client, city, database, home, app.state.baige, routes, document)


def names() -> tuple[str, ...]:
    return tuple(built_in()) if FULL else LAYERS


def told(report: Report) -> str:
    shown = "\n".join(f"{k.who}: {k.marker} in {k.path}" for k in report.leaks[:20])
    return f"{len(report.leaks)} leaks in {report.requests} answers\n{shown}"


@pytest.mark.parametrize("who", ASKING, ids=lambda w: w.name)
def test_nobody_sees_what_is_not_theirs(town: Town, who: Who, record_property: Any) -> None:
    report = Crawler(town.client, town.city, who).crawl(town.addresses(names()))
    assert not report.leaks, told(report)
    assert not report.broken
    assert report.statuses[200] > 30
    # it looked where the values are: of what the asker may see of these layers nearly everything came up
    own = {k for k, m in town.city.markers.items() if m.layer in names() and may_see(who, m) and ":" not in k}
    missing = own - report.found
    assert len(missing) < 0.02 * len(own), sorted(str(town.city.markers[k]) for k in missing)[:20]
    record_property("requests", report.requests)
    record_property("markers", len(own))


@pytest.mark.parametrize("who", PEOPLE, ids=lambda w: w.name)
def test_counts_are_of_what_one_may_see(town: Town, who: Who) -> None:
    crawler = Crawler(town.client, town.city, who)
    configured = {layer["name"]: layer["count"] for layer in crawler.get("/portal/config.json").json()["layers"]}
    for layer in built_in():
        own = sum(may_see(who, town.city.markers[row["id"]]) for (name, _, _), row in town.city.rows.items() if name == layer)
        assert crawler.get(f"/collections/{layer}/items?limit=1").json()["numberMatched"] == own
        assert configured.get(layer, own) == own


@pytest.mark.parametrize("who", [w for w in ASKING if w.role != "admin"], ids=lambda w: w.name)
def test_what_is_hidden_cannot_be_told_from_what_is_not_there(town: Town, who: Who, record_property: Any) -> None:
    crawler = Crawler(town.client, town.city, who)
    pairs = [pair for name in names() for pair in twins(built_in()[name], town.city, who)]
    if not FULL:
        pairs = pairs[:: max(1, len(pairs) // 120)]
    apart = []
    for one, two, different in pairs:
        how = told_apart(crawler.get(one), crawler.get(two), different)
        if how:
            apart.append((one, how))
    record_property("pairs", len(pairs))
    assert not apart, apart[:5]


def test_every_route_is_crawled(town: Town) -> None:
    """A new route shows up here by itself; one with a parameter that the crawler cannot fill is asked with ``1``."""
    asked = "\n".join(town.addresses(["school"]))
    for route in town.routes:
        assert route.split("{")[0].rstrip("/") in asked, route


# ----------------------------------------------------------------------------------------------------------- it must be able to fail


def found_by(town: Town, who: str, *layers: str) -> set[tuple[str, str]]:
    person = next(w for w in PEOPLE if w.name == who)
    report = Crawler(town.client, town.city, person).crawl(town.addresses(layers))
    return {(leak.marker.layer, leak.marker.column) for leak in report.leaks}


def test_an_opened_column_is_found(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = built_in()["camera_site"]
    opened = camera.model_copy(update={"hidden": {"public": tuple(n for n in camera.hidden["public"] if n != "device_code")}})
    with town.database.begin() as connection:
        for schema in ("baige", "baige_history"):
            connection.exec_driver_sql(f"GRANT SELECT (device_code) ON {schema}.camera_site TO baige_public")
    try:
        monkeypatch.setitem(town.state.catalogue.layers, "camera_site", opened)
        town.state.catalogue._sources.clear()
        assert found_by(town, "public", "camera_site") == {("camera_site", "device_code")}
    finally:
        monkeypatch.undo()
        town.state.catalogue._sources.clear()
        with town.database.begin() as connection:
            for schema in ("baige", "baige_history"):
                connection.exec_driver_sql(f"REVOKE SELECT (device_code) ON {schema}.camera_site FROM baige_public")


def test_a_column_opened_in_the_code_alone_stays_shut(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database decides, not the route: a route that forgets the rule gets an error, not the value."""
    camera = built_in()["camera_site"]
    monkeypatch.setitem(town.state.catalogue.layers, "camera_site", camera.model_copy(update={"hidden": {}}))
    town.state.catalogue._sources.clear()
    try:
        public = next(w for w in PEOPLE if w.name == "public")
        answer = Crawler(town.client, town.city, public).get("/collections/camera_site/items")
        assert answer.status_code == 403
        assert "zq" not in answer.text
    finally:
        monkeypatch.undo()
        town.state.catalogue._sources.clear()


@pytest.mark.parametrize("table", ["baige", "baige_history"])
def test_an_opened_policy_is_found(town: Town, table: str) -> None:
    with town.database.begin() as connection:
        connection.exec_driver_sql(f"CREATE POLICY opened ON {table}.outfall FOR SELECT TO baige_officer USING (classification = 'internal')")
    town.state.counts.clear()
    town.state.extents.clear()
    town.state.tiles.clear()
    try:
        assert ("outfall", "name_zh") in found_by(town, "officer A", "outfall")
    finally:
        with town.database.begin() as connection:
            connection.execute(sa.text(f"DROP POLICY opened ON {table}.outfall"))
        for cache in (town.state.counts, town.state.extents, town.state.tiles):
            cache.clear()


def test_an_opened_page_is_found(town: Town) -> None:
    told = town.home / "maps" / "access.json"
    before = told.read_text()
    told.write_text('{"role": "public", "files": ["open.html", "index.html"]}')
    try:
        assert ("", "page for staff") in found_by(town, "public", "school")
    finally:
        told.write_text(before)
