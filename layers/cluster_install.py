"""The PostgreSQL that this machine has: which installation also has PostGIS, and who may run the server."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gis.errors import ConfigError

__all__ = [
    "POSTGIS_MIN",
    "POSTGRESQL_MIN",
    "Installation",
    "ServerUser",
    "find_installation",
    "installations",
    "server_user",
    "version_tuple",
]

POSTGRESQL_MIN = 15
POSTGIS_MIN = (3, 3)

_PROGRAMS = ("initdb", "pg_ctl", "postgres")
# Variables that would bend the programs of PostgreSQL away from what we ask of them.
_FOREIGN = ("PG", "LC_", "LANG", "LD_PRELOAD")


@dataclass(frozen=True)
class Installation:
    """One PostgreSQL installation: where its programs are and which PostGIS it can load.

    Attributes
    ----------
    bindir : Path
        Directory of ``initdb``, ``pg_ctl`` and ``postgres``.
    major : int
        Major version of PostgreSQL.
    postgis : tuple of int or None
        Version of PostGIS that ``CREATE EXTENSION`` would install; None where there is none.
    """

    bindir: Path
    major: int
    postgis: tuple[int, ...] | None

    @property
    def usable(self) -> bool:
        """Whether both PostgreSQL and PostGIS are new enough."""
        return self.major >= POSTGRESQL_MIN and self.postgis is not None and self.postgis[:2] >= POSTGIS_MIN


@dataclass(frozen=True)
class ServerUser:
    """The operating-system user that the server runs as. ``switch`` is true when that is not the caller (who is root)."""

    name: str
    uid: int
    gid: int
    switch: bool

    def run(self, *command: str | Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, in ``/``, with a clean environment; output is captured, a failure is not raised."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        environment |= {"LC_ALL": "C", "HOME": "/", "USER": self.name, "LOGNAME": self.name}
        return subprocess.run(
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=environment,
            cwd="/",
            check=False,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
        )

    def can_enter(self, directory: Path) -> bool:
        """Whether this user may traverse ``directory`` and everything above it (asked of the system, so ACLs count)."""
        if not self.switch:
            return os.access(directory, os.X_OK)
        return self.run("/bin/sh", "-c", 'cd "$1"', "sh", directory, timeout_s=30).returncode == 0


def version_tuple(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, ``"3.3.2"`` → ``(3, 3, 2)``.

    Examples
    --------
    >>> version_tuple("PostGIS 3.4.0dev")
    (3, 4, 0)
    """
    match = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _candidates() -> Iterator[Path]:
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "usr/local/pgsql*/bin",
        "opt/homebrew/opt/postgresql@*/bin",
    ):
        yield from Path("/").glob(pattern)
    if (reported := _output("pg_config", "--bindir")) != "":
        yield Path(reported)
    for program in ("initdb", "postgres"):
        if (found := shutil.which(program)) is not None:
            yield Path(found).resolve().parent


def _postgis_version(bindir: Path, major: int) -> tuple[int, ...] | None:
    shares = [bindir.parent / "share", bindir.parent / "share" / "postgresql"]
    if bindir == Path(f"/usr/lib/postgresql/{major}/bin"):
        shares.insert(0, Path(f"/usr/share/postgresql/{major}"))  # where Debian keeps them, for its own installation only
    if (reported := _output(str(bindir / "pg_config"), "--sharedir")) != "":
        shares.insert(0, Path(reported))
    for share in shares:
        control = share / "extension" / "postgis.control"
        if control.is_file():
            match = re.search(r"default_version\s*=\s*'([^']+)'", control.read_text(encoding="utf-8", errors="replace"))
            return version_tuple(match.group(1)) if match else None
    return None


