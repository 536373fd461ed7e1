"""``baige demo``: the whole chain on the reference city, one step after the other."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from api.cli.context import AppContext, pass_app
from gis.errors import BaigeError
from layers.registry import catalogue

__all__ = ["Step", "command", "steps"]


@dataclass(frozen=True)
class Step:
    """A step: its title in both languages and the command line of ``baige`` that does it."""

    en: str
    zh: str
    arguments: tuple[str, ...]


def steps(scale: str, out: Path) -> tuple[Step, ...]:
    """The steps of the demo, in order."""
    return (
        Step("database", "数据库", ("db", "init")),
        Step(
            "reference city (synthetic) into PostGIS", "参考城市（合成数据）入库", ("city", "build", "--scale", scale)
        ),
        Step("what the cameras cover, and the gaps", "视频覆盖与盲区", ("coverage", "run")),
        Step("rules of the river and the city", "规则检查", ("rules", "check")),
        Step("maps", "地图", ("map", "build", "--out", str(out / "map"))),
    )


def _baige(app: AppContext, *arguments: str) -> list[str]:
    verbosity = ["-v"] * app.verbose
    return [
        sys.executable,
        "-m",
        "api.cli",
        "--lang",
        "zh" if app.lang.startswith("zh") else "en",
        *verbosity,
        *arguments,
    ]


@click.command()
@click.option(
    "--scale",
    type=click.Choice(["small", "full"]),
    default="small",
    show_default=True,
    help="Size of the city. 城市规模。",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/demo"),
    show_default=True,
    help="Results. 输出目录。",
)
@click.option("--serve/--no-serve", default=True, help="Keep a server running at the end. 完成后启动服务。")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port of the server. 服务端口。"
)
@pass_app
def command(app: AppContext, scale: str, out: Path, serve: bool, port: int) -> None:
    """Build the reference city, analyse, map and serve it. 建立参考城市，分析、制图并启动服务。"""
    out.mkdir(parents=True, exist_ok=True)
    chain = steps(scale, out)
    begun = time.monotonic()
    for number, step in enumerate(chain, start=1):
        app.say(f"── {number}/{len(chain)} {step.en}", f"── {number}/{len(chain)} {step.zh}")
        started = time.monotonic()
        # A process of its own for each step: what one leaves in memory does not weigh on the next, and each is what a user would type.
        code = subprocess.run(_baige(app, *step.arguments), check=False, stdin=subprocess.DEVNULL).returncode
        if code != 0:
            typed = "baige " + " ".join(step.arguments)
            if code in (-signal.SIGINT, 130):
                raise KeyboardInterrupt
            raise BaigeError(
                f"The demo stopped at: {typed} (exit code {code})", zh=f"演示在此步停止：{typed}（退出码 {code}）"
            )
        app.say(f"   done in {time.monotonic() - started:.1f} s", f"   用时 {time.monotonic() - started:.1f} 秒")
    app.say(f"Built in {time.monotonic() - begun:.0f} s.", f"全部完成，用时 {time.monotonic() - begun:.0f} 秒。")
    # the server shows the pages, too, under /maps
    shutil.copytree(out / "map", app.settings.home / "maps", dirs_exist_ok=True)
    for page in sorted((out / "map").glob("index*.html")) or sorted((out / "map").glob("*.html")):
        app.say(f"Map, opens from disk: {page}", f"地图（可直接打开）：{page}")
    if not serve:
        return
    address = f"http://127.0.0.1:{port}"
    app.say(
        f"Portal: {address}/portal   OGC API: {address}/   (Ctrl-C ends)",
        f"门户：{address}/portal   OGC API：{address}/   （Ctrl-C 结束）",
    )
    sys.stderr.flush()
    # Made-up data may be looked at by whoever sits at this machine; as soon as anything real is stored, visitors see what is public.
    role = "planner" if _all_synthetic(app) else "public"
    os.execv(sys.executable, _baige(app, "serve", "--port", str(port), "--anonymous-role", role))


def _all_synthetic(app: AppContext) -> bool:
    """Whether the database holds nothing but synthetic features."""
    database = app.database()
    try:
        with database.begin(readonly=True) as connection:
            return not any(
                connection.exec_driver_sql(
                    f'SELECT EXISTS (SELECT 1 FROM baige."{layer}" WHERE NOT synthetic)'
                ).scalar()
                for layer in catalogue(connection)
            )
    finally:
        database.dispose()
