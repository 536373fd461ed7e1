"""What every command is handed: settings, language, form of output, and the database when it asks for it."""

import json
import logging
import time
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from gis.settings import Settings

# SQLAlchemy, alembic and the catalogue take a second to import: only a command that needs the database does.
if TYPE_CHECKING:
    from layers.database import Database

__all__ = ["AppContext", "pass_app"]


@dataclass
class AppContext:
    """State of one run of the command line.

    Attributes
    ----------
    settings : Settings
        Read from the environment once.
    lang : str
        ``"en"`` or ``"zh"``.
    as_json : bool
        Whether standard output is to be JSON.
    verbose : int
        0 warnings only, 1 with tracebacks and information, 2 with all details.
    """

    settings: Settings
    lang: str = "en"
    as_json: bool = False
    verbose: int = 0
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def text(self, en: str, zh: str) -> str:
        """The one of two texts that is in the user's language."""
        return zh if self.lang.startswith("zh") else en

    def say(self, en: str, zh: str) -> None:
        """Tell the user something, on standard error."""
        click.echo(self.text(en, zh), err=True)

    def emit(self, value: Any, text: str | None = None) -> None:
        """Write a result to standard output: ``value`` as JSON with ``--json``, else ``text`` (without one, JSON as well)."""
        if self.as_json or text is None:
            click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=_plain))
        else:
            click.echo(text)

    def progress(self) -> Progress:
        """A progress bar with elapsed time, on standard error; use it in a ``with`` statement.

        On a terminal it is drawn; elsewhere (a log file, a job) a line says about once a second how far it is, and each task is one line
        when the bar is closed.
        """
        kind = Progress if self.console.is_terminal else _Lines
        return kind(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )

    @cached_property
    def database_url(self) -> str:
        """URL of the database, of the embedded one when no other is set; that is started if need be."""
        from layers.cluster import resolve_database_url

        return resolve_database_url(self.settings)

    def database(self, *, pool_size: int = 5) -> "Database":
        """The database with its schema brought up to date; closed when the command ends."""
        from layers.database import Database
        from layers.migrate import upgrade

        city = self.settings.city_config  # a fault in it is found before a server is started
        database = Database(self.database_url, pool_size=pool_size)
        click.get_current_context().call_on_close(database.dispose)
        upgrade(database, city=city)
        return database

    def set_up_logging(self) -> None:
        """Send logs to standard error: warnings; with ``-v`` also information of ours, with ``-vv`` everything."""
        handler = RichHandler(console=self.console, show_path=self.verbose > 1, rich_tracebacks=False, markup=False)
        logging.basicConfig(level=logging.WARNING, format="%(message)s", datefmt="[%X]", handlers=[handler], force=True)
        level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(self.verbose, 2)]
        for package in ("baige", "gis", "layers", "grids", "maps", "data", "api"):
            logging.getLogger(package).setLevel(level)


class _Lines(Progress):
    """Progress as lines of text: ``lines of sight 12/80``."""

    _told = 0.0

    def start(self) -> None:
        """Begin."""
        self._told = time.monotonic()
        super().start()

    def update(self, task_id: TaskID, *args: Any, **fields: Any) -> None:
        """Note how far a task is; say so where nothing was said for a second."""
        super().update(task_id, *args, **fields)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As `update`."""
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        if time.monotonic() - self._told < 1.0:
            return
        self._told = time.monotonic()
        task = self._tasks[task_id]
        if task.total:
            self.console.print(f"{task.description} {task.completed:.0f}/{task.total:.0f}", markup=False, highlight=False)


def _plain(value: object) -> object:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (Path, UUID)):
        return str(value)
    if hasattr(value, "item"):  # numbers of numpy
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


pass_app = click.make_pass_decorator(AppContext)
