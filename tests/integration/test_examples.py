"""The notebook of the examples: run cell by cell on a small town; kept executed, and short."""

import json
from typing import Any

import folium
import pytest

from examples.build import NOTEBOOK, execute
from layers.database import Database
from tests.integration.test_scenarios import home, town

__all__ = ["home", "town"]


def test_notebook_runs_and_ends_in_a_map(
    town: Database, database_url: str, home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert sum(bool(line.strip()) for cell in cells for line in cell["source"]) < 30
    monkeypatch.setenv("BAIGE_DATABASE_URL", database_url)
    monkeypatch.setenv("BAIGE_HOME", str(home))
    namespace: dict[str, Any] = {}
    try:
        execute(notebook, namespace)
    finally:
        if "database" in namespace:
            namespace["database"].dispose()
    assert len(namespace["cameras"]) == 5
    assert isinstance(eval("coverage_map(frames)", namespace), folium.Map)
    assert namespace["gaps"]["rank"].is_monotonic_increasing and len(namespace["gaps"]) > 0
