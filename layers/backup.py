"""Back a database up while it serves, verify the backup by restoring it, and restore it.

A backup is one file (`layers.backup_archive`): the database as one snapshot saw it, the sums of all its tables in that same snapshot, and
the raster files that it names. It is written aside and bears its name only when complete. A restore goes into a new database aside, is
compared with the sums, and takes the old one's place by two renames in one transaction: whenever it is broken off, the old database or
the new one is there, whole.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from gis.errors import BackendError, ConfigError, Conflict, DataError, NotFound, UnreadableFile
from gis.settings import CityConfig, load_city
from layers.access import DATABASE_ROLES
from layers.backup_archive import DUMP, FORMAT, RASTERS, Manifest, file_sum, read_archive, write_archive
from layers.backup_checksums import SCHEMAS, TableSum, differing, list_tables, sum_tables
from layers.backup_programs import find_program, run_program
from layers.backup_server import DatabaseServer
from layers.cluster_install import version_tuple
from layers.database import Database
from layers.migrate import make_roles, schema_revisions, upgrade
from layers.rasters import staging
from layers.runs import software

__all__ = ["Progress", "Restored", "backup", "restore", "verify"]

log = logging.getLogger(__name__)

#: Told of the step under way (``checksums``, ``dump``, ``files``, ``unpack``, ``restore``, ``compare``, ``swap``), how much is done, and of how much.
Progress = Callable[[str, int, int], None]

Connection = psycopg.Connection[tuple[Any, ...]]

_ATTEMPTS = 3


@dataclass(frozen=True)
class Restored:
    """What a restore did: the archive's manifest, and the name of the old database where it was kept."""

    manifest: Manifest
    kept: str | None


