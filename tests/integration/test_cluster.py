"""The embedded cluster on real PostgreSQL: made, raced for, killed, broken, moved and taken back."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gis.errors import ConfigError, DatabaseUnavailable
from gis.settings import Settings
from layers.cluster import EmbeddedCluster, resolve_database_url
from layers.cluster_external import check_external, libpq_url

REPOSITORY = Path(__file__).resolve().parents[2]


def ask(url: str, question: str, *values: object) -> list[tuple[object, ...]]:
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        cursor = connection.execute(question, values or None)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def place() -> Iterator[Path]:
    """A short folder that the server's user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="bgc-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own(place: Path) -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(place / "home", durable=False)
    yield made
    made.destroy()


START = """
import sys
from pathlib import Path
from layers.cluster import EmbeddedCluster
cluster = EmbeddedCluster(Path(sys.argv[1]), durable=False)
cluster.start()
print(cluster.url())
"""


def start_in_processes(home: Path, count: int) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-c", START, str(home)]
    return [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
        for _ in range(count)
    ]


def test_life_of_a_cluster(own: EmbeddedCluster) -> None:
    own.init()
    assert own.status().state == "stopped"
    own.start()
    status = own.status()
    assert status.state == "running"
    assert status.pid is not None
    assert int((status.postgresql or "0").split(".")[0]) >= 15
    assert (status.database_bytes or 0) > 1_000_000
    rows = ask(
        own.url(),
        "SELECT current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), postgis_lib_version() >= '3.3'",
    )
    assert rows == [("baige", False, True)]
    assert ask(
        own.url(), "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
    ) == [("UTF8",)]
    assert ask(own.url(), "SELECT lower('ÄÖ'), similarity('滨江公园', '滨江公园东门') > 0.3") == [("äö", True)]
    # Nobody but the server's user gets at it, and not over TCP.
    assert own.data_dir.stat().st_mode & 0o077 == 0
    assert own._socket_dir().stat().st_mode & 0o077 == 0
    assert ask(own.url(), "SELECT current_setting('listen_addresses')") == [("",)]
    # What was committed outlives a stop; a stop breaks off what runs.
    ask(own.url(), "CREATE TABLE kept AS SELECT 7 AS n")
    assert own.stop() is True
    assert own.status().state == "stopped"
    assert own.stop() is False
    assert resolve_database_url(Settings(home=own.home)) == own.url()
    assert ask(own.url(), "SELECT n FROM kept") == [(7,)]


def test_eight_commands_at_once_make_one_cluster(own: EmbeddedCluster) -> None:
    outcomes = [(process.communicate(timeout=120), process.returncode) for process in start_in_processes(own.home, 8)]
    assert [code for _, code in outcomes] == [0] * 8, [error for (_, error), _ in outcomes]
    assert {out.strip() for (out, _), _ in outcomes} == {own.url()}
    assert ask(own.url(), "SELECT count(*) FROM pg_database WHERE datname LIKE 'baige%%'") == [(1,)]
    assert ask(own.url(), "SELECT extname FROM pg_extension WHERE extname = 'postgis'") == [("postgis",)]


def test_killed_server_comes_back_with_what_was_committed(place: Path) -> None:
    own = EmbeddedCluster(place / "home")  # with all safety on, as users have it
    try:
        kill_and_return(own)
    finally:
        own.destroy()


def kill_and_return(own: EmbeddedCluster) -> None:
    own.start()
    ask(own.url(), "CREATE TABLE kept (n int)")
    ask(own.url(), "INSERT INTO kept SELECT generate_series(1, 1000)")

    def busy() -> None:
        # A backend that computes does not notice that its server has died; it must not keep the next one from starting.
        with pytest.raises(psycopg.OperationalError):
            ask(own.url(), "INSERT INTO kept SELECT n::int FROM generate_series(1::bigint, 10000000000) n WHERE n < 0")

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(100):
            if ask(
                own.url(),
                "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query ~ 'WHERE n < 0'",
            ):
                break
            time.sleep(0.05)
        else:
            pytest.fail("the long statement did not start")
        pid = own.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        own.start()
    finally:
        thread.join(60)
    assert own.status().pid != pid
    assert ask(own.url(), "SELECT count(*), max(n) FROM kept") == [(1000, 1000)]


