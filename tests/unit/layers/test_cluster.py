"""The embedded cluster's parts that need no server."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gis.errors import ConfigError, DatabaseUnavailable
from gis.settings import Settings
from layers import cluster_install
from layers.cluster import EmbeddedCluster, resolve_database_url
from layers.cluster_external import libpq_url, normalise_url
from layers.cluster_folders import claim_directory, make_directory
from layers.cluster_install import Installation, ServerUser, find_installation, version_tuple
from layers.cluster_machine import Machine, measure_machine, server_settings

MIB = 1024**2
GIB = 1024**3


def me() -> ServerUser:
    return ServerUser("me", os.geteuid(), os.getegid(), False)


def megabytes(value: str) -> int:
    number, unit = value[:-2], value[-2:]
    return int(number) * {"MB": 1, "GB": 1024}[unit]


@given(
    memory=st.integers(512 * MIB, 512 * GIB),
    cores=st.integers(1, 256),
    disk=st.integers(0, 10**13),
    shm=st.integers(0, 64 * GIB),
)
def test_settings_fit_the_machine(memory: int, cores: int, disk: int, shm: int) -> None:
    settings = server_settings(Machine(memory, cores, disk, shm), socket_dir=Path("/s"), port=5432)
    shared = megabytes(settings["shared_buffers"])
    assert 64 <= shared <= max(64, memory / MIB / 8)
    # Twenty sorts and three index builds at once beside the buffers still leave half of the memory to the analysis.
    busy = shared + 20 * megabytes(settings["work_mem"]) + 3 * megabytes(settings["maintenance_work_mem"])
    assert busy <= max(memory / MIB / 2, 300)
    assert int(settings["max_parallel_workers_per_gather"]) <= max(1, cores // 2)
    assert settings["listen_addresses"] == ""
    assert settings["synchronous_commit"] == "on"
    assert "fsync" not in settings
    assert ("dynamic_shared_memory_type" in settings) == (shm < 512 * MIB)


def test_settings_of_known_machines() -> None:
    large = server_settings(Machine(24 * GIB, 2, 100 * GIB, 12 * GIB), socket_dir=Path("/s"), port=5432)
    assert (large["shared_buffers"], large["work_mem"], large["maintenance_work_mem"], large["max_wal_size"]) == (
        "3072MB",
        "64MB",
        "1024MB",
        "4GB",
    )
    small = server_settings(Machine(1 * GIB, 1, 8 * GIB, 64 * MIB), socket_dir=Path("/s"), port=5432)
    assert (small["shared_buffers"], small["work_mem"], small["maintenance_work_mem"], small["max_wal_size"]) == (
        "128MB",
        "4MB",
        "48MB",
        "1GB",
    )


def test_machine_is_measured(tmp_path: Path) -> None:
    machine = measure_machine(tmp_path)
    kilobytes = next(
        line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    assert 0 < machine.memory_bytes <= int(kilobytes) * 1024
    assert 1 <= machine.cores <= (os.cpu_count() or 1)


def fake_installation(root: Path, major: int, postgis: str | None) -> Path:
    bindir = root / f"pg{major}" / "bin"
    bindir.mkdir(parents=True)
    for program in ("initdb", "pg_ctl"):
        (bindir / program).write_text("#!/bin/sh\n")
    (bindir / "postgres").write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {major}.3'\n")
    share = root / f"pg{major}" / "share"
    (bindir / "pg_config").write_text(f"#!/bin/sh\necho {share}\n")
    for program in bindir.iterdir():
        program.chmod(0o755)
    if postgis is not None:
        (share / "extension").mkdir(parents=True)
        (share / "extension" / "postgis.control").write_text(f"comment = 'x'\ndefault_version = '{postgis}'\n")
    return bindir


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let only some directories be searched for PostgreSQL."""

    def use(*bindirs: Path) -> None:
        monkeypatch.setattr(cluster_install, "_candidates", lambda: iter(bindirs))
        cluster_install.installations.cache_clear()

    yield use
    cluster_install.installations.cache_clear()


def test_newest_installation_with_postgis_wins(tmp_path: Path, only) -> None:
    """A newer PostgreSQL without PostGIS, or with one too old, is passed over; so is one older than 15."""
    bins = [
        fake_installation(tmp_path, *kind)
        for kind in ((14, "3.5.0"), (15, "3.3.2"), (16, "3.4.1"), (17, None), (18, "3.2.9"))
    ]
    only(*bins)
    assert find_installation() == Installation(bins[2], 16, (3, 4, 1))
    assert find_installation(major=15).bindir == bins[1]
    for major in (14, 17, 18, 19):
        with pytest.raises(ConfigError, match=f"PostgreSQL {major}"):
            find_installation(major=major)