def _silent(_step: str, _done: int, _total: int) -> None:
    return


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Raise our error where the disk is full or a folder may not be written."""
    try:
        yield
    except OSError as error:
        raise BackendError(
            f"Files could not be read or written: {error.strerror}.", zh=f"文件无法读写：{error.strerror}。"
        ) from error


def _check_there(archive: Path) -> None:
    if not archive.is_file():
        raise NotFound(f"There is no file {archive.name}.", zh=f"没有文件 {archive.name}。")


class _Steps:
    """Counts up within a step."""

    def __init__(self, step: str, total: int, tell: Progress) -> None:
        self.step, self.total, self.tell, self.done = step, max(total, 1), tell, 0
        tell(step, 0, self.total)

    def __call__(self) -> None:
        self.done = min(self.done + 1, self.total)
        self.tell(self.step, self.done, self.total)

    def finish(self) -> None:
        self.tell(self.step, self.total, self.total)


def _scalar(connection: Connection, question: Any, values: Any = None) -> Any:
    row = connection.execute(question, values).fetchone()
    return None if row is None else row[0]


# -- backing up ----------------------------------------------------------------------------------------------------------------


def backup(
    server: DatabaseServer,
    home: Path,
    target: Path,
    *,
    replace: bool = False,
    verified: bool = False,
    on_progress: Progress | None = None,
) -> Manifest:
    """Write a backup of a database and its raster files, while it serves.

    Parameters
    ----------
    server : DatabaseServer
        The database.
    home : Path
        ``BAIGE_HOME``, under which the rasters are.
    target : Path
        The file to make, mode 0600. Beside it as much space again is needed while the work lasts.
    replace : bool
        Whether a file of that name may be replaced.
    verified : bool
        Restore it into a scratch database and compare every table, before it gets its name.

    Raises
    ------
    Conflict
        The file exists.
    NotFound
        The database holds nothing of Baige, or the folder does not exist.
    ConfigError
        No fitting ``pg_dump`` is installed, or a scratch database may not be made.
    DataError
        What was restored is not what was backed up.
    BackendError
        The dump failed, or the disk is full.
    """
    tell = on_progress or _silent
    target = target.absolute()
    if target.exists() and not (replace and target.is_file()):
        raise Conflict(f"{target.name} exists already.", zh=f"{target.name} 已存在。")
    if not target.parent.is_dir():
        raise NotFound(f"There is no folder {target.parent}.", zh=f"没有目录 {target.parent}。")
    if verified:
        server.check_may_create()
    with (
        _disk_errors(),
        tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".partial", dir=target.parent) as work,
    ):
        complete = Path(work) / "archive.tar"
        manifest = _write(server, home, Path(work), complete, tell)
        if verified:
            verify(server, home, complete, on_progress=tell)
        os.replace(complete, target)
        _sync(target.parent)
    return manifest


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(server: DatabaseServer, home: Path, work: Path, complete: Path, tell: Progress) -> Manifest:
    with staging(home) as held, server.connect() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        for attempt in range(_ATTEMPTS):
            snapshot = _scalar(connection, "SELECT pg_export_snapshot()")
            if _scalar(connection, "SELECT to_regclass('baige_sys.alembic_version')::text") is None:
                raise NotFound("This database holds nothing of Baige.", zh="该数据库中没有百格的数据。")
            rasters, missing = _hold_rasters(connection, home, held)
            if not missing:
                break
            # A raster may have been replaced between the snapshot and now: a newer snapshot names the files that are there.
            if attempt < _ATTEMPTS - 1:
                shutil.rmtree(held / RASTERS, ignore_errors=True)
                connection.rollback()
        for path in missing:
            log.warning("raster file %s is not on disk; the backup is made without it", path)
        sums = sum_tables(connection, on_table=lambda done, total: tell("checksums", done, total))
        made_by, program = find_program("pg_dump", major=connection.info.server_version // 10000)
        schemas = [
            name
            for (name,) in connection.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname = ANY (%s)", (list(SCHEMAS),)
            )
        ]
        dump = work / DUMP
        steps = _Steps("dump", len(sums), tell)
        run_program(
            program, server.url, "--format=custom", f"--file={dump}", f"--snapshot={snapshot}", "--lock-wait-timeout=60000",
            "--no-tablespaces", "--no-security-labels", *(f"--schema={name}" for name in schemas),
            marker="dumping contents of table", on_marker=steps,
        )  # fmt: skip
        steps.finish()
        sources = {DUMP: dump, **rasters}
        manifest = _describe(connection, sums, sources, missing, made_by)
        connection.rollback()
        write_archive(complete, manifest, sources, on_file=lambda done, total: tell("files", done, total))
        dump.unlink()
    return manifest


def _hold_rasters(connection: Connection, home: Path, held: Path) -> tuple[dict[str, Path], list[str]]:
    """Link the raster files that the snapshot names into a folder of our own, where nobody deletes them; those not on disk by name."""
    root = home / "rasters"
    found: dict[str, Path] = {}
    missing = []
    for path, kind in connection.execute("SELECT path, kind FROM baige_sys.raster ORDER BY path").fetchall():
        place = root / path
        beside = place.with_name(place.stem + ".flags.tif")
        parts = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
        if not place.is_dir() and (kind == "dem" or beside.is_file()):
            parts.append(beside)
        for part in parts:
            name = part.relative_to(root).as_posix()
            target = held / RASTERS / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                try:
                    os.link(part, target)
                except FileNotFoundError:
                    raise
                except OSError:  # a file system without links
                    shutil.copyfile(part, target)
            except FileNotFoundError:
                missing.append(name)
                continue
            found[f"{RASTERS}/{name}"] = target
    return found, missing


def _describe(
    connection: Connection, sums: list[TableSum], sources: dict[str, Path], missing: list[str], made_by: int
) -> Manifest:
    condition = _scalar(
        connection,
        "SELECT extcondition[array_position(extconfig, to_regclass('spatial_ref_sys')::oid)] FROM pg_extension WHERE extname = 'postgis'",
    )
    systems = connection.execute(
        f"SELECT to_jsonb(s) FROM spatial_ref_sys s {condition or 'WHERE false'}".encode()
    ).fetchall()
    roles = connection.execute(
        "SELECT DISTINCT pg_get_userbyid(a.grantee) FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid"
        " LEFT JOIN pg_attribute t ON t.attrelid = c.oid AND t.attacl IS NOT NULL"
        " CROSS JOIN LATERAL aclexplode(array_cat(array_cat(n.nspacl, c.relacl), t.attacl)) a"
        " WHERE n.nspname = ANY (%s) AND a.grantee NOT IN (0, n.nspowner) ORDER BY 1",
        (list(SCHEMAS),),
    ).fetchall()
    return Manifest(
        format=FORMAT,
        software=software(),
        revision=str(_scalar(connection, "SELECT version_num FROM baige_sys.alembic_version")),
        postgresql=str(_scalar(connection, "SELECT current_setting('server_version')")),
        postgis=str(_scalar(connection, "SELECT extversion FROM pg_extension WHERE extname = 'postgis'")),
        pg_dump=made_by,
        storage_srid=int(_scalar(connection, "SELECT srid FROM baige_sys.storage")),
        made_at=datetime.now(UTC),
        tables=tuple(sums),
        files={name: file_sum(path) for name, path in sources.items()},
        missing_rasters=tuple(missing),
        reference_systems=tuple(row for (row,) in systems),
        roles=tuple(str(role) for (role,) in roles if role not in DATABASE_ROLES.values()),
    )


# -- restoring -----------------------------------------------------------------------------------------------------------------


def verify(server: DatabaseServer, home: Path, archive: Path, *, on_progress: Progress | None = None) -> Manifest:
    """Restore an archive into a scratch database, compare every table with its sums, and drop it again.

    Raises
    ------
    NotFound
        There is no such file.
    UnreadableFile
        The archive is not whole, or of a newer version.
    DataError
        A table is not what it was; the message names it.
    ConfigError
        This user may not make a scratch database.
    """
    _check_there(archive)
    server.check_may_create()
    with server.alone(), _disk_errors(), staging(home) as folder:
        folder.chmod(0o700)
        scratch = server.aside("verify")
        try:
            manifest, _ = _restore_aside(server, archive, folder, scratch, on_progress or _silent)
        finally:
            server.drop(scratch)
    return manifest


def restore(
    server: DatabaseServer,
    home: Path,
    archive: Path,
    *,
    force: bool = False,
    keep: bool = False,
    city: CityConfig | None = None,
    on_progress: Progress | None = None,
) -> Restored:
    """Put the state of an archive in the place of a database and of its raster files.

    Parameters
    ----------
    force : bool
        Also over a database that has features; its contents are lost, unless ``keep``.
    keep : bool
        Leave the old database on the server, under another name.
    city : CityConfig, optional
        The city; its storage system must be that of the archive.

    Raises
    ------
    Conflict
        The database has features and ``force`` is not set, or holds tables that are not Baige's.
    UnreadableFile
        The archive is not whole, or of a newer version.
    ConfigError
        This user may not make or rename databases; the city file is another's.
    DataError
        What was restored is not what was backed up; the old database is untouched.
    """
    tell = on_progress or _silent
    _check_there(archive)
    server.check_may_create()
    server.check_may_replace()
    if not force and _has_features(server):
        raise Conflict(
            "This database has features; a restore replaces all of them. Back it up, then restore with --force.",
            zh="该数据库中已有要素，恢复将全部替换。请先备份，再使用 --force 恢复。",
        )
    place = city or load_city()
    with server.alone(), _disk_errors(), staging(home) as folder:
        folder.chmod(0o700)
        fresh = server.aside("restore")
        try:
            manifest, url = _restore_aside(server, archive, folder, fresh, tell, srid=place.storage_srid)
            upgrade(url, city=place)
            with server.connect(url, autocommit=True) as connection:
                connection.execute("ANALYZE")
            _place_rasters(home, folder)
            tell("swap", 0, 1)
            if not force and _has_features(server):  # they came while we worked
                raise Conflict("Features were added while the restore ran.", zh="恢复期间数据库中新增了要素。")
            old = server.swap(fresh)
        except BaseException:
            server.drop(fresh)
            raise
        tell("swap", 1, 1)
        if not keep:
            server.drop(old)
    return Restored(manifest, old if keep else None)


def _has_features(server: DatabaseServer) -> bool:
    with server.connect() as connection:
        return any(
            _scalar(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(*table)))
            for table in list_tables(connection, ("baige", "baige_history"))
        )


def _restore_aside(
    server: DatabaseServer, archive: Path, folder: Path, name: str, tell: Progress, *, srid: int | None = None
) -> tuple[Manifest, str]:
    """Unpack an archive, restore it into a new database ``name`` and compare; returns manifest and address."""
    manifest = read_archive(archive, folder, on_file=lambda done, total: tell("unpack", done, total))
    with server.connect() as connection:
        major = connection.info.server_version // 10000
        absent = _scalar(
            connection,
            "SELECT string_agg(r, ', ') FROM unnest(%s::text[]) r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)",
            (list(manifest.roles),),
        )
    _check_fits(manifest, major, srid)
    if absent:
        raise ConfigError(
            f"Roles that the backup grants rights to are missing on this server: {absent}. Make them first (CREATE ROLE … NOLOGIN).",
            zh=f"备份中被授权的角色在本服务器上不存在：{absent}。请先创建（CREATE ROLE … NOLOGIN）。",
        )
    url = server.create(name)
    database = Database(url, pool_size=1)
    try:
        with database.begin() as prepared:
            make_roles(prepared)
    finally:
        database.dispose()
    with server.connect(url) as connection:
        for row in manifest.reference_systems:
            connection.execute(
                "INSERT INTO spatial_ref_sys SELECT * FROM jsonb_populate_record(NULL::spatial_ref_sys, %s) ON CONFLICT DO NOTHING",
                (Jsonb(row),),
            )
    steps = _Steps("restore", len(manifest.tables), tell)
    run_program(
        find_program("pg_restore", major=major)[1], url, "--no-owner", "--exit-on-error", str(folder / DUMP),
        marker="processing data for table", on_marker=steps,
    )  # fmt: skip
    steps.finish()
    with server.connect(url) as connection:
        connection.read_only = True
        found = sum_tables(connection, on_table=lambda done, total: tell("compare", done, total))
    if wrong := differing(manifest.tables, found):
        raise DataError(
            f"What was restored is not what was backed up; the tables that differ: {', '.join(wrong[:10])}.",
            zh=f"恢复的内容与备份不符，有差异的表：{', '.join(wrong[:10])}。",
        )
    return manifest, url


def _check_fits(manifest: Manifest, major: int, srid: int | None) -> None:
    if manifest.revision not in schema_revisions():
        raise UnreadableFile(
            f"This backup was made by a newer version ({manifest.software}, schema {manifest.revision}). Upgrade Baige first.",
            zh=f"该备份由更新版本写成（{manifest.software}，表结构 {manifest.revision}）。请先升级百格。",
        )
    if version_tuple(manifest.postgresql)[0] > major:
        raise UnreadableFile(
            f"This backup was made on PostgreSQL {manifest.postgresql}; this server is PostgreSQL {major}, which is older.",
            zh=f"该备份来自 PostgreSQL {manifest.postgresql}，而本服务器为较旧的 PostgreSQL {major}。",
        )
    if srid is not None and manifest.storage_srid != srid:
        raise ConfigError(
            f"This backup stores EPSG:{manifest.storage_srid}, the city file says EPSG:{srid}; set BAIGE_CITY to the city of the backup.",
            zh=f"该备份的存储坐标系为 EPSG:{manifest.storage_srid}，而城市文件为 EPSG:{srid}；请将 BAIGE_CITY 设为备份所属城市的文件。",
        )


def _place_rasters(home: Path, folder: Path) -> None:
    """Move the unpacked rasters to where they belong.

    A raster file has a name of its own and never changes under it: those of the old database are not disturbed.
    """
    source = folder / RASTERS
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        target = home / "rasters" / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        _sync(target.parent)
