"""``requirements.lock`` and ``pyproject.toml`` agree: every dependency is locked, at a version that is allowed, with hashes."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]


def locked() -> dict[str, tuple[str, int]]:
    """Version and number of hashes by package."""
    text = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", text):
        name, _, rest = block.partition("==")
        found[canonicalize_name(name.strip())] = (re.split(r"[ ;\\\n]", rest)[0], rest.count("--hash=sha256:"))
    return found


def declared() -> list[Requirement]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for text in (*project["dependencies"], *extras["demo"], *extras["cluster"])]


@pytest.mark.parametrize("wanted", declared(), ids=lambda r: r.name)
def test_every_dependency_is_locked_at_a_version_that_is_allowed(wanted: Requirement) -> None:
    found = locked().get(canonicalize_name(wanted.name))
    assert found is not None, f"{wanted.name} is not in requirements.lock: make lock"
    assert wanted.specifier.contains(found[0], prereleases=True), f"{wanted} but locked at {found[0]}: make lock"


def test_every_locked_version_has_hashes() -> None:
    assert len(locked()) > 50
    assert [name for name, (_, hashes) in locked().items() if hashes == 0] == []
