"""``pg_dump`` and ``pg_restore``: which installed ones fit a server, and how they are run."""

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import make_url

from gis.errors import BackendError, ConfigError
from layers.cluster_external import libpq_url
from layers.cluster_install import version_tuple

__all__ = ["find_program", "run_program"]

_PLACES = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/local/pgsql*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "opt/homebrew/opt/libpq/bin",
)


def _installed(name: str) -> Iterator[tuple[int, Path]]:
    places = [path / name for pattern in _PLACES for path in Path("/").glob(pattern)]
    if (found := shutil.which(name)) is not None:
        places.append(Path(found))
    for place in places:
        # Debian's /usr/bin/pg_dump is a script that picks a version by itself.
        if not os.access(place, os.X_OK) or place.resolve().name == "pg_wrapper":
            continue
        try:
            told = subprocess.run([place, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        if version := version_tuple(told):
            yield version[0], place


def find_program(name: str, *, major: int) -> tuple[int, Path]:
    """Major version and place of the installed ``pg_dump`` or ``pg_restore``: of the server's major version, else the next newer one.

    Raises
    ------
    ConfigError
        There is none as new as the server.
    """
    fitting = sorted(item for item in _installed(name) if item[0] >= major)
    if not fitting:
        raise ConfigError(
            f"No {name} of PostgreSQL {major} or newer is installed here. On Debian or Ubuntu: apt-get install postgresql-client-{major}",
            zh=f"本机没有 PostgreSQL {major} 或更新版本的 {name}。Debian 或 Ubuntu 请执行：apt-get install postgresql-client-{major}",
        )
    return fitting[0]


def run_program(program: Path, url: str, *arguments: str, marker: str, on_marker: Callable[[], None]) -> None:
    """Run one of the two on a database; the password goes through the environment, so that no process list shows it.

    Parameters
    ----------
    url : str
        Address of the database.
    marker : str
        Words in a line of its messages that stand for one table done; ``on_marker`` is called at each.

    Raises
    ------
    BackendError
        It failed; its last words are in the error's notes.
    """
    parsed = make_url(url)
    environment = {**os.environ, "LC_ALL": "C"}
    if parsed.password is not None:
        environment["PGPASSWORD"] = str(parsed.password)
        parsed = parsed.set(password=None)
    address = libpq_url(parsed.render_as_string(hide_password=False))
    command = [os.fspath(program), "--verbose", "--no-password", f"--dbname={address}", *arguments]
    words: deque[str] = deque(maxlen=12)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
        text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    try:
        for line in process.stderr or ():
            words.append(line.rstrip())
            if marker in line:
                on_marker()
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()
    if code != 0:
        error = BackendError(f"{program.name} failed.", zh=f"{program.name} 执行失败。")
        error.add_note(
            "\n".join(line for line in words if "error" in line.lower() or "detail" in line.lower()) or "\n".join(words)
        )
        raise error
