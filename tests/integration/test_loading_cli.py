"""``baige load``, ``quarantine`` and ``export`` as a user runs them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import main

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line against the module's database."""
    monkeypatch.setenv("BAIGE_DATABASE_URL", database_url)
    return lambda *words: CliRunner().invoke(main, list(words))


def table(path: Path) -> Path:
    rows = ["设备编码,点位名称,经度,纬度,联系电话", "42050200001310000001,甲,111.3,30.7,13800138000", "4205020000131000002,乙,111.3,30.7,1"]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def results(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_round_of_an_officer(run: Run, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv")
    dry = results(run("--json", "load", "camera_site", str(path), "--crs", "4490", "--dry-run"))
    assert (dry["inserted"], dry["quarantined"], dry["dry_run"]) == (1, 1, True)
    done = run("load", "camera_site", str(path), "--crs", "4490", "--lang", "zh")
    assert done.exit_code == 0
    assert "新增 1" in done.stdout
    assert "已丢弃涉及个人的列：联系电话" in done.stdout
    assert "第 3 行" in done.stdout
    listed = results(run("quarantine", "list", "--json"))
    assert [(entry["layer"], entry["rows"]) for entry in listed] == [("camera_site", 1)]
    shown = results(run("quarantine", "show", "last", "--json"))
    assert shown[0]["faults"][0]["reason"]["code"] == "wrong_length"
    assert "row 3" in run("quarantine", "show", listed[0]["id"][:8]).stdout
    assert results(run("quarantine", "export", "last", str(tmp_path / "bad.csv"), "--json"))["rows"] == 1
    text = (tmp_path / "bad.csv").read_text(encoding="utf-8-sig").replace("4205020000131000002", "42050200001310000002")
    (tmp_path / "bad.csv").write_text(text, encoding="utf-8-sig")
    assert results(run("load", "camera_site", str(tmp_path / "bad.csv"), "--crs", "4490", "--json"))["inserted"] == 1
    assert results(run("quarantine", "resolve", "last", "--json")) == {"resolved": 1}
    assert "empty" in run("quarantine", "list").stdout
    assert results(run("export", "camera_site", str(tmp_path / "out.xlsx"), "--json"))["features"] == 2
    assert results(run("export", "camera_site", str(tmp_path / "out.csv"), "--role", "public", "--json"))["features"] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["load", "camera_site", "{file}"], "--crs"),
        (["load", "camera_site", "{missing}"], "no such file"),
        (["load", "camera_site", "{file}", "--crs", "4490", "--map", "oops"], "header=field"),
        (["load", "camera_site", "{file}", "--crs", "mars9"], "not known"),
        (["load", "camera_site", "{file}", "--crs", "4490", "--on-error", "abort"], "row 3"),
        (["load", "camera_site", "{file}", "--crs", "4490", "--on-error", "maybe"], "maybe"),
        (["export", "camera_site", "{folder}/a.doc"], "format is not known"),
        (["export", "camera_site", "{folder}/a.csv", "--where", "oops ="], "Error"),
    ],
)
def test_wrong_input_ends_with_2_and_says_what_to_do(run: Run, tmp_path: Path, words: list[str], says: str) -> None:
    file = table(tmp_path / "a.csv")
    result = run(*[word.format(file=file, missing=tmp_path / "none.csv", folder=tmp_path) for word in words])
    assert result.exit_code != 0
    text = result.stderr if result.exception is None or isinstance(result.exception, SystemExit) else str(result.exception)
    assert says in text
    assert isinstance(result.exception, SystemExit) is False or result.exit_code == 2
    assert "Traceback" not in text