@lru_cache(maxsize=1)
def installations() -> tuple[Installation, ...]:
    """Every PostgreSQL installation found, newest first: the usual places, then ``pg_config``, then ``PATH``."""
    found: dict[Path, Installation] = {}
    for candidate in _candidates():
        bindir = candidate.resolve()
        if bindir in found or not all(os.access(bindir / program, os.X_OK) for program in _PROGRAMS):
            continue
        version = version_tuple(_output(str(bindir / "postgres"), "--version"))
        if version:
            found[bindir] = Installation(bindir, version[0], _postgis_version(bindir, version[0]))
    return tuple(sorted(found.values(), key=lambda i: (i.major, i.postgis or ()), reverse=True))


def find_installation(*, major: int | None = None) -> Installation:
    """The newest installation that has PostGIS; with ``major``, the one of just that version (for existing data).

    Raises
    ------
    ConfigError
        There is none; the message says what to install.
    """
    usable = [i for i in installations() if i.usable]
    if major is None:
        if usable:
            return usable[0]
        raise ConfigError(
            f"No PostgreSQL ≥ {POSTGRESQL_MIN} with PostGIS ≥ 3.3 is installed. On Debian or Ubuntu: "
            "apt-get install postgresql postgresql-15-postgis-3 (with the number of your PostgreSQL); "
            "or set BAIGE_DATABASE_URL to a database elsewhere.",
            zh=f"未找到带 PostGIS ≥ 3.3 的 PostgreSQL ≥ {POSTGRESQL_MIN}。Debian 或 Ubuntu 请执行："
            "apt-get install postgresql postgresql-15-postgis-3（数字按所装 PostgreSQL 版本）；"
            "或将 BAIGE_DATABASE_URL 指向其他数据库。",
        )
    for installation in usable:
        if installation.major == major:
            return installation
    raise ConfigError(
        f"The embedded data were made by PostgreSQL {major}, which is no longer installed with PostGIS. "
        f"Install postgresql-{major} and postgresql-{major}-postgis-3, or move the old data away and start anew.",
        zh=f"内置数据库由 PostgreSQL {major} 建立，而本机已没有带 PostGIS 的该版本。"
        f"请安装 postgresql-{major} 与 postgresql-{major}-postgis-3，或移走旧数据后重建。",
    )


def _user_of(uid: int, *, switch: bool) -> ServerUser | None:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid, switch)


def server_user(data_dir: Path, home: Path) -> ServerUser:
    """Who runs the server: the caller; for root (whom PostgreSQL refuses) an unprivileged user.

    For root that is the owner of data that exist, else the owner of ``home`` or of the directory it will be made in (so that
    ``sudo`` leaves an ordinary user's folder usable), else ``postgres``, else ``nobody``.

    Raises
    ------
    ConfigError
        The data belong to somebody else, or root has no user to hand the server to.
    """
    uid = os.geteuid()
    owner = data_dir.stat().st_uid if data_dir.exists() else None
    if uid != 0:
        user = _user_of(uid, switch=False) or ServerUser(str(uid), uid, os.getegid(), False)
        if owner is not None and owner != uid:
            keeper = _user_of(owner, switch=True)
            name = keeper.name if keeper else str(owner)
            raise ConfigError(
                f"The embedded database belongs to user {name}. Run as that user or as root, or set BAIGE_HOME to a folder of your own.",
                zh=f"内置数据库属于用户 {name}。请以该用户或 root 运行，或将 BAIGE_HOME 设为自己的目录。",
            )
        return user
    place = home
    while not place.exists():
        place = place.parent
    for candidate in (owner, place.stat().st_uid):
        if candidate and (found := _user_of(candidate, switch=True)) is not None:
            return found
    for name in ("postgres", "nobody"):
        try:
            return ServerUser(name, (entry := pwd.getpwnam(name)).pw_uid, entry.pw_gid, True)
        except KeyError:
            continue
    raise ConfigError(
        "PostgreSQL does not run as root and there is no user postgres or nobody to run it as. Create one: useradd --system postgres",
        zh="PostgreSQL 不能以 root 运行，且本机没有 postgres 或 nobody 用户。请创建：useradd --system postgres",
    )