def test_nothing_installed_says_what_to_install(only, tmp_path: Path) -> None:
    only(tmp_path)
    with pytest.raises(ConfigError, match=r"apt-get install postgresql .*BAIGE_DATABASE_URL") as caught:
        EmbeddedCluster(tmp_path / "home").start()
    assert "apt-get install" in caught.value.zh


def test_a_program_that_does_not_run_is_no_installation(tmp_path: Path, only) -> None:
    bindir = fake_installation(tmp_path, 16, "3.4.1")
    (bindir / "postgres").write_text("#!/bin/sh\necho 'version not found' >&2; exit 127\n")
    only(bindir)
    assert cluster_install.installations() == ()


def test_version_tuple() -> None:
    assert version_tuple("postgres (PostgreSQL) 17.2 (Debian 17.2-1)") == (17, 2)
    assert version_tuple("3.5.0dev") == (3, 5, 0)
    assert version_tuple("none") == ()


@pytest.mark.parametrize("length", [20, 70, 89, 200, 900])
def test_socket_path_fits(tmp_path: Path, length: int) -> None:
    home = Path("/somewhere").joinpath(*["长长的目录"] * (length // 16))
    cluster = EmbeddedCluster(home)
    assert len(os.fsencode(cluster._socket_dir() / ".s.PGSQL.5432.lock")) <= 107
    assert cluster._socket_dir() == EmbeddedCluster(home)._socket_dir()


def test_socket_dirs_of_two_long_homes_differ(tmp_path: Path) -> None:
    long = tmp_path / ("n" * 120)
    assert EmbeddedCluster(long / "a")._socket_dir() != EmbeddedCluster(long / "b")._socket_dir()


def test_socket_folder_of_another_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "sock"
    folder.mkdir(mode=0o777)
    stranger = ServerUser("stranger", os.geteuid() + 1, os.getegid(), False)
    with pytest.raises(ConfigError, match="not a folder of user stranger"):
        claim_directory(folder, stranger)
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(ConfigError):
        claim_directory(link, me())
    folder.chmod(0o755)
    claim_directory(folder, me())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_folders_get_their_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_directory(tmp_path / "a" / "b", None, mode=0o755)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


def test_status_of_nothing_changes_nothing(tmp_path: Path) -> None:
    cluster = EmbeddedCluster(tmp_path / "home")
    assert cluster.status().state == "absent"
    assert cluster.stop() is False
    cluster.destroy()
    assert list(tmp_path.iterdir()) == []


def test_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="BAIGE_HOME"):
        EmbeddedCluster(tmp_path / "file" / "home").start()


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql://u:p%40ss@h:5433/d?sslmode=require", "postgresql+psycopg://u:p%40ss@h:5433/d?sslmode=require"),
        ("postgresql+psycopg2://h/d", "postgresql+psycopg://h/d"),
    ],
)
def test_urls_are_normalised(given_url: str, expected: str) -> None:
    assert normalise_url(given_url) == expected
    assert libpq_url(given_url) == expected.replace("+psycopg", "")


@pytest.mark.parametrize(
    "wrong", ["", "nonsense", "mysql://u:geheim@h/d", "postgresql://u:geheim@h", "postgresql://u:geheim@h:port/d"]
)
def test_wrong_url_is_refused_without_its_password(wrong: str) -> None:
    with pytest.raises(ConfigError, match="BAIGE_DATABASE_URL") as caught:
        normalise_url(wrong)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_unreachable_database_is_said_without_its_password() -> None:
    settings = Settings(database_url="postgresql://u:geheim@127.0.0.1:1/d")  # type: ignore[arg-type]
    with pytest.raises(DatabaseUnavailable, match="cannot be reached") as caught:
        resolve_database_url(settings)
    assert "geheim" not in str(caught.value) + str(caught.value.__notes__)


def test_server_user_runs_in_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("LC_MESSAGES", "zh_CN.UTF-8")
    seen = me().run("/bin/sh", "-c", "env; pwd").stdout
    assert "PGHOST" not in seen
    assert "LC_MESSAGES" not in seen
    assert "LC_ALL=C" in seen
    assert seen.splitlines()[-1] == "/"


def test_import_of_the_module_starts_nothing(tmp_path: Path) -> None:
    code = "import sys, layers.cluster; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "False"
    assert list(tmp_path.iterdir()) == []
