"""Nothing that a client or a file says makes Baige call another computer, and our code parses no XML from outside: each place is listed here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "data", "gis", "grids", "layers", "maps")
CLIENTS = {"aiohttp", "ftplib", "http.client", "httpx", "paramiko", "requests", "smtplib", "socket", "urllib.request", "urllib3", "websockets"}
#: Where one is used, and why it is none of a client's affair.
ALLOWED = {
    ("api/base_tiles.py", "urllib.request"): "the operator's base map: its address stands in a setting, a client gives z, y, x as whole numbers",
    ("api/cli/serve.py", "socket"): "looks whether the own port is free",
}  # fmt: skip
#: Where XML is read: a constant of the module itself.
XML_ALLOWED = {"maps/qgis_project.py": {"fromstring"}}
#: Names that read XML; making it is harmless.
XML_READERS = {"fromstring", "iterparse", "XMLParser", "XMLPullParser", "parseString", "XML", "fromstringlist", "make_parser"}


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def calls_out(source: str) -> set[str]:
    """Libraries by which a module could call another computer."""
    return {client for name in _imports(ast.parse(source)) for client in CLIENTS if name == client or name.startswith(client + ".")}


def reads_xml(source: str) -> set[str]:
    """Calls by which a module that knows XML reads it."""
    tree = ast.parse(source)
    if not any(name.split(".")[0] in ("xml", "lxml", "defusedxml") for name in _imports(tree)):
        return set()
    return {name for name in _called(tree) if name in XML_READERS}


def _modules() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")


def test_every_place_that_could_call_another_computer_is_known() -> None:
    found = {(name, client) for name, source in _modules() for client in calls_out(source)}
    assert found == set(ALLOWED)


def test_no_xml_from_outside_is_parsed() -> None:
    assert {name: calls for name, source in _modules() if (calls := reads_xml(source))} == XML_ALLOWED


@pytest.mark.parametrize(
    "source", ["import httpx", "from urllib import request", "import urllib.request as u", "def f():\n    from http.client import HTTPConnection"]
)
def test_the_search_for_callers_can_fail(source: str) -> None:
    assert calls_out(source)


def test_the_search_for_xml_can_fail() -> None:
    assert reads_xml("from xml.etree import ElementTree as ET\nET.fromstring('x')") == {"fromstring"}
