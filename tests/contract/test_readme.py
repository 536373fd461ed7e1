"""Commands that README and docs show exist, with the options they are shown with; links lead somewhere."""

import re
import shlex
from pathlib import Path

import click
import pytest

from api.cli import _global_first, main

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def shown_commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|shell|console|bash)?\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                line = line.strip().removeprefix("$ ")
                if line.startswith("baige ") and "[" not in line and "…" not in line and "|" not in line:
                    found.append((page.name, line))
    return found


def walk(words: list[str]) -> click.Command:
    """The command that the words name; parsing its options fails on one that does not exist."""
    words = _global_first(words)
    while words and words[0] in ("-v", "--verbose", "--json", "--lang"):
        words = words[2:] if words[0] == "--lang" else words[1:]
    command: click.Command = main
    context = click.Context(main, info_name="baige")
    while isinstance(command, click.Group):
        assert words, f"{context.command_path} needs a command"
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {context.command_path} {name}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.parse_args(context, list(words))
    return command


def test_there_is_something_to_test() -> None:
    assert len(shown_commands()) > 10
    with pytest.raises(click.UsageError):
        walk(["coverage", "run", "--no-such-option"])
    with pytest.raises(AssertionError):
        walk(["no-such-command"])


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_shown_command_exists(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "click.core.confirm", lambda *_, **__: True
    )  # asked while options are read; nothing is carried out
    words = shlex.split(line, comments=True)[1:]
    if any(word in ("--help", "-h") for word in words):
        return
    walk(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


def test_the_two_commands_are_targets_of_make() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M))
    assert {"demo", "test", "bench"} <= targets
