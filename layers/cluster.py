"""The embedded database: a private PostGIS cluster in a folder, made and started on demand.

Used when ``BAIGE_DATABASE_URL`` is unset. Under ``<home>/pg`` lie ``data``, ``log`` and ``sock``. The server listens on a Unix
socket only, in a folder with mode 0700 that belongs to the user it runs as: who may enter that folder (that user, and root) may
use the database, so within it every connection is trusted and no password exists. Two roles are made: ``baige_superuser``, a
superuser that only this module uses (to make databases and extensions), and ``baige``, the owner of the database, which everything else uses.

PostgreSQL does not run as root. Called by root, the server runs as another user (`layers.cluster_install.server_user`), to whom the
folder then belongs; where that user cannot enter the home (below ``/root``, say), ``<home>/pg`` is a link to ``/var/lib/baige/<hash>``.

Whatever changes the cluster does so under a lock, so any number of commands may start at once. Every step can be broken off: data are
made under another name and renamed when complete, and so is the database within.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlencode

import psycopg

from gis.errors import ConfigError, DatabaseUnavailable
from gis.settings import Settings
from layers.cluster_folders import claim_directory, make_directory
from layers.cluster_furnish import begin_database, finish_database, furnish_database, furnish_server, update_extensions
from layers.cluster_install import Installation, ServerUser, find_installation, server_user
from layers.cluster_machine import measure_machine, server_settings

__all__ = ["ClusterStatus", "EmbeddedCluster", "resolve_database_url"]

_log = logging.getLogger("baige.cluster")

SUPERUSER = "baige_superuser"
OWNER = "baige"
PORT = 5432
# A socket's path must fit into 107 bytes; ".s.PGSQL.5432" and, while the server starts, ".lock" come after the folder.
_SOCKET_DIR_MAX = 107 - len("/.s.PGSQL.5432.lock")
_LOCK_PATIENCE_S = 300.0
# Comparing boxes, or the start of a code, reveals nothing about a row. Only a superuser can say so; without it the planner may not use
# an index below row-level security.


@dataclass(frozen=True)
class ClusterStatus:
    """What is known of a cluster without changing it.

    Attributes
    ----------
    state : str
        ``"absent"`` (never made), ``"stopped"``, ``"unreachable"`` (a process, but no answer) or ``"running"``.
    data_dir, log_dir : Path
        Where the data and the server's log are.
    pid : int or None
        The server's process.
    socket_dir : Path or None
        Folder of the socket while the server runs.
    postgresql, postgis : str or None
        Versions while the server runs.
    database_bytes : int or None
        Size of the database while the server runs.
    """

    state: str
    data_dir: Path
    log_dir: Path
    pid: int | None = None
    socket_dir: Path | None = None
    postgresql: str | None = None
    postgis: str | None = None
    database_bytes: int | None = None


class EmbeddedCluster:
    """A private PostGIS cluster under ``home``.

    Parameters
    ----------
    home : Path
        Folder of this installation (``BAIGE_HOME``); it need not exist.
    durable : bool
        False gives up safety against power loss; for tests.
    """

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home = Path(home).absolute()
        self.durable = durable

    # -- places ----------------------------------------------------------------------------------------------------------------

    @property
    def base(self) -> Path:
        """The folder of the cluster, links followed."""
        return (self.home / "pg").resolve()

    @property
    def data_dir(self) -> Path:
        """The data folder of PostgreSQL."""
        return self.base / "data"

    @property
    def log_dir(self) -> Path:
        """Folder of the server's logs, one file a day of the week."""
        return self.base / "log"

    def _socket_dir(self) -> Path:
        """Where the socket is (of a running server) or will be."""
        if (recorded := self._pid_file()) is not None and recorded[1] is not None:
            return recorded[1]
        inside = self.base / "sock"
        if len(os.fsencode(inside)) <= _SOCKET_DIR_MAX:
            return inside
        # The uid in the name only tells folders apart; whether it may be used is checked when the server starts.
        return Path("/tmp") / f"baige-{hashlib.sha256(os.fsencode(self.base)).hexdigest()[:16]}"

    def url(self, database: str = OWNER) -> str:
        """SQLAlchemy URL of a database in the cluster, as its owner. Nothing is started."""
        return self._url(OWNER, database)

    def admin_url(self, database: str = "postgres") -> str:
        """The same as superuser: for making databases and for backups, never for what users ask."""
        return self._url(SUPERUSER, database)

    def _url(self, role: str, database: str) -> str:
        return f"postgresql+psycopg://{role}@/{database}?{urlencode({'host': str(self._socket_dir()), 'port': PORT})}"

    # -- what the user calls ---------------------------------------------------------------------------------------------------

    def init(self) -> None:
        """Make the data folder if there is none. A half-made one is thrown away and made again.

        Raises
        ------
        ConfigError
            PostgreSQL or PostGIS is missing, or the folder cannot be used.
        DatabaseUnavailable
            ``initdb`` failed; its words are in the error's notes.
        """
        with self._locked():
            self._init(self._user())

    def start(self) -> None:
        """Start the server (making the data first if need be) and wait until the database answers.

        Raises
        ------
        ConfigError
            As for `init`.
        DatabaseUnavailable
            The server did not come up; the end of its log is in the error's notes.
        """
        if self._answers():
            return
        with self._locked():
            if self._answers():  # another command was faster
                return
            user = self._user()
            self._init(user)
            self._start(user)
            self._furnish()

    ensure_running = start

    def stop(self) -> bool:
        """Stop the server; running statements are broken off and rolled back. False if it did not run.

        Raises
        ------
        DatabaseUnavailable
            It did not stop within a minute.
        """
        if not self.data_dir.exists():
            return False
        with self._locked():
            return self._stop(self._user())

    def status(self) -> ClusterStatus:
        """What is known of the cluster; changes nothing."""
        if not (self.data_dir / "PG_VERSION").exists():
            return ClusterStatus("absent", self.data_dir, self.log_dir)
        pid = self._server_pid()
        if pid is None:
            return ClusterStatus("stopped", self.data_dir, self.log_dir)
        question: LiteralString = (
            "SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'postgis'),"
            " pg_database_size(current_database())"
        )
        try:
            with self._connect(OWNER, OWNER) as connection:
                row = connection.execute(question).fetchone()
        except psycopg.Error:
            return ClusterStatus("unreachable", self.data_dir, self.log_dir, pid, self._socket_dir())
        version, postgis, size = row if row is not None else (None, None, None)
        return ClusterStatus("running", self.data_dir, self.log_dir, pid, self._socket_dir(), version, postgis, size)

    def has_crashed(self) -> bool:
        """Whether the server died without being stopped: its pid file is there, its process is not."""
        return self._pid_file() is not None and self._server_pid() is None

    def create_database(self, name: str) -> str:
        """Make a database with PostGIS, owned by the ordinary role, in the running cluster; returns its URL. One that exists is left as it is."""
        self._create_database(name)
        return self.url(name)

    def destroy(self) -> None:
        """Stop the server and delete all its data, for good."""
        if not self.home.exists():
            return
        with self._locked():
            if self.data_dir.exists():
                self._stop(self._user())
            shutil.rmtree(self._socket_dir(), ignore_errors=True)
            if self.base.exists():
                shutil.rmtree(self.base)
            if (self.home / "pg").is_symlink():
                (self.home / "pg").unlink()

    # -- making ----------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the one lock of this cluster. The system lets go of it when its holder dies."""
        try:
            make_directory(self.home, None, mode=0o755)
            handle = os.open(self.home / "pg.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"The folder {self.home} cannot be written ({error.strerror}). Set BAIGE_HOME to one that can.",
                zh=f"目录 {self.home} 无法写入（{error.strerror}）。请将 BAIGE_HOME 设为可写的目录。",
            ) from error
        try:
            deadline = time.monotonic() + _LOCK_PATIENCE_S
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise DatabaseUnavailable(
                            "Another command has been starting or stopping the embedded database for five minutes.",
                            zh="另一命令正在启动或停止内置数据库，已超过五分钟。",
                        ) from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(handle)

    def _user(self) -> ServerUser:
        return server_user(self.data_dir, self.home)

    def _installation(self) -> Installation:
        version = self.data_dir / "PG_VERSION"
        return find_installation(
            major=int(version.read_text(encoding="ascii").split(".")[0]) if version.exists() else None
        )

    def _place(self, user: ServerUser) -> None:
        """Make ``<home>/pg`` such that the server's user can work in it."""
        link = self.home / "pg"
        if not link.exists():
            if link.is_symlink():  # it points to data that are gone
                link.unlink()
            if user.switch and not user.can_enter(self.home):
                elsewhere = Path("/var/lib/baige") / hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
                make_directory(elsewhere.parent, None, mode=0o755)
                make_directory(elsewhere, user, mode=0o700)
                _log.warning("User %s cannot enter %s: the data go to %s", user.name, self.home, elsewhere)
                link.symlink_to(elsewhere)
        for folder in (self.base, self.log_dir):
            make_directory(folder, user, mode=0o700)
            if user.switch and folder.stat().st_uid == 0:  # broken off before it was handed over
                os.chown(folder, user.uid, user.gid)
        if user.switch and not user.can_enter(self.base):
            raise ConfigError(
                f"User {user.name}, who runs PostgreSQL for root, cannot enter {self.base}. "
                "Open the folders above it (chmod o+x) or set BAIGE_HOME elsewhere.",
                zh=f"为 root 运行 PostgreSQL 的用户 {user.name} 无法进入 {self.base}。请对其上级目录执行 chmod o+x，或将 BAIGE_HOME 设到别处。",
            )

    def _init(self, user: ServerUser) -> None:
        if (self.data_dir / "PG_VERSION").exists():
            return
        installation = find_installation()
        self._place(user)
        for leftover in self.base.glob("data.new*"):
            # A killed process leaves its initdb at work for a moment: what it still writes is deleted the next time.
            shutil.rmtree(leftover, ignore_errors=True)
        if self.data_dir.exists():
            # A data folder without PG_VERSION is nothing of ours that could be read; it is kept aside, not deleted.
            self.data_dir.rename(self.base / f"data.broken-{int(time.time())}")
        fresh = self.base / f"data.new.{os.getpid()}.{time.time_ns()}"
        _log.info("Making the embedded database in %s", self.data_dir)
        command: list[str | Path] = [
            installation.bindir / "initdb",
            "-D",
            fresh,
            "-U",
            SUPERUSER,
            "-E",
            "UTF8",
            "--auth-local=trust",
            "--auth-host=reject",
        ]
        command += ["--data-checksums"] if self.durable else ["--no-sync"]
        # C.UTF-8 knows the letters of all languages and sorts by code point; C is everywhere.
        for locale in ("C.UTF-8", "C"):
            shutil.rmtree(fresh, ignore_errors=True)
            done = user.run(*command, f"--locale={locale}")
            if done.returncode == 0:
                break
        else:
            error = DatabaseUnavailable("The embedded database could not be made.", zh="内置数据库建立失败。")
            error.add_note((done.stderr or done.stdout).strip())
            raise error
        with (fresh / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write("\n# baige.conf is written anew at every start; put settings of your own into local.conf.\n")
            conf.write("include_if_exists = 'baige.conf'\ninclude_if_exists = 'local.conf'\n")
        fresh.rename(self.data_dir)

    def _write_settings(self, user: ServerUser, socket_dir: Path) -> None:
        machine = measure_machine(self.data_dir)
        settings = server_settings(machine, socket_dir=socket_dir, port=PORT, durable=self.durable)
        lines = (f"{key} = '{value.replace("'", "''")}'\n" for key, value in settings.items())
        fresh = self.data_dir / "baige.conf.new"
        fresh.write_text(
            "# Computed for this machine at the last start; changes here are lost.\n" + "".join(lines), encoding="utf-8"
        )
        if user.switch:
            os.chown(fresh, user.uid, user.gid)
        fresh.replace(self.data_dir / "baige.conf")

    # -- starting and stopping -------------------------------------------------------------------------------------------------

    def _start(self, user: ServerUser) -> None:
        installation = self._installation()
        if self._server_pid() is not None:
            # A server of ours, but it does not answer: starting up, or its socket was deleted.
            if self._wait_for_answer(60):
                return
            self._stop(user)
        self._clear_remains(user)
        self._place(user)
        socket_dir = self._socket_dir()
        claim_directory(socket_dir, user)
        self._write_settings(user, socket_dir)
        log = self.log_dir / "start.log"
        with suppress(FileNotFoundError):
            log.unlink()
        _log.info("Starting the embedded database in %s", self.data_dir)
        done = user.run(installation.bindir / "pg_ctl", "start", "-w", "-t", "280", "-D", self.data_dir, "-l", log)
        if done.returncode != 0:
            error = DatabaseUnavailable("The embedded database did not start.", zh="内置数据库未能启动。")
            error.add_note(f"{self.log_dir}:\n{self._log_tail()}")
            raise error

    def _clear_remains(self, user: ServerUser) -> None:
        """After a killed server: end the backends it left behind, and drop files that name its process.

        The number may belong to a stranger by now, or to a dead process that nobody has collected yet.
        """
        for wait_s, number in ((1.0, None), (5.0, signal.SIGTERM), (5.0, signal.SIGQUIT), (5.0, signal.SIGKILL)):
            orphans = self._processes()
            if not orphans:
                break
            for pid in orphans if number is not None else ():
                with suppress(ProcessLookupError):
                    os.kill(pid, number or 0)
            deadline = time.monotonic() + wait_s
            while time.monotonic() < deadline and self._processes():
                time.sleep(0.05)
        if not Path("/proc/self/cwd").exists():
            return  # who is alive cannot be seen here: PostgreSQL itself decides what the files are worth
        stale = [self._socket_dir() / f".s.PGSQL.{PORT}", self._socket_dir() / f".s.PGSQL.{PORT}.lock"]
        for path in (*stale, self.data_dir / "postmaster.pid"):
            with suppress(FileNotFoundError):
                path.unlink()

    def _stop(self, user: ServerUser) -> bool:
        if self._server_pid() is None:
            return False
        done = user.run(
            self._installation().bindir / "pg_ctl", "stop", "-m", "fast", "-w", "-t", "60", "-D", self.data_dir
        )
        if done.returncode != 0 and self._server_pid() is not None:
            error = DatabaseUnavailable(
                "The embedded database did not stop within a minute.", zh="内置数据库一分钟内未能停止。"
            )
            error.add_note((done.stderr or done.stdout).strip())
            raise error
        return True

    def _pid_file(self) -> tuple[int, Path | None] | None:
        """Process and socket folder that the server wrote down; both may be out of date."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return int(lines[0]), Path(lines[4]) if len(lines) > 4 and lines[4] else None
        except (OSError, ValueError, IndexError):
            return None

    def _processes(self) -> list[int]:
        """Processes of PostgreSQL that work in our data folder; empty where the system has no ``/proc``."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.readlink(entry / "cwd") == str(self.data_dir) and (entry / "comm").read_text().startswith(
                    ("postgres", "postmaster")
                ):
                    found.append(int(entry.name))
        return found

    def _server_pid(self) -> int | None:
        """Process of the running server; None if there is none, or the number has passed on to another program."""
        if (recorded := self._pid_file()) is None:
            return None
        pid = recorded[0]
        if Path("/proc/self/cwd").exists():
            try:
                return pid if os.readlink(f"/proc/{pid}/cwd") == str(self.data_dir) else None
            except OSError:
                return None
        try:
            os.kill(pid, 0)
        except OSError:
            return None
        return pid

    def _log_tail(self, *, lines: int = 20) -> str:
        files = sorted(self.log_dir.glob("*.log"), key=lambda path: path.stat().st_mtime)
        text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in files[-2:])
        return "\n".join(text.splitlines()[-lines:])

    # -- inside the database ---------------------------------------------------------------------------------------------------

    def _connect(self, role: str, database: str, *, autocommit: bool = True) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=str(self._socket_dir()),
            port=PORT,
            user=role,
            dbname=database,
            autocommit=autocommit,
            connect_timeout=10,
            options="",
        )

    def _answers(self) -> bool:
        """Whether the finished database answers: it bears its name only when it is complete."""
        if self._pid_file() is None:
            return False
        try:
            self._connect(OWNER, OWNER).close()
        except psycopg.OperationalError:
            return False
        return True

    def _wait_for_answer(self, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and self._server_pid() is not None:
            try:
                self._connect(SUPERUSER, "postgres").close()
                return True
            except psycopg.OperationalError:
                if (
                    not (self._socket_dir() / f".s.PGSQL.{PORT}").exists()
                    and not (self.data_dir / "backup_label").exists()
                ):
                    return False
                time.sleep(0.1)
        return False

    def _furnish(self) -> None:
        with self._connect(SUPERUSER, "postgres") as connection:
            furnish_server(connection, OWNER)
        self._create_database(OWNER)
        with self._connect(SUPERUSER, OWNER) as connection:
            update_extensions(connection)

    def _create_database(self, name: str) -> None:
        half = f"{name}_half_made"
        with self._connect(SUPERUSER, "postgres") as connection:
            if not begin_database(connection, name, half=half, owner=OWNER):
                return
            with self._connect(SUPERUSER, half, autocommit=False) as inside:
                furnish_database(inside, OWNER)
            finish_database(connection, name, half=half)


def resolve_database_url(settings: Settings, *, check: bool = True) -> str:
    """The database to use, as an SQLAlchemy URL: ``BAIGE_DATABASE_URL``, or the embedded cluster, started if it does not run.

    Parameters
    ----------
    settings : Settings
        ``database_url`` and ``home`` are read.
    check : bool
        Whether a database of your own is asked for versions and privileges first (one short connection).

    Raises
    ------
    ConfigError, DatabaseUnavailable
        See `EmbeddedCluster.start` and `layers.cluster_external.check_external`.
    """
    if settings.database_url is not None:
        from layers.cluster_external import check_external, normalise_url

        url = normalise_url(settings.database_url.get_secret_value())
        if check:
            check_external(url)
        return url
    cluster = EmbeddedCluster(settings.home)
    cluster.start()
    return cluster.url()