def test_pid_file_that_names_a_strangers_process(own: EmbeddedCluster) -> None:
    """After a restart of the machine or container the number may belong to anything; here it is this test."""
    own.start()
    own.stop()
    pid_file = own.data_dir / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{own.data_dir}\n1700000000\n5432\n{own._socket_dir()}\n\n  0  0\nready\n")
    owner = own.data_dir.stat()
    if os.geteuid() == 0:
        os.chown(pid_file, owner.st_uid, owner.st_gid)
    assert own.status().state == "stopped"
    assert own.stop() is False
    own.start()
    assert own.status().state == "running"


def test_empty_pid_file(own: EmbeddedCluster) -> None:
    own.init()
    (own.data_dir / "postmaster.pid").write_text("")
    own.start()
    assert own.status().state == "running"


def test_deleted_socket(own: EmbeddedCluster) -> None:
    own.start()
    first = own.status().pid
    shutil.rmtree(own._socket_dir())
    assert own.status().state == "unreachable"
    own.start()
    status = own.status()
    assert (status.state, status.pid != first) == ("running", True)


def test_interrupted_initdb_is_made_anew(own: EmbeddedCluster) -> None:
    own.init()
    whole = own.data_dir
    half = own.base / "data.new"
    whole.rename(half)
    shutil.rmtree(half / "base")
    own.start()
    assert own.status().state == "running"
    assert not half.exists()


def test_data_folder_without_a_version_is_kept_aside(own: EmbeddedCluster) -> None:
    own.init()
    (own.data_dir / "PG_VERSION").unlink()
    own.start()
    assert own.status().state == "running"
    assert [path for path in own.base.glob("data.broken-*") if (path / "base").is_dir()]


