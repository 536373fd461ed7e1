"""What every command shares: exit codes, streams, languages, options anywhere."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from api.cli import RootGroup, _global_first, main
from api.cli.context import AppContext, pass_app
from gis.errors import Conflict, UnknownField


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``baige`` as a user does."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BAIGE_")}
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        capture_output=True,
        text=True,
        env=clean | environment,
        cwd=cwd,
        timeout=60,
        check=False,
    )


@pytest.fixture
def with_commands(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The root with a few commands that fail in known ways."""

    @click.command()
    @pass_app
    @click.argument("how", default="")
    def fail(app: AppContext, how: str) -> None:
        if how == "input":
            raise UnknownField("No column named x.", zh="没有名为 x 的列。")
        if how == "state":
            error = Conflict("Another came first.", zh="已有其他修改。")
            error.add_note("details for the operator")
            raise error
        if how == "bug":
            raise ZeroDivisionError("secret")
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "exit":
            click.get_current_context().exit(7)
        app.emit({"lang": app.lang, "名": how}, f"lang {app.lang}")

    monkeypatch.setattr(RootGroup, "get_command", lambda self, ctx, name: fail if name == "fail" else None)
    return CliRunner()


@pytest.mark.parametrize(
    ("how", "code"), [("", 0), ("input", 2), ("state", 1), ("bug", 1), ("interrupt", 130), ("exit", 7)]
)
def test_exit_codes(with_commands: CliRunner, how: str, code: int) -> None:
    result = with_commands.invoke(main, ["fail", how])
    assert result.exit_code == code
    assert "Traceback" not in result.stderr
    if code not in (0, 7):
        assert result.stdout == ""


def test_messages_in_both_languages_go_to_standard_error(with_commands: CliRunner) -> None:
    assert with_commands.invoke(main, ["fail", "input"]).stderr == "Error: No column named x.\n"
    assert with_commands.invoke(main, ["fail", "input", "--lang", "zh"]).stderr == "错误：没有名为 x 的列。\n"
    assert with_commands.invoke(main, ["fail", "input"], env={"BAIGE_LANG": "zh"}).stderr == "错误：没有名为 x 的列。\n"
    assert (
        with_commands.invoke(main, ["fail", "state"]).stderr == "Error: Another came first.\ndetails for the operator\n"
    )


def test_traceback_only_with_verbose(with_commands: CliRunner) -> None:
    result = with_commands.invoke(main, ["fail", "bug", "-v"])
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_global_options_may_stand_anywhere(with_commands: CliRunner) -> None:
    for words in (
        ["--json", "--lang", "zh", "fail"],
        ["fail", "--json", "--lang=zh"],
        ["fail", "--lang", "zh", "--json"],
    ):
        result = with_commands.invoke(main, words)
        assert json.loads(result.stdout) == {"lang": "zh", "名": ""}
    assert with_commands.invoke(main, ["fail"]).stdout == "lang en\n"


def test_what_follows_two_dashes_is_left_alone() -> None:
    assert _global_first(["load", "--", "--json", "-v"]) == ["load", "--", "--json", "-v"]
    assert _global_first(["a", "--lang"]) == ["--lang", "a"]


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["db", "nonsense"], ["--lang", "fr", "doctor"], ["demo", "--scale", "huge"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage" in result.stderr


def test_wrong_setting_is_named(tmp_path: Path) -> None:
    done = run("db", "init", "--lang", "zh", BAIGE_CITY=str(tmp_path / "none.toml"), BAIGE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "无法读取城市文件" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "a server was started all the same"


def test_help_and_version_touch_nothing(tmp_path: Path) -> None:
    assert run("--help", cwd=tmp_path, PYTHONPATH=os.getcwd()).returncode == 0
    assert run("--version", cwd=tmp_path, PYTHONPATH=os.getcwd()).stdout.startswith("baige")
    assert run("db", "status", cwd=tmp_path, PYTHONPATH=os.getcwd()).returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_start_of_a_command_is_light() -> None:
    """The root imports none of the heavy libraries; they would cost every command a second."""
    heavy = ("sqlalchemy", "geopandas", "numba", "folium", "pygeoapi", "alembic")
    code = f"import sys, api.cli.context; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    code = (
        "import click, time, api.cli as c\n"
        "@click.command()\n"
        "def command():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(30)\n"
        "c.RootGroup.get_command = lambda self, ctx, name: command\n"
        "c.main(['wait'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a shell that runs the tests in its background has them ignore it, and they would pass that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_doctor_reports_as_json(tmp_path: Path) -> None:
    done = run("doctor", "--json", BAIGE_HOME=str(tmp_path / "home"))
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    found = {check["name"]: check for check in report["checks"]}
    assert {
        "python",
        "packages",
        "postgresql",
        "database",
        "leaflet",
        "maplibre",
        "chinese-font",
        "disk",
        "memory",
        "chromium",
    } <= set(found)
    assert all(check["mend"] for check in report["checks"] if check["state"] != "ok")
    assert found["database"]["found"].startswith("absent")
    assert not (tmp_path / "home").exists()


def test_doctor_names_what_is_broken(tmp_path: Path) -> None:
    done = run(
        "doctor", "--lang", "zh", BAIGE_DATABASE_URL="postgresql://u:geheim@127.0.0.1:1/d", BAIGE_HOME=str(tmp_path)
    )
    assert done.returncode == 1
    assert "无法连接" in done.stdout
    assert "geheim" not in done.stdout + done.stderr
