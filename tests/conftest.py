"""Fixtures of all suites: one PostGIS cluster a session, one database a module, the city file, the real input."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from gis.settings import CityConfig, load_city
from layers.cluster import EmbeddedCluster
from layers.database import Database

REPOSITORY = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
TEMPLATE = "baige_template"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """In CI a test that skips fails: what is not run there is run nowhere."""
    report = yield
    if IN_CI and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and in CI nothing may be skipped: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """The same for whole modules (``importorskip``, ``skip(allow_module_level=True)``)."""
    report = yield
    if IN_CI and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, and in CI nothing may be skipped: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no ``BAIGE_…`` variable of the caller, save where the real input is."""
    for name in [n for n in os.environ if n.startswith("BAIGE_") and n != "BAIGE_SHARED_DATA"]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def city() -> CityConfig:
    """The built-in city."""
    return load_city()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real input: ``BAIGE_SHARED_DATA``, or ``shared/data`` beside the checkout."""
    folder = Path(os.environ.get("BAIGE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real input: set BAIGE_SHARED_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[EmbeddedCluster]:
    """A running cluster of this session's own; safety against power loss is off."""
    # Not pytest's own folder: its path is long (a socket's may not be), and for root it may be closed to the server's user.
    home = Path(tempfile.mkdtemp(prefix="bgt-"))
    home.chmod(0o755)
    running = EmbeddedCluster(home, durable=False)
    try:
        running.start()
        yield running
    finally:
        if IN_CI and request.session.testsfailed:  # the run prints it at its end
            logs = sorted(running.log_dir.glob("*.log"))
            home.with_suffix(".log").write_bytes(b"".join(log.read_bytes() for log in logs))
        running.destroy()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def template_database(cluster: EmbeddedCluster) -> str:
    """Name of a database with the schema in place and no rows, to make others from."""
    from layers.migrate import upgrade

    upgrade(cluster.create_database(TEMPLATE))
    return TEMPLATE


def _clone(cluster: EmbeddedCluster, template: str, name: str) -> str:
    with psycopg.connect(Database(cluster.admin_url()).conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER baige TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    return cluster.url(name)


def _drop(cluster: EmbeddedCluster, name: str) -> None:
    with psycopg.connect(Database(cluster.admin_url()).conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def database_url(cluster: EmbeddedCluster, template_database: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a fresh database for this module, cloned from the template and dropped afterwards."""
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    url = _clone(cluster, template_database, name)
    yield url
    _drop(cluster, name)


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    """The module's database, connected as the owner."""
    connected = Database(database_url)
    yield connected
    connected.dispose()


@pytest.fixture
def fresh_database(cluster: EmbeddedCluster, template_database: str) -> Iterator[Database]:
    """A database for one test alone, for tests that leave a mess."""
    connected = Database(_clone(cluster, template_database, "test_fresh"))
    yield connected
    connected.dispose()
    _drop(cluster, "test_fresh")