def test_interrupted_furnishing_is_taken_up(own: EmbeddedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between CREATE DATABASE and CREATE EXTENSION: the database does not bear its name yet, so nobody uses it."""
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedCluster, "_furnish", lambda self: None)
        own.start()
    ask(own.admin_url(), "CREATE DATABASE baige_half_made")
    assert own._answers() is False
    own.start()
    assert own.status().postgis is not None
    assert ask(own.admin_url(), "SELECT datname FROM pg_database WHERE datname LIKE 'baige%%'") == [("baige",)]


def test_long_home(place: Path) -> None:
    made = EmbeddedCluster(place / ("很长的名字" * 8) / ("x" * 100), durable=False)
    try:
        made.start()
        folder = made._socket_dir()
        assert len(os.fsencode(folder)) < 90
        assert not folder.is_relative_to(place)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert ask(made.url(), "SELECT 1") == [(1,)]
    finally:
        made.destroy()
    assert not folder.exists()


def test_broken_settings_are_shown(own: EmbeddedCluster) -> None:
    own.init()
    conf = own.data_dir / "local.conf"
    conf.write_text("shared_buffers = 'much'\n")
    conf.chmod(0o644)
    with pytest.raises(DatabaseUnavailable) as caught:
        own.start()
    assert "shared_buffers" in "".join(caught.value.__notes__)
    conf.write_text("work_mem = '5MB'\n")
    own.start()
    assert ask(own.url(), "SHOW work_mem") == [("5MB",)]


def test_data_of_a_missing_version(own: EmbeddedCluster) -> None:
    own.init()
    (own.data_dir / "PG_VERSION").write_text("12\n")
    with pytest.raises(ConfigError, match="PostgreSQL 12"):
        own.start()


def test_an_orphan_that_still_writes_is_in_nobodys_way(own: EmbeddedCluster) -> None:
    """What made the data for a process that was killed lives on for a moment, and writes where the next one clears away."""
    stop, written = threading.Event(), 0

    def orphan() -> None:
        nonlocal written
        while not stop.is_set():
            with contextlib.suppress(OSError):
                folder = own.base / "data.new" / "base" / "1"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / str(written)).write_text("x")
                written += 1

    writer = threading.Thread(target=orphan)
    writer.start()
    try:
        own.init()
    finally:
        stop.set()
        writer.join()
    assert written > 100 and (own.data_dir / "PG_VERSION").exists()
    own.start()
    assert ask(own.url(), "SELECT 1") == [(1,)]


def test_lock_holder_that_dies_blocks_nobody(own: EmbeddedCluster) -> None:
    processes = start_in_processes(own.home, 3)
    time.sleep(0.7)
    processes[0].kill()
    for process in processes[1:]:
        assert process.wait(120) == 0, process.communicate()
    processes[0].wait()
    for process in processes:
        process.communicate()
    assert own.status().state == "running"


DROPPED = """
import codecs, os, subprocess, sys
from pathlib import Path
import psycopg
from layers.cluster import EmbeddedCluster
import layers.cluster_furnish
try:
    psycopg.connect("host=/nonexistent", connect_timeout=1)
except psycopg.Error:
    pass
# All that is imported later has to be loaded now: root's Python may lie where nobody else can read.
[codecs.lookup(name) for name in ("ascii", "utf-8", "latin-1", "idna")]
EmbeddedCluster(Path("/nonexistent")).status()
subprocess.run(["/bin/true"], user=os.geteuid())
home, uid, gid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
from gis.errors import BaigeError
try:
    cluster = EmbeddedCluster(home, durable=False)
    cluster.start()
    with psycopg.connect(cluster.url().replace("+psycopg", "")) as connection:
        print(connection.execute("SELECT current_user, postgis_lib_version()").fetchone()[0], cluster.data_dir.stat().st_uid == os.geteuid())
    print(cluster.stop(), cluster.status().state)
except BaigeError as error:
    print("refused:", error)
"""


def as_ordinary_user(home: Path) -> str:
    import pwd

    nobody = pwd.getpwnam("nobody")
    command = [sys.executable, "-c", DROPPED, str(home), str(nobody.pw_uid), str(nobody.pw_gid)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_as_an_ordinary_user(place: Path) -> None:
    place.chmod(0o777)
    assert as_ordinary_user(place / "home").split() == ["baige", "True", "True", "stopped"]


def test_ordinary_user_on_data_of_root(own: EmbeddedCluster, place: Path) -> None:
    own.start()
    if os.geteuid() != 0:
        assert own.data_dir.stat().st_uid == os.geteuid()
    else:
        said = as_ordinary_user(own.home)
        assert said.startswith("refused:")
        assert "BAIGE_HOME" in said
        assert own.data_dir.stat().st_uid != 0


def test_root_below_a_closed_folder(place: Path) -> None:
    """As root below a folder like /root the data go where the server's user can work; for others nothing is special."""
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    made = EmbeddedCluster(closed / "home", durable=False)
    try:
        made.start()
        assert ask(made.url(), "SELECT 1") == [(1,)]
        assert (closed / "home" / "pg").is_symlink() == (os.geteuid() == 0)
        base = made.base
        # The next command finds it again.
        assert EmbeddedCluster(closed / "home").status().state == "running"
    finally:
        made.destroy()
    assert not base.exists()


# -- a database of the operator's own ----------------------------------------------------------------------------------------------


def test_external_database_that_is_fit(cluster: EmbeddedCluster, template_database: str, database_url: str) -> None:
    check_external(database_url)
    settings = Settings(database_url=libpq_url(database_url))  # type: ignore[arg-type]
    assert ask(resolve_database_url(settings), "SELECT count(*) > 0 FROM pg_extension WHERE extname = 'postgis'") == [
        (True,)
    ]


def test_external_database_without_postgis_or_rights(cluster: EmbeddedCluster) -> None:
    admin = cluster.admin_url()
    ask(admin, "CREATE ROLE plain LOGIN")
    ask(admin, "CREATE DATABASE bare TEMPLATE template0")
    try:
        bare_as_plain = cluster.url("bare").replace("baige@", "plain@")
        with pytest.raises(ConfigError, match="CREATE EXTENSION postgis") as caught:
            check_external(bare_as_plain)
        assert "CREATE EXTENSION postgis" in caught.value.zh
        check_external(cluster.admin_url("bare"))  # who may, gets it made
        assert ask(cluster.url("bare"), "SELECT extname FROM pg_extension WHERE extname = 'postgis'") == [("postgis",)]
        with pytest.raises(ConfigError, match="GRANT CREATE ON DATABASE"):
            check_external(bare_as_plain)
        ask(admin, 'GRANT CREATE ON DATABASE bare TO "plain"')
        with pytest.raises(ConfigError, match="CREATEROLE"):
            check_external(bare_as_plain)
        ask(admin, 'ALTER ROLE "plain" CREATEROLE')
        check_external(bare_as_plain)
        with pytest.raises(DatabaseUnavailable):
            check_external(cluster.url("no_such_database"))
    finally:
        ask(admin, "DROP DATABASE bare WITH (FORCE)")
        ask(admin, "DROP ROLE plain")


def test_external_server_that_is_no_postgresql() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
            check_external(f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/d?sslmode=disable&gssencmode=disable")
        thread.join()
