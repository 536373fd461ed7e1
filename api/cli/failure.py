"""What the user is told when a command fails."""

import os
import traceback

import click
from pydantic import ValidationError

from api.errors import exit_code
from gis.errors import BaigeError

__all__ = ["report"]


def _language(words: list[str]) -> str:
    for before, word in zip(["", *words], words, strict=False):
        if before == "--lang":
            return word
        if word.startswith("--lang="):
            return word.removeprefix("--lang=")
    return os.environ.get("BAIGE_LANG", "en")


def report(error: Exception, words: list[str]) -> int:
    """Write an error to standard error and return the exit code.

    Parameters
    ----------
    error : Exception
        What was raised.
    words : list of str
        The command line, from which the language and ``-v`` are read; the error may have come before they were parsed.
    """
    lang = _language(words)
    chinese = lang.startswith("zh")
    if any(word in ("-v", "-vv", "--verbose") for word in words):
        click.echo("".join(traceback.format_exception(error)), err=True)
    label = "错误：" if chinese else "Error: "
    if isinstance(error, BaigeError):
        click.echo(label + error.text(lang), err=True)
        for note in getattr(error, "__notes__", []):
            click.echo(note, err=True)
        return exit_code(error)
    if isinstance(error, ValidationError):
        for fault in error.errors(include_url=False, include_input=False):
            name = "BAIGE_" + "_".join(map(str, fault["loc"])).upper()
            click.echo(f"{label}{name}: {fault['msg']}", err=True)
        return 1
    more = "（加 -v 查看详情）" if chinese else " (-v shows more)"
    click.echo(f"{label}{type(error).__name__}: {error}{more}", err=True)
    return 1
