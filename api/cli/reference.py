"""The reference of the command line as Markdown, made from the commands themselves: ``python -m api.cli.reference docs/cli.md``."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from api.cli import main

__all__ = ["render"]

_HEAD = """# Commands

Made from the commands themselves by `make docs`; do not edit. 由命令自身生成。

Results go to standard output, progress and messages to standard error. Exit codes: 0 done, 1 failed, 2 wrong input or usage,
130 interrupted. `--json`, `--lang zh|en` and `-v` may stand before or after any command.
"""


def _sections(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    options = {**command.context_settings, "terminal_width": 100, "max_content_width": 100}
    context = click.Context(command, parent=parent, info_name=name, **options)
    path = context.command_path
    yield f"\n## {path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _sections(found, child, context)


def render() -> str:
    """The whole reference."""
    return _HEAD + "".join(_sections(main, "baige", None))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
