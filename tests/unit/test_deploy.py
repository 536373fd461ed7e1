"""The files of ``deploy/``: units that systemd takes, variables that exist, a compose file that hangs together, commands that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from api.cli import COMMANDS
from api.settings import ServeSettings
from gis.settings import Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KNOWN = {f"BAIGE_{n.upper()}" for n in Settings.model_fields} | {f"BAIGE_SERVE_{n.upper()}" for n in ServeSettings.model_fields}
TEXTS = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()]


def test_variables_exist() -> None:
    for path in TEXTS:
        used = set(re.findall(r"\b(BAIGE_[A-Z_]+)\s*[:=]", path.read_text(encoding="utf-8")))
        assert used <= KNOWN, path.name


def test_commands_exist() -> None:
    started = re.findall(r"baige/bin/baige ([a-z-]+)|\"baige\", \"([a-z-]+)\"", "\n".join(p.read_text(encoding="utf-8") for p in TEXTS))
    assert {a or b for a, b in started} == {"serve", "worker", "db"}
    assert {a or b for a, b in started} <= set(COMMANDS)


def test_compose_hangs_together() -> None:
    found = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert set(found["services"]) == {"database", "server", "worker"}
    volumes = {v.split(":")[0] for s in found["services"].values() for v in s["volumes"]}
    assert volumes == set(found["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in found["services"]["server"]["ports"])
    environment = found["services"]["server"]["environment"]
    assert "PASSWORD:?" in environment["BAIGE_DATABASE_URL"]  # no password of ours


@pytest.mark.parametrize("line", re.findall(r"^(?:COPY|FROM|RUN|CMD|USER).*", (DEPLOY / "Containerfile").read_text(encoding="utf-8"), re.M))
def test_containerfile_is_pinned_and_not_root(line: str) -> None:
    assert ":latest" not in line
    if line.startswith("FROM"):
        assert re.search(r":\d+\.\d+-slim-\w+", line)
    if line.startswith("USER"):
        assert line != "USER root"


if shutil.which("systemd-analyze"):

    def test_units_are_taken_by_systemd(tmp_path: Path) -> None:
        units = []
        for path in (DEPLOY / "systemd").iterdir():
            text = path.read_text(encoding="utf-8").replace("/opt/baige/bin/baige", "/bin/true")
            units.append(tmp_path / path.name.replace("@", "@1"))
            units[-1].write_text(text, encoding="utf-8")
        done = subprocess.run(["systemd-analyze", "verify", *map(str, units)], capture_output=True, text=True, check=False)
        said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "baige" in line]
        assert done.returncode == 0, done.stderr
        assert said == []
