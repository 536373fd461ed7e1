"""``baige serve``: the OGC API and the portal."""

import errno
import ipaddress
import os
import resource
import shutil
import socket
import ssl
import tempfile
import time
from pathlib import Path

import click
from pydantic import SecretStr

from api.cli.context import AppContext, pass_app
from gis.errors import ConfigError, InputError

__all__ = ["command"]

_PORT_PATIENCE_S = 20.0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_certificate(cert: Path | None, key: Path | None) -> None:
    """Say before anything starts what is wrong with the two files."""
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise ConfigError("TLS needs both --tls-cert and --tls-key.", zh="启用 TLS 须同时给出 --tls-cert 与 --tls-key。")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password="")  # a key with a password is refused, not asked for
    except FileNotFoundError as error:
        missing = cert if not cert.is_file() else key
        raise ConfigError(f"There is no file {missing}.", zh=f"没有文件 {missing}。") from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{cert} and {key} are no certificate and its private key without a password (PEM).",
            zh=f"{cert} 与 {key} 不是配对的 PEM 证书和无口令私钥。",
        ) from error


def _await_port(app: AppContext, host: str, port: int) -> None:
    """Wait for a port that is taken: processes of a server that was just killed may hold it for a moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + _PORT_PATIENCE_S
    told = False
    while port and time.monotonic() < deadline:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), port))
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    return  # the server says it better
        if not told:
            app.say(f"Port {port} is taken; waiting.", f"端口 {port} 被占用，等待中。")
            told = True
        time.sleep(0.5)


def _more_files() -> None:
    """As many open files as the system lets us have: each connection is one, and 1,024 is a common default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@click.command("serve")
@click.option("--host", help="Address to listen on (default 127.0.0.1). 监听地址。")
@click.option("--port", type=click.IntRange(0, 65535), help="Port (default 8080). 端口。")
@click.option("--workers", type=click.IntRange(1, 64), help="Server processes (default 2). 进程数。")
@click.option("--public-url", help="Address that links begin with, behind a proxy. 对外网址。")
@click.option("--tls-cert", type=click.Path(dir_okay=False), help="Certificate, PEM: serve HTTPS without a proxy. TLS 证书。")
@click.option("--tls-key", type=click.Path(dir_okay=False), help="Its private key, PEM. TLS 私钥。")
@click.option(
    "--anonymous-role",
    type=click.Choice(["public", "viewer", "officer", "planner", "admin"]),
    help="Role of requests without a key; other than public on loopback only, for a demonstration. 无密钥请求的角色，仅限本机演示。",
)
@click.option("--jobs/--no-jobs", default=True, show_default=True, help="Start a worker for jobs too. 同时启动任务执行器。")
@pass_app
def command(
    app: AppContext, host: str | None, port: int | None, workers: int | None, public_url: str | None, tls_cert: str | None, tls_key: str | None,
    anonymous_role: str | None, jobs: bool,
) -> None:
    """Serve the OGC API, tiles and the portal. 启动服务。"""
    # the metrics of all processes are gathered in one folder; its name must be known before the library is loaded
    folder = tempfile.mkdtemp(prefix="baige-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    click.get_current_context().call_on_close(lambda: shutil.rmtree(folder, ignore_errors=True))
    import uvicorn

    from api.lifetime import Watch
    from api.observe import set_up_logs
    from api.patience import PatientProtocol
    from api.settings import ServeSettings

    level = "info" if app.verbose else None
    given = {"log_level": level, "host": host, "port": port, "workers": workers, "public_url": public_url, "anonymous_role": anonymous_role,
             "tls_cert": tls_cert, "tls_key": tls_key}  # fmt: skip
    serve = ServeSettings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    _check_certificate(serve.tls_cert, serve.tls_key)
    database = app.database(pool_size=1)
    if not _is_loopback(serve.host):
        if serve.anonymous_role != "public":
            raise InputError("--anonymous-role other than public is for loopback only.", zh="非公众的匿名角色仅限本机使用。")
        with database.begin() as connection:
            query = "SELECT 1 FROM baige_sys.api_key WHERE role = 'admin' AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
            if connection.exec_driver_sql(query).scalar() is None:
                raise ConfigError(
                    "To listen beyond this computer, make an admin key first: baige key add --role admin",
                    zh="对外监听前请先创建管理员密钥：baige key add --role admin",
                )
    database.dispose()
    # worker processes read their settings from the environment
    os.environ["BAIGE_HOME"] = str(app.settings.home)
    if app.settings.database_url is not None:
        os.environ["BAIGE_DATABASE_URL"] = app.settings.database_url.get_secret_value()
    for name, value in serve.model_dump().items():
        if value is not None:
            os.environ[f"BAIGE_SERVE_{name.upper()}"] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    # large answers are made in memory that is kept, not fetched from the kernel page by page each time: a fifth of the server's work
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 << 20))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(64 << 20))
    base = serve.base_url
    app.say(f"Baige serves on {base} (portal: {base}/portal/)", f"百格服务地址：{base}（门户：{base}/portal/）")
    _more_files()
    _await_port(app, serve.host, serve.port)
    set_up_logs(serve.log_format, serve.log_level)
    watch = Watch(app.settings, worker=jobs)
    watch.start()
    try:
        uvicorn.run(
            "api.app:app_from_environment", factory=True, host=serve.host, port=serve.port, workers=serve.workers,
            log_config=None, access_log=False, server_header=False, timeout_keep_alive=75, http=PatientProtocol,
            # a busy machine is slow to start a process: one that is still starting is not taken for hung and killed
            proxy_headers=bool(serve.trusted_proxies), forwarded_allow_ips=serve.trusted_proxies,
            timeout_graceful_shutdown=10, timeout_worker_healthcheck=60, ssl_certfile=serve.tls_cert, ssl_keyfile=serve.tls_key,
        )  # fmt: skip
    finally:
        watch.end()
