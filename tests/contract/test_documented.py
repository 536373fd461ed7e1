"""Settings, commands and make targets are documented, and what the documents name exists."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic_settings import BaseSettings

from api.cli import COMMANDS, main
from api.cli.reference import render
from api.configuration import render_tables
from gis.settings import CityConfig

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"


def settings_classes() -> Iterator[type[BaseSettings]]:
    for package in ("gis", "layers", "grids", "maps", "data", "api"):
        for module in pkgutil.walk_packages([str(REPOSITORY / package)], prefix=f"{package}."):
            if module.name.rsplit(".", 1)[-1] in ("settings", "config"):
                importlib.import_module(module.name)
    yield from (
        kind
        for kind in BaseSettings.__subclasses__()
        if kind.__module__.split(".")[0] in ("gis", "api", "layers", "grids", "maps", "data")
    )


def variables() -> set[str]:
    return {
        f"{kind.model_config.get('env_prefix', '')}{name}".upper()
        for kind in settings_classes()
        for name in kind.model_fields
    }


def test_there_are_settings() -> None:
    assert {
        "BAIGE_HOME",
        "BAIGE_DATABASE_URL",
        "BAIGE_CITY",
        "BAIGE_SCHEDULER",
        "BAIGE_LANG",
        "BAIGE_SERVE_PORT",
    } <= variables()


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(BAIGE_\w+)`", text, re.MULTILINE))
    read_by_scripts = set()
    for path in (REPOSITORY / "scripts" / "setup.sh", REPOSITORY / "tests" / "conftest.py"):
        read_by_scripts |= {name for name in documented if name in path.read_text(encoding="utf-8")}
    assert documented == variables() | read_by_scripts
    for path in (REPOSITORY / "scripts").glob("*.sh"):
        used = set(re.findall(r"\$\{(BAIGE_\w+)", path.read_text(encoding="utf-8")))
        assert used <= documented, f"{path.name} reads undocumented variables"


def test_tables_of_settings_are_up_to_date() -> None:
    """They are made from the settings; `make docs` makes them anew. What is written around them stays."""
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert render_tables(text) == text, "docs/configuration.md is out of date: make docs"
    # each class of settings has its table, and each setting says what it means
    tabled = re.findall(r"<!-- made from (\S+) by make docs -->", text)
    assert sorted(tabled) == sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in settings_classes())
    for kind in settings_classes():
        for name, field in kind.model_fields.items():
            assert len(field.description or "") > 4, f"{kind.__name__}.{name}"
    emptied = re.sub(r"(by make docs -->\n).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL)
    assert emptied != text and render_tables(emptied) == text
    assert render_tables(text.replace("| `8080` |", "| `8081` |")) == text


@pytest.mark.parametrize("name", list(CityConfig.model_fields))
def test_every_key_of_the_city_file_is_documented(name: str) -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8").partition("## The city file")[2]
    assert f"`{name}`" in text
    inner = CityConfig.model_fields[name].annotation
    for key in getattr(inner, "model_fields", {}):
        assert f"`{key}`" in text, f"{name}.{key}"


def test_commands_are_documented() -> None:
    """The reference is made from the commands; `make docs` makes it anew. White space is the terminal library's affair."""
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert written.split() == render().split(), "docs/cli.md is out of date: make docs"


def test_every_command_module_is_registered() -> None:
    own = {"__main__", "context", "failure", "reference"}
    modules = {path.stem for path in (REPOSITORY / "api" / "cli").glob("*.py")} - {"__init__"}
    with_command = {
        name
        for name in modules - own
        if re.search(
            r"^(def command|command\b)",
            (REPOSITORY / "api" / "cli" / f"{name}.py").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    }
    assert with_command <= set(COMMANDS.values())


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_every_registered_command_loads_and_is_explained(name: str) -> None:
    found = main.get_command(click.Context(main), name)
    assert found is not None, f"api/cli/{COMMANDS[name]}.py is missing"
    help_text = found.help or ""
    assert re.search(r"[A-Za-z]", help_text), "no English help"
    assert re.search(r"[\u4e00-\u9fff]", help_text), "no Chinese help"


def test_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in [REPOSITORY / "README.md", *DOCS.glob("*.md")]:
        named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert {a or b for a, b in named} <= targets, path.name


def test_every_rule_is_in_the_table_of_the_docs() -> None:
    from grids.rules import read_rules

    text = (DOCS / "rules.md").read_text(encoding="utf-8")
    for rule in read_rules():
        start = f"| {rule.id} | {rule.verdict} | {rule.title_en}<br>{rule.title_zh} | "
        lines = [line for line in text.splitlines() if line.startswith(start)]
        assert len(lines) == 1, rule.id
        for part in (rule.source_en, rule.source_zh, rule.article, f"[{rule.evidence}]", str(rule.valid_from or "")):
            assert part in lines[0], (rule.id, part)
