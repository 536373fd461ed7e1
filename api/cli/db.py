"""``baige db``: the embedded database."""

import click

from api.cli.context import AppContext, pass_app
from gis.errors import ConfigError
from layers.cluster import ClusterStatus, EmbeddedCluster

__all__ = ["command"]

_STATES = {"absent": "未建立", "stopped": "已停止", "unreachable": "无响应", "running": "运行中"}


@click.group()
def command() -> None:
    """Make, start and stop the embedded database. 内置数据库的建立、启动与停止。"""


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
