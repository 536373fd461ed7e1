"""``baige db``: the embedded database; backup and restore of any."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import TaskID

from api.cli.context import AppContext, pass_app
from gis.errors import ConfigError
from layers.cluster import ClusterStatus, EmbeddedCluster

if TYPE_CHECKING:
    from layers.backup import Progress
    from layers.backup_archive import Manifest
    from layers.backup_server import DatabaseServer

__all__ = ["command"]

_STATES = {"absent": "未建立", "stopped": "已停止", "unreachable": "无响应", "running": "运行中"}


@click.group()
def command() -> None:
    """Make, start and stop the embedded database; back up and restore. 内置数据库的建立、启停；备份与恢复。"""


def _embedded(app: AppContext) -> EmbeddedCluster:
    if app.settings.database_url is not None:
        raise ConfigError(
            "BAIGE_DATABASE_URL is set: that database is started and stopped by its own operator. Unset it to use the embedded one.",
            zh="已设置 BAIGE_DATABASE_URL：该数据库由其管理者启停。取消设置后方可使用内置数据库。",
        )
    return EmbeddedCluster(app.settings.home)


def _describe(app: AppContext, status: ClusterStatus, url: str | None) -> None:
    value = {
        "state": status.state,
        "pid": status.pid,
        "postgresql": status.postgresql,
        "postgis": status.postgis,
        "database_bytes": status.database_bytes,
        "data_dir": str(status.data_dir),
        "log_dir": str(status.log_dir),
        "url": url,
    }
    lines = [app.text(status.state, _STATES[status.state])]
    if status.postgresql is not None and status.database_bytes is not None:
        size = f"{status.database_bytes / 1e6:.0f} MB"
        lines.append(f"PostgreSQL {status.postgresql}, PostGIS {status.postgis}, {size}, pid {status.pid}")
    lines.append(app.text("data", "数据") + f" {status.data_dir}")
    lines.append(app.text("logs", "日志") + f" {status.log_dir}")
    if url is not None:
        lines.append(url)
    app.emit(value, "\n".join(lines))


@command.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask. 不询问。")
@pass_app
def downgrade(app: AppContext, revision: str, yes: bool) -> None:
    """Bring the schema back to REVISION (0002), for an older version of Baige. 将库结构退回到旧修订版。

    What the older schema has no place for is lost: make a backup first.
    """
    from layers.database import Database
    from layers.migrate import downgrade as down

    if not yes:
        click.confirm(app.text("What that revision has no place for is dropped. Go on?", "该修订版没有的列和表将被删除，继续？"), abort=True)
    database = Database(app.database_url)
    try:
        down(database, revision)
    finally:
        database.dispose()
    app.say(f"The schema is that of {revision}; any command of this version brings it up again.", f"库结构已退回到 {revision}。")


@command.command()
@pass_app
def init(app: AppContext) -> None:
    """Make the database with all its tables; where it exists, bring it up to date. 建立数据库及全部数据表，已有则更新。"""
    app.database()
    app.say("The database is ready.", "数据库已就绪。")


@command.command()
@pass_app
def start(app: AppContext) -> None:
    """Start the embedded database, making it first if need be. 启动内置数据库，必要时先建立。"""
    cluster = _embedded(app)
    cluster.start()
    _describe(app, cluster.status(), cluster.url())


@command.command()
@pass_app
def stop(app: AppContext) -> None:
    """Stop the embedded database. 停止内置数据库。"""
    stopped = _embedded(app).stop()
    if stopped:
        app.say("Stopped.", "已停止。")
    else:
        app.say("It was not running.", "数据库未在运行。")
    if app.as_json:
        app.emit({"stopped": stopped})


@command.command()
@pass_app
def status(app: AppContext) -> None:
    """Say whether the database runs, and where it is; exit code 1 if it does not. 显示数据库状态与位置，未运行时退出码为 1。"""
    if app.settings.database_url is not None:
        from layers.cluster_external import check_external, normalise_url

        check_external(normalise_url(app.settings.database_url.get_secret_value()))
        app.emit(
            {"state": "external"},
            app.text("The database of BAIGE_DATABASE_URL is reachable and fit.", "BAIGE_DATABASE_URL 所指数据库可用。"),
        )
        return
    cluster = _embedded(app)
    found = cluster.status()
    _describe(app, found, cluster.url() if found.state == "running" else None)
    click.get_current_context().exit(0 if found.state == "running" else 1)


@command.command()
@click.option(
    "--sqlalchemy", is_flag=True, help="With the driver named, as SQLAlchemy wants it. 输出 SQLAlchemy 格式。"
)
@pass_app
def url(app: AppContext, sqlalchemy: bool) -> None:
    """Start the database and print its address, for psql, QGIS and GDAL. 启动数据库并输出连接地址，可用于 psql、QGIS、GDAL。"""
    from layers.cluster_external import libpq_url

    address = app.database_url if sqlalchemy else libpq_url(app.database_url)
    app.emit({"url": address}, address)


@command.command()
@click.confirmation_option(prompt="Delete the embedded database and all data in it? 确定删除内置数据库及其全部数据？")
@pass_app
def drop(app: AppContext) -> None:
    """Stop the embedded database and delete it with all its data. 停止并删除内置数据库及其全部数据。"""
    _embedded(app).destroy()
    app.say("Deleted.", "已删除。")


_STEPS = {
    "checksums": ("Checksums", "计算校验和"),
    "dump": ("Database", "导出数据库"),
    "files": ("Archive", "写入文件"),
    "unpack": ("Unpacking", "解包"),
    "restore": ("Restoring", "恢复"),
    "compare": ("Comparing", "比对校验和"),
    "swap": ("Taking its place", "替换"),
}


@contextmanager
def _bars(app: AppContext) -> "Iterator[Progress]":
    """One bar for each step of a backup or restore."""
    with app.progress() as bar:
        tasks: dict[str, TaskID] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(app.text(*_STEPS[step]), total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield tell


def _server(app: AppContext) -> "DatabaseServer":
    from layers.backup_server import DatabaseServer

    url = app.database_url
    return DatabaseServer(
        url, cluster=EmbeddedCluster(app.settings.home) if app.settings.database_url is None else None
    )


def _told(app: AppContext, manifest: "Manifest", *, en: str, zh: str, **more: object) -> None:
    if manifest.missing_rasters:
        listed = ", ".join(manifest.missing_rasters)
        app.say(f"Raster files that were missing on disk: {listed}", f"磁盘上缺失的栅格文件：{listed}")
    rasters = len(manifest.files) - 1
    layers = {
        item.table: {"features": item.rows, "checksum": item.checksum}
        for item in manifest.tables
        if item.schema_name == "baige"
    }
    value = {
        **more,
        "software": manifest.software,
        "made_at": manifest.made_at,
        "postgresql": manifest.postgresql,
        "postgis": manifest.postgis,
        "storage_srid": manifest.storage_srid,
        "features": manifest.features,
        "raster_files": rasters,
        "layers": layers,
    }
    app.emit(
        value,
        app.text(
            f"{en}: {manifest.features:,} features in {len(layers)} layers, {rasters} raster files",
            f"{zh}：{len(layers)} 个图层共 {manifest.features:,} 个要素，{rasters} 个栅格文件",
        ),
    )


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--verify",
    "verified",
    is_flag=True,
    help="Restore it into a scratch database and compare every table. 恢复到临时数据库并逐表比对。",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists. 覆盖已有文件。")
@pass_app
def backup(app: AppContext, file: Path, verified: bool, force: bool) -> None:
    """Write database and rasters into one FILE, consistent while serving. 在线备份数据库与栅格到一个文件。"""
    from layers.backup import backup as write_backup

    server = _server(app)
    with _bars(app) as tell:
        manifest = write_backup(server, app.settings.home, file, replace=force, verified=verified, on_progress=tell)
    size = file.stat().st_size
    zh = "已备份并校验" if verified else "已备份"
    en = "Backed up and verified" if verified else "Backed up"
    _told(
        app,
        manifest,
        en=f"{en}, {size / 1e6:.1f} MB",
        zh=f"{zh}（{size / 1e6:.1f} MB）",
        file=file,
        bytes=size,
        verified=verified,
    )


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Also over a database that has features. 数据库中已有要素时也替换。")
@click.option("--keep-old", is_flag=True, help="Leave the old database under another name. 旧数据库改名保留。")
@click.option(
    "--verify-only",
    is_flag=True,
    help="Restore into a scratch database, compare, change nothing. 仅在临时数据库中校验，不作更改。",
)
@pass_app
def restore(app: AppContext, file: Path, force: bool, keep_old: bool, verify_only: bool) -> None:
    """Put the state of a backup FILE in the place of the database and rasters. 用备份文件恢复数据库与栅格。"""
    from layers.backup import restore as put_back
    from layers.backup import verify

    city = app.settings.city_config
    server = _server(app)
    with _bars(app) as tell:
        if verify_only:
            manifest, kept = verify(server, app.settings.home, file, on_progress=tell), None
        else:
            done = put_back(server, app.settings.home, file, force=force, keep=keep_old, city=city, on_progress=tell)
            manifest, kept = done.manifest, done.kept
    if kept is not None:
        app.say(f"The old database is now called {kept}.", f"旧数据库已改名为 {kept}。")
    en, zh = ("The backup is whole", "备份完好") if verify_only else ("Restored", "已恢复")
    _told(app, manifest, en=en, zh=zh, restored=not verify_only, old_database=kept)
