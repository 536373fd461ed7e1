"""The command line ``baige``. Each command is a module of this package, imported only when it is called."""

import importlib
import importlib.util
import multiprocessing
import sys
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["COMMANDS", "main"]

#: Commands in the order of the help, and the modules that hold them (as ``command``).
COMMANDS = {
    "doctor": "doctor",
    "demo": "demo",
    "db": "db",
    "layer": "layer",
    "load": "load",
    "quarantine": "quarantine",
    "load-osm": "load_osm",
    "load-dem": "load_dem",
    "export": "export",
    "city": "city",
    "coverage": "coverage",
    "gaps": "gaps",
    "site": "site",
    "layout": "layout",
    "rules": "rules",
    "river": "river",
    "map": "map",
    "report": "report",
    "qgis": "qgis",
    "key": "key",
    "audit": "audit",
    "undo": "undo",
    "tiles": "tiles",
    "serve": "serve",
    "worker": "worker",
}

_GLOBAL_FLAGS = {"--json", "-v", "-vv", "--verbose"}


class RootGroup(click.Group):
    """The root: finds commands lazily, takes the global options anywhere, turns errors into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands that exist in this installation."""
        return [name for name, module in COMMANDS.items() if importlib.util.find_spec(f"api.cli.{module}") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"api.cli.{COMMANDS[cmd_name]}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"api.cli.{COMMANDS[cmd_name]}.command is not a click command")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let ``--json``, ``--lang`` and ``-v`` stand before or after the command."""
        return super().parse_args(ctx, _global_first(args))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *_: Any,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line. Exit codes: 0 done, 1 failed, 2 wrong input or usage, 130 interrupted."""
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(args, prog_name or "baige", standalone_mode=False, **extra)
        except click.Abort:
            click.echo("", err=True)
            code = 130
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except BrokenPipeError:  # the reader of our output has gone, as `head` does
            sys.stderr.close()
            code = 1
        except Exception as error:  # noqa: BLE001 the root of the program: what comes up here is told to the user
            from api.cli.failure import report

            code = report(error, words)
        sys.exit(code if isinstance(code, int) else 0)


def _end_with_server() -> None:
    """In a process that ``baige serve`` spawned: die with it, from the start on, so that a killed server's port is free at once."""
    parent = multiprocessing.parent_process()
    if parent is not None and "serve" in sys.argv:
        from api.lifetime import end_with_parent

        end_with_parent(parent=parent.pid)


_end_with_server()


def _global_first(args: list[str]) -> list[str]:
    first: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in _GLOBAL_FLAGS or word.startswith("--lang="):
            first.append(word)
        elif word == "--lang":
            first += [word, *[value for value in [next(words, None)] if value is not None]]
        else:
            rest.append(word)
    return first + rest


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="baige")
@click.option("-v", "--verbose", count=True, help="Say more; twice: everything. 显示更多信息。")
@click.option("--json", "as_json", is_flag=True, help="Write results as JSON. 以 JSON 输出结果。")
@click.option(
    "--lang",
    type=click.Choice(["zh", "en"]),
    default=None,
    help="Language of messages. 界面语言。[default: BAIGE_LANG, en]",
)
@click.pass_context
def main(ctx: click.Context, verbose: int, as_json: bool, lang: str | None) -> None:
    """Baige: a city's places, shown, and what it does not watch, found. 百格：城市要素的存储、展示与视频盲区分析。

    The options below may stand before or after a command. 以下选项可置于命令前后。
    """
    from api.cli.context import AppContext
    from gis.settings import Settings

    settings = Settings()
    app = AppContext(settings, lang=lang or settings.lang, as_json=as_json, verbose=verbose)
    app.set_up_logging()
    ctx.obj = app
