"""The suites of others on the served city: ogctests (Features Part 1, Core) without a network, and schemathesis on our API document.

It stands last by its name: schemathesis edits the city and leaves jobs behind.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api.access import hash_secret, new_key

HERE = Path(__file__).resolve().parent
#: The environment that ``scripts/setup.sh clients`` makes: test tools that want other versions of libraries than Baige.
TOOLS = HERE.parent.parent / ".venv" / "clients" / "bin"


def ran(words: list[str], folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BAIGE_"))}
    return subprocess.run(
        words, env={**clean, **environment}, cwd=folder, capture_output=True, text=True, timeout=800, check=False
    )


def test_ogctests_core_all_29_without_a_network(town: Any, tmp_path: Path) -> None:
    # as the public it sees cameras without their places, and the suite wants a geometry of every feature
    offline = {"PYTHONPATH": str(HERE / "offline"), "INSTANCE_URL": town.url}
    probe = ran([str(TOOLS / "python"), "-c", "import httpx; httpx.get('http://192.0.2.1/')"], tmp_path, **offline)
    assert "the network is off" in probe.stderr
    where = ran([str(TOOLS / "python"), "-c", "import ogctests; print(ogctests.__path__[0])"], tmp_path).stdout.strip()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # else it takes Baige's configuration for its own
    words = [str(TOOLS / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pytest.ini", f"{where}/features/core"]
    done = ran(words, tmp_path, **offline)
    assert re.search(r"^29 passed", done.stdout, re.MULTILINE), done.stdout[-5000:]
    assert "No features" not in done.stdout  # it warns and goes on where it found nothing to test


#: Roles by the key that is sent, the weakest first: the most examples for each operation, and the phases. Admin is whoever calls the first server;
#: the systematic phase of borderline values, two minutes long, runs with its rights, which every route gets furthest with.
_SHORT, _WHOLE = "examples,fuzzing", "examples,coverage,fuzzing"
ROLES = {"public": (3, _SHORT), "viewer": (3, _SHORT), "officer of a district": (3, _SHORT), "planner of a district": (3, _SHORT),
         "planner": (3, _SHORT), "admin": (8, _WHOLE)}  # fmt: skip


def key_of(town: Any, role: str) -> list[str]:
    """The header of a new key for a role, as words of a command."""
    if role in ("public", "admin"):
        return []
    key_id, key = new_key()
    with town.database.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO baige_sys.api_key (id, secret_sha256, role, district) VALUES (:i, :s, :r, :d)"),
            {"i": key_id, "s": hash_secret(key), "r": role.split()[0], "d": "420502" if "district" in role else ""},
        )
    return ["-H", f"X-API-Key: {key}"]


@pytest.mark.parametrize("role", ROLES)
def test_schemathesis_finds_no_fault_and_no_answer_that_is_not_declared(town: Any, tmp_path: Path, role: str) -> None:
    """Every operation of the server and of a few layers, as the role's own API document has them, with valid and invalid requests from a seed."""
    report, (examples, phases) = tmp_path / "report.ndjson", ROLES[role]
    with town.database.begin() as connection:  # so that requests meet features that are there
        seen = "SELECT id::text FROM baige.outfall ORDER BY classification = 'public' DESC, admin_code LIKE '420502%%' DESC, id LIMIT 1"
        known = connection.exec_driver_sql(seen).scalar_one()
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(f'[parameters]\n"path.featureId" = "{known}"\n"path.rasterId" = "reference-city"\n"path.recordId" = "outfall"\n')
    tags = [word for tag in ("server", "outfall", "bank_coverage", "grid_statistic") for word in ("--include-tag", tag)]
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    url = town.url if role == "admin" else town.public_url
    words = [
        str(TOOLS / "schemathesis"), "--config-file", str(configuration), "run", f"{url}/openapi?f=json", *tags, "--checks", checks,
        "--phases", phases, "--seed", "20261125", "--max-examples", str(examples), "--workers", "2",
        "-H", "Prefer: respond-async",
        "--request-timeout", "60", "--suppress-health-check", "all", "--generation-with-security-parameters", "false", "--no-color",
        "--generation-database", "none", "--report", "ndjson", "--report-ndjson-path", str(report), *key_of(town, role),
    ]  # fmt: skip
    done = ran(words, tmp_path, HYPOTHESIS_STORAGE_DIRECTORY=str(tmp_path))
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
    tested = json.dumps([line for line in report.read_text().splitlines() if "outfall" in line])
    assert "/collections/outfall/items" in tested
